//! The threads of one executor: their queue, their loop, and the figures of their calls.
//!
//! Threads are started by Python (`threading.Thread`), so that names, thread-local data, tracing and debuggers work; their
//! body is [`ThreadPool::work`].
//!
//! # Does not know
//!
//! How to decide, or what a job of many calls is made of ([`SharedJob`] and [`MapJob`] run themselves).
//!
//! # Invariants
//!
//! - T1. A worker holds no lock of ours while it runs a call.
//! - T2. A worker stays attached to the interpreter while there are jobs, and has let go of it while it waits for one.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pointsman_scheduler::{Limits, Order, Posted, Priority, Queue, Taken, spin};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::bridge;
use crate::calling::{self, Call, Inputs};
use crate::cell::Stage;
use crate::clock;
use crate::context::{Context, Spare};
use crate::counters::{Counters, Desk, Figures};
use crate::ending::{self, detached};
use crate::future::{self, FutureCore};
use crate::growth::{Growth, LOOK_EVERY, Look};
use crate::home::Home;
use crate::map_job::MapJob;
use crate::once::Once;
use crate::patience::{self, Loans, Progress};
use crate::serving;
pub(crate) use crate::serving::{depth, serving};
use crate::shared_job::SharedJob;
use crate::thread_call::{AT_THE_DOOR, SPIN, ThreadCall};
use crate::waiting;

/// How long a worker that has found a call leaves the interpreter to whoever submitted it, who is likely to let go of it
/// soon: asking for it costs a sleep and a wake (FEASIBILITY D).
const COURTESY: Duration = Duration::from_micros(5);

/// How deep a waiting worker runs what it waits for on its own stack. Arbitrary: each level takes a few of Python's 1000
/// frames.
pub(crate) const MAX_DEPTH: usize = 16;

pub(crate) enum Job {
    Call(Py<FutureCore>),
    Share(Box<(Py<SharedJob>, Context)>),
    Map(Py<MapJob>),
}

/// Why a thread that was asked for is not there, or what was raised although it is.
pub(crate) enum NotStarted {
    Failed(PyErr),
    /// By a signal's handler, while the thread was started: it has to be raised, and the thread is there.
    Interrupted(PyErr),
}

impl From<NotStarted> for PyErr {
    fn from(why: NotStarted) -> Self {
        match why {
            NotStarted::Failed(error) | NotStarted::Interrupted(error) => error,
        }
    }
}

pub(crate) struct Shared {
    pub(crate) queue: Queue<Job>,
    start_worker: Py<PyAny>,
    pub(crate) counters: Counters,
    /// Workers that have the interpreter, or ask for it.
    pub(crate) attached: AtomicUsize,
    /// Threads that wait for an outcome, and have let go of the interpreter for it.
    pub(crate) waiting: AtomicUsize,
    /// Workers that have a call and look whether the interpreter is let go of.
    pub(crate) at_the_door: AtomicUsize,
    /// The cores on which a caller and a worker were seen last, to know how to spin.
    pub(crate) caller_core: AtomicUsize,
    pub(crate) worker_core: AtomicUsize,
    /// More than 0 while others than our threads hold the interpreter: then whoever needs it must queue for it early.
    pub(crate) pressed: AtomicUsize,
    /// Nanoseconds since the start before which no event loop looks again whether a call is done soon.
    pub(crate) glance_after: AtomicU64,
    /// Whether a worker looks for jobs at this moment: one is enough.
    looking: AtomicBool,
    /// The jobs of many calls that threads of this pool take part in, once for each thread.
    sharing: Mutex<Vec<Py<SharedJob>>>,
    maps: Mutex<Vec<Py<MapJob>>>,
    /// Numbers of workers that are taken.
    numbers: Mutex<Vec<bool>>,
    pub(crate) home: Home,
    /// For pools whose size nobody has chosen.
    growth: Option<Mutex<Growth>>,
    looked: AtomicU64,
    pub(crate) began: Instant,
}

static COROUTINE: Once<Py<PyType>> = Once::new();

