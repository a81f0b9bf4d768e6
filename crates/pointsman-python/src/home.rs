//! In which process something was begun: a forked child has none of its parent's threads and workers, and waits in vain.
//!
//! # Does not know
//!
//! What was begun.

use pointsman_shm::fork_generation;
use pyo3::prelude::*;

/// The process that made something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home(u32);

impl Home {
    /// This process.
    pub(crate) fn here() -> Self {
        Self(fork_generation())
    }

    /// Whether it is another process than this one, which was forked from it.
    pub(crate) fn is_left(self) -> bool {
        self.0 != fork_generation()
    }

    /// Raises if it is.
    pub(crate) fn check(self, py: Python<'_>) -> PyResult<()> {
        if self.is_left() { Err(left(py)) } else { Ok(()) }
    }
}

/// A `PoolBrokenError` for what another process would have to end.
pub(crate) fn left(py: Python<'_>) -> PyErr {
    let message = "this call belongs to the process that this one was forked from, and ends only there: make the calls whose results \
                   are needed here after the fork";
    let class = py.import("pointsman._errors").and_then(|module| module.getattr("PoolBrokenError"));
    class.and_then(|class| class.call1((message,))).map_or_else(|error| error, PyErr::from_value)
}
