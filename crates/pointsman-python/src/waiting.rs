//! Waits of Python threads: for so long, and with an ear for Ctrl-C.
//!
//! # Does not know
//!
//! What is waited for.
//!
//! # Invariants
//!
//! - W1. Waiting detaches from the interpreter and returns at least every [`SLICE`] to look for signals.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::ending::detached;
use crate::home::Home;

/// Longest stretch of waiting without a look for signals, so that Ctrl-C is heard in time.
pub(crate) const SLICE: Duration = Duration::from_millis(100);

/// The moment that lies `timeout` seconds ahead.
pub(crate) fn deadline_after(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    let Some(seconds) = timeout else {
        return Ok(None);
    };
    if seconds.is_nan() {
        return Err(PyValueError::new_err("timeout must be a number of seconds, not NaN"));
    }
    let ahead = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
    Ok(Instant::now().checked_add(ahead))
}

/// Waits detached, in slices, until `wait` says true, the deadline has passed, or a signal handler raises (W1); raises if
/// what is waited for can end in another process only, its `home`.
pub(crate) fn wait_sliced(
    py: Python<'_>,
    home: Home,
    deadline: Option<Instant>,
    wait: impl Fn(Duration) -> bool + Send + Sync,
) -> PyResult<bool> {
    home.check(py)?;
    loop {
        let limit = deadline.map_or(SLICE, |deadline| deadline.saturating_duration_since(Instant::now()).min(SLICE));
        if detached(py, || wait(limit)) {
            return Ok(true);
        }
        py.check_signals()?;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
    }
}
