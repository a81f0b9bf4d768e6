//! The calls of one `Executor.map` on threads: inputs in a row, results in their places, and a cursor in each.
//!
//! Each thread that takes part is one job of the pool's queue (a *share*), which runs inputs until none is left. Compared
//! with a future for each call this saves all that nobody can see.
//!
//! # Does not know
//!
//! How many threads there should be, or what feeds an endless input.
//!
//! # Invariants
//!
//! - M1. An input is taken once, by one thread, and only when that thread is about to run it: none waits behind another.
//! - M2. No Python code runs, and no Python object is dropped, while a lock is held.
//! - M3. While inputs are left and the job is not stopped, a share is posted or being served.
//! - M4. Whoever is about to sleep says, attached, for which result it does, and then looks whether it is there; whoever
//!   settles a call does that attached, and then looks whether somebody sleeps for it. Where threads can be attached at one
//!   time, there is a fence between the two.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pointsman_scheduler::Priority;
use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTimeoutError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::attached::{self, Attached, Quick};
use crate::calling;
use crate::context::{Context, Spare};
use crate::counters::Figures;
use crate::once::name;
use crate::patience::{self, Loans, Progress};
use crate::segment::{Segment, Settled};
use crate::thread_pool::{self, Job, MAX_DEPTH, NotStarted, Shared, ThreadPool, depth, refuse_coroutine};
use crate::trace;
use crate::waiting;

/// Calls between two looks at the clock, of calls that take less than a microsecond or so.
const LOOK_CALLS: u32 = 64;
/// Nobody sleeps.
const NOBODY: usize = usize::MAX;

/// What the results of inputs are that were left out.
#[derive(Default)]
enum Stopped {
    #[default]
    No,
    Cancelled,
    Failed(Py<PyAny>),
}

#[derive(Default)]
struct State {
    /// Segments with inputs that nobody has claimed, and perhaps some without.
    open: VecDeque<Arc<Segment>>,
    /// Segments whose results have not all been taken.
    unread: VecDeque<Arc<Segment>>,
    pushed: usize,
    shares: usize,
    stopped: Stopped,
    /// No result will be taken any more.
    closed: bool,
    /// Of segments that are gone.
    gone: Figures,
    /// What the pool has been told of.
    told: Figures,
    spent: Duration,
    /// When the inputs were handed over that come last, if anybody traces; else 0.
    posted: u64,
}

impl State {
    /// The first segment that has an input left.
    fn open(&mut self) -> Option<Arc<Segment>> {
        while self.open.front().is_some_and(|segment| segment.unclaimed() == 0) {
            self.open.pop_front();
        }
        self.open.front().cloned()
    }

    fn unclaimed(&self) -> usize {
        self.open.iter().map(|segment| segment.unclaimed()).sum()
    }

    /// Takes a segment off the list whose results have all been taken, and keeps its figures.
    fn forget(&mut self, segment: &Segment) {
        let (_, completed, failed) = segment.figures();
        self.gone.completed += completed;
        self.gone.failed += failed;
    }

    fn figures(&self) -> Figures {
        let mut sum =
            Figures { queued: self.unclaimed(), spent: self.spent.saturating_sub(self.told.spent), ..self.gone };
        for segment in &self.unread {
            let (running, completed, failed) = segment.figures();
            sum.running += running;
            sum.completed += completed;
            sum.failed += failed;
        }
        sum.completed -= self.told.completed;
        sum.failed -= self.told.failed;
        sum
    }
}

#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct MapJob {
    function: Py<PyAny>,
    star: bool,
    context: Py<PyAny>,
    pool: Arc<Shared>,
    state: Mutex<State>,
    changed: Condvar,
    /// The result for which somebody sleeps.
    wanted: AtomicUsize,
}

impl MapJob {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn figures(&self) -> Figures {
        self.lock().figures()
    }

    fn call(&self, input: Bound<'_, PyAny>, index: usize) -> Settled {
        let py = input.py();
        let function = self.function.bind(py);
        let watched = trace::on().then(|| trace::begin(py, true));
        let result = if self.star {
            input.cast::<PyTuple>().map_err(PyErr::from).and_then(|args| function.call1(args))
        } else {
            calling::call_one(function, &input)
        };
        if let Some(begun) = watched {
            let span = trace::end(py, begun, false);
            let (name, ending) = (trace::name_of(function), trace::Ending::of(result.is_ok()));
            let (call, posted) = (trace::Event::call(name, trace::here(py), span), self.lock().posted);
            trace::record(trace::Event { ending, index: index as u64, posted, ..call });
        }
        match result.and_then(|value| refuse_coroutine(&value, function).map(|()| value)) {
            Ok(value) => Settled::Value(value.unbind()),
            Err(error) => Settled::Raised(error.into_value(function.py()).into_any()),
        }
    }

