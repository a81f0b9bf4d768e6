//! Makes an instance of a subclass without running its `__init__`, and hides it from the garbage collector while it can be
//! part of no cycle. One of the files that may use `unsafe`.
//!
//! # Invariants
//!
//! - N1. The class is a heap type derived from a class of this crate, so it has a `tp_new` that takes any arguments.
//! - N2. An instance of such a class that can have a `__dict__` is an object of the garbage collector's, and the thread is
//!   attached, so nobody else changes whether it is tracked.
#![allow(unsafe_code, reason = "PyO3 has no safe way to make an instance of a Python subclass, or to hide it")]

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

/// Hides an object from the garbage collector, which otherwise looks at each of many thousands again and again.
pub(crate) fn hide(object: &Bound<'_, PyAny>) {
    // SAFETY: the object is one of the collector's (N2); one that is not tracked stays so.
    unsafe { ffi::PyObject_GC_UnTrack(object.as_ptr().cast()) };
}

/// Shows an object to the garbage collector: from now on it may refer to others that refer to it.
pub(crate) fn show(object: &Bound<'_, PyAny>) {
    // SAFETY: any object may be asked.
    let tracked = unsafe { ffi::PyObject_GC_IsTracked(object.as_ptr()) } != 0;
    if !tracked {
        // SAFETY: the object is one of the collector's and not tracked (N2); its fields are valid, since it is in use.
        unsafe { ffi::PyObject_GC_Track(object.as_ptr().cast()) };
    }
}

/// Whether the garbage collector may ever have to look at this object.
pub(crate) fn may_refer(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: any object may be asked.
    unsafe { ffi::PyObject_IS_GC(object.as_ptr()) != 0 }
}

/// `object.name = value` as any object does it, or `del object.name` without a value.
pub(crate) fn set_attribute(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyAny>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let value = value.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: all three are alive while they are borrowed, and a null value means deletion.
    if unsafe { ffi::PyObject_GenericSetAttr(object.as_ptr(), name.as_ptr(), value) } == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(object.py()))
    }
}
