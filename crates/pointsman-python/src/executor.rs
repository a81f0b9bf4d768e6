//! The native half of `pointsman.Executor`: the shortest way from `submit` to a queue of threads. One of the files that may
//! use `unsafe`.
//!
//! # Does not know
//!
//! What else there is to look at before a call: where there is anything, Python's side does it.
//!
//! # Invariants
//!
//! - Q1. No Python code runs, and no Python object is dropped, while the lock is held.
//! - Q2. The short way is taken only for calls of which nothing needs to be known: no keywords, and a plain function.
//! - Q3. The interpreter calls a method attached, with an object of its class and as many arguments as it says, all held.
//! - Q4. No frame that has something to drop lies below Python code that may wait.
#![allow(unsafe_code, reason = "PyO3's way into a method costs more than the method, and may not be unwound")]

use std::ffi::CStr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

use pointsman_scheduler::Priority;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::calling::{self, Call, Inputs};
use crate::context::Context;
use crate::future::FutureCore;
use crate::once::name;
use crate::process_pool::ProcessPool;
use crate::thread_pool::{Shared, ThreadPool};

#[derive(Default)]
struct Short {
    pool: Option<Arc<Shared>>,
    processes: Option<Py<ProcessPool>>,
    /// The code of the function that was looked at last, if it is a plain one: most calls are of the same.
    plain: Option<Py<PyAny>>,
}

/// The native half of `pointsman.Executor`.
#[pyclass(module = "pointsman._native", subclass, frozen)]
pub(crate) struct ExecutorCore {
    short: Mutex<Short>,
}

#[pymethods]
impl ExecutorCore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { short: Mutex::default() }
    }

    /// Lets plain calls go straight to this pool from now on, or with None no longer.
    #[pyo3(name = "_go_quickly")]
    fn go_quickly(&self, pool: Option<&Bound<'_, PyAny>>) {
        let threads = pool.and_then(|pool| pool.cast::<ThreadPool>().ok()).map(|pool| pool.get().shared.clone());
        let processes = pool.and_then(|pool| pool.cast::<ProcessPool>().ok()).map(|pool| pool.clone().unbind());
        let mut short = self.lock();
        let before = (std::mem::replace(&mut short.pool, threads), std::mem::replace(&mut short.processes, processes));
        drop(short);
        drop(before);
    }
}

impl ExecutorCore {
    fn lock(&self) -> std::sync::MutexGuard<'_, Short> {
        self.short.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a call, the function first among `items`; `None` where more must be known (Q2).
    fn submit<'py>(&self, items: &[Bound<'py, PyAny>]) -> Option<PyResult<Bound<'py, FutureCore>>> {
        let function = items.first()?;
        let py = function.py();
        let short = self.lock();
        if let Some(pool) = &short.processes {
            let pool = pool.bind(py).clone();
            drop(short);
            // What the pool knows has been asked for before.
            return pool.get().submit_known(function, &items[1..]).transpose();
        }
        let code = calling::code_of(function)?;
        let pool = short.pool.clone()?;
        let known = short.plain.as_ref().is_some_and(|plain| plain.is(&code));
        drop(short);
        if !known {
            if !calling::is_plain(&code) {
                return None;
            }
            let before = self.lock().plain.replace(code.unbind());
            drop(before);
        }
        Some(Context::copy_current(py).and_then(|context| {
            Shared::submit(pool, py, Inputs { call: Call::leading(items)?, context }, Priority::Normal, false)
        }))
    }
}

/// What the short way has come to.
#[repr(C)]
struct Tried {
    /// The future, or null with an exception set.
    future: *mut ffi::PyObject,
    /// The bound method that looks more closely; null if the short way was enough.
    slow: *mut ffi::PyObject,
}