impl Shared {
    fn sharing(&self) -> MutexGuard<'_, Vec<Py<SharedJob>>> {
        self.sharing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn maps(&self) -> MutexGuard<'_, Vec<Py<MapJob>>> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This thread's number among the workers of this pool, if it is one.
    pub(crate) fn worker_here(self: &Arc<Self>) -> Option<usize> {
        serving::worker_of(self)
    }

    /// Starts one more thread, whose place in the queue's count is taken already.
    pub(crate) fn start(&self, py: Python<'_>) -> Result<(), NotStarted> {
        match ending::call(self.start_worker.bind(py)) {
            Ok(raised) if !raised.is_none() => Err(NotStarted::Interrupted(PyErr::from_value(raised))),
            Ok(_) => Ok(()),
            Err(error) => {
                self.queue.remove_worker();
                Err(NotStarted::Failed(error))
            }
        }
    }

    /// Has a job run before all others, by a thread beyond the limit if need be; the queue must be relieved afterwards.
    pub(crate) fn rescue(&self, py: Python<'_>, job: Job) -> PyResult<()> {
        if self.queue.rescue(job) { Ok(self.start(py)?) } else { Ok(()) }
    }

    /// Lets a pool whose size nobody has chosen grow while that brings more.
    pub(crate) fn look(&self, py: Python<'_>, now: Instant) {
        let Some(growth) = &self.growth else { return };
        let since = u64::try_from((now - self.began).as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: who looks a little too early finds the lock taken, or decides on less.
        if since < self.looked.load(Ordering::Relaxed) {
            return;
        }
        let next = since + u64::try_from(LOOK_EVERY.as_nanos()).unwrap_or(0);
        if self.looked.swap(next, Ordering::Relaxed) > since {
            return;
        }
        let figures = self.figures();
        let workers = self.queue.workers();
        let look = Look {
            now: (now - self.began).as_secs_f64(),
            cpu: clock::process_cpu(),
            ended: figures.completed + figures.failed,
            queued: figures.queued as u64,
            workers,
        };
        let Ok(mut growth) = growth.try_lock() else { return };
        let wanted = growth.decide(look);
        drop(growth);
        let Some(wanted) = wanted else { return };
        self.queue.limit_workers(wanted);
        let maps: Vec<_> = self.maps().iter().map(|map| map.clone_ref(py)).collect();
        for step in 0..wanted.saturating_sub(workers) {
            if let Some(map) = maps.get(step % maps.len().max(1)) {
                map.get().join_in();
                // A closed pool grows no more.
                if self.share_map(py, map.clone_ref(py)).is_err() {
                    return;
                }
            } else if !self.queue.add_worker(false) || self.start(py).is_err() {
                return;
            }
        }
    }

    fn post(self: &Arc<Self>, py: Python<'_>, priority: Priority, mut job: Job) -> PyResult<()> {
        let from = self.worker_here();
        loop {
            match self.queue.post(priority, job, from) {
                Posted::Full(back) => job = back,
                other => return Ok(self.posted(py, other)?),
            }
            // The calls that fill the queue may wait for what this worker does next, or for the event loop of this thread.
            if serving::serves(self) || has_running_loop(py)? || !self.wait_for_room(py)? {
                return Ok(self.posted(py, self.queue.post_beyond_capacity(priority, job, from))?);
            }
        }
    }

    /// Waits until there is room in the queue; false where it would be for ever.
    fn wait_for_room(self: &Arc<Self>, py: Python<'_>) -> PyResult<bool> {
        let wait = |limit| self.queue.wait_for_room(limit);
        if depth() == 0 {
            return waiting::wait_sliced(py, self.home, None, wait);
        }
        let stuck = Cell::new(false);
        let progress = || if stuck.get() { Progress::Done } else { Progress::Queued };
        let job = |_: Python<'_>| {
            stuck.set(true);
            None
        };
        patience::wait(py, self, None, &Loans::default(), progress, wait, job)?;
        Ok(!stuck.get())
    }

