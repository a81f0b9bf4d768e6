//! What worker processes are given to run, and who hears what comes of it: a single call, or a chunk of a job.
//!
//! # Does not know
//!
//! How outcomes travel, or how they are decoded.
//!
//! # Invariants
//!
//! - K1. A call's counters are updated before its cell settles.
//! - K2. Its methods run under the host's lock: no Python code runs in them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pointsman_shm::{Cause, Death, KillReason, ProcessId, Reply, Sink, Timing, Usage};

use crate::cell::{Cell, Outcome};
use crate::chunk::Chunk;
use crate::packing::Function;
use crate::process_pool::Common;
use crate::sealed::Sealed;
use crate::trace::Following;

/// What the host hands outcomes to.
#[derive(Debug)]
pub(crate) enum Task {
    Call(SingleCall),
    Chunk(Chunk),
}

/// One submitted call.
#[derive(Debug)]
pub(crate) struct SingleCall {
    cell: Arc<Cell>,
    pool: Arc<Common>,
    /// Whether it counts among the pool's running calls.
    counted: AtomicBool,
    /// What traces it, if anybody does.
    followed: Option<Mutex<Following>>,
    /// Keeps the function's block (P2 of `process_pool`).
    _function: Arc<Function>,
}

impl Sink for Task {
    fn begin(&self, _process: ProcessId) {
        match self {
            Self::Call(call) => call.follow(Following::begun),
            Self::Chunk(chunk) => chunk.begun(),
        }
        if let Self::Call(call) = self
            && call.cell.begin()
        {
            // Relaxed, as everywhere here: a counter publishes nothing but itself.
            call.pool.running.fetch_add(1, Ordering::Relaxed);
            call.counted.store(true, Ordering::Relaxed);
        }
    }

    fn deliver(&self, index: u32, reply: Reply<'_>) {
        match self {
            Self::Call(call) => call.deliver(reply),
            Self::Chunk(chunk) => chunk.deliver(index, reply),
        }
    }

    fn timing(&self, pid: u32, lane: u16, timing: Timing) {
        match self {
            Self::Call(call) => call.follow(|followed| followed.timing(pid, lane, timing)),
            Self::Chunk(chunk) => chunk.timing(pid, lane, timing),
        }
    }

    fn finish(&self, usage: Usage) {
        match self {
            Self::Call(call) => {
                call.follow(Following::finish);
                // Relaxed: a statistic.
                call.pool.nanoseconds.fetch_add(usage.wall_ns, Ordering::Relaxed);
            }
            Self::Chunk(chunk) => chunk.finish(usage),
        }
    }
}

impl SingleCall {
    pub(crate) fn new(cell: Arc<Cell>, pool: Arc<Common>, function: Arc<Function>) -> Self {
        let followed = Following::new(&function.name, 0, None).map(Mutex::new);
        Self { cell, pool, counted: AtomicBool::new(false), followed, _function: function }
    }

    fn follow(&self, tell: impl FnOnce(&mut Following)) {
        if let Some(followed) = &self.followed {
            tell(&mut followed.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn deliver(&self, reply: Reply<'_>) {
        match &reply {
            Reply::Value { tag, .. } => self.follow(|followed| followed.delivered(*tag == crate::outcome::RAISED)),
            Reply::Died(_) => self.follow(Following::died),
            Reply::Cancelled => {}
        }
        let (outcome, counter) = match reply {
            Reply::Value { tag, bytes, lane } => {
                let counter = if tag == crate::outcome::VALUE { &self.pool.completed } else { &self.pool.failed };
                (Outcome::Reply(Sealed::new(tag, bytes, lane)), counter)
            }
            Reply::Died(Death { cause: Cause::Killed(KillReason::Cancelled), target: Some(_), .. }) => {
                (Outcome::Cancelled, &self.pool.cancelled)
            }
            Reply::Died(death) => {
                let death = self.pool.explain(death);
                let breaks = self.pool.breaks.get().is_some();
                (if breaks { Outcome::Broke(death) } else { Outcome::Died(death) }, &self.pool.failed)
            }
            Reply::Cancelled => (Outcome::Cancelled, &self.pool.cancelled),
        };
        // Relaxed: the cell's Release store orders it for whoever sees the outcome.
        counter.fetch_add(1, Ordering::Relaxed);
        if self.counted.swap(false, Ordering::Relaxed) {
            self.pool.running.fetch_sub(1, Ordering::Relaxed);
        }
        let (_, watchers) = self.cell.settle(outcome);
        if !watchers.is_empty() {
            self.pool.told.lock().unwrap_or_else(PoisonError::into_inner).extend(watchers);
        }
    }
}