    /// Runs the input in a place that was claimed.
    fn run(&self, py: Python<'_>, segment: &Segment, at: usize) {
        segment.settle(py, at, self.call(segment.input(py, at), segment.first + at));
        attached::settle_before_looking();
        // SeqCst: pairs with `wait_for`; what orders the two is the interpreter, or a fence (M4).
        if self.wanted.load(Ordering::SeqCst) == segment.first + at {
            drop(self.lock());
            self.changed.notify_all();
        }
    }

    /// Runs inputs until none is left: the body of a share.
    fn serve(&self, py: Python<'_>) -> PyResult<()> {
        let context = self.context.bind(py).call_method0(name!(py, "copy"))?;
        Context::adopt(context.unbind()).run(py, || {
            let mut began = Instant::now();
            let (mut calls, mut look_at) = (0_u32, 1_u32);
            loop {
                let open = self.lock().open();
                let Some(segment) = open else { return Ok(()) };
                while let Some(at) = segment.claim() {
                    self.run(py, &segment, at);
                    calls += 1;
                    if calls >= look_at {
                        let now = Instant::now();
                        let spent = now - began;
                        look_at = if spent < calls * Duration::from_micros(1) { LOOK_CALLS } else { 1 };
                        (calls, began) = (0, now);
                        self.lock().spent += spent;
                        self.pool.look(py, now);
                    }
                    if self.pool.queue.looks_urgent() {
                        self.let_pass(py);
                    }
                }
            }
        })
    }

    /// Serves until there is nothing left to do for this share, which ends.
    pub(crate) fn serve_until_left(slf: &Py<Self>, py: Python<'_>) -> PyResult<()> {
        let this = slf.get();
        let mut served = Ok(());
        loop {
            if served.is_ok() {
                served = this.serve(py);
            }
            if served.is_err() {
                // Without a context nothing can be run: nobody shall wait for it.
                this.stop(py, None);
            }
            if Self::leave(slf, py) {
                return served;
            }
        }
    }

    /// Runs calls that are more urgent than those of a map.
    fn let_pass(&self, py: Python<'_>) {
        while let Some(job) = self.pool.queue.try_take_before(Priority::Normal) {
            self.pool.run(py, job, Instant::now(), &self.pool.counters.desk(), &mut Spare::default());
        }
    }

    /// Counts a share that is about to be posted.
    pub(crate) fn join_in(&self) {
        self.lock().shares += 1;
    }

    /// Ends a share that has found no input, unless there is one by now (M3); whether it has ended. The last one takes the
    /// job off the pool's list.
    pub(crate) fn leave(slf: &Py<Self>, py: Python<'_>) -> bool {
        let this = slf.get();
        let mut state = this.lock();
        if matches!(state.stopped, Stopped::No) && state.open().is_some() {
            return false;
        }
        state.shares -= 1;
        if state.shares > 0 {
            return true;
        }
        let mut dropped = VecDeque::new();
        if state.closed {
            dropped = std::mem::take(&mut state.unread);
            for segment in &dropped {
                state.forget(segment);
            }
        }
        let figures = state.figures();
        state.told.completed += figures.completed;
        state.told.failed += figures.failed;
        state.told.spent += figures.spent;
        drop(state);
        drop(dropped);
        this.pool.forget_map(py, slf, figures);
        true
    }

    /// Runs no further input; their results will be `error`, or a cancellation.
    pub(crate) fn stop(&self, py: Python<'_>, error: Option<Py<PyAny>>) {
        let mut state = self.lock();
        let left = std::mem::take(&mut state.open);
        let stopped = error.map_or(Stopped::Cancelled, Stopped::Failed);
        let unwanted = match state.stopped {
            Stopped::No => std::mem::replace(&mut state.stopped, stopped),
            _ => stopped,
        };
        drop(state);
        for segment in left {
            segment.leave_out(py);
        }
        drop(unwanted);
        drop(self.lock());
        self.changed.notify_all();
    }

    /// The segment with the next results, when those of `before` have all been taken.
    fn unread(&self, before: Option<Arc<Segment>>) -> Option<Arc<Segment>> {
        let mut state = self.lock();
        if let Some(before) = before
            && state.unread.front().is_some_and(|front| Arc::ptr_eq(front, &before))
        {
            state.unread.pop_front();
            state.forget(&before);
        }
        state.unread.front().cloned()
    }