    /// Queues a call and returns its future.
    pub(crate) fn submit(
        self: Arc<Self>,
        py: Python<'_>,
        inputs: Inputs,
        priority: Priority,
        on_caller: bool,
    ) -> PyResult<Bound<'_, FutureCore>> {
        let future = future::make_holding(py, ThreadCall::new(self, inputs, on_caller))?;
        if let Some(call) = future.get().thread_call()
            && let Err(error) = call.pool.post(py, priority, Job::Call(future.clone().unbind()))
        {
            call.withdraw(py);
            return Err(error);
        }
        Ok(future)
    }

    fn posted(&self, py: Python<'_>, posted: Posted<Job>) -> Result<(), NotStarted> {
        match posted {
            Posted::QueuedNeedsWorker => match self.start(py) {
                // With other workers alive the call will be run; a system at its thread limit is no reason to fail.
                Err(NotStarted::Failed(why))
                    if self.queue.workers() > 0 && why.is_instance_of::<PyRuntimeError>(py) =>
                {
                    Ok(())
                }
                other => other,
            },
            Posted::Closed(_) => {
                Err(NotStarted::Failed(PyRuntimeError::new_err("cannot schedule new futures after shutdown")))
            }
            Posted::Queued | Posted::Full(_) => Ok(()),
        }
    }

    /// Asks a thread to take part in a map. The map is not bounded by the queue's capacity.
    pub(crate) fn share_map(&self, py: Python<'_>, map: Py<MapJob>) -> Result<(), NotStarted> {
        self.posted(py, self.queue.post_beyond_capacity(Priority::Normal, Job::Map(map), None))
    }

    pub(crate) fn remember_map(&self, map: Py<MapJob>) {
        self.maps().push(map);
    }

    /// Takes a map off the list, whose calls have all ended, and adds its figures to the others.
    pub(crate) fn forget_map(&self, py: Python<'_>, map: &Py<MapJob>, figures: Figures) {
        let mut maps = self.maps();
        let at = maps.iter().position(|other| other.is(map));
        let gone = at.map(|at| maps.swap_remove(at));
        self.counters.add(&figures);
        drop(maps);
        if let Some(gone) = gone {
            gone.drop_ref(py);
        }
    }

    /// What there is to say of all calls.
    fn figures(&self) -> Figures {
        let maps = self.maps();
        let mut sum = self.counters.figures();
        for map in maps.iter() {
            let one = map.get().figures();
            sum.queued += one.queued;
            sum.running += one.running;
            sum.completed += one.completed;
            sum.failed += one.failed;
            sum.spent += one.spent;
        }
        sum
    }

    /// Runs a job that is begun at `now`; returns when it ended.
    pub(crate) fn run(&self, py: Python<'_>, job: Job, now: Instant, desk: &Desk<'_>, spare: &mut Spare) -> Instant {
        match job {
            Job::Call(call) => return ThreadCall::run(call.bind(py), now, desk, spare),
            Job::Map(map) => {
                let served = MapJob::serve_until_left(&map, py);
                if let Err(error) = served {
                    error.write_unraisable(py, None);
                }
            }
            Job::Share(both) => {
                let (job, context) = *both;
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
        Instant::now()
    }

    /// Waits detached for the next job (T2); and when it came.
    fn next(&self, worker: usize, patience: Duration) -> (Taken<Job>, Instant) {
        // Relaxed, as the others here: what they tell is when to spin.
        self.attached.fetch_sub(1, Ordering::Relaxed);
        let mut together = false;
        if self.calls_are_short() && !self.looking.swap(true, Ordering::Relaxed) {
            let core = clock::core();
            self.worker_core.store(core, Ordering::Relaxed);
            together = self.caller_core.load(Ordering::Relaxed) == core;
            spin(SPIN, together, || !self.queue.looks_empty());
            self.looking.store(false, Ordering::Relaxed);
        }
        let taken = self.queue.search(worker, patience);
        if let Taken::Job(Job::Call(call)) = &taken
            && call.get().thread_call().is_some_and(|call| call.cell.stage() == Stage::Pending)
        {
            self.at_the_door.fetch_add(1, Ordering::Relaxed);
            let courtesy = if self.is_pressed() { AT_THE_DOOR } else { COURTESY };
            spin(courtesy, together, || self.waiting.load(Ordering::Relaxed) > 0);
            self.at_the_door.fetch_sub(1, Ordering::Relaxed);
        }
        self.attached.fetch_add(1, Ordering::Relaxed);
        (taken, Instant::now())
    }

    fn serve(self: &Arc<Self>, py: Python<'_>, worker: usize, patience: Duration) -> bool {
        let mut now = Instant::now();
        let (desk, mut spare) = (self.counters.workers_desk(), Spare::default());
        loop {
            let job = match self.queue.take_or_search(worker) {
                Some(job) => job,
                None => match detached(py, || self.next(worker, patience)) {
                    (Taken::Job(job), came) => {
                        now = Instant::now();
                        self.waited(now - came);
                        job
                    }
                    (Taken::Surplus, _) => return true,
                    (Taken::Closed, _) => return false,
                },
            };
            now = self.run(py, job, now, &desk, &mut spare);
            self.look(py, now);
        }
    }

    fn take_number(&self) -> usize {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let free = numbers.iter().position(|taken| !taken).unwrap_or_else(|| {
            numbers.push(false);
            numbers.len() - 1
        });
        numbers[free] = true;
        free
    }

    fn give_number(&self, number: usize) {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)[number] = false;
    }
}

