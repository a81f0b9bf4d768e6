//! What only threads that have the interpreter touch, and a quicker way into an iterator. One of the files that may use
//! `unsafe`.
//!
//! # Invariants
//!
//! - H1. The interpreter's lock is held by at most one thread: this module does not declare that it can do without.
//! - H2. What is done `with` the value runs no Python code, and so neither lets go of the interpreter nor comes back here.
#![allow(unsafe_code, reason = "the interpreter's lock stands for one of ours")]

use std::cell::UnsafeCell;

use pyo3::ffi;
use pyo3::prelude::*;

use crate::map_job::MapResults;

/// A value for threads that are attached.
#[derive(Default)]
pub(crate) struct Attached<T>(UnsafeCell<T>);

// SAFETY: `with` needs proof that the thread is attached, and one thread at a time is (H1).
unsafe impl<T: Send> Sync for Attached<T> {}

impl<T> Attached<T> {
    /// Calls `work` with the value (H2).
    pub(crate) fn with<R>(&self, _py: Python<'_>, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: no other thread is in here (H1), nor is this one already (H2).
        work(unsafe { &mut *self.0.get() })
    }
}

/// `tp_iternext` of `MapResults`: without what a call into this crate costs otherwise, where there is a result to give.
unsafe extern "C" fn next(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls a slot with the thread attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the interpreter calls a slot with an object that lives until it returns.
    let object = unsafe { Bound::from_borrowed_ptr(py, object) };
    // SAFETY: the slot is that of this very class, which cannot be derived from.
    let results = unsafe { object.cast_unchecked::<MapResults>() };
    match results.get().quick(py) {
        Some(value) => value.into_ptr(),
        // Panics are caught there.
        None => SLOW.get().map_or(std::ptr::null_mut(), |slow| {
            // SAFETY: this is the slot that the class was made with.
            unsafe { slow(results.as_ptr()) }
        }),
    }
}

static SLOW: std::sync::OnceLock<ffi::iternextfunc> = std::sync::OnceLock::new();

/// Puts the quick way into the class.
pub(crate) fn quicken(py: Python<'_>) {
    let class = py.get_type::<MapResults>().as_type_ptr();
    // SAFETY: a class of this crate, which nobody uses yet.
    let slow = unsafe { (*class).tp_iternext };
    if let Some(slow) = slow
        && SLOW.set(slow).is_ok()
    {
        // SAFETY: as above; slots of a class are plain function pointers.
        unsafe { (*class).tp_iternext = Some(next) };
    }
}
