//! A function whose calls are recorded, for the loops that are Python's own.
//!
//! # Does not know
//!
//! Who calls it.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{Ending, Event, begin, end, here, name, on, record};
use crate::calling::name_of;

/// Calls a function and records when it ran.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct Timed {
    function: Py<PyAny>,
    job: u32,
    name: u32,
    look: bool,
    /// The place in the job of the call that comes next. Relaxed: the calls of one loop follow each other.
    next: AtomicU64,
}

#[pymethods]
impl Timed {
    /// `label` is what the calls are called; with `look` it is seen now and then how they use the GIL.
    #[new]
    #[pyo3(signature = (function, label, job=0, look=true))]
    fn new(function: Py<PyAny>, label: &str, job: u32, look: bool) -> Self {
        Self { function, job, name: name(label), look, next: AtomicU64::new(0) }
    }

    /// Says that the call that comes next is the one at `index` of its job.
    fn seek(&self, index: u64) {
        self.next.store(index, Ordering::Relaxed);
    }

    #[getter]
    fn __qualname__(&self, py: Python<'_>) -> String {
        name_of(self.function.bind(py))
    }

    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        if !on() {
            return self.function.bind(py).call(args, kwargs);
        }
        let begun = begin(py, self.look);
        let result = self.function.bind(py).call(args, kwargs);
        let span = end(py, begun, false);
        let ending = if result.is_ok() { Ending::Value } else { Ending::Raised };
        let track = here(py);
        record(Event { ending, job: self.job, index, ..Event::call(self.name, track, span) });
        result
    }
}
