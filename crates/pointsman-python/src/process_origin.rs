//! What a future needs of the pool of worker processes that runs its call.
//!
//! # Does not know
//!
//! How a call is sent, or how its outcome is decoded.
//!
//! # Invariants
//!
//! - O1. A call that was killed on request is settled as cancelled before the request returns.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pointsman_shm::{KillReason, TaskId};
use pyo3::prelude::*;

use crate::cell::{Cell, Outcome, Stage};
use crate::future::{self, Origin};
use crate::packing::Function;
use crate::process_pool::Pool;

/// The wait with the GIL is all spin: its deadline is the limit.
const LONGEST: Duration = Duration::from_secs(1);

pub(crate) struct ProcessOrigin {
    pub(crate) cell: Arc<Cell>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) function: Arc<Function>,
    pub(crate) task: OnceLock<TaskId>,
    /// Whether a cancel stops the call though it runs.
    pub(crate) kill_on_cancel: bool,
}

impl Origin for ProcessOrigin {
    fn cell(&self) -> &Cell {
        &self.cell
    }

    fn wait(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<bool> {
        self.pool.host.drain();
        if self.cell.is_settled() {
            self.pool.common.tell(py);
            return Ok(true);
        }
        let pool = &*self.pool;
        let kept = Instant::now() + pool.pressure.patience();
        let until = deadline.map_or(kept, |deadline| deadline.min(kept));
        if pool.host.wait(&|| self.cell.is_settled(), Some(until), LONGEST) {
            pool.pressure.spared();
            pool.common.tell(py);
            return Ok(true);
        }
        pool.wait(py, deadline, &|| self.cell.is_settled())
    }

    fn cancel(&self, py: Python<'_>) -> bool {
        let cancelled = self.task.get().is_some_and(|task| self.pool.host.cancel(*task));
        self.pool.common.tell(py);
        cancelled || self.cell.stage() == Stage::Cancelled || (self.kill_on_cancel && self.kill(py))
    }

    fn kill(&self, py: Python<'_>) -> bool {
        let killed =
            self.task.get().is_some_and(|task| py.detach(|| self.pool.host.kill(*task, KillReason::Cancelled)));
        if killed {
            for watcher in self.cell.settle(Outcome::Cancelled).1 {
                future::tell(py, &watcher);
            }
        }
        killed
    }

    fn refresh(&self, py: Python<'_>) {
        self.pool.host.drain();
        self.pool.common.tell(py);
    }

    fn watch(&self, py: Python<'_>, _blocks: bool) -> PyResult<()> {
        self.pool.host.set_collectors(true);
        self.pool.start_collector(py)
    }

    fn describe(&self, _py: Python<'_>) -> String {
        self.function.name.clone()
    }
}
