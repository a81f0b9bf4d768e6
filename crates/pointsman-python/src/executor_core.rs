//! The quickest way into an executor's pool, for calls of which nothing more needs to be asked.
//!
//! # Does not know
//!
//! What an executor promises. What is not plain goes to `Executor._submit_anyhow`.
//!
//! # Invariants
//!
//! - X1. A call goes the quick way only if the function is no coroutine function, the call has no keywords, and the
//!   executor has said that its pool takes calls as they are.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::once::name;
use crate::process_pool::{NORMAL, ProcessPool};
use crate::thread_pool::ThreadPool;

/// The flag of a coroutine function's code (`inspect.CO_COROUTINE`).
const COROUTINE: u32 = 0x80;

enum Quick {
    Threads(Py<ThreadPool>),
    Processes(Py<ProcessPool>),
}

impl Quick {
    fn clone_ref(&self, py: Python<'_>) -> Self {
        match self {
            Self::Threads(pool) => Self::Threads(pool.clone_ref(py)),
            Self::Processes(pool) => Self::Processes(pool.clone_ref(py)),
        }
    }
}

/// The native half of `pointsman.Executor`.
#[pyclass(module = "pointsman._native", subclass, frozen)]
pub(crate) struct ExecutorCore {
    quick: Mutex<Option<Quick>>,
}

impl ExecutorCore {
    fn lock(&self) -> MutexGuard<'_, Option<Quick>> {
        self.quick.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl ExecutorCore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { quick: Mutex::new(None) }
    }

    /// Start a call and return its future. Every keyword belongs to `fn`.
    ///
    /// Except one: `priority`, if its value is a `TaskPriority`, says how urgent the call is.
    ///
    /// It raises `InvalidTypeError` if `fn` is not callable, `RuntimeError` after `shutdown`, and `PoolBrokenError` if the
    /// workers cannot be started.
    #[pyo3(signature = (r#fn, /, *args, **kwargs))]
    fn submit<'py>(
        slf: &Bound<'py, Self>,
        r#fn: &Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, function) = (slf.py(), r#fn);
        if kwargs.is_none() {
            let quick = slf.get().lock().as_ref().map(|quick| quick.clone_ref(py));
            let sent = match quick {
                // What the pool knows has been asked for before.
                Some(Quick::Processes(pool)) => pool.get().submit_known(py, function, &args),
                Some(Quick::Threads(pool)) if is_plain(function)? => {
                    pool.get().submit(py, function.clone(), args.clone(), None, NORMAL, false).map(Some)
                }
                _ => Ok(None),
            };
            match sent {
                Ok(Some(future)) => return Ok(future.into_any()),
                Ok(None) => {}
                Err(why) if why.is_instance_of::<PyException>(py) => {
                    return slf.call_method1(name!(py, "_not_sent"), (function, why.into_value(py)));
                }
                Err(other) => return Err(other),
            }
        }
        let kwargs = kwargs.unwrap_or_else(|| PyDict::new(py));
        slf.call_method1(name!(py, "_submit_anyhow"), (function, args, kwargs))
    }

    /// Lets plain calls go straight to this pool from now on, or with None no longer.
    #[pyo3(name = "_go_quickly")]
    fn go_quickly(&self, pool: Option<&Bound<'_, PyAny>>) {
        let quick = pool.and_then(|pool| {
            let threads = pool.cast::<ThreadPool>().ok().map(|pool| Quick::Threads(pool.clone().unbind()));
            threads.or_else(|| pool.cast::<ProcessPool>().ok().map(|pool| Quick::Processes(pool.clone().unbind())))
        });
        let before = std::mem::replace(&mut *self.lock(), quick);
        drop(before);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Whoever holds the lock holds a reference, too.
        let Ok(quick) = self.quick.try_lock() else { return Ok(()) };
        match &*quick {
            Some(Quick::Threads(pool)) => visit.call(pool),
            Some(Quick::Processes(pool)) => visit.call(pool),
            None => Ok(()),
        }
    }

    fn __clear__(&self) {
        self.go_quickly(None);
    }
}

/// Whether this is Python code that is no coroutine function's.
fn is_plain(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = function.py();
    let Some(code) = function.getattr_opt(name!(py, "__code__"))? else { return Ok(false) };
    let flags = code.getattr_opt(name!(py, "co_flags"))?.and_then(|flags| flags.extract::<u32>().ok());
    Ok(flags.is_some_and(|flags| flags & COROUTINE == 0))
}