    /// What is raised for an input that was left out.
    /// Forgets the last inputs, none of which anybody has claimed or will.
    fn take_back(&self, segment: &Arc<Segment>, why: PyErr) -> PyResult<()> {
        let mut state = self.lock();
        let last = |line: &VecDeque<Arc<Segment>>| line.back().is_some_and(|last| Arc::ptr_eq(last, segment));
        if last(&state.unread) {
            state.pushed -= segment.len();
            state.unread.pop_back();
        }
        if last(&state.open) {
            state.open.pop_back();
        }
        drop(state);
        Err(why)
    }

    fn why_left_out(&self, py: Python<'_>) -> PyErr {
        let failed = match &self.lock().stopped {
            Stopped::Failed(error) => Some(error.clone_ref(py)),
            _ => None,
        };
        let cancelled = || py.import("concurrent.futures").and_then(|module| module.getattr("CancelledError")?.call0());
        match failed.map_or_else(cancelled, |error| Ok(error.into_bound(py))) {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        }
    }

    /// Says for which result somebody is about to sleep (M4).
    fn wait_for(&self, index: usize) {
        // SeqCst: pairs with the load in `run`; what orders the two is the interpreter, or a fence (M4).
        self.wanted.store(index, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Sleeps until a result is there, or will never be.
    fn wait(&self, segment: &Segment, at: usize, limit: Duration) -> bool {
        let state = self.lock();
        if segment.is_ready(at) {
            return true;
        }
        let (state, _) = self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        drop(state);
        segment.is_ready(at)
    }

    /// Runs an input on a worker that waits for a result; false when there is none left.
    fn help(&self, py: Python<'_>) -> bool {
        let open = self.lock().open();
        let Some((segment, at)) = open.and_then(|segment| segment.claim().map(|at| (segment, at))) else {
            return false;
        };
        let began = Instant::now();
        // One at a time: what it waits for may be there.
        thread_pool::serving(&self.pool, None, || self.run(py, &segment, at));
        self.lock().spent += began.elapsed();
        true
    }

    /// One more share, for a worker beyond the limit; `None` if no input is left.
    fn rescue(slf: &Py<Self>, py: Python<'_>) -> Option<Job> {
        let this = slf.get();
        this.lock().open()?;
        this.join_in();
        Some(Job::Map(slf.clone_ref(py)))
    }
}

#[pymethods]
impl MapJob {
    /// A map of `function` on the threads of `pool`; with `star`, each input holds the arguments of a call.
    #[new]
    fn new(pool: &ThreadPool, function: Py<PyAny>, star: bool, context: Py<PyAny>) -> Self {
        let (pool, state) = (pool.shared.clone(), Mutex::default());
        Self { function, star, context, pool, state, changed: Condvar::new(), wanted: AtomicUsize::new(NOBODY) }
    }

    /// Adds inputs at the end, and sees that enough threads take part. The list is the job's from then on.
    fn push(slf: &Bound<'_, Self>, items: Bound<'_, PyList>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        if items.is_empty() {
            return Ok(());
        }
        let most = this.pool.queue.most_workers();
        let mut state = this.lock();
        let segment = Arc::new(Segment::new(state.pushed, items));
        state.pushed += segment.len();
        state.unread.push_back(segment.clone());
        if !matches!(state.stopped, Stopped::No) {
            drop(state);
            segment.leave_out(py);
            return Ok(());
        }
        let first = state.shares == 0;
        state.open.push_back(segment.clone());
        state.posted = trace::posted();
        let wanted = state.unclaimed().min(most).saturating_sub(state.shares);
        state.shares += wanted;
        drop(state);
        if first && wanted > 0 {
            this.pool.remember_map(slf.clone().unbind());
        }
        for posted in 0..wanted {
            let Err(why) = this.pool.share_map(py, slf.clone().unbind()) else { continue };
            let (error, started) = match why {
                NotStarted::Failed(error) => (error, false),
                NotStarted::Interrupted(error) => (error, true),
            };
            this.lock().shares -= wanted - posted - usize::from(started);
            segment.leave_out(py);
            return if segment.is_left_out(0) {
                this.take_back(&segment, error)
            } else if started {
                Err(error)
            } else {
                // A worker has them all by now.
                Ok(())
            };
        }
        Ok(())
    }

    /// An iterator over the results; each must be there within `timeout` seconds from now.
    #[pyo3(signature = (timeout=None))]
    fn results(slf: Py<Self>, timeout: Option<f64>) -> PyResult<MapResults> {
        let deadline = waiting::deadline_after(timeout)?;
        Ok(MapResults { job: slf, deadline, taking: Attached::default() })
    }
}

#[derive(Default)]
struct Taking {
    segment: Option<Arc<Segment>>,
    at: usize,
    begun: bool,
    closed: bool,
}

/// Yields the results of a map in order.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct MapResults {
    job: Py<MapJob>,
    deadline: Option<Instant>,
    taking: Attached<Taking>,
}

impl MapResults {
    fn wait(&self, py: Python<'_>, segment: &Segment, at: usize) -> PyResult<bool> {
        // Who takes all in one go, as `list` does, runs no Python code that would hear of a Ctrl-C.
        py.check_signals()?;
        let job = self.job.get();
        job.wait_for(segment.first + at);
        if depth() == 0 {
            return waiting::wait_sliced(py, job.pool.home, self.deadline, |limit| job.wait(segment, at, limit));
        }
        let own = self.deadline.is_none() && depth() < MAX_DEPTH && job.pool.worker_here().is_some();
        if own && job.help(py) {
            return Ok(true);
        }
        // Whichever of the pool's workers runs the input.
        let progress = || if segment.is_ready(at) { Progress::Done } else { Progress::Queued };
        let wait = |limit| job.wait(segment, at, limit);
        patience::wait(py, &job.pool, self.deadline, &Loans::default(), progress, wait, |py| {
            MapJob::rescue(&self.job, py)
        })
    }

