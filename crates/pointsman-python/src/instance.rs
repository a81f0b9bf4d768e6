//! Makes an instance of a subclass without running its `__init__`. One of the files that may use `unsafe`.
//!
//! # Invariants
//!
//! - N1. The class is a heap type derived from a class of this crate, so it has a `tp_new` that takes any arguments.
#![allow(unsafe_code, reason = "PyO3 has no safe way to make an instance of a Python subclass")]

use pyo3::exceptions::PyTypeError;
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
