//! The calls of one `Executor.map` on threads: inputs in a row, results in a row, and a cursor in each.
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

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pointsman_scheduler::Priority;
use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::context::Context;
use crate::ending::detached;
use crate::future;
use crate::once::name;
use crate::thread_pool::{self, Shared, ThreadPool, refuse_coroutine};
use crate::trace;

/// Calls between two looks at the clock, of calls that take less than a microsecond or so.
const LOOK_CALLS: u32 = 64;
/// How long a worker that waits for a result sleeps before it looks for something to run again.
const HELP_EVERY: Duration = Duration::from_millis(1);

enum Slot {
    Waiting,
    Value(Py<PyAny>),
    Raised(Py<PyAny>),
}

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
    items: VecDeque<Py<PyAny>>,
    results: VecDeque<Slot>,
    /// Index of the first of `results`, and of the first of `items`.
    first: usize,
    next: usize,
    shares: usize,
    running: usize,
    /// Somebody sleeps until the first result is there.
    sleeping: bool,
    stopped: Stopped,
    completed: u64,
    failed: u64,
    spent: Duration,
    /// When the inputs were handed over that come last, if anybody traces; else 0.
    posted: u64,
}

impl State {
    /// Stores a result. Whether the sleeper must be woken, and the result back if nobody wants it.
    fn settle(&mut self, index: usize, slot: Slot, spent: Duration) -> (bool, Option<Slot>) {
        match slot {
            Slot::Raised(_) => self.failed += 1,
            _ => self.completed += 1,
        }
        self.spent += spent;
        self.running -= 1;
        let Some(at) = index.checked_sub(self.first) else {
            return (false, Some(slot));
        };
        let unwanted = match self.results.get_mut(at) {
            Some(place) => {
                *place = slot;
                None
            }
            None => Some(slot),
        };
        (at == 0 && std::mem::replace(&mut self.sleeping, false), unwanted)
    }
}

/// What an executor's figures say of a map.
#[derive(Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) queued: usize,
    pub(crate) running: usize,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) spent: Duration,
}

#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct MapJob {
    function: Py<PyAny>,
    star: bool,
    context: Py<PyAny>,
    pool: Arc<Shared>,
    state: Mutex<State>,
    changed: Condvar,
}

impl MapJob {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn figures(&self) -> Figures {
        let state = self.lock();
        Figures {
            queued: state.items.len(),
            running: state.running,
            completed: state.completed,
            failed: state.failed,
            spent: state.spent,
        }
    }

    /// Stores a result and takes the next input (M1).
    fn turn(&self, done: Option<(usize, Slot)>, spent: Duration) -> Option<(usize, Py<PyAny>)> {
        let mut state = self.lock();
        let (wake, unwanted) = done.map_or((false, None), |(index, slot)| state.settle(index, slot, spent));
        let item = state.items.pop_front();
        let taken = item.map(|item| {
            state.running += 1;
            state.next += 1;
            (state.next - 1, item)
        });
        drop(state);
        if wake {
            self.changed.notify_all();
        }
        drop(unwanted);
        taken
    }

    fn call(&self, py: Python<'_>, index: usize, item: Py<PyAny>) -> Slot {
        let function = self.function.bind(py);
        let watched = trace::on().then(|| trace::begin(py, true));
        let result = if self.star {
            item.bind(py).cast::<PyTuple>().map_err(PyErr::from).and_then(|args| function.call1(args))
        } else {
            function.call1((item,))
        };
        if let Some(begun) = watched {
            let span = trace::end(py, begun, false);
            let (name, ending) = (trace::name(&future::name_of(function)), trace::Ending::of(result.is_ok()));
            let (call, posted) = (trace::Event::call(name, trace::here(py), span), self.lock().posted);
            trace::record(trace::Event { ending, index: index as u64, posted, ..call });
        }
        match result.and_then(|value| refuse_coroutine(&value, function).map(|()| value)) {
            Ok(value) => Slot::Value(value.unbind()),
            Err(error) => Slot::Raised(error.into_value(py).into_any()),
        }
    }

