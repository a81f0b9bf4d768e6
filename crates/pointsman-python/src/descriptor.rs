//! Takes ownership of file descriptors that Python hands over. One of the files that may use `unsafe`.
//!
//! # Invariants
//!
//! - D1. Whoever passes a descriptor number to this crate gives the descriptor away.
#![allow(unsafe_code, reason = "a descriptor number is only a number")]

use std::os::fd::{FromRawFd, OwnedFd};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The descriptor as an owned value.
pub(crate) fn own(descriptor: i32) -> PyResult<OwnedFd> {
    if descriptor < 0 {
        return Err(PyValueError::new_err("not a file descriptor"));
    }
    // SAFETY: the caller has given the descriptor away (D1), and it is not -1.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
