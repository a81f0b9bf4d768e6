//! One call on threads: its inputs, its outcome, and how others wait for it.
//!
//! # Does not know
//!
//! The loop of the workers, or Python's side of the pool.
//!
//! # Invariants
//!
//! - C1. Whoever turns the cell from pending to running takes the inputs out, and runs the call. Inputs live no longer than
//!   until the call has ended or was cancelled.
//! - C2. A worker that waits for a call runs queued calls meanwhile, down to [`MAX_DEPTH`]; below that the pool grows.
//! - C3. Counters are updated before the cell settles.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pointsman_scheduler::spin;
use pyo3::prelude::*;

use crate::calling::Call;
use crate::cell::{Cell, Outcome, Stage};
use crate::context::{Context, Spare};
use crate::ending::detached;
use crate::future::{self, FutureCore, Origin};
use crate::instance;
use crate::thread_pool::{self, Shared, refuse_coroutine};
use crate::trace;

/// How deep a waiting worker runs other calls on its own stack. Arbitrary: each level takes a few of Python's 1000 frames.
const MAX_DEPTH: usize = 16;
/// How long a worker that waits for a call sleeps before it looks for queued ones again, at first and at most.
const HELP_FIRST: Duration = Duration::from_micros(500);
const HELP_LAST: Duration = Duration::from_millis(10);
/// How long a caller spins for the outcome of a call of a pool whose calls are short. FEASIBILITY A: below 10 us a spin
/// saves nothing; to wake a sleeping thread takes 12 to 20 us.
pub(crate) const SPIN: Duration = Duration::from_micros(50);
/// How long a caller that has its outcome lets the worker let go of the interpreter, which costs less than to queue for it.
const LET_GO: Duration = Duration::from_micros(3);
/// How long a caller keeps the interpreter for a worker to wake, while others press for it. About what a wake takes.
const AT_THE_DOOR: Duration = Duration::from_micros(40);

/// What is to be called.
pub(crate) struct Inputs {
    pub(crate) call: Call,
    pub(crate) context: Context,
}

pub(crate) struct ThreadCall {
    pub(crate) cell: Cell,
    inputs: Mutex<Option<Inputs>>,
    pool: Arc<Shared>,
    /// Whether a thread that waits for the call may run it itself.
    on_caller: bool,
    /// When it was handed over, if anybody traces; else 0.
    posted: u64,
}

impl ThreadCall {
    pub(crate) fn new(pool: Arc<Shared>, inputs: Inputs, on_caller: bool) -> Self {
        pool.counters.pending.fetch_add(1, Ordering::Relaxed);
        Self { cell: Cell::new(), inputs: Mutex::new(Some(inputs)), pool, on_caller, posted: trace::posted() }
    }

