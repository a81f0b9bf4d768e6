//! The threads of one executor: their queue, their loop, and the futures of their calls.
//!
//! Threads are started by Python (`threading.Thread`), so that names, thread-local data, tracing and debuggers work; their
//! body is [`ThreadPool::work`].
//!
//! # Does not know
//!
//! How to decide, or what a job of many calls is made of ([`SharedJob`] runs itself).
//!
//! # Invariants
//!
//! - T1. A worker holds no lock of ours while it runs a call.
//! - T2. Counters are updated before a future settles.
//! - T3. A worker that waits for a call runs queued calls meanwhile, down to [`MAX_DEPTH`]; below that the pool grows.

use std::cell::RefCell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pointsman_scheduler::{Limits, Posted, Priority, Queue, Taken};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::cell::{Cell, Outcome, TooLate};
use crate::context::Context;
use crate::ending::detached;
use crate::future::{self, FutureCore, Origin};
use crate::shared_job::SharedJob;

/// How deep a waiting worker runs other calls on its own stack. Arbitrary: each level takes a few of Python's 1000 frames.
const MAX_DEPTH: usize = 16;
/// How long a worker that waits for a call sleeps before it looks for queued ones again.
const HELP_EVERY: Duration = Duration::from_millis(2);

/// One call in the queue.
struct Call {
    cell: Arc<Cell>,
    function: Py<PyAny>,
    args: Py<PyTuple>,
    kwargs: Option<Py<PyDict>>,
    context: Context,
}

enum Job {
    Call(Box<Call>),
    Share(Py<SharedJob>, Context),
}

#[derive(Default)]
struct Counters {
    running: AtomicI64,
    completed: AtomicU64,
    failed: AtomicU64,
    nanoseconds: AtomicU64,
}

pub(crate) struct Shared {
    queue: Queue<Job>,
    start_worker: Py<PyAny>,
    counters: Counters,
    /// The jobs of many calls that threads of this pool take part in, once for each thread.
    sharing: Mutex<Vec<Py<SharedJob>>>,
}

thread_local! {
    /// The pools whose calls this thread is running, innermost last.
    static SERVING: RefCell<Vec<Arc<Shared>>> = const { RefCell::new(Vec::new()) };
}

static COROUTINE: PyOnceLock<Py<PyType>> = PyOnceLock::new();

impl Shared {
    fn sharing(&self) -> MutexGuard<'_, Vec<Py<SharedJob>>> {
        self.sharing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts one more thread, whose place in the queue's count is taken already.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let started = self.start_worker.call0(py);
        if started.is_err() {
            self.queue.remove_worker();
        }
        started.map(|_| ())
    }

    fn post(&self, py: Python<'_>, priority: Priority, mut job: Job) -> PyResult<()> {
        loop {
            match self.queue.post(priority, job) {
                Posted::Queued => return Ok(()),
                Posted::QueuedNeedsWorker => {
                    return match self.start(py) {
                        // With other workers alive the call will be run; a system at its thread limit is no reason to fail.
                        Err(_) if self.queue.workers() > 0 => Ok(()),
                        other => other,
                    };
                }
                Posted::Closed(_) => {
                    return Err(PyRuntimeError::new_err("cannot schedule new futures after shutdown"));
                }
                Posted::Full(back) => {
                    job = back;
                    if SERVING.with_borrow(Vec::is_empty) {
                        future::wait_sliced(py, None, |limit| self.queue.wait_for_room(limit))?;
                    } else {
                        // A worker that waited here would wait for itself.
                        match self.queue.try_take() {
                            Some(other) => self.run(py, other),
                            None => py.detach(std::thread::yield_now),
                        }
                    }
                }
            }
        }
    }

    fn run(&self, py: Python<'_>, job: Job) {
        match job {
            Job::Call(call) => self.run_call(py, *call),
            Job::Share(job, context) => {
                self.sharing().push(job.clone_ref(py));
                let served = context.run(py, || {
                    job.get().serve(py);
                    Ok(())
                });
                let gone = {
                    let mut sharing = self.sharing();
                    let at = sharing.iter().position(|other| other.is(&job));
                    at.map(|at| sharing.swap_remove(at))
                };
                drop(gone);
                if let Err(error) = served {
                    error.write_unraisable(py, None);
                }
            }
        }
    }

    fn run_call(&self, py: Python<'_>, call: Call) {
        if !call.cell.begin() {
            return;
        }
        // Relaxed throughout: counters publish nothing but themselves; the cell's Release store orders them (T2).
        self.counters.running.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let result = call.context.run(py, || {
            call.function.bind(py).call(call.args.bind(py), call.kwargs.as_ref().map(|kwargs| kwargs.bind(py)))
        });
        let result = result.and_then(|value| refuse_coroutine(&value, call.function.bind(py)).map(|()| value.unbind()));
        let spent = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counters.nanoseconds.fetch_add(spent, Ordering::Relaxed);
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
        let (outcome, counter) = match result {
            Ok(value) => (Outcome::Value(value), &self.counters.completed),
            Err(error) => (Outcome::Raised(error.into_value(py).into_any()), &self.counters.failed),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let (_, Some(mirror)) = call.cell.settle(outcome) {
            future::tell(py, &mirror);
        }
    }
}

