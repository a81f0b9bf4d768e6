//! A job of many calls whose inputs several threads of this process take from one cursor.
//!
//! # Does not know
//!
//! Who decided on threads, or how many there are: whoever calls [`SharedJob::run`] takes part.
//!
//! # Invariants
//!
//! - J1. An input is claimed once; its result lands in its place.
//! - J2. No Python code runs, and no Python object is dropped, while the lock is held.
//! - J3. After a failure at index i no further input is claimed, and everything claimed before is finished.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::calling;
use crate::clock;
use crate::ending::detached;
use crate::home::Home;
use crate::places::{Given, Places};
use crate::segment::{Segment, Settled};
use crate::thread_pool;
use crate::trace;
use crate::turning::{PAUSE, Watch};
use crate::waiting::{self, SLICE};

/// Work that one claim should amount to, in seconds; a claim costs about 0.3 us. Arbitrary between 20 and 200 us.
const CLAIM_SECONDS: f64 = 50e-6;
/// Most inputs per claim.
const MOST_PER_CLAIM: usize = 256;

#[derive(Default)]
struct State {
    places: Places,
    /// Indices of exceptions that are no `Exception`: they want to end the program, and are nobody's results.
    urgent: Vec<usize>,
    running: usize,
    serving: usize,
    closed: bool,
    failed: bool,
    calls: u32,
    wall: f64,
    cpu: f64,
    longest: f64,
    watch: Option<Watch>,
    /// Whether calls have come to compute, so that threads are the wrong place: nothing more is claimed.
    turned: bool,
    /// While somebody traces, when inputs were handed over: the number of those up to then, and the time.
    posted: VecDeque<(usize, u64)>,
}

impl State {
    /// Whether a helper has to wait though there are inputs.
    fn is_braked(&mut self) -> bool {
        let running = self.running;
        self.watch.as_mut().is_some_and(|watch| watch.holds_back(running))
    }

    fn finished(&self) -> bool {
        self.running == 0 && self.places.unclaimed() == 0 && (self.closed || self.failed)
    }
}

/// Inputs, results, and the cursor between them.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct SharedJob {
    function: Py<PyAny>,
    star: bool,
    keep_going: bool,
    /// Index of the first input in the whole job, and the job's number and the function's name, for traces.
    base: usize,
    number: u32,
    label: String,
    home: Home,
    state: Mutex<State>,
    changed: Condvar,
}

impl SharedJob {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes part until there is nothing left to claim; the body of a helper thread.
    pub(crate) fn serve(&self, py: Python<'_>) {
        loop {
            // What a call raises is in its slot; a helper thread has nobody else to tell.
            let _ = self.run_until(py, None, true);
            let mut state = self.lock();
            // Of a job to which nothing more comes, inputs may be left that are held back.
            if (state.closed && state.places.unclaimed() == 0) || state.failed || state.turned {
                return;
            }
            if state.places.unclaimed() == 0 || state.is_braked() {
                state.serving += 1;
                drop(state);
                detached(py, || {
                    let mut state = self.lock();
                    let (nothing, braked) = (state.places.unclaimed() == 0, state.is_braked());
                    if (braked || (nothing && !state.closed)) && !state.failed && !state.turned {
                        drop(self.changed.wait_timeout(state, if braked { PAUSE } else { SLICE }));
                    }
                });
                self.lock().serving -= 1;
            }
        }
    }

    fn claim(&self, helps: bool) -> Option<(Arc<Segment>, Range<usize>)> {
        let mut state = self.lock();
        if state.failed || state.turned || (helps && state.is_braked()) {
            return None;
        }
        let mean = if state.calls == 0 { CLAIM_SECONDS } else { state.wall / f64::from(state.calls) };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is clamped")]
        let wanted = ((CLAIM_SECONDS / mean.max(1e-9)) as usize).clamp(1, MOST_PER_CLAIM);
        // Never more than a fair share of what is left, so that the end is not one thread's alone.
        let count = wanted.min(state.places.unclaimed().div_ceil(4));
        let claimed = state.places.claim(count)?;
        state.running += claimed.1.len();
        if let Some(watch) = &mut state.watch {
            watch.begun(claimed.0.first + claimed.1.start);
        }
        Some(claimed)
    }