    fn take_inputs(&self) -> Option<Inputs> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs the call of `future` unless it was cancelled or somebody else runs it. It began at `began`; returns when it
    /// ended.
    pub(crate) fn run(future: &Bound<'_, FutureCore>, began: Instant, spare: &mut Spare) -> Instant {
        let py = future.py();
        let Some(this) = future.get().thread_call().filter(|call| call.cell.begin()) else {
            return began;
        };
        let counters = &this.pool.counters;
        // Relaxed throughout: counters publish nothing but themselves; the cell's Release store orders them (C3).
        counters.pending.fetch_sub(1, Ordering::Relaxed);
        let Some(inputs) = this.take_inputs() else {
            return began;
        };
        counters.running.fetch_add(1, Ordering::Relaxed);
        // The worker turns to a call and begins it at one moment: its arguments are there.
        let watched = trace::on().then(|| trace::begin(py, true));
        let result = inputs.context.run_with(py, spare, || inputs.call.make(py));
        let function = inputs.call.function(py);
        let result = result.and_then(|value| refuse_coroutine(&value, function).map(|()| value.unbind()));
        if let Some(begun) = watched {
            let span = trace::end(py, begun, true);
            let (name, ending) = (trace::name_of(function), trace::Ending::of(result.is_ok()));
            let call = trace::Event::call(name, trace::here(py), span);
            trace::record(trace::Event { ending, posted: this.posted, ..call });
        }
        let ended = Instant::now();
        this.pool.spent(ended.saturating_duration_since(began));
        counters.running.fetch_sub(1, Ordering::Relaxed);
        let (outcome, counter) = match result {
            Ok(value) => {
                if instance::may_refer(value.bind(py)) {
                    instance::show(future);
                }
                (Outcome::Value(value), &counters.completed)
            }
            Err(error) => {
                instance::show(future);
                (Outcome::Raised(error.into_value(py).into_any()), &counters.failed)
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // Before whoever waits for the outcome goes on: it may look whether the arguments are gone.
        drop(inputs);
        let (_, watchers) = this.cell.settle(outcome);
        for watcher in watchers {
            future::tell(py, &watcher);
        }
        ended
    }

    /// Cancels the call of a future if nobody has begun it.
    pub(crate) fn withdraw_from(future: &Bound<'_, FutureCore>) {
        if let Some(call) = future.get().thread_call() {
            call.withdraw(future.py());
        }
    }

    /// Cancels the call if nobody has begun it.
    pub(crate) fn withdraw(&self, py: Python<'_>) -> bool {
        let Ok(watchers) = self.cell.cancel_pending() else {
            return false;
        };
        self.pool.counters.pending.fetch_sub(1, Ordering::Relaxed);
        drop(self.take_inputs());
        for watcher in watchers {
            future::tell(py, &watcher);
        }
        true
    }

    /// Runs queued calls of the awaited pool, or of the pool that this worker serves, until the call is settled (C2).
    fn help(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<bool> {
        let own = thread_pool::served();
        let mut grown = false;
        let mut pause = HELP_FIRST;
        loop {
            if self.cell.is_settled() {
                return Ok(true);
            }
            let pools = own.iter().filter(|own| !Arc::ptr_eq(own, &self.pool)).chain([&self.pool]);
            let mut helped = false;
            if thread_pool::depth() < MAX_DEPTH {
                for pool in pools {
                    if let Some(job) = pool.queue.try_take(pool.worker_here()) {
                        thread_pool::serving(pool, None, || pool.run(py, job, Instant::now(), &mut Spare::default()));
                        helped = true;
                        break;
                    }
                }
            } else if !grown {
                grown = true;
                for pool in pools {
                    pool.grow(py)?;
                }
            }
            if helped {
                pause = HELP_FIRST;
            } else {
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                detached(py, || self.cell.wait(left.map_or(pause, |left| left.min(pause))));
                pause = (2 * pause).min(HELP_LAST);
                py.check_signals()?;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(self.cell.is_settled());
            }
        }
    }

    /// Waits for the outcome while doing nothing else.
    fn idle(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<bool> {
        let pool = &self.pool;
        let far = deadline.is_none_or(|deadline| deadline.saturating_duration_since(Instant::now()) > SPIN);
        let short = far && pool.calls_are_short();
        // Relaxed: tells workers that they need not wait for the interpreter; wrong, it costs some microseconds.
        pool.waiting.fetch_add(1, Ordering::Relaxed);
        if pool.is_pressed() {
            // With the interpreter still held: a worker that queues for it now is there when it is let go of.
            spin(AT_THE_DOOR, false, || pool.attached.load(Ordering::Relaxed) > 0);
        }
        let waited = if short && self.spin_detached(py) {
            Ok(true)
        } else {
            future::wait_sliced(py, deadline, |limit| self.cell.wait(limit))
        };
        pool.waiting.fetch_sub(1, Ordering::Relaxed);
        waited
    }

    fn spin_detached(&self, py: Python<'_>) -> bool {
        let (settled, came) = detached(py, || (self.spin(), Instant::now()));
        self.pool.waited(came.elapsed());
        settled
    }

    fn spin(&self) -> bool {
        let together = self.pool.meets_worker();
        if !spin(SPIN, together, || self.cell.is_settled()) {
            return false;
        }
        // Relaxed: see above.
        spin(LET_GO, together, || self.pool.attached.load(Ordering::Relaxed) == 0);
        true
    }
}

impl Origin for ThreadCall {
    fn cell(&self) -> &Cell {
        &self.cell
    }

    fn run_here(&self, future: &Bound<'_, FutureCore>) {
        if self.on_caller && self.cell.stage() == Stage::Pending {
            thread_pool::serving(&self.pool, None, || Self::run(future, Instant::now(), &mut Spare::default()));
        }
    }

    fn wait(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<bool> {
        if thread_pool::depth() == 0 { self.idle(py, deadline) } else { self.help(py, deadline) }
    }

    fn glance(&self, py: Python<'_>) -> bool {
        if !self.pool.may_glance() {
            return false;
        }
        self.pool.waiting.fetch_add(1, Ordering::Relaxed);
        let settled = self.spin_detached(py);
        self.pool.waiting.fetch_sub(1, Ordering::Relaxed);
        settled
    }

    fn cancel(&self, py: Python<'_>) -> bool {
        self.withdraw(py)
    }

    fn kill(&self, _py: Python<'_>) -> bool {
        false
    }

    fn fail(&self, py: Python<'_>, error: Py<PyAny>) -> bool {
        if self.cell.begin() {
            self.pool.counters.pending.fetch_sub(1, Ordering::Relaxed);
            self.pool.counters.failed.fetch_add(1, Ordering::Relaxed);
            drop(self.take_inputs());
        }
        let (first, watchers) = self.cell.settle(Outcome::Raised(error));
        for watcher in watchers {
            future::tell(py, &watcher);
        }
        first
    }

    fn refresh(&self, _py: Python<'_>) {}

    fn watch(&self, py: Python<'_>, blocks: bool) -> PyResult<()> {
        // A worker that waits by other means than ours cannot run queued calls meanwhile: another takes its place.
        if blocks && thread_pool::depth() > 0 { self.pool.grow(py) } else { Ok(()) }
    }

    fn describe(&self, py: Python<'_>) -> String {
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let function = inputs.as_ref().map(|inputs| inputs.call.function(py).clone());
        drop(inputs);
        function.map_or_else(String::new, |function| future::name_of(&function))
    }
}
