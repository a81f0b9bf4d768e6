//! Carries context variables to the thread that runs a call. One of the files that may use `unsafe`.
//!
//! # Invariants
//!
//! - X1. A [`Context`] holds an object made by `PyContext_CopyCurrent`, `PyContext_New` or `Context.copy`, which no other thread has entered.
//! - X2. Every successful enter is followed by an exit on the same thread, also when the call raises.
#![allow(unsafe_code, reason = "entering a context is a C interface")]

use pyo3::ffi;
use pyo3::prelude::*;

use crate::calling;

/// A copy of the context variables of the thread that made it; `None` when it has none, and a new one will do.
#[derive(Debug)]
pub(crate) struct Context(Option<Py<PyAny>>);

/// An empty context that a worker uses for one call after the other, as long as nobody sets a variable in it or keeps it.
#[derive(Default)]
pub(crate) struct Spare(Option<Py<PyAny>>);

impl Context {
    pub(crate) fn copy_current(py: Python<'_>) -> PyResult<Self> {
        let copy = Self::current_object(py)?;
        // A call that waits for long in the queue is an object less for the garbage collector to look at.
        Ok(Self((copy.len()? > 0).then(|| copy.unbind())))
    }

    /// The same, for those who ask afterwards what has changed in it: there is an object even if it is empty.
    pub(crate) fn copy_whole(py: Python<'_>) -> PyResult<Self> {
        Ok(Self(Some(Self::current_object(py)?.unbind())))
    }

    fn current_object(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        // SAFETY: the thread is attached; the result is a new reference or null with an exception set (X1).
        let raw = unsafe { ffi::PyContext_CopyCurrent() };
        // SAFETY: see the line above (X1).
        unsafe { Bound::from_owned_ptr_or_err(py, raw) }
    }

    /// Takes over a context made by `Context.copy()`, which nobody has entered.
    pub(crate) fn adopt(context: Py<PyAny>) -> Self {
        Self(Some(context))
    }

    /// The object itself; a new one each time if there is none.
    pub(crate) fn object<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(context) = &self.0 {
            return Ok(context.bind(py).clone());
        }
        // SAFETY: the thread is attached; the result is a new reference or null with an exception set (X1).
        let raw = unsafe { ffi::PyContext_New() };
        // SAFETY: see the line above (X1).
        unsafe { Bound::from_owned_ptr_or_err(py, raw) }
    }

    /// Whether the calling thread's variables have the values that they have in this context.
    pub(crate) fn is_current(&self, py: Python<'_>) -> PyResult<bool> {
        self.equals(py, &Self::copy_whole(py)?)
    }

    /// Whether the variables have the same values in both.
    pub(crate) fn equals(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        // Contexts with the same history share their table, and are then compared by identity.
        self.object(py)?.eq(other.object(py)?)
    }

    /// A copy of it, as it is now.
    pub(crate) fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        let context = self.object(py)?;
        // SAFETY: the object is a context by X1 and the thread is attached.
        let raw = unsafe { ffi::PyContext_Copy(context.as_ptr()) };
        // SAFETY: the call above returns a new reference or null with an exception set (X1).
        let copy = unsafe { Bound::from_owned_ptr_or_err(py, raw) }?;
        Ok(Self(Some(copy.unbind())))
    }

    /// The same as [`Context::run`], with the worker's spare context if there are no variables.
    pub(crate) fn run_with<R>(
        &self,
        py: Python<'_>,
        spare: &mut Spare,
        work: impl FnOnce() -> PyResult<R>,
    ) -> PyResult<R> {
        if self.0.is_some() {
            return self.run(py, work);
        }
        let context = match spare.0.take() {
            Some(context) => context.into_bound(py),
            None => self.object(py)?,
        };
        let result = Self::enter(&context, work);
        // Nobody else can have it when this is the only reference.
        if calling::references(&context) == 1 && context.len()? == 0 {
            spare.0 = Some(context.unbind());
        }
        result
    }

    /// Calls `work` inside the context.
    pub(crate) fn run<R>(&self, py: Python<'_>, work: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        Self::enter(&self.object(py)?, work)
    }

    fn enter<R>(context: &Bound<'_, PyAny>, work: impl FnOnce() -> PyResult<R>) -> PyResult<R> {
        let py = context.py();
        // SAFETY: the object is a context by X1 and the thread is attached.
        if unsafe { ffi::PyContext_Enter(context.as_ptr()) } != 0 {
            return Err(PyErr::fetch(py));
        }
        let result = work();
        // SAFETY: entered above on this thread (X2); the interpreter's error indicator is clear, since `work` gives its error as a value.
        if unsafe { ffi::PyContext_Exit(context.as_ptr()) } != 0 {
            return Err(PyErr::fetch(py));
        }
        result
    }
}
