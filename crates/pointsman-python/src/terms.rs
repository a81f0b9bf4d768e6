//! What the caller asked for besides the call itself: how long it may run, and how often.
//!
//! # Does not know
//!
//! Which backend runs the call.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The terms of calls in worker processes.
#[pyclass(module = "pointsman._native", frozen)]
#[derive(Debug, Default)]
pub(crate) struct Terms {
    pub(crate) shared: pointsman_shm::Terms,
    pub(crate) kill_on_cancel: bool,
}

#[pymethods]
impl Terms {
    /// `timeout` in seconds; `retries` after the death of a worker, and with `retry_late` after a timeout.
    #[new]
    #[pyo3(signature = (timeout=None, retries=0, retry_late=false, kill_on_cancel=false))]
    fn new(timeout: Option<f64>, retries: u32, retry_late: bool, kill_on_cancel: bool) -> PyResult<Self> {
        let limit = match timeout {
            Some(seconds) if seconds.is_nan() || seconds <= 0.0 => {
                return Err(PyValueError::new_err("timeout must be a positive number of seconds"));
            }
            // What is longer than the clock can tell is no limit.
            Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            None => None,
        };
        Ok(Self { shared: pointsman_shm::Terms { limit, retries, retry_late }, kill_on_cancel })
    }
}

/// The terms, or none at all.
pub(crate) fn shared(terms: Option<&Bound<'_, Terms>>) -> pointsman_shm::Terms {
    terms.map_or_else(pointsman_shm::Terms::default, |terms| terms.get().shared)
}