    /// Runs claimed inputs; `helps` says that this is no caller's thread. An error is one that is no `Exception`, such as Ctrl-C: it does not wait its turn.
    fn run_until(&self, py: Python<'_>, deadline: Option<Instant>, helps: bool) -> PyResult<()> {
        let mut seen = Vec::new();
        let function = self.function.bind(py);
        let coroutines = thread_pool::coroutines(py)?;
        while let Some((segment, range)) = self.claim(helps) {
            let mut urgent = None;
            let (began, cpu_began) = (Instant::now(), clock::thread_cpu());
            let (mut failed, mut done) = (false, 0);
            let mut ready = trace::posted();
            for at in range.clone() {
                if failed && (urgent.is_some() || !self.keep_going) {
                    break;
                }
                let item = segment.input(py, at);
                let watched = (ready != 0).then(|| trace::begin(py, true));
                let result = if self.star {
                    item.cast::<PyTuple>().map_err(PyErr::from).and_then(|args| function.call1(args))
                } else {
                    calling::call_one(function, &item)
                };
                if let Some(begun) = watched {
                    let last = failed || at + 1 == range.end;
                    let span = trace::Span { ready, ..trace::end(py, begun, last) };
                    ready = span.ended;
                    seen.push((segment.first + at, span, result.is_ok()));
                }
                drop(item);
                let result = result.and_then(|value| {
                    if calling::is_of_type(&value, coroutines) {
                        thread_pool::refuse_coroutine(&value, function)?;
                    }
                    Ok(value.unbind())
                });
                let settled = result.map_or_else(
                    |error| {
                        failed = true;
                        if !error.is_instance_of::<PyException>(py) {
                            self.lock().urgent.push(segment.first + at);
                            urgent = Some(error.clone_ref(py));
                        }
                        Settled::Raised(error.into_value(py).into_any())
                    },
                    Settled::Value,
                );
                segment.settle(py, at, settled);
                done += 1;
            }
            if !seen.is_empty() {
                self.record(py, &mut seen);
            }
            let spent = (began.elapsed().as_secs_f64(), clock::thread_cpu() - cpu_began);
            let left_over = self.settle(py, &segment, range, done, failed, spent);
            drop(left_over);
            if let Some(error) = urgent {
                return Err(error);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Hands what was seen of calls to the trace.
    fn record(&self, py: Python<'_>, seen: &mut Vec<(usize, trace::Span, bool)>) {
        let (name, track) = (trace::name(&self.label), trace::here(py));
        let mut state = self.lock();
        let mut events = Vec::with_capacity(seen.len());
        for (index, span, good) in seen.drain(..) {
            // Those before have all been claimed; a claim of others that is recorded later finds the earliest left.
            while state.posted.len() > 1
                && state.posted.front().is_some_and(|(upto, _)| *upto <= state.places.taken.min(index))
            {
                state.posted.pop_front();
            }
            let posted = state.posted.iter().find(|(upto, _)| index < *upto).map_or(0, |(_, at)| *at);
            let ending = trace::Ending::of(good);
            let (job, index) = (self.number, (self.base + index) as u64);
            events.push(trace::Event { ending, job, index, posted, ..trace::Event::call(name, track, span) });
        }
        drop(state);
        trace::record_all(&mut events);
    }

    /// Notes that claimed inputs have been run; hands back those that a failure leaves over, to be dropped without the lock
    /// (J2).
    fn settle(
        &self,
        py: Python<'_>,
        segment: &Arc<Segment>,
        range: Range<usize>,
        done: usize,
        failed: bool,
        (wall, cpu): (f64, f64),
    ) -> Vec<Py<PyAny>> {
        let (first, claimed) = (segment.first + range.start, range.len());
        let mut state = self.lock();
        let braked = state.is_braked();
        state.running -= claimed;
        let count = u32::try_from(done).unwrap_or(u32::MAX);
        state.calls = state.calls.saturating_add(count);
        state.wall += wall;
        state.cpu += cpu;
        state.longest = state.longest.max(wall / f64::from(count.max(1)));
        let (calls, all, each) = (state.calls, state.cpu, f64::from(count.max(1)));
        if let Some(watch) = &mut state.watch {
            watch.ended(first, count, cpu / each, wall / each);
            state.turned |= watch.has_turned(calls, all);
        }
        let released = braked && !state.is_braked();
        let mut left_over = Vec::new();
        if failed && (done < claimed || !self.keep_going) {
            state.failed = true;
            left_over = state.places.drop_rest(py);
        }
        let awaited = state.places.settled(segment, range.start..range.start + done);
        let wake = released || awaited || state.finished();
        drop(state);
        if wake {
            self.changed.notify_all();
        }
        left_over
    }
}

impl SharedJob {
    /// Ends the job where it is: what nobody has claimed is not run.
    pub(crate) fn interrupt(&self, py: Python<'_>) {
        let mut state = self.lock();
        state.failed = true;
        let left_over = state.places.drop_rest(py);
        drop(state);
        drop(left_over);
        self.changed.notify_all();
    }
}

#[pymethods]
impl SharedJob {
    /// A job that calls `function` on each input; with `star`, on the input's items. With `keep_going` an exception is a result.
    ///
    /// `base` is the index of the first input, `number` the job's and `label` the function's name in traces. Results are
    /// given in the order of the inputs, or, if they are not to be `ordered`, as they are ready.
    #[new]
    #[pyo3(signature = (function, star, keep_going, base=0, number=0, label=String::new(), ordered=true))]
    fn new(
        function: Py<PyAny>,
        star: bool,
        keep_going: bool,
        base: usize,
        number: u32,
        label: String,
        ordered: bool,
    ) -> Self {
        let state = State { places: Places::new(ordered), ..State::default() };
        let home = Home::here();
        Self {
            function,
            star,
            keep_going,
            base,
            number,
            label,
            home,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Adds inputs at the end. The list is the job's from then on.
    fn push(&self, items: Bound<'_, PyList>) {
        let mut state = self.lock();
        if state.failed || items.is_empty() {
            drop(state);
            return;
        }
        state.places.push(items);
        let posted = trace::posted();
        if posted != 0 {
            let upto = state.places.pushed();
            state.posted.push_back((upto, posted));
        }
        let sleepers = state.serving > 0;
        drop(state);
        if sleepers {
            self.changed.notify_all();
        }
    }

    /// Says that no further input comes.
    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Claims nothing more; hands back the inputs that nobody has claimed, in order.
    fn stop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut state = self.lock();
        let left = state.places.give_back(py);
        state.closed = true;
        drop(state);
        self.changed.notify_all();
        PyList::new(py, left)
    }

    /// Takes part on the calling thread until nothing is left to claim, or `seconds` have passed.
    #[pyo3(signature = (seconds=None))]
    fn run(&self, py: Python<'_>, seconds: Option<f64>) -> PyResult<()> {
        self.run_until(py, waiting::deadline_after(seconds)?, false)?;
        py.check_signals()
    }

    /// Waits until a result can be taken or the job is finished, for at most `seconds`.
    #[pyo3(signature = (seconds=None))]
    fn wait(&self, py: Python<'_>, seconds: Option<f64>) -> PyResult<bool> {
        let deadline = waiting::deadline_after(seconds)?;
        waiting::wait_sliced(py, self.home, deadline, |limit| {
            let ready = |state: &State| state.finished() || state.places.is_next_ready();
            let state = self.lock();
            if ready(&state) {
                return true;
            }
            let (state, _) = self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
            ready(&state)
        })
    }

    /// Waits until the job is finished, for at most `seconds`; whether it is.
    fn wait_finished(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        let deadline = waiting::deadline_after(Some(seconds))?;
        waiting::wait_sliced(py, self.home, deadline, |limit| {
            let state = self.lock();
            if state.finished() {
                return true;
            }
            let (state, _) = self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
            state.finished()
        })
    }

    /// The results that are ready, and the exception that comes after them, if one does.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>, Option<Py<PyAny>>)> {
        let mut state = self.lock();
        let State { places, urgent, .. } = &mut *state;
        let taken = places.take(py, |index| self.keep_going && !urgent.contains(&index));
        drop(state);
        drop(taken.gone);
        let values = match taken.given {
            Given::Whole(list) => list.into_bound(py),
            Given::Some(values) => PyList::new(py, values)?,
        };
        Ok((values, taken.raised))
    }

    /// (inputs not claimed, calls running, results not taken, finished)
    fn figures(&self) -> (usize, usize, usize, bool) {
        let state = self.lock();
        (state.places.unclaimed(), state.running, state.places.untaken(), state.finished())
    }

    /// Claims nothing more once calls compute for much longer than `expected` seconds and the GIL has become the limit: they
    /// keep fewer than `enough` cores busy.
    ///
    /// Looked for at the end of calls, by whoever ran them: the caller's thread may not get the GIL for long then.
    fn watch(&self, expected: f64, enough: f64) {
        let mut state = self.lock();
        let (calls, cpu) = (state.calls, state.cpu);
        state.watch = Some(Watch::new(expected, enough, calls, cpu));
    }

    /// Whether [`SharedJob::watch`] has seen that.
    #[getter]
    fn turned(&self) -> bool {
        self.lock().turned
    }

    /// (calls, wall seconds, CPU seconds, longest mean of a claim) over all calls so far.
    fn observed(&self) -> (u32, f64, f64, f64) {
        let state = self.lock();
        (state.calls, state.wall, state.cpu, state.longest)
    }

    /// Index of the next result that [`SharedJob::take`] would give.
    #[getter]
    fn taken(&self) -> usize {
        self.lock().places.taken
    }
}
