//! The worker processes of one executor: functions that they know, single calls, and who must be told.
//!
//! # Does not know
//!
//! How to decide, rings, parking, or how a worker process starts (`pointsman-shm` carries; `pointsman._pool` launches).
//!
//! # Invariants
//!
//! - P1. The host's lock is never held while Python code runs: arguments are encoded before a submit and outcomes are
//!   decoded after a drain.
//! - P2. A function's block in shared memory lives as long as a call that mentions it: it is the function's, or that of the
//!   one task which the function was packed for.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pointsman_shm::{Death, Host, HostConfig, Payload, Sink, TaskSpec};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::calling;
use crate::cell::Outcome;
use crate::ending::detached;
use crate::future::{self, FutureCore};
use crate::home::Home;
use crate::host_store::{Definitions, HostStore};
use crate::known::KnownFunctions;
pub(crate) use crate::packing::Function;
use crate::packing::{self, Packed, Price};
use crate::pressure::Pressure;
use crate::process_call::{ProcessCall, Spent};
use crate::process_common::Common;
use crate::sizes::{sizes, too_little};
use crate::terms::{self, Terms};
use crate::trace;
use crate::waiting::{self, SLICE};

/// How long a waiting caller spins before it sleeps. FEASIBILITY A: below 10 us a spin saves nothing, and one
/// round trip between cores is 0.1 to 0.5 us; a sleeping core takes 12 to 20 us to wake.
pub(crate) const SPIN: Duration = Duration::from_micros(50);
/// The rank of calls of which nobody says how urgent they are (`TaskPriority.NORMAL`).
pub(crate) const NORMAL: u8 = 2;

/// Modes of a payload, shared with the worker.
pub(crate) const CALL_PLAIN: u8 = 0;
pub(crate) const CALL_PICKLED: u8 = 1;
pub(crate) const ITEMS: u8 = 2;
pub(crate) const ITEMS_PICKLED: u8 = 3;
/// Added to the items' modes: each item holds the arguments of a call.
pub(crate) const STAR: u8 = 0x10;

/// The host, which tells each call or chunk of its own outcomes.
pub(crate) type Workers = Host<dyn Sink>;

/// The arguments of a call.
#[derive(Clone, Copy)]
enum Arguments<'a, 'py> {
    /// Not in a tuple.
    Items(&'a [Bound<'py, PyAny>]),
    Packed(&'a Bound<'py, PyTuple>, Option<&'a Bound<'py, PyDict>>),
}

impl Arguments<'_, '_> {
    fn encode(self, py: Python<'_>, out: &mut Vec<u8>, store: &mut HostStore<'_>) -> PyResult<()> {
        match self {
            Self::Items(items) if packing::encode_items(items, out, store)? => Ok(()),
            Self::Items(items) => packing::encode_call(&PyTuple::new(py, items)?, None, out, store),
            Self::Packed(args, kwargs) => packing::encode_call(args, kwargs, out, store),
        }
    }
}

