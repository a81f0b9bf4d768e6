//! How objects are pickled whose classes workers are told of once: the class is a token's business, and the rest is as ever.
//!
//! # Does not know
//!
//! What workers are told, or where that lies (`pointsman._defining`).
//!
//! # Invariants
//!
//! - G1. What comes of a [`Maker`] means what the object's own `__reduce_ex__` does, with the token in the place of the class.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::exceptions::PyLookupError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::dependency::Watch;
use crate::once::{Once, name};

/// Counts pickles: in each it is looked once whether a class is as it was.
static PICKLES: AtomicU64 = AtomicU64::new(0);

/// A pickle begins.
#[pyfunction]
pub(crate) fn begin_pickle() {
    // Relaxed, as below: whoever sees an older number looks once more.
    PICKLES.fetch_add(1, Ordering::Relaxed);
}

static NEW_OBJECT: Once<Py<PyAny>> = Once::new();

/// Says how the objects of one class are pickled.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct Maker {
    token: Py<PyAny>,
    /// Whether the objects are nothing but their attributes.
    plain: bool,
    /// What makes any other object, as `copyreg.__newobj__` does.
    make: Py<PyAny>,
    watch: Option<Py<Watch>>,
    looked: AtomicU64,
}

impl Maker {
    fn is_as_it_was(&self, py: Python<'_>) -> bool {
        let Some(watch) = &self.watch else { return true };
        let now = PICKLES.load(Ordering::Relaxed);
        if self.looked.load(Ordering::Relaxed) == now {
            return true;
        }
        let same = watch.get().is_unchanged(py);
        if same {
            self.looked.store(now, Ordering::Relaxed);
        }
        same
    }
}

#[pymethods]
impl Maker {
    /// `token` is pickled in the class's place, and `make` called with it where the object would be made by
    /// `copyreg.__newobj__`. For objects that are nothing but their attributes it is pickled in the place of what makes one.
    #[new]
    #[pyo3(signature = (token, make, *, plain, watch=None))]
    fn new(token: Py<PyAny>, make: Py<PyAny>, plain: bool, watch: Option<Py<Watch>>) -> Self {
        Self { token, plain, make, watch, looked: AtomicU64::new(u64::MAX) }
    }

    /// What `__reduce_ex__` of the object gives, with the token in the place of its class. Raises `LookupError` if the class
    /// is not any more what workers were told.
    fn __call__<'py>(&self, object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        if !self.is_as_it_was(py) {
            return Err(PyLookupError::new_err("the class has changed"));
        }
        if self.plain {
            let attributes = object.getattr(name!(py, "__dict__"))?;
            if attributes.is_empty()? {
                // No state: a `__setstate__` would not be called.
                return Ok((&self.token, PyTuple::empty(py)).into_pyobject(py)?.into_any());
            }
            return Ok((&self.token, PyTuple::empty(py), attributes).into_pyobject(py)?.into_any());
        }
        let reduced = object.call_method1(name!(py, "__reduce_ex__"), (5,))?;
        let Ok(parts) = reduced.cast_exact::<PyTuple>() else { return Ok(reduced) };
        let (Ok(function), Ok(arguments)) = (parts.get_item(0), parts.get_item(1)) else { return Ok(reduced) };
        let class = object.get_type();
        if function.is(&class) {
            return replaced(parts, self.token.bind(py).clone(), arguments);
        }
        let Ok(arguments) = arguments.cast_into_exact::<PyTuple>() else { return Ok(reduced) };
        let new_object = NEW_OBJECT.import(py, "copyreg", "__newobj__")?;
        if function.is(new_object) && arguments.get_item(0).is_ok_and(|first| first.is(&class)) {
            let mut others: Vec<_> = arguments.iter().collect();
            if let Some(first) = others.first_mut() {
                *first = self.token.bind(py).clone();
            }
            return replaced(parts, self.make.bind(py).clone(), PyTuple::new(py, others)?.into_any());
        }
        Ok(reduced)
    }
}

/// These parts of a reduced object, with another function and its arguments.
fn replaced<'py>(
    parts: &Bound<'py, PyTuple>,
    function: Bound<'py, PyAny>,
    arguments: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let rest = parts.iter().skip(2);
    let all: Vec<_> = [function, arguments].into_iter().chain(rest).collect();
    Ok(PyTuple::new(parts.py(), all)?.into_any())
}