static RUNNING_LOOP: Once<Py<PyAny>> = Once::new();
static ASYNCIO: OnceLock<()> = OnceLock::new();

/// Whether an event loop runs on this thread.
fn has_running_loop(py: Python<'_>) -> PyResult<bool> {
    if bridge::in_trio(py)? {
        return Ok(true);
    }
    if ASYNCIO.get().is_none() {
        if !py.import("sys")?.getattr("modules")?.contains("asyncio")? {
            return Ok(false);
        }
        let _ = ASYNCIO.set(());
    }
    Ok(!RUNNING_LOOP.import(py, "asyncio", "_get_running_loop")?.call0()?.is_none())
}

/// The class of coroutine objects.
pub(crate) fn coroutines(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    COROUTINE.import(py, "types", "CoroutineType")
}

/// A coroutine object as a result means that nobody will ever run it.
pub(crate) fn refuse_coroutine(value: &Bound<'_, PyAny>, function: &Bound<'_, PyAny>) -> PyResult<()> {
    if !calling::is_of_type(value, coroutines(value.py())?) {
        return Ok(());
    }
    value.py().import("pointsman._outcome")?.call_method1("refuse_coroutine", (value, function)).map(drop)
}

fn not_callable(function: &Bound<'_, PyAny>) -> PyErr {
    let checked =
        function.py().import("pointsman._job").and_then(|job| job.call_method1("check_callable", (function,)));
    checked.err().unwrap_or_else(|| PyTypeError::new_err("the function is not callable"))
}

/// A queue of calls and the threads that serve it.
#[pyclass(module = "pointsman._native", frozen, weakref)]
pub(crate) struct ThreadPool {
    pub(crate) shared: Arc<Shared>,
}

#[pymethods]
impl ThreadPool {
    /// With `cores`, the pool grows beyond `max_workers` while calls wait and more threads bring more.
    #[new]
    #[pyo3(signature = (max_workers, queue_capacity, start_worker, stealing=false, cores=None))]
    fn new(
        max_workers: usize,
        queue_capacity: Option<usize>,
        start_worker: Py<PyAny>,
        stealing: bool,
        cores: Option<f64>,
    ) -> Self {
        let limits = Limits { workers: max_workers, queued: queue_capacity.unwrap_or(usize::MAX) };
        let order = if stealing { Order::Stealing } else { Order::Shared };
        Self {
            shared: Arc::new(Shared {
                queue: Queue::new(limits, order),
                start_worker,
                counters: Counters::default(),
                attached: AtomicUsize::new(0),
                waiting: AtomicUsize::new(0),
                at_the_door: AtomicUsize::new(0),
                looking: AtomicBool::new(false),
                caller_core: AtomicUsize::new(usize::MAX),
                worker_core: AtomicUsize::new(usize::MAX),
                pressed: AtomicUsize::new(0),
                glance_after: AtomicU64::new(0),
                sharing: Mutex::default(),
                maps: Mutex::default(),
                numbers: Mutex::default(),
                home: Home::here(),
                growth: cores.map(|cores| Mutex::new(Growth::new(cores))),
                looked: AtomicU64::new(0),
                began: Instant::now(),
            }),
        }
    }