thread_local! {
    /// Where a thread packs arguments. Taken while it does, since packing may run Python code that submits.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}
/// Larger ones are not kept.
const MOST_SCRATCH: usize = 4096;

pub(crate) struct Pool {
    pub(crate) host: Arc<Workers>,
    pub(crate) common: Arc<Common>,
    pub(crate) pressure: Pressure,
    pub(crate) home: Home,
    known: KnownFunctions,
    /// The classes that the workers were told of.
    pub(crate) definitions: Definitions,
    next_function: AtomicU64,
    start_collector: Py<PyAny>,
    connect: Py<PyAny>,
    /// Bytes of arguments on their way beyond which a submit waits.
    most_waiting: u64,
    /// Whether futures may be hidden from the garbage collector: not where threads could show one at the same time.
    hides: bool,
}

impl Pool {
    /// Raises if no worker will ever come; sees to it that one can.
    pub(crate) fn check(&self, py: Python<'_>, name: &dyn Fn() -> String) -> PyResult<()> {
        self.replace_zygote(py);
        let Some(death) = self.common.broken.get() else { return Ok(()) };
        let error = crate::outcome::decode(py, Outcome::Died(Box::new(death.clone())), name, None);
        Err(error.err().map_or_else(
            || PyRuntimeError::new_err("the pool is broken"),
            |error| PyErr::from_value(error.into_bound(py)),
        ))
    }

    /// Waits while so much is on its way that more would fill the memory.
    pub(crate) fn wait_for_room(&self, py: Python<'_>) -> PyResult<()> {
        if self.host.is_crowded(self.most_waiting) {
            self.wait(py, None, &|| !self.host.is_crowded(self.most_waiting))?;
        }
        Ok(())
    }

    /// Gets another zygote in place of one that has died; without one, fails every call that is left.
    fn replace_zygote(&self, py: Python<'_>) {
        // Relaxed: whoever sees it first takes care of it, and nothing else is published by it.
        if !self.common.zygote_lost.load(Ordering::Relaxed) || !self.common.zygote_lost.swap(false, Ordering::Relaxed) {
            return;
        }
        let connected = crate::ending::call(self.connect.bind(py))
            .and_then(|socket| crate::descriptor::own(socket.extract()?))
            .and_then(|socket| Ok(self.host.set_zygote(socket)?));
        if let Err(error) = connected {
            self.host.abandon(Death::never_started(error.to_string()));
        }
    }

    /// The function as workers know it. It is packed once, and again when something that it reaches has been replaced;
    /// a callable with a state of its own is packed every time, since that may have changed meanwhile.
    pub(crate) fn function(&self, function: &Bound<'_, PyAny>, slim: bool) -> PyResult<Arc<Function>> {
        let slim = slim && self.common.initializer.get().is_none();
        if let Some(known) = self.known.get(function, slim) {
            return Ok(known);
        }
        let again = self.known.was_unsure(function);
        let Packed { bytes, attached, dependencies } =
            packing::pack(&self.host, &self.definitions, function, slim, again)?;
        let Some(mut block) = self.host.alloc(bytes.len()) else {
            for block in attached {
                self.host.free(block);
            }
            return Err(PyOSError::new_err("no shared memory left for the function"));
        };
        block.as_mut_slice().copy_from_slice(&bytes);
        // Relaxed: only uniqueness matters.
        let id = self.next_function.fetch_add(1, Ordering::Relaxed);
        let block = block.into_ref();
        let made = Arc::new(Function {
            id,
            block,
            owned: attached.into_iter().chain([block]).collect(),
            name: calling::name_of(function),
            host: self.host.clone(),
            price: Price::default(),
        });
        if let Some(dependencies) = dependencies {
            self.known.keep(function, slim, made.clone(), dependencies);
        } else if !again {
            self.known.note_unsure(function);
        }
        Ok(made)
    }

    /// Somebody wants to be told of an outcome without waiting for it.
    pub(crate) fn start_collector(&self, py: Python<'_>) -> PyResult<()> {
        crate::ending::call(self.start_collector.bind(py)).map(|_| ())
    }

    /// Waits detached for `done`, draining meanwhile, and tells mirrored futures.
    pub(crate) fn wait(
        &self,
        py: Python<'_>,
        deadline: Option<Instant>,
        done: &(dyn Fn() -> bool + Sync),
    ) -> PyResult<bool> {
        self.wait_spinning(py, deadline, SPIN, done)
    }

    /// As [`Pool::wait`], after a spin of this length.
    pub(crate) fn wait_spinning(
        &self,
        py: Python<'_>,
        deadline: Option<Instant>,
        spin: Duration,
        done: &(dyn Fn() -> bool + Sync),
    ) -> PyResult<bool> {
        self.home.check(py)?;
        loop {
            let slice = Instant::now() + SLICE;
            let until = deadline.map_or(slice, |deadline| deadline.min(slice));
            let (settled, left_at) = detached(py, || {
                let settled = self.host.wait(&|| done(), Some(until), spin);
                (settled, Instant::now())
            });
            self.pressure.came_back(left_at.elapsed());
            self.common.tell(py);
            if settled {
                return Ok(true);
            }
            self.replace_zygote(py);
            py.check_signals()?;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
        }
    }
}

impl ProcessPool {
    /// Queues a plain call of a function that the workers know; `None` if they do not.
    pub(crate) fn submit_known<'py>(
        &self,
        function: &Bound<'py, PyAny>,
        items: &[Bound<'py, PyAny>],
    ) -> PyResult<Option<Bound<'py, FutureCore>>> {
        let Some(known) = self.pool.known.get(function, false) else { return Ok(None) };
        let py = function.py();
        self.pool.check(py, &|| known.name.clone())?;
        self.send(py, known, Arguments::Items(items), NORMAL, None, None).map(Some)
    }

    fn send<'py>(
        &self,
        py: Python<'py>,
        mut function: Arc<Function>,
        arguments: Arguments<'_, 'py>,
        priority: u8,
        terms: Option<&Bound<'py, Terms>>,
        spent: Option<&Spent>,
    ) -> PyResult<Bound<'py, FutureCore>> {
        let host = &self.pool.host;
        self.pool.wait_for_room(py)?;
        host.time_calls(trace::on());
        let began = trace::posted();
        let mut payload = SCRATCH.take();
        payload.clear();
        let mut store = HostStore::new(host, &self.pool.definitions);
        arguments.encode(py, &mut payload, &mut store)?;
        let mut attached = store.take();
        // One that was packed for this call alone: what it carries ends with the call, and not with the future.
        if Arc::strong_count(&function) == 1
            && let Some(function) = Arc::get_mut(&mut function)
        {
            attached.append(&mut function.owned);
        }
        let spec = TaskSpec {
            function: function.id,
            function_block: function.block,
            payload: Payload::Bytes(&payload),
            calls: 1,
            priority,
            attached,
            terms: terms::shared(terms),
        };
        if began != 0 {
            trace::transfer(py, trace::Kind::Send, trace::name(&function.name), 0, began, payload.len());
        }
        let kill_on_cancel = terms.is_some_and(|terms| terms.get().kill_on_cancel);
        let call = Arc::new(ProcessCall::new(self.pool.clone(), function, kill_on_cancel, spent));
        call.is_sent(host.submit(spec, call.clone()));
        if payload.capacity() <= MOST_SCRATCH {
            SCRATCH.set(payload);
        }
        if self.pool.hides { future::make_hidden(py, call) } else { future::make(py, call) }
    }
}

