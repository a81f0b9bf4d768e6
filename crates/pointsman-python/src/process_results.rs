//! Yields the results of a map on worker processes whose inputs have all been pushed.
//!
//! # Does not know
//!
//! How the inputs were packed, or in which chunks they went.
//!
//! # Invariants
//!
//! - R1. Each result is given once, and is not kept then.
//! - R2. After what a call raised, a time-out or a Ctrl-C there is nothing more, and what no worker has begun is not run.
//! - R3. No Python code runs while the lock is held.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyo3::exceptions::PyTimeoutError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::map_job::raised;
use crate::process_map::Feed;

#[derive(Default)]
struct Taking {
    values: VecDeque<Py<PyAny>>,
    /// What comes after them.
    raised: Option<Py<PyAny>>,
    /// Whether a result has been asked for.
    begun: bool,
    closed: bool,
}

/// An iterator; see the module's header.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct ProcessResults {
    map: Arc<Feed>,
    deadline: Option<Instant>,
    taking: Mutex<Taking>,
}

impl ProcessResults {
    pub(crate) fn new(map: Arc<Feed>, deadline: Option<Instant>) -> Self {
        Self { map, deadline, taking: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Taking> {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings in what is ready, or waits for it; false at the end.
    fn refill(&self, py: Python<'_>) -> PyResult<bool> {
        loop {
            let mut values = VecDeque::new();
            let raised = self.map.take(py, |value| values.push_back(value))?;
            if !values.is_empty() || raised.is_some() {
                let mut taking = self.lock();
                taking.values.append(&mut values);
                taking.raised = raised;
                return Ok(true);
            }
            if self.map.left() == 0 {
                return Ok(false);
            }
            if !self.map.wait(py, self.deadline)? {
                return Err(PyTimeoutError::new_err(()));
            }
        }
    }
}

#[pymethods]
impl ProcessResults {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        loop {
            let error = {
                let mut taking = self.lock();
                taking.begun = true;
                if let Some(value) = taking.values.pop_front() {
                    return Ok(Some(value));
                }
                if taking.closed {
                    return Ok(None);
                }
                taking.raised.take()
            };
            let more = match error {
                Some(error) => Err(raised(py, error)),
                None => self.refill(py),
            };
            if !matches!(more, Ok(true)) {
                self.close(py);
                return more.map(|_| None);
            }
        }
    }

    /// Cancels what no worker has begun; no further result comes.
    fn close(&self, py: Python<'_>) {
        let gone = std::mem::replace(&mut *self.lock(), Taking { begun: true, closed: true, ..Taking::default() });
        if !gone.closed {
            self.map.end(py);
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Whoever holds the lock holds a reference, too.
        let Ok(taking) = self.taking.try_lock() else { return Ok(()) };
        taking.values.iter().chain(&taking.raised).try_for_each(|value| visit.call(value))
    }

    fn __clear__(&self) {
        let gone = std::mem::take(&mut self.lock().values);
        drop(gone);
    }
}

impl Drop for ProcessResults {
    fn drop(&mut self) {
        // Like a generator's: one that was never asked for a result lets the calls run.
        if self.lock().begun {
            Python::attach(|py| self.close(py));
        }
    }
}
