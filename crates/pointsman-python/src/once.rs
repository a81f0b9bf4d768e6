//! Values that are made once, by whichever thread comes first.
//!
//! `PyOnceLock` and `intern!` of `PyO3` let go of the interpreter while they fill a cell. A process that forks at that moment
//! has a child in which nobody ever fills it, and everyone waits for it. Here the value is made first and stored then.
//!
//! # Invariants
//!
//! - O1. No cell is being filled while the interpreter can be given away, so none is when a Python thread forks. Threads
//!   that come at the same time may make the value more than once; the first one stays.

use std::convert::Infallible;
use std::sync::OnceLock;

use pyo3::prelude::*;
use pyo3::type_object::PyTypeCheck;
use pyo3::types::PyString;

pub(crate) struct Once<T>(OnceLock<T>);

impl<T> Once<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let outcome: Result<_, Infallible> = self.get_or_try_init(|| Ok(make()));
        match outcome {
            Ok(value) => value,
        }
    }

    pub(crate) fn get_or_try_init<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.0.get() {
            return Ok(value);
        }
        let value = make()?;
        // O1: nothing runs in here.
        Ok(self.0.get_or_init(|| value))
    }
}

impl<T: PyTypeCheck> Once<Py<T>> {
    /// The attribute of a module.
    pub(crate) fn import<'py>(&self, py: Python<'py>, module: &str, name: &str) -> PyResult<&Bound<'py, T>> {
        let found =
            self.get_or_try_init(|| -> PyResult<_> { Ok(py.import(module)?.getattr(name)?.cast_into()?.unbind()) });
        Ok(found?.bind(py))
    }
}

impl Once<Py<PyString>> {
    /// The string, interned.
    pub(crate) fn name<'py>(&self, py: Python<'py>, text: &str) -> &Bound<'py, PyString> {
        self.get_or_init(|| PyString::intern(py, text).unbind()).bind(py)
    }
}

/// A name that is made once.
macro_rules! name {
    ($py:expr, $text:literal) => {{
        static NAME: $crate::once::Once<pyo3::Py<pyo3::types::PyString>> = $crate::once::Once::new();
        NAME.name($py, $text)
    }};
}
pub(crate) use name;
