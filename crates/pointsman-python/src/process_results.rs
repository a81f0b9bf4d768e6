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
//! - R3. No Python code runs, and no Python object is dropped, while what is taken is in hand (H2 of `attached`).

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use pyo3::exceptions::PyTimeoutError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::attached::{Attached, Quick};
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

/// What an iterator finds.
enum Next {
    Value(Py<PyAny>),
    Raised(Py<PyAny>),
    Nothing,
    End,
}

/// An iterator; see the module's header.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct ProcessResults {
    map: Arc<Feed>,
    deadline: Option<Instant>,
    taking: Attached<Taking>,
}

impl ProcessResults {
    pub(crate) fn new(map: Arc<Feed>, deadline: Option<Instant>) -> Self {
        Self { map, deadline, taking: Attached::default() }
    }

    /// Brings in what is ready, or waits for it; false at the end.
    fn refill(&self, py: Python<'_>) -> PyResult<bool> {
        loop {
            let mut values = VecDeque::new();
            let raised = self.map.take(py, |value| values.push_back(value))?;
            if !values.is_empty() || raised.is_some() {
                self.taking.with(py, |taking| {
                    taking.values.append(&mut values);
                    taking.raised = raised;
                });
                return Ok(true);
            }
            if self.map.left() == 0 {
                return Ok(false);
            }
            // Who takes all in one go, as `list` does, runs no Python code that would hear of a Ctrl-C.
            py.check_signals()?;
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
            let next = self.taking.with(py, |taking| {
                taking.begun = true;
                match taking.values.pop_front() {
                    Some(value) => Next::Value(value),
                    None if taking.closed => Next::End,
                    None => taking.raised.take().map_or(Next::Nothing, Next::Raised),
                }
            });
            let more = match next {
                Next::Value(value) => return Ok(Some(value)),
                Next::End => return Ok(None),
                Next::Raised(error) => Err(raised(py, error)),
                Next::Nothing => self.refill(py),
            };
            if !matches!(more, Ok(true)) {
                self.close(py);
                return more.map(|_| None);
            }
        }
    }

    /// Cancels what no worker has begun; no further result comes.
    fn close(&self, py: Python<'_>) {
        let closed = Taking { begun: true, closed: true, ..Taking::default() };
        let gone = self.taking.with(py, |taking| std::mem::replace(taking, closed));
        if !gone.closed {
            self.map.end(py);
        }
    }
}

impl Quick for ProcessResults {
    fn quick(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.taking.with_the_gil(py, |taking| taking.values.pop_front())
    }

    fn slow() -> &'static OnceLock<ffi::iternextfunc> {
        static SLOW: OnceLock<ffi::iternextfunc> = OnceLock::new();
        &SLOW
    }
}

impl Drop for ProcessResults {
    fn drop(&mut self) {
        // Like a generator's: one that was never asked for a result lets the calls run.
        Python::attach(|py| {
            if self.taking.with(py, |taking| taking.begun) {
                self.close(py);
            }
        });
    }
}
