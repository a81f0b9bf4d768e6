//! Makes an instance of a subclass without running its `__init__`, and says what the garbage collector looks at. One of the
//! files that may use `unsafe`.
//!
//! # Invariants
//!
//! - N1. The class is a heap type derived from a class of this crate, so it has a `tp_new` that takes any arguments.
//! - N2. Instances of such a class are known to the garbage collector, which may be told to look at one or not.
#![allow(unsafe_code, reason = "PyO3 has no safe way to make an instance of a Python subclass")]

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

/// `class.__new__(class)`, at the price of one C call.
pub(crate) fn bare<'py>(class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    // SAFETY: a type object is alive while it is borrowed, and its slots do not change after it is ready (N1).
    let new = unsafe { (*class.as_type_ptr()).tp_new };
    let Some(new) = new else {
        return Err(PyTypeError::new_err("the class cannot be instantiated"));
    };
    let no_arguments = PyTuple::empty(py);
    // SAFETY: `tp_new` is called with its own class and an argument tuple, as the interpreter does (N1).
    let object = unsafe { new(class.as_type_ptr(), no_arguments.as_ptr(), std::ptr::null_mut()) };
    // SAFETY: `tp_new` returns a new reference, or null with an exception set (N1).
    unsafe { Bound::from_owned_ptr_or_err(py, object) }
}

/// Keeps the garbage collector from looking at an object: nothing that it refers to can refer to it.
pub(crate) fn untrack(object: &Bound<'_, PyAny>) {
    // SAFETY: the object is one of the collector's, whether tracked or not (N2).
    unsafe { ffi::PyObject_GC_UnTrack(object.as_ptr().cast()) };
}

/// Has the garbage collector look at an object, if it does not.
pub(crate) fn track(object: &Bound<'_, PyAny>) {
    // SAFETY: the object is alive, and one of the collector's (N2).
    if unsafe { ffi::PyObject_GC_IsTracked(object.as_ptr()) } == 0 {
        // SAFETY: it is not tracked, by the line above, and whole (N2).
        unsafe { ffi::PyObject_GC_Track(object.as_ptr().cast()) };
    }
}

/// Whether an object may refer to others, as the garbage collector sees it.
pub(crate) fn may_refer(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the object is alive.
    unsafe { ffi::PyObject_IS_GC(object.as_ptr()) != 0 }
}

/// Sets an attribute, or with `None` deletes it, as `object` does.
pub(crate) fn set_attribute(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let value = value.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: the objects are alive, and null is how an attribute is deleted.
    if unsafe { ffi::PyObject_GenericSetAttr(object.as_ptr(), name.as_ptr(), value) } == 0 {
        return Ok(());
    }
    Err(PyErr::fetch(object.py()))
}