    /// The next result if it is there, or where to wait for it; `None` at the end.
    fn take(&self, py: Python<'_>) -> Option<Result<Settled, (Arc<Segment>, usize)>> {
        self.taking.with(py, |taking| {
            taking.begun = true;
            if taking.closed {
                return None;
            }
            if taking.segment.as_ref().is_none_or(|segment| taking.at == segment.len()) {
                taking.at = 0;
                taking.segment = self.job.get().unread(taking.segment.take());
            }
            let segment = taking.segment.as_ref()?;
            match segment.take(py, taking.at) {
                Some(settled) => {
                    taking.at += 1;
                    Some(Ok(settled))
                }
                None => Some(Err((segment.clone(), taking.at))),
            }
        })
    }
}

impl Quick for MapResults {
    fn quick(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.taking.with_the_gil(py, |taking| {
            let segment = taking.segment.as_ref().filter(|segment| taking.at < segment.len())?;
            let value = segment.take_value(py, taking.at)?;
            taking.at += 1;
            Some(value)
        })
    }

    fn slow() -> &'static OnceLock<ffi::iternextfunc> {
        static SLOW: OnceLock<ffi::iternextfunc> = OnceLock::new();
        &SLOW
    }
}

/// What a call raised, as an iterator may raise it: a `StopIteration` would be its end, without a word.
pub(crate) fn raised(py: Python<'_>, error: Py<PyAny>) -> PyErr {
    let error = PyErr::from_value(error.into_bound(py));
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let told = PyRuntimeError::new_err("a call of this map raised StopIteration");
    told.set_cause(py, Some(error));
    told
}

#[pymethods]
impl MapResults {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        loop {
            let (segment, at) = match self.take(py) {
                None => return Ok(None),
                Some(Ok(Settled::Value(value))) => return Ok(Some(value)),
                Some(Ok(Settled::Raised(error))) => {
                    self.close(py);
                    return Err(raised(py, error));
                }
                Some(Err(place)) => place,
            };
            if segment.is_left_out(at) {
                return Err(self.job.get().why_left_out(py));
            }
            match self.wait(py, &segment, at) {
                Ok(true) => {}
                Ok(false) => {
                    self.close(py);
                    return Err(PyTimeoutError::new_err(()));
                }
                Err(error) => {
                    self.close(py);
                    return Err(error);
                }
            }
        }
    }

    fn __length_hint__(&self, py: Python<'_>) -> usize {
        let taken = self.taking.with(py, |taking| taking.at);
        let unread: usize = self.job.get().lock().unread.iter().map(|segment| segment.len()).sum();
        unread.saturating_sub(taken)
    }

    /// Cancels the calls that have not begun; no further result comes.
    fn close(&self, py: Python<'_>) {
        let job = self.job.get();
        job.stop(py, None);
        drop(self.taking.with(py, |taking| {
            taking.closed = true;
            taking.segment.take()
        }));
        let mut state = job.lock();
        state.closed = true;
        // What runs on puts its result there still; the last share drops it.
        let left: Vec<_> = state.unread.iter().cloned().collect();
        drop(state);
        for segment in left {
            segment.discard(py);
        }
    }
}

impl Drop for MapResults {
    fn drop(&mut self) {
        // Like a generator's: one that was never asked for a result lets the calls run.
        Python::attach(|py| {
            if self.taking.with(py, |taking| taking.begun) {
                self.close(py);
            }
        });
    }
}