    /// Queues a call and returns its future. With `on_caller`, a thread that waits for it may run it.
    #[pyo3(signature = (function, args, kwargs=None, priority=2, on_caller=false))]
    pub(crate) fn submit<'py>(
        &self,
        py: Python<'py>,
        function: Bound<'py, PyAny>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
        priority: u8,
        on_caller: bool,
    ) -> PyResult<Bound<'py, FutureCore>> {
        if !function.is_callable() {
            return Err(not_callable(&function));
        }
        let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty()).map(Bound::unbind);
        let call = Call::packed(function.unbind(), args.unbind(), kwargs);
        let inputs = Inputs { call, context: Context::copy_current(py)? };
        self.shared.clone().submit(py, inputs, Priority::from_rank(priority), on_caller)
    }

    /// Asks one more thread to take part in a job of many calls, with the variables of a context of its own.
    fn share(&self, py: Python<'_>, job: Py<SharedJob>, context: Py<PyAny>) -> PyResult<()> {
        self.shared.post(py, Priority::Normal, Job::Share(Box::new((job, Context::adopt(context)))))
    }

    /// The body of a worker thread: runs queued calls until the pool closes or none has come for `patience` seconds.
    fn work(&self, py: Python<'_>, patience: f64) -> bool {
        let patience = Duration::try_from_secs_f64(patience).unwrap_or(Duration::MAX);
        let shared = &self.shared;
        let number = shared.take_number();
        shared.attached.fetch_add(1, Ordering::Relaxed);
        let surplus = serving(shared, Some(number), || shared.serve(py, number, patience));
        shared.attached.fetch_sub(1, Ordering::Relaxed);
        shared.give_number(number);
        surplus
    }

    /// Refuses further calls; with `discard`, cancels those that have not begun.
    fn close(&self, py: Python<'_>, discard: bool) {
        for job in self.shared.queue.close(discard) {
            match job {
                Job::Call(call) => ThreadCall::withdraw_from(call.bind(py)),
                Job::Map(map) => {
                    map.get().stop(py, None);
                    MapJob::leave(&map, py);
                }
                Job::Share(..) => {}
            }
        }
        if discard {
            self.stop_maps(py, None);
        }
    }

    /// Ends the jobs of many calls that threads of this pool take part in.
    fn interrupt(&self, py: Python<'_>) {
        let jobs: Vec<_> = self.shared.sharing().iter().map(|job| job.clone_ref(py)).collect();
        for job in jobs {
            job.get().interrupt(py);
        }
    }

    /// Settles every queued call with `error` and refuses further ones.
    fn break_with(&self, py: Python<'_>, error: Py<PyAny>) {
        for job in self.shared.queue.close(true) {
            match job {
                Job::Call(call) => drop(FutureCore::fail(call.bind(py), error.clone_ref(py))),
                Job::Map(map) => {
                    map.get().stop(py, Some(error.clone_ref(py)));
                    MapJob::leave(&map, py);
                }
                Job::Share(..) => {}
            }
        }
        self.stop_maps(py, Some(&error));
    }

    /// Whether the calling thread is running a call of this pool.
    fn serves_current_thread(&self) -> bool {
        serving::serves(&self.shared)
    }

    /// Counts out a worker that ended before its loop, or could not start.
    fn remove_worker(&self) {
        self.shared.queue.remove_worker();
    }

    /// (workers, idle workers, queued calls, running calls, completed, failed, seconds of run time)
    fn figures(&self) -> (usize, usize, usize, usize, u64, u64, f64) {
        let figures = self.shared.figures();
        (
            self.shared.queue.workers(),
            self.shared.queue.idle(),
            figures.queued,
            figures.running,
            figures.completed,
            figures.failed,
            figures.spent.as_secs_f64(),
        )
    }
}

impl ThreadPool {
    fn stop_maps(&self, py: Python<'_>, error: Option<&Py<PyAny>>) {
        let maps: Vec<_> = self.shared.maps().iter().map(|map| map.clone_ref(py)).collect();
        for map in maps {
            map.get().stop(py, error.map(|error| error.clone_ref(py)));
        }
    }
}