/// A coroutine object as a result means that nobody will ever run it.
pub(crate) fn refuse_coroutine(value: &Bound<'_, PyAny>, function: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = value.py();
    if !value.get_type().is(COROUTINE.import(py, "types", "CoroutineType")?) {
        return Ok(());
    }
    value.call_method0("close")?;
    Err(PyTypeError::new_err(format!(
        "{} returned a coroutine, which a worker thread cannot await: pass a plain function, or wrap it: lambda *a: asyncio.run({}(*a))",
        future::name_of(function),
        future::name_of(function),
    )))
}

struct ThreadOrigin {
    pool: Arc<Shared>,
    function: Py<PyAny>,
}

impl ThreadOrigin {
    /// Runs queued calls of the awaited pool, or of the pool that this worker serves, until the cell is settled (T3).
    fn help(&self, py: Python<'_>, cell: &Cell, deadline: Option<Instant>) -> PyResult<bool> {
        let own = SERVING.with_borrow(|serving| serving.last().cloned());
        let mut grown = false;
        loop {
            if cell.is_settled() {
                return Ok(true);
            }
            let depth = SERVING.with_borrow(Vec::len);
            let pools = own.iter().filter(|own| !Arc::ptr_eq(own, &self.pool)).chain([&self.pool]);
            let mut helped = false;
            if depth < MAX_DEPTH {
                for pool in pools {
                    if let Some(job) = pool.queue.try_take() {
                        serving(pool, || pool.run(py, job));
                        helped = true;
                        break;
                    }
                }
            } else if !grown {
                grown = true;
                for pool in pools {
                    if pool.queue.add_worker(true) {
                        pool.start(py)?;
                    }
                }
            }
            if !helped {
                let pause = deadline
                    .map_or(HELP_EVERY, |deadline| deadline.saturating_duration_since(Instant::now()).min(HELP_EVERY));
                detached(py, || cell.wait(pause));
                py.check_signals()?;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(cell.is_settled());
            }
        }
    }
}

/// Marks this thread as one that serves `pool` while `work` runs.
fn serving<R>(pool: &Arc<Shared>, work: impl FnOnce() -> R) -> R {
    SERVING.with_borrow_mut(|serving| serving.push(pool.clone()));
    let result = work();
    SERVING.with_borrow_mut(Vec::pop);
    result
}

/// Says that this thread is about to wait for something that may need its pool: while it does, another may take its place.
/// Returns whether it is a worker at all; if so, `worker_resumes` must follow.
#[pyfunction]
pub(crate) fn worker_waits(py: Python<'_>) -> PyResult<bool> {
    // The pool whose worker this thread is; others it only helps.
    let Some(pool) = SERVING.with_borrow(|serving| serving.first().cloned()) else {
        return Ok(false);
    };
    if pool.queue.step_out()
        && let Err(error) = pool.start(py)
        && pool.queue.workers() == 0
    {
        pool.queue.step_in();
        return Err(error);
    }
    Ok(true)
}

/// Says that this thread, which waited, goes on.
#[pyfunction]
pub(crate) fn worker_resumes() {
    if let Some(pool) = SERVING.with_borrow(|serving| serving.first().cloned()) {
        pool.queue.step_in();
    }
}

impl Origin for ThreadOrigin {
    fn wait(&self, py: Python<'_>, cell: &Cell, deadline: Option<Instant>) -> PyResult<bool> {
        if SERVING.with_borrow(Vec::is_empty) {
            return future::wait_sliced(py, deadline, |limit| cell.wait(limit));
        }
        self.help(py, cell, deadline)
    }

    fn cancel(&self, py: Python<'_>, cell: &Cell) -> bool {
        match cell.cancel_pending() {
            Ok(mirror) => {
                if let Some(mirror) = mirror {
                    future::tell(py, &mirror);
                }
                true
            }
            Err(TooLate) => false,
        }
    }

    fn kill(&self, _py: Python<'_>, _cell: &Cell) -> bool {
        false
    }