/// Tries the short way. Nothing unwinds out of it.
extern "C" fn attempt(this: *mut ffi::PyObject, items: *const *mut ffi::PyObject, count: usize, alone: bool) -> Tried {
    // SAFETY: the interpreter calls methods attached (Q3).
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the interpreter holds a method's object until it returns (Q3).
    let this = unsafe { Bound::from_borrowed_ptr(py, this) };
    let items = if count == 0 {
        &[]
    } else {
        // SAFETY: that many arguments lie there, held until the method returns (Q3); `Bound` is a pointer and nothing else.
        unsafe { std::slice::from_raw_parts(items.cast::<Bound<'_, PyAny>>(), count) }
    };
    let tried = panic::catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the method is one of this class, which its descriptor has checked (Q3).
        let core = unsafe { this.cast_unchecked::<ExecutorCore>() };
        let submitted = if alone { core.get().submit(items) } else { None };
        match submitted {
            // What cannot travel is an error in the future.
            Some(Err(why)) if why.is_instance_of::<PyException>(py) => {
                let failed = core.call_method1(name!(py, "_not_sent"), (&items[0], why.into_value(py)));
                failed.map(|future| (future.into_ptr(), std::ptr::null_mut()))
            }
            Some(submitted) => submitted.map(|future| (future.into_ptr(), std::ptr::null_mut())),
            None => core.getattr(name!(py, "_submit_looking")).map(|slow| (std::ptr::null_mut(), slow.into_ptr())),
        }
    }));
    let (future, slow) = match tried {
        Ok(Ok(pointers)) => pointers,
        Ok(Err(error)) => {
            error.restore(py);
            (std::ptr::null_mut(), std::ptr::null_mut())
        }
        Err(_) => {
            PyRuntimeError::new_err("a defect in pointsman: submit panicked").restore(py);
            (std::ptr::null_mut(), std::ptr::null_mut())
        }
    };
    Tried { future, slow }
}

// Declared here once more, since threads may end in there: `PyObject_Vectorcall` of PyO3 promises that they do not.
unsafe extern "C-unwind" {
    #[link_name = "PyObject_Vectorcall"]
    fn vectorcall(
        callable: *mut ffi::PyObject,
        items: *const *mut ffi::PyObject,
        count: usize,
        names: *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
}

/// `Executor.submit`. Up to CPython 3.13 a daemon thread may end while Python's side of it waits: the stack is unwound then,
/// so this frame has nothing to drop and is one that may be unwound (Q4).
unsafe extern "C-unwind" fn submit(
    this: *mut ffi::PyObject,
    items: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let tried = attempt(this, items, count.unsigned_abs(), names.is_null());
    if tried.slow.is_null() {
        return tried.future;
    }
    // SAFETY: the arguments are those that the interpreter gave, for a method of the same parameters (Q3).
    let future = unsafe { vectorcall(tried.slow, items, count.unsigned_abs(), names) };
    // SAFETY: the reference was ours.
    unsafe { ffi::Py_DECREF(tried.slow) };
    future
}

const DOC: &CStr = c"submit($self, fn, /, *args, **kwargs)
--

Start a call and return its future. Every keyword belongs to `fn`.

Except one: `priority`, if its value is a `TaskPriority`, says how urgent the call is.

Raises
------
InvalidTypeError
    If `fn` is not callable.
RuntimeError
    After `shutdown`; `PoolBrokenError` if the workers cannot be started.
";

/// Gives the class its method.
pub(crate) fn complete(py: Python<'_>) -> PyResult<()> {
    type Plain = unsafe extern "C" fn(
        *mut ffi::PyObject,
        *const *mut ffi::PyObject,
        ffi::Py_ssize_t,
        *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    type Unwinding = unsafe extern "C-unwind" fn(
        *mut ffi::PyObject,
        *const *mut ffi::PyObject,
        ffi::Py_ssize_t,
        *mut ffi::PyObject,
    ) -> *mut ffi::PyObject;
    // SAFETY: the two differ in what may unwind through them, and only C code calls it.
    let function = unsafe { std::mem::transmute::<Unwinding, Plain>(submit) };
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: c"submit".as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
        ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
        ml_doc: DOC.as_ptr(),
    }));
    let class = py.get_type::<ExecutorCore>();
    // SAFETY: the class is a type, and the definition lives for ever.
    let method = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), definition) };
    // SAFETY: the call returns a new reference, or null with an exception set.
    let method = unsafe { Bound::from_owned_ptr_or_err(py, method) }?;
    class.setattr("submit", method)
}
