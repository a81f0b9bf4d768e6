//! Holds a function with its arguments until it is called, and reads what a function's code says. One of the files that may
//! use `unsafe`.
//!
//! # Invariants
//!
//! - A1. The first `count` of a few arguments are there, and stay while they are borrowed.
#![allow(unsafe_code, reason = "the interpreter's cheapest ways to call and to compare are C interfaces")]

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrame, PyString, PyTuple};

use crate::context::Context;
use crate::once::name;

/// The flag of code that makes coroutines.
const COROUTINE: u32 = 0x80;

/// Arguments that need no tuple: that would be one more object for the garbage collector to look at while a call waits.
const FEW: usize = 3;

/// A function and its arguments, small where there is one at most: many thousands may wait.
#[derive(Debug)]
pub(crate) enum Call {
    One { function: Py<PyAny>, argument: Option<Py<PyAny>> },
    More(Box<More>),
}

#[derive(Debug)]
pub(crate) enum More {
    Few { function: Py<PyAny>, args: [Option<Py<PyAny>>; FEW], count: usize },
    Many { function: Py<PyAny>, args: Py<PyTuple>, kwargs: Option<Py<PyDict>> },
}

/// What is to be called, and the variables that it sees.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) call: Call,
    pub(crate) context: Context,
}

impl Call {
    /// Of a function and arguments that are packed already.
    pub(crate) fn packed(function: Py<PyAny>, args: Py<PyTuple>, kwargs: Option<Py<PyDict>>) -> Self {
        Self::More(Box::new(More::Many { function, args, kwargs }))
    }

    /// Of the function and its arguments, which follow it.
    pub(crate) fn leading(items: &[Bound<'_, PyAny>]) -> PyResult<Self> {
        let Some((function, rest)) = items.split_first() else {
            return Err(PyTypeError::new_err("a function is needed"));
        };
        let function = function.clone().unbind();
        if rest.len() <= 1 {
            return Ok(Self::One { function, argument: rest.first().map(|item| item.clone().unbind()) });
        }
        if rest.len() > FEW {
            return Ok(Self::packed(function, PyTuple::new(rest[0].py(), rest)?.unbind(), None));
        }
        let mut args = [const { None }; FEW];
        for (place, item) in args.iter_mut().zip(rest) {
            *place = Some(item.clone().unbind());
        }
        Ok(Self::More(Box::new(More::Few { function, args, count: rest.len() })))
    }

    pub(crate) fn function<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny> {
        match self {
            Self::One { function, .. } => function.bind(py),
            Self::More(more) => match &**more {
                More::Few { function, .. } | More::Many { function, .. } => function.bind(py),
            },
        }
    }

    /// Makes the call.
    pub(crate) fn make<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::One { function, argument } => {
                make(function.bind(py), std::slice::from_ref(argument), usize::from(argument.is_some()))
            }
            Self::More(more) => match &**more {
                More::Few { function, args, count } => make(function.bind(py), args, *count),
                More::Many { function, args, kwargs } => {
                    function.bind(py).call(args.bind(py), kwargs.as_ref().map(|kwargs| kwargs.bind(py)))
                }
            },
        }
    }
}

/// Calls `function` with the first `count` of the arguments, which are there.
fn make<'py>(function: &Bound<'py, PyAny>, args: &[Option<Py<PyAny>>], count: usize) -> PyResult<Bound<'py, PyAny>> {
    // An optional reference is a pointer, null for none.
    let first = args.as_ptr().cast::<*mut ffi::PyObject>();
    // SAFETY: that many arguments lie there, and are held until the call returns (A1).
    let raw = unsafe { ffi::PyObject_Vectorcall(function.as_ptr(), first, count, std::ptr::null_mut()) };
    // SAFETY: the call returns a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(function.py(), raw) }
}

/// Calls `function` with one argument.
pub(crate) fn call_one<'py>(function: &Bound<'py, PyAny>, argument: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both objects are alive until the call returns.
    let raw = unsafe { ffi::PyObject_CallOneArg(function.as_ptr(), argument.as_ptr()) };
    // SAFETY: the call returns a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(function.py(), raw) }
}

/// The code of a function written in Python; `None` for everything else.
pub(crate) fn code_of<'py>(function: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    // SAFETY: the object is alive; the check reads its type.
    if unsafe { ffi::PyFunction_Check(function.as_ptr()) } == 0 {
        return None;
    }
    // SAFETY: the object is a function, by the lines above; the reference is borrowed.
    let code = unsafe { ffi::PyFunction_GetCode(function.as_ptr()) };
    // SAFETY: the function holds its code, and is alive.
    unsafe { Bound::from_borrowed_ptr_or_opt(function.py(), code) }
}

/// The frame of the Python code that runs here.
pub(crate) fn frame(py: Python<'_>) -> Option<Bound<'_, PyFrame>> {
    // SAFETY: the thread is attached.
    let frame = unsafe { ffi::PyEval_GetFrame() };
    // SAFETY: the reference is borrowed from the thread, which runs that frame; null without one.
    let frame = unsafe { Bound::from_borrowed_ptr_or_opt(py, frame.cast()) };
    frame.and_then(|frame| frame.cast_into().ok())
}

/// Whether calls of this code are no coroutines.
pub(crate) fn is_plain(code: &Bound<'_, PyAny>) -> bool {
    let flags = code.getattr(name!(code.py(), "co_flags")).and_then(|flags| flags.extract::<u32>());
    flags.is_ok_and(|flags| flags & COROUTINE == 0)
}

/// How many references there are to an object.
pub(crate) fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: the object is alive.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// Whether an object's type is just this.
pub(crate) fn is_of_type(object: &Bound<'_, PyAny>, kind: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the object is alive, and has a type.
    let own = unsafe { ffi::Py_TYPE(object.as_ptr()) };
    own.cast() == kind.as_ptr()
}

/// The name that messages use for a function: its qualified name, else its representation.
pub(crate) fn name_of(function: &Bound<'_, PyAny>) -> String {
    let py = function.py();
    let named = function.getattr(name!(py, "__qualname__")).and_then(|name| Ok(name.cast_into::<PyString>()?));
    named.map_or_else(
        |_| function.repr().map_or_else(|_| "a function".into(), |text| text.to_string()),
        |name| name.to_string(),
    )
}