    /// Runs inputs until none is left: the body of a share.
    pub(crate) fn serve(&self, py: Python<'_>) -> PyResult<()> {
        let context = self.context.bind(py).call_method0(name!(py, "copy"))?;
        Context::adopt(context.unbind()).run(py, || {
            let mut began = Instant::now();
            let (mut calls, mut look_at) = (0_u32, 1_u32);
            let mut turn = self.turn(None, Duration::ZERO);
            while let Some((index, item)) = turn {
                let slot = self.call(py, index, item);
                calls += 1;
                let mut spent = Duration::ZERO;
                if calls >= look_at {
                    let now = Instant::now();
                    spent = now - began;
                    look_at = if spent < calls * Duration::from_micros(1) { LOOK_CALLS } else { 1 };
                    (calls, began) = (0, now);
                    self.pool.look(py, now);
                }
                turn = self.turn(Some((index, slot)), spent);
                if turn.is_some() && self.pool.queue.looks_urgent() {
                    self.let_pass(py);
                }
            }
            Ok(())
        })
    }

    /// Runs calls that are more urgent than those of a map.
    fn let_pass(&self, py: Python<'_>) {
        while let Some(job) = self.pool.queue.try_take_before(Priority::Normal) {
            self.pool.run(py, job, Instant::now());
        }
    }

    /// Counts a share that is about to be posted.
    pub(crate) fn join_in(&self) {
        self.lock().shares += 1;
    }

    /// A share has ended; the last one of a job whose inputs are gone takes it off the pool's list.
    pub(crate) fn leave(slf: &Py<Self>, py: Python<'_>) {
        let this = slf.get();
        let mut state = this.lock();
        state.shares -= 1;
        let over = state.shares == 0 && state.items.is_empty();
        let figures =
            Figures { completed: state.completed, failed: state.failed, spent: state.spent, ..Figures::default() };
        if over {
            (state.completed, state.failed, state.spent) = (0, 0, Duration::ZERO);
        }
        drop(state);
        if over {
            this.pool.forget_map(py, slf, figures);
        }
    }

    /// Runs no further input; their results will be `error`, or a cancellation.
    pub(crate) fn stop(&self, error: Option<Py<PyAny>>) {
        let mut state = self.lock();
        let left = std::mem::take(&mut state.items);
        let stopped = error.map_or(Stopped::Cancelled, Stopped::Failed);
        let unwanted = match state.stopped {
            Stopped::No => std::mem::replace(&mut state.stopped, stopped),
            _ => stopped,
        };
        drop(state);
        drop((left, unwanted));
        self.changed.notify_all();
    }

    /// Moves the results that are ready to `ready`.
    fn collect(&self, ready: &mut VecDeque<Slot>) {
        let mut state = self.lock();
        let settled = state.results.iter().take_while(|slot| !matches!(slot, Slot::Waiting)).count();
        ready.extend(state.results.drain(..settled));
        state.first += settled;
    }

    /// Whether there is nothing more to wait for: all results have been taken, or the next one will never come.
    fn end(&self, py: Python<'_>) -> Option<PyResult<()>> {
        let state = self.lock();
        if state.results.is_empty() {
            return Some(Ok(()));
        }
        if state.first < state.next {
            // It runs still.
            return None;
        }
        let error = match &state.stopped {
            Stopped::No => return None,
            Stopped::Cancelled => None,
            Stopped::Failed(error) => Some(error.clone_ref(py)),
        };
        drop(state);
        let cancelled = || py.import("concurrent.futures").and_then(|module| module.getattr("CancelledError")?.call0());
        Some(Err(match error.map_or_else(cancelled, |error| Ok(error.into_bound(py))) {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        }))
    }

    /// Waits until the first result is there, or the job is stopped.
    fn wait(&self, limit: Duration) -> bool {
        let ready = |state: &State| {
            let left_out = !matches!(state.stopped, Stopped::No) && state.first >= state.next;
            !matches!(state.results.front(), Some(Slot::Waiting)) || left_out
        };
        let mut state = self.lock();
        if ready(&state) {
            return true;
        }
        state.sleeping = true;
        let (state, _) = self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        ready(&state)
    }

    /// Runs an input, or another queued call, on a worker that waits for a result; false when there is nothing to run.
    fn help(&self, py: Python<'_>) -> bool {
        if let Some((index, item)) = self.turn(None, Duration::ZERO) {
            let began = Instant::now();
            let slot = thread_pool::serving(&self.pool, None, || self.call(py, index, item));
            let spent = began.elapsed();
            // One at a time: what it waits for may be there.
            let unwanted = self.lock().settle(index, slot, spent);
            drop(unwanted);
            return true;
        }
        thread_pool::help_any(py, &self.pool)
    }
}

