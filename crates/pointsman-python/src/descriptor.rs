//! Takes ownership of file descriptors that Python hands over, and gives them away. One of the files that may use `unsafe`.
//!
//! # Invariants
//!
//! - D1. Whoever passes a descriptor number to this crate gives the descriptor away.
#![allow(unsafe_code, reason = "a descriptor number is only a number")]

use pointsman_shm::OwnedFd;
use pyo3::prelude::*;

/// The descriptor as an owned value.
#[cfg(unix)]
pub(crate) fn own(descriptor: i32) -> PyResult<OwnedFd> {
    use std::os::fd::FromRawFd;

    if descriptor < 0 {
        return Err(pyo3::exceptions::PyValueError::new_err("not a file descriptor"));
    }
    // SAFETY: the caller has given the descriptor away (D1), and it is not -1.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The descriptor's number, for Python, which owns it from now on.
#[cfg(unix)]
pub(crate) fn give(descriptor: OwnedFd) -> i32 {
    use std::os::fd::IntoRawFd;

    descriptor.into_raw_fd()
}

#[cfg(not(unix))]
pub(crate) fn own(_descriptor: i32) -> PyResult<OwnedFd> {
    Err(pyo3::exceptions::PyOSError::new_err("worker processes over shared memory need Linux"))
}

/// There is none to give.
#[cfg(not(unix))]
pub(crate) fn give(_descriptor: OwnedFd) -> i32 {
    -1
}
