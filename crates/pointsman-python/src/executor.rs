//! The native half of `pointsman.Executor`: the shortest way from `submit` to a queue of threads.
//!
//! # Does not know
//!
//! What else there is to look at before a call: where there is anything, Python's side does it.
//!
//! # Invariants
//!
//! - Q1. No Python code runs, and no Python object is dropped, while the lock is held.
//! - Q2. The short way is taken only for calls of which nothing needs to be known: no keywords, and a plain function.

use std::sync::{Arc, Mutex, PoisonError};

use pointsman_scheduler::Priority;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::calling::{self, Call};
use crate::context::Context;
use crate::once::name;
use crate::thread_call::Inputs;
use crate::thread_pool::{Shared, ThreadPool};

#[derive(Default)]
struct Short {
    pool: Option<Arc<Shared>>,
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

    /// Start a call and return its future. Every keyword belongs to `fn`.
    ///
    /// Except one: `priority`, if its value is a `TaskPriority`, says how urgent the call is.
    ///
    /// Raises
    /// ------
    /// InvalidTypeError
    ///     If `fn` is not callable.
    /// RuntimeError
    ///     After `shutdown`; `PoolBrokenError` if the workers cannot be started.
    ///
    #[pyo3(signature = (*args, **kwargs), text_signature = "($self, fn, /, *args, **kwargs)")]
    fn submit<'py>(
        slf: &Bound<'py, Self>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if kwargs.is_none_or(PyDictMethods::is_empty)
            && let Some((pool, function)) = slf.get().short_way(&args)
        {
            let inputs = Inputs { call: Call::leading(&args, function), context: Context::copy_current(py)? };
            return pool.submit(py, inputs, Priority::Normal, false).map(Bound::into_any);
        }
        slf.call_method(name!(py, "_submit_looking"), args, kwargs)
    }

    /// Send plain calls straight to a pool from now on, or with None no more.
    fn _shorten(&self, pool: Option<&Bound<'_, ThreadPool>>) {
        let pool = pool.map(|pool| pool.get().shared.clone());
        let before = std::mem::replace(&mut self.lock().pool, pool);
        drop(before);
    }
}

impl ExecutorCore {
    fn lock(&self) -> std::sync::MutexGuard<'_, Short> {
        self.short.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool for this call, and its function (Q2).
    fn short_way<'py>(&self, args: &Bound<'py, PyTuple>) -> Option<(Arc<Shared>, Bound<'py, PyAny>)> {
        let function = args.get_borrowed_item(0).ok()?;
        let code = calling::code_of(&function)?;
        let short = self.lock();
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
        Some((pool, function.to_owned()))
    }
}
