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
//! - C2. A worker that waits for a call of its own pool runs it, if nobody has begun it, down to [`MAX_DEPTH`]; it runs no
//!   other. Where that leaves nobody to run what all wait for, the pool has one more worker for it (`patience`).
//! - C3. Counters are updated before the cell settles.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::{Duration, Instant};

use pointsman_scheduler::{Awaits, spin};
use pyo3::prelude::*;

use crate::calling::{self, Inputs};
use crate::cell::{Cell, Outcome, Stage};
use crate::context::Spare;
use crate::counters::Desk;
use crate::ending::detached;
use crate::future::{self, FutureCore, Origin};
use crate::home::Home;
use crate::instance;
use crate::lookout;
use crate::patience::{self, Loans, Progress};
use crate::serving;
use crate::thread_pool::{self, Job, MAX_DEPTH, Shared, refuse_coroutine};
use crate::trace;
use crate::waiting;

/// How long a caller spins for the outcome of a call of a pool whose calls are short. FEASIBILITY A: below 10 us a spin
/// saves nothing; to wake a sleeping thread takes 12 to 20 us.
pub(crate) const SPIN: Duration = Duration::from_micros(50);
/// How long a caller that has its outcome lets the worker let go of the interpreter, which costs less than to queue for it.
const LET_GO: Duration = Duration::from_micros(3);
/// How long a caller keeps the interpreter for a worker to wake, and a worker that is awake looks whether it is let go of,
/// while others press for it. More than a wake takes; a fiftieth of what others keep it for.
pub(crate) const AT_THE_DOOR: Duration = Duration::from_micros(100);

pub(crate) struct ThreadCall {
    pub(crate) cell: Cell,
    pub(crate) pool: Arc<Shared>,
    /// Whether a thread that waits for the call may run it itself.
    on_caller: bool,
    /// The thread that runs it.
    runner: AtomicUsize,
    /// The workers that its pool has more because of it, until it is settled.
    loans: Loans,
    /// When it was handed over, if anybody traces; else 0.
    posted: u64,
}

impl ThreadCall {
    pub(crate) fn new(pool: Arc<Shared>, inputs: Inputs, on_caller: bool) -> Self {
        pool.counters.submitted();
        let (runner, loans) = (AtomicUsize::new(0), Loans::default());
        Self { cell: Cell::holding(inputs), pool, on_caller, runner, loans, posted: trace::posted() }
    }

    /// Runs the call of `future` unless it was cancelled or somebody else runs it. It began at `began`; returns when it
    /// ended.
    pub(crate) fn run(future: &Bound<'_, FutureCore>, began: Instant, desk: &Desk<'_>, spare: &mut Spare) -> Instant {
        let py = future.py();
        let ours = future.get().thread_call().and_then(|call| Some((call, call.cell.begin_with_inputs()?)));
        let Some((this, inputs)) = ours else {
            return began;
        };
        // Relaxed: who reads it a moment too early takes the call for one that any worker may run.
        this.runner.store(patience::here(), Ordering::Relaxed);
        desk.begun();
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
        desk.spent(ended.saturating_duration_since(began));
        desk.ended(result.is_ok());
        let outcome = match result {
            Ok(value) => {
                if instance::may_refer(value.bind(py)) {
                    instance::show(future);
                }
                Outcome::Value(value)
            }
            Err(error) => {
                instance::show(future);
                Outcome::Raised(error.into_value(py).into_any())
            }
        };
        // Before whoever waits for the outcome goes on: it may look whether the arguments are gone.
        drop(inputs);
        let (_, watchers) = this.cell.settle(outcome);
        this.tell(py, &watchers);
        ended
    }

    /// Tells of the outcome.
    fn tell(&self, py: Python<'_>, watchers: &[Py<PyAny>]) {
        if !watchers.is_empty() || self.loans.any() {
            self.give_back();
        }
        for watcher in watchers {
            future::tell(py, watcher);
        }
    }

    /// Gives the pool's further worker back, if there is one, once the call is settled.
    fn give_back(&self) {
        // Pairs with the fence in `lend`: of the loan and the outcome, one side sees the other's.
        fence(Ordering::SeqCst);
        self.loans.end(&self.pool);
    }

    /// Has the call run by a worker beyond the limit if need be. This thread, which is one of the pool's, will do nothing
    /// else until the call is settled, and somebody is to be told of that.
    ///
    /// Whether it was, now.
    pub(crate) fn lend(&self, py: Python<'_>, future: &Bound<'_, FutureCore>) -> PyResult<bool> {
        if self.cell.stage() != Stage::Pending || self.loans.any() {
            return Ok(false);
        }
        let started = self.pool.rescue(py, Job::Call(future.clone().unbind()));
        self.loans.add();
        // Pairs with the fence in `give_back`.
        fence(Ordering::SeqCst);
        if self.cell.is_settled() {
            self.give_back();
        }
        started.map(|()| true)
    }

    /// What a thread that waits for the call waits for; nothing if it is settled.
    pub(crate) fn awaited(&self) -> Option<Awaits> {
        let any = || Awaits::Pool(patience::name_of(&self.pool), self.pool.queue.workers());
        match self.cell.stage() {
            Stage::Pending => Some(any()),
            Stage::Running => match self.runner.load(Ordering::Relaxed) {
                0 => Some(any()),
                thread => Some(Awaits::Thread(thread)),
            },
            Stage::Cancelled | Stage::Finished => None,
        }
    }