    fn refresh(&self, _py: Python<'_>) {}

    fn watch(&self, _py: Python<'_>) -> PyResult<()> {
        Ok(())
    }

    fn describe(&self, py: Python<'_>) -> String {
        future::name_of(self.function.bind(py))
    }
}

/// A queue of calls and the threads that serve it.
#[pyclass(module = "pointsman._native", frozen, weakref)]
pub(crate) struct ThreadPool {
    shared: Arc<Shared>,
}

#[pymethods]
impl ThreadPool {
    #[new]
    fn new(max_workers: usize, queue_capacity: Option<usize>, start_worker: Py<PyAny>) -> Self {
        let limits = Limits { workers: max_workers, queued: queue_capacity.unwrap_or(usize::MAX) };
        Self {
            shared: Arc::new(Shared {
                queue: Queue::new(limits),
                start_worker,
                counters: Counters::default(),
                sharing: Mutex::default(),
            }),
        }
    }

    /// Queues a call and returns its future.
    #[pyo3(signature = (function, args, kwargs=None, priority=2))]
    fn submit<'py>(
        &self,
        py: Python<'py>,
        function: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
        priority: u8,
    ) -> PyResult<Bound<'py, FutureCore>> {
        let cell = Arc::new(Cell::new());
        let origin = ThreadOrigin { pool: self.shared.clone(), function: function.clone().unbind() };
        let future = future::make(py, cell.clone(), Box::new(origin))?;
        let queued = Call {
            cell,
            function: function.unbind(),
            args: args.unbind(),
            kwargs: kwargs.filter(|kwargs| !kwargs.is_empty()).map(Bound::unbind),
            context: Context::copy_current(py)?,
        };
        self.shared.post(py, Priority::from_rank(priority), Job::Call(Box::new(queued)))?;
        Ok(future)
    }

    /// Asks one more thread to take part in a job of many calls, with the variables of a context of its own.
    fn share(&self, py: Python<'_>, job: Py<SharedJob>, context: Py<PyAny>) -> PyResult<()> {
        self.shared.post(py, Priority::Normal, Job::Share(job, Context::adopt(context)))
    }

    /// The body of a worker thread: runs queued calls until the pool closes or none has come for `patience` seconds.
    fn work(&self, py: Python<'_>, patience: f64) -> bool {
        let patience = Duration::try_from_secs_f64(patience).unwrap_or(Duration::MAX);
        serving(&self.shared, || {
            loop {
                let job = match self.shared.queue.try_take() {
                    Some(job) => job,
                    None => match detached(py, || self.shared.queue.take(patience)) {
                        Taken::Job(job) => job,
                        Taken::Surplus => return true,
                        Taken::Closed => return false,
                    },
                };
                self.shared.run(py, job);
            }
        })
    }

    /// Refuses further calls; with `discard`, cancels those that have not begun.
    fn close(&self, py: Python<'_>, discard: bool) {
        for job in self.shared.queue.close(discard) {
            if let Job::Call(call) = job
                && let Ok(Some(mirror)) = call.cell.cancel_pending()
            {
                future::tell(py, &mirror);
            }
        }
    }

    /// Ends the jobs of many calls that threads of this pool take part in.
    fn interrupt(&self, py: Python<'_>) {
        let jobs: Vec<_> = self.shared.sharing().iter().map(|job| job.clone_ref(py)).collect();
        for job in jobs {
            job.get().interrupt();
        }
    }

    /// Settles every queued call with `error` and refuses further ones.
    fn break_with(&self, py: Python<'_>, error: Py<PyAny>) {
        for job in self.shared.queue.close(true) {
            if let Job::Call(call) = job
                && let (_, Some(mirror)) = call.cell.settle(Outcome::Raised(error.clone_ref(py)))
            {
                future::tell(py, &mirror);
            }
        }
    }

    /// Whether the calling thread is running a call of this pool.
    fn serves_current_thread(&self) -> bool {
        SERVING.with_borrow(|serving| serving.iter().any(|pool| Arc::ptr_eq(pool, &self.shared)))
    }

    /// Counts out a worker that ended before its loop, or could not start.
    fn remove_worker(&self) {
        self.shared.queue.remove_worker();
    }

    /// (workers, parked workers, queued calls, running calls, completed, failed, seconds of run time)
    fn figures(&self) -> (usize, usize, usize, i64, u64, u64, f64) {
        let counters = &self.shared.counters;
        let seconds = Duration::from_nanos(counters.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        (
            self.shared.queue.workers(),
            self.shared.queue.parked(),
            self.shared.queue.queued(),
            counters.running.load(Ordering::Relaxed),
            counters.completed.load(Ordering::Relaxed),
            counters.failed.load(Ordering::Relaxed),
            seconds,
        )
    }
}