/// Worker processes and the memory that they share with this one.
#[pyclass(module = "pointsman._native", frozen, weakref)]
pub(crate) struct ProcessPool {
    pub(crate) pool: Arc<Pool>,
}

#[pymethods]
impl ProcessPool {
    /// `start_collector` is called when a future wants to be told of its outcome without anybody waiting for it,
    /// `connect` for the socket of another zygote when one has died.
    ///
    /// `shared_memory` is the most bytes that the pool and `lanes` threads of workers may share; a submit waits while more
    /// than `most_waiting` bytes of arguments are on their way.
    #[new]
    #[pyo3(signature = (start_collector, connect, shared_memory=None, lanes=1, most_waiting=1 << 30))]
    fn new(
        py: Python<'_>,
        start_collector: Py<PyAny>,
        connect: Py<PyAny>,
        shared_memory: Option<u64>,
        lanes: u32,
        most_waiting: u64,
    ) -> PyResult<Self> {
        let common = Arc::new(Common::default());
        let config = match shared_memory {
            Some(most) => sizes(most, lanes.max(1)).ok_or_else(|| too_little(most, lanes))?,
            None => HostConfig::default(),
        };
        let most_waiting = most_waiting.min(config.host_arena_bytes / 2);
        let config_room = config.host_arena_bytes;
        let host = Arc::new(Host::new(config, common.clone())?);
        let pool = Pool {
            host,
            common,
            pressure: Pressure::default(),
            home: Home::here(),
            known: KnownFunctions::default(),
            definitions: Definitions::new(config_room),
            next_function: AtomicU64::new(1),
            start_collector,
            connect,
            most_waiting,
            hides: has_gil(py)?,
        };
        Ok(Self { pool: Arc::new(pool) })
    }

    /// Gives the pool the socket of a zygote; the pool owns it from now on.
    fn set_zygote(&self, socket: i32) -> PyResult<()> {
        Ok(self.pool.host.set_zygote(crate::descriptor::own(socket)?)?)
    }

    /// Sets what every worker that is started from now on must know.
    fn set_launch_config(&self, config: &[u8]) -> PyResult<()> {
        Ok(self.pool.host.set_launch_config(config)?)
    }

    /// Has the death of one worker break the pool, as in the standard library. Before the first process.
    fn break_on_death(&self) {
        let _ = self.pool.common.breaks.set(Arc::downgrade(&self.pool.host));
    }

    /// The error of a pool whose workers will never come back; None for one that works.
    fn broken(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let death = self.pool.common.broken.get()?;
        crate::outcome::decode(py, Outcome::Died(Box::new(death.clone())), &|| "any call".into(), None).err()
    }

    /// Waits until fewer than `capacity` calls wait for a worker.
    fn wait_for_room(&self, py: Python<'_>, capacity: usize) -> PyResult<()> {
        while self.pool.host.queued() >= capacity {
            // Workers that begin a call ring no bell: look now and then.
            let deadline = Some(Instant::now() + Duration::from_millis(2));
            self.pool.wait(py, deadline, &|| self.pool.host.queued() < capacity)?;
        }
        Ok(())
    }

    /// Says that workers have an initializer, and names it for messages.
    fn set_initializer(&self, name: String) {
        self.pool.host.set_initialized();
        let _ = self.pool.common.initializer.set(name);
    }

    /// Starts one more worker process with this many threads; returns at once.
    fn add_process(&self, lanes: u32) -> PyResult<u64> {
        self.pool.common.asked.get_or_init(Instant::now);
        Ok(u64::from(self.pool.host.add_process(lanes)?.0))
    }

