//! One submitted call in worker processes: what the host tells of its outcome, and what its future waits for.
//!
//! # Does not know
//!
//! How a call is sent, or how its outcome is decoded.
//!
//! # Invariants
//!
//! - O1. A call that was killed on request is settled as cancelled before the request returns.
//! - O2. It holds its function, and with it the function's block if its task has not that (P2 of `process_pool`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pointsman_shm::{Cause, Death, KillReason, ProcessId, Reply, Sink, TaskId, Timing, Usage};
use pyo3::prelude::*;

use crate::cell::{Cell, Outcome, Stage};
use crate::future::{self, FutureCore, Origin};
use crate::home::Home;
use crate::packing::Function;
use crate::process_pool::Pool;
use crate::sealed::Sealed;
use crate::trace::Following;

/// The wait with the GIL is all spin: its deadline is the limit.
const LONGEST: Duration = Duration::from_secs(1);

/// Adds up the seconds that the calls of one submitter have run, in a pool that others use, too.
#[pyclass(module = "pointsman._native", frozen)]
#[derive(Default)]
pub(crate) struct Spent(Arc<AtomicU64>);

#[pymethods]
impl Spent {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Those of the calls that have ended.
    #[getter]
    fn seconds(&self) -> f64 {
        // Relaxed: it publishes nothing but itself.
        Duration::from_nanos(self.0.load(Ordering::Relaxed)).as_secs_f64()
    }
}

/// See the module's header. The host and the call's future share it.
pub(crate) struct ProcessCall {
    cell: Cell,
    pool: Arc<Pool>,
    function: Arc<Function>,
    /// Nought, which no task is, until it is sent.
    task: AtomicU64,
    /// Whether it counts among the pool's running calls.
    counted: AtomicBool,
    /// Whether a cancel stops the call though it runs.
    kill_on_cancel: bool,
    /// What most calls do without: each byte here is one for every call that waits.
    rare: Option<Box<Rare>>,
}

/// What few calls have.
struct Rare {
    /// Where its time is added up, if not with the pool's alone.
    spent: Option<Arc<AtomicU64>>,
    /// What traces it, if anybody does.
    followed: Option<Mutex<Following>>,
}

impl ProcessCall {
    pub(crate) fn new(pool: Arc<Pool>, function: Arc<Function>, kill_on_cancel: bool, spent: Option<&Spent>) -> Self {
        let followed = Following::new(&function.name, 0, None).map(Mutex::new);
        let spent = spent.map(|spent| spent.0.clone());
        let rare = (followed.is_some() || spent.is_some()).then(|| Box::new(Rare { spent, followed }));
        Self {
            cell: Cell::new(),
            pool,
            function,
            task: AtomicU64::new(0),
            counted: AtomicBool::new(false),
            kill_on_cancel,
            rare,
        }
    }

    fn follow(&self, tell: impl FnOnce(&mut Following)) {
        if let Some(followed) = self.rare.as_ref().and_then(|rare| rare.followed.as_ref()) {
            tell(&mut followed.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn task(&self) -> TaskId {
        // Relaxed: stored before anybody could have the call's future.
        TaskId(self.task.load(Ordering::Relaxed))
    }

    /// Says which task the call has become.
    pub(crate) fn is_sent(&self, task: TaskId) {
        // Relaxed: the id is all that is published.
        self.task.store(task.0, Ordering::Relaxed);
    }
}

impl Sink for ProcessCall {
    fn begin(&self, _process: ProcessId) {
        self.follow(Following::begun);
        if self.cell.begin() {
            // Relaxed, as everywhere here: a counter publishes nothing but itself.
            self.pool.common.running.fetch_add(1, Ordering::Relaxed);
            self.counted.store(true, Ordering::Relaxed);
        }
    }

    fn timing(&self, pid: u32, lane: u16, timing: Timing) {
        self.follow(|followed| followed.timing(pid, lane, timing));
    }

    fn deliver(&self, _index: u32, reply: Reply<'_>) {
        match &reply {
            Reply::Value { tag, .. } => self.follow(|followed| followed.delivered(*tag == crate::outcome::RAISED)),
            Reply::Died(_) => self.follow(Following::died),
            Reply::Cancelled => {}
        }
        let common = &self.pool.common;
        // Relaxed: the cell's Release store orders it for whoever sees the outcome.
        common.counter(&reply).fetch_add(1, Ordering::Relaxed);
        let outcome = match reply {
            Reply::Value { tag, bytes, lane } => Outcome::Reply(Sealed::new(tag, bytes, lane)),
            Reply::Died(Death { cause: Cause::Killed(KillReason::Cancelled), target: Some(_), .. })
            | Reply::Cancelled => Outcome::Cancelled,
            Reply::Died(death) => {
                let breaks = common.breaks.get().is_some();
                let death = Box::new(common.explain(death));
                if breaks { Outcome::Broke(death) } else { Outcome::Died(death) }
            }
        };
        if self.counted.swap(false, Ordering::Relaxed) {
            common.running.fetch_sub(1, Ordering::Relaxed);
        }
        let (_, watchers) = self.cell.settle(outcome);
        if !watchers.is_empty() {
            common.will_tell(watchers);
        }
    }

    fn finish(&self, usage: Usage) {
        self.follow(Following::finish);
        // Relaxed: a statistic.
        self.pool.common.nanoseconds.fetch_add(usage.wall_ns, Ordering::Relaxed);
        if let Some(spent) = self.rare.as_ref().and_then(|rare| rare.spent.as_ref()) {
            spent.fetch_add(usage.wall_ns, Ordering::Relaxed);
        }
    }
}

impl Origin for ProcessCall {
    fn cell(&self) -> &Cell {
        &self.cell
    }

    fn wait(&self, future: &Bound<'_, FutureCore>, deadline: Option<Instant>) -> PyResult<bool> {
        let py = future.py();
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
        pool.pressure.kept_in_vain();
        pool.wait(py, deadline, &|| self.cell.is_settled())
    }

    fn cancel(&self, py: Python<'_>) -> bool {
        let cancelled = self.pool.host.cancel(self.task());
        self.pool.common.tell(py);
        cancelled || self.cell.stage() == Stage::Cancelled || (self.kill_on_cancel && self.kill(py))
    }

    fn kill(&self, py: Python<'_>) -> bool {
        let host = &self.pool.host;
        // One whose worker died by itself just before waits to be run again.
        let stop = |task| host.kill(task, KillReason::Cancelled) || host.cancel(task);
        if !py.detach(|| stop(self.task())) {
            return false;
        }
        // A call that ended at the last moment has an outcome, and was not cancelled.
        for watcher in self.cell.settle(Outcome::Cancelled).1 {
            future::tell(py, &watcher);
        }
        self.pool.common.tell(py);
        self.cell.stage() == Stage::Cancelled
    }

    fn home(&self) -> Home {
        self.pool.home
    }

    fn refresh(&self, py: Python<'_>) {
        self.pool.host.drain();
        self.pool.common.tell(py);
    }

    fn watch(&self, future: &Bound<'_, FutureCore>, _blocks: bool) -> PyResult<()> {
        let py = future.py();
        self.pool.host.set_collectors(true);
        self.pool.start_collector(py)
    }

    fn describe(&self, _py: Python<'_>) -> String {
        self.function.name.clone()
    }
}