    /// Cancels the call of a future if nobody has begun it.
    pub(crate) fn withdraw_from(future: &Bound<'_, FutureCore>) {
        if let Some(call) = future.get().thread_call() {
            call.withdraw(future.py());
        }
    }

    /// Cancels the call if nobody has begun it.
    pub(crate) fn withdraw(&self, py: Python<'_>) -> bool {
        let Ok((watchers, inputs)) = self.cell.cancel_pending() else {
            return false;
        };
        self.pool.counters.withdrawn();
        drop(inputs);
        self.tell(py, &watchers);
        true
    }

    /// Waits on a worker that could not run the call itself.
    fn wait_on_worker(
        &self,
        py: Python<'_>,
        future: &Bound<'_, FutureCore>,
        deadline: Option<Instant>,
    ) -> PyResult<bool> {
        let progress = || match self.cell.stage() {
            Stage::Pending => Progress::Queued,
            Stage::Running => match self.runner.load(Ordering::Relaxed) {
                0 => Progress::Queued,
                thread => Progress::RunsOn(thread),
            },
            Stage::Cancelled | Stage::Finished => Progress::Done,
        };
        let job = |_: Python<'_>| (self.cell.stage() == Stage::Pending).then(|| Job::Call(future.clone().unbind()));
        patience::wait(py, &self.pool, deadline, &self.loans, progress, |limit| self.cell.wait(limit), job)
    }

    /// Waits for the outcome while doing nothing else.
    fn idle(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<bool> {
        let pool = &self.pool;
        let far = deadline.is_none_or(|deadline| deadline.saturating_duration_since(Instant::now()) > SPIN);
        let short = far && pool.calls_are_short();
        if pool.is_pressed() {
            // With the interpreter still held: a worker that looks for it now has it as soon as it is let go of.
            let here = || pool.at_the_door.load(Ordering::Relaxed) > 0 || self.cell.is_settled();
            spin(AT_THE_DOOR, false, here);
        }
        if short && self.spin_detached(py) {
            return Ok(true);
        }
        waiting::wait_sliced(py, pool.home, deadline, |limit| {
            let _waits = Waits::new(pool);
            self.cell.wait(limit)
        })
    }

    fn spin_detached(&self, py: Python<'_>) -> bool {
        let (settled, came) = detached(py, || {
            let _waits = Waits::new(&self.pool);
            (self.spin(), Instant::now())
        });
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

/// Says, while it lives, that this thread waits and has let go of the interpreter.
struct Waits<'a>(&'a Shared);

impl<'a> Waits<'a> {
    fn new(pool: &'a Shared) -> Self {
        // Relaxed: tells workers that they may take the interpreter; wrong, it costs some microseconds.
        pool.waiting.fetch_add(1, Ordering::Relaxed);
        Self(pool)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Origin for ThreadCall {
    fn cell(&self) -> &Cell {
        &self.cell
    }

    fn wait(&self, future: &Bound<'_, FutureCore>, deadline: Option<Instant>) -> PyResult<bool> {
        let (py, depth) = (future.py(), thread_pool::depth());
        // Whoever gives a time limit wants to go on when it is over, which it cannot in the middle of a call.
        let own = (1..MAX_DEPTH).contains(&depth) && self.pool.worker_here().is_some();
        if deadline.is_none() && (self.on_caller || own) && self.cell.stage() == Stage::Pending {
            let desk = self.pool.counters.desk();
            thread_pool::serving(&self.pool, None, || Self::run(future, Instant::now(), &desk, &mut Spare::default()));
            if self.cell.is_settled() {
                return Ok(true);
            }
        }
        if depth == 0 { self.idle(py, deadline) } else { self.wait_on_worker(py, future, deadline) }
    }

    fn glance(&self, py: Python<'_>) -> bool {
        if !self.pool.may_glance() {
            return false;
        }
        self.spin_detached(py)
    }

    fn cancel(&self, py: Python<'_>) -> bool {
        self.withdraw(py)
    }

    fn kill(&self, _py: Python<'_>) -> bool {
        false
    }

    fn fail(&self, py: Python<'_>, error: Py<PyAny>) -> bool {
        if let Some(inputs) = self.cell.begin_with_inputs() {
            let desk = self.pool.counters.desk();
            desk.begun();
            desk.ended(false);
            drop(inputs);
        }
        let (first, watchers) = self.cell.settle(Outcome::Raised(error));
        self.tell(py, &watchers);
        first
    }

    fn home(&self) -> Home {
        self.pool.home
    }

    fn refresh(&self, _py: Python<'_>) {}

    fn watch(&self, future: &Bound<'_, FutureCore>, blocks: bool) -> PyResult<()> {
        // A worker that waits by other means than ours does not come to run the call itself.
        if !blocks || thread_pool::depth() == 0 {
            return Ok(());
        }
        lookout::note(future);
        if serving::serves(&self.pool) { self.lend(future.py(), future).map(drop) } else { Ok(()) }
    }

    fn describe(&self, py: Python<'_>) -> String {
        let function = self.cell.look_at_inputs(|inputs| inputs.call.function(py).clone());
        function.map_or_else(String::new, |function| calling::name_of(&function))
    }
}