    /// Queues a call and returns its future; its seconds are added to `spent`, too.
    #[expect(clippy::too_many_arguments, reason = "each is one of the method's own")]
    #[pyo3(signature = (function, args, kwargs=None, priority=2, terms=None, spent=None))]
    fn submit<'py>(
        &self,
        py: Python<'py>,
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        priority: u8,
        terms: Option<&Bound<'py, Terms>>,
        spent: Option<&Bound<'py, Spent>>,
    ) -> PyResult<Bound<'py, FutureCore>> {
        self.pool.check(py, &|| calling::name_of(function))?;
        let known = self.pool.function(function, false)?;
        self.send(py, known, Arguments::Packed(args, kwargs), priority, terms, spent.map(Bound::get))
    }

    /// Brings in what has arrived and tells those who wait to be told, until `seconds` have passed or the pool has ended.
    /// The body of the collector thread.
    fn collect(&self, py: Python<'_>, seconds: f64) -> PyResult<()> {
        let deadline = waiting::deadline_after(Some(seconds))?;
        let common = self.pool.common.clone();
        self.pool.wait(py, deadline, &|| common.has_told())?;
        Ok(())
    }

    /// Ends the workers: after the queued calls, or with `kill` at once.
    fn shutdown(&self, py: Python<'_>, kill: bool) {
        py.detach(|| {
            if kill {
                self.pool.host.shutdown(true);
            }
            // What waits is to be run before the end, or is refused like everything else.
            self.pool.common.feed(true);
            self.pool.host.shutdown(kill);
        });
        self.pool.common.tell(py);
    }

    /// Waits until every worker has ended; false when `seconds` passed first.
    #[pyo3(signature = (seconds=None))]
    fn join(&self, py: Python<'_>, seconds: Option<f64>) -> PyResult<bool> {
        let deadline = waiting::deadline_after(seconds)?;
        let joined =
            waiting::wait_sliced(py, Home::here(), deadline, |limit| self.pool.host.join(Some(Instant::now() + limit)));
        self.pool.common.tell(py);
        joined
    }

    /// Fails every call that is left: no worker will come.
    fn abandon(&self, py: Python<'_>, why: String) {
        self.pool.host.abandon(Death::never_started(why));
        self.pool.common.feed(true);
        self.pool.common.tell(py);
    }

    /// Cancels every call that no worker has begun.
    fn cancel_all(&self, py: Python<'_>) {
        let maps = std::mem::take(&mut *self.pool.common.lock_maps());
        for map in maps {
            map.cancel();
        }
        self.pool.host.cancel_all();
        self.pool.common.tell(py);
    }

    /// Forgets the pool in a forked child, which shares its memory with the parent.
    fn disown(&self) {
        self.pool.host.disown();
    }

    /// (queued calls or chunks, running ones, completed, failed, cancelled, seconds of run time, deaths)
    fn figures(&self) -> (usize, usize, u64, u64, u64, f64, u64) {
        let common = &self.pool.common;
        let seconds = Duration::from_nanos(common.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        (
            self.pool.host.queued() + common.lock_maps().iter().map(|map| map.waiting()).sum::<usize>(),
            usize::try_from(common.running.load(Ordering::Relaxed)).unwrap_or(0),
            common.completed.load(Ordering::Relaxed),
            common.failed.load(Ordering::Relaxed),
            common.cancelled.load(Ordering::Relaxed),
            seconds,
            common.deaths.load(Ordering::Relaxed),
        )
    }

    /// Seconds from the first [`ProcessPool::add_process`] until a worker was ready; None if none is yet.
    fn start_up(&self) -> Option<f64> {
        let (asked, ready) = (self.pool.common.asked.get()?, self.pool.common.ready.get()?);
        Some(ready.duration_since(*asked).as_secs_f64())
    }

    /// Process ids of the workers that are alive.
    fn pids(&self) -> Vec<i32> {
        self.pool.host.processes().iter().map(|process| process.pid).filter(|pid| *pid > 0).collect()
    }
}

/// Whether one thread at a time runs Python code.
fn has_gil(py: Python<'_>) -> PyResult<bool> {
    let asked = py.import("sys")?.getattr_opt("_is_gil_enabled")?;
    asked.map_or(Ok(true), |asked| asked.call0()?.is_truthy())
}

/// An `InvalidArgumentError`.
pub(crate) fn invalid(message: String) -> PyErr {
    Python::attach(|py| {
        let class = py.import("pointsman._errors").and_then(|module| module.getattr("InvalidArgumentError"));
        class.and_then(|class| class.call1((message,))).map_or_else(|error| error, PyErr::from_value)
    })
}