#[pymethods]
impl MapJob {
    /// A map of `function` on the threads of `pool`; with `star`, each input holds the arguments of a call.
    #[new]
    fn new(pool: &ThreadPool, function: Py<PyAny>, star: bool, context: Py<PyAny>) -> Self {
        Self { function, star, context, pool: pool.shared.clone(), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Adds inputs at the end, and sees that enough threads take part.
    fn push(slf: &Bound<'_, Self>, items: &Bound<'_, PyList>) -> PyResult<()> {
        let py = slf.py();
        let this = slf.get();
        let items: Vec<_> = items.iter().map(Bound::unbind).collect();
        let most = this.pool.queue.most_workers();
        let mut state = this.lock();
        let first = state.shares == 0;
        state.results.extend(std::iter::repeat_with(|| Slot::Waiting).take(items.len()));
        state.items.extend(items);
        state.posted = trace::posted();
        let wanted = state.items.len().min(most).saturating_sub(state.shares);
        state.shares += wanted;
        drop(state);
        if first && wanted > 0 {
            this.pool.remember_map(slf.clone().unbind());
        }
        for posted in 0..wanted {
            if let Err(error) = this.pool.share_map(py, slf.clone().unbind()) {
                this.lock().shares -= wanted - posted;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Results that have not been taken.
    fn left(&self) -> usize {
        self.lock().results.len()
    }

    /// An iterator over the results; each must be there within `timeout` seconds from now.
    #[pyo3(signature = (timeout=None))]
    fn results(slf: Py<Self>, timeout: Option<f64>) -> PyResult<MapResults> {
        let deadline = future::deadline_after(timeout)?;
        Ok(MapResults { job: slf, deadline, taking: Mutex::default() })
    }
}

#[derive(Default)]
struct Taking {
    ready: VecDeque<Slot>,
    begun: bool,
}

/// Yields the results of a map in order.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct MapResults {
    job: Py<MapJob>,
    deadline: Option<Instant>,
    taking: Mutex<Taking>,
}

impl MapResults {
    fn taking(&self) -> MutexGuard<'_, Taking> {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, py: Python<'_>) -> PyResult<bool> {
        let job = self.job.get();
        if thread_pool::depth() == 0 {
            return future::wait_sliced(py, self.deadline, |limit| job.wait(limit));
        }
        if !job.help(py) {
            detached(py, || job.wait(HELP_EVERY));
            py.check_signals()?;
        }
        Ok(self.deadline.is_none_or(|deadline| Instant::now() < deadline))
    }
}

#[pymethods]
impl MapResults {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let job = self.job.get();
        loop {
            let mut taking = self.taking();
            taking.begun = true;
            if taking.ready.is_empty() {
                job.collect(&mut taking.ready);
            }
            match taking.ready.pop_front() {
                Some(Slot::Value(value)) => return Ok(Some(value)),
                Some(Slot::Raised(error)) => {
                    drop(taking);
                    self.close();
                    return Err(PyErr::from_value(error.into_bound(py)));
                }
                Some(Slot::Waiting) | None => drop(taking),
            }
            if let Some(end) = job.end(py) {
                return end.map(|()| None);
            }
            match self.wait(py) {
                Ok(true) => {}
                Ok(false) => {
                    self.close();
                    return Err(PyTimeoutError::new_err(()));
                }
                Err(error) => {
                    self.close();
                    return Err(error);
                }
            }
        }
    }

    fn __length_hint__(&self) -> usize {
        let ready = self.taking().ready.len();
        ready + self.job.get().left()
    }

    /// Cancels the calls that have not begun; no further result comes.
    fn close(&self) {
        let job = self.job.get();
        job.stop(None);
        let mut state = job.lock();
        let left = std::mem::take(&mut state.results);
        // What runs on finds no place for its result.
        state.first = usize::MAX;
        drop(state);
        let ready = std::mem::take(&mut self.taking().ready);
        drop((left, ready));
    }
}

impl Drop for MapResults {
    fn drop(&mut self) {
        // Like a generator's: one that was never asked for a result lets the calls run.
        if self.taking().begun {
            self.close();
        }
    }
}
