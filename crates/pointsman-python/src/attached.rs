//! What only threads that have the interpreter touch, and a quicker way into an iterator. One of the files that may use
//! `unsafe`.
//!
//! # Invariants
//!
//! - H1. Where the interpreter has its lock, at most one thread is attached. Whether it has is asked once, when this module is
//!   made; a lock that is there then stays.
//! - H2. What is done with the value runs no Python code, and so neither lets go of the interpreter nor comes back here.
//! - H3. Without the interpreter's lock every way to the value is by ours.
#![allow(unsafe_code, reason = "the interpreter's lock stands for one of ours")]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::PyClass;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

use crate::map_job::MapResults;
use crate::process_results::ProcessResults;

/// Whether threads may be attached at one time.
static FREE: AtomicBool = AtomicBool::new(false);

/// Stands between what a thread writes and what it reads next, where the interpreter's lock does not (M4 of `map_job`).
pub(crate) fn settle_before_looking() {
    // Relaxed: written before the first thread is started.
    if FREE.load(Ordering::Relaxed) {
        // Pairs with the fence in `MapJob::wait_for`.
        fence(Ordering::SeqCst);
    }
}

/// A value for threads that are attached.
#[derive(Default)]
pub(crate) struct Attached<T> {
    lock: Mutex<()>,
    value: UnsafeCell<T>,
}

// SAFETY: `with` holds the lock; `with_the_gil` is called only where one thread at a time is attached (H1, H3).
unsafe impl<T: Send> Sync for Attached<T> {}

impl<T> Attached<T> {
    /// Calls `work` with the value (H2).
    pub(crate) fn with<R>(&self, _py: Python<'_>, work: impl FnOnce(&mut T) -> R) -> R {
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: no other thread is in here: it would hold our lock, or the interpreter's (H1, H3); nor is this one (H2).
        work(unsafe { &mut *self.value.get() })
    }

    /// The same without our lock; for `next`, which is in place only where the interpreter has its own.
    pub(crate) fn with_the_gil<R>(&self, _py: Python<'_>, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: no other thread is in here, as it would have to be attached (H1), nor is this one already (H2).
        work(unsafe { &mut *self.value.get() })
    }
}

/// An iterator that has a quicker way to a result that is there.
pub(crate) trait Quick: PyClass<Frozen = True> + Sync {
    /// The next result, if it is a value that is there: what most calls of `__next__` are for. Only under the interpreter's
    /// lock.
    fn quick(&self, py: Python<'_>) -> Option<Py<PyAny>>;
    /// Where the slot is kept that the class was made with.
    fn slow() -> &'static OnceLock<ffi::iternextfunc>;
}

/// `tp_iternext` of an iterator: without what a call into this crate costs otherwise, where there is a result to give.
unsafe extern "C" fn next<T: Quick>(object: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: the interpreter calls a slot with the thread attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the interpreter calls a slot with an object that lives until it returns.
    let object = unsafe { Bound::from_borrowed_ptr(py, object) };
    // SAFETY: the slot is that of this very class, which cannot be derived from.
    let results = unsafe { object.cast_unchecked::<T>() };
    match results.get().quick(py) {
        Some(value) => value.into_ptr(),
        // Panics are caught there.
        None => T::slow().get().map_or(std::ptr::null_mut(), |slow| {
            // SAFETY: this is the slot that the class was made with.
            unsafe { slow(results.as_ptr()) }
        }),
    }
}

/// Puts the quick ways into their classes, where the interpreter has its lock.
pub(crate) fn quicken(py: Python<'_>) -> PyResult<()> {
    // Only 3.13 and later can be asked, and be without.
    let asked = py.import("sys")?.getattr_opt("_is_gil_enabled")?;
    if asked.map_or(Ok(true), |asked| asked.call0()?.is_truthy())? {
        replace::<MapResults>(py);
        replace::<ProcessResults>(py);
    } else {
        FREE.store(true, Ordering::Relaxed);
    }
    Ok(())
}

fn replace<T: Quick>(py: Python<'_>) {
    let class = py.get_type::<T>().as_type_ptr();
    // SAFETY: a class of this crate, which nobody uses yet.
    let slow = unsafe { (*class).tp_iternext };
    if let Some(slow) = slow
        && T::slow().set(slow).is_ok()
    {
        // SAFETY: as above; slots of a class are plain function pointers.
        unsafe { (*class).tp_iternext = Some(next::<T>) };
    }
}
