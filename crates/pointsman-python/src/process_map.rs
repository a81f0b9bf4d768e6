//! The calls of one `Executor.map` in worker processes: inputs packed in a row, sent in chunks as workers get through them.
//!
//! The program need not take a result for the next inputs to go out: the host's own thread sends them, without the
//! interpreter, since they are packed already.
//!
//! # Does not know
//!
//! What feeds an endless input, or how long the results may take.
//!
//! # Invariants
//!
//! - A1. Chunks lie in the order of their inputs; each input is in one chunk or among those that wait.
//! - A2. No Python code runs, and no Python object is dropped, while the lock is held.
//! - A3. While inputs wait, the pool knows the map, and looks at it after every drain of the host's own thread.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pointsman_plan::{CHUNK_BYTES, CHUNK_CALLS, FAIR, packed_chunk_size};
use pointsman_shm::{BlockRef, Payload, ProcessId, Reply, Sink, TaskId, TaskSpec, Timing, Usage};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::chunk::Chunk;
use crate::codec::{self, Store};
use crate::host_store::HostStore;
use crate::packing::Function;
use crate::process_pool::{ITEMS, NORMAL, Pool, ProcessPool, SPIN, STAR};
use crate::process_results::ProcessResults;
use crate::trace::{self, Following};
use crate::waiting;

/// Chunks in flight for each worker: one that runs, and enough behind it that whoever sends may be late.
const CHUNKS_PER_WORKER: usize = 3;
/// Seconds of work in a chunk, at most: what a cancel comes too late for, and how uneven the end may be.
const TARGET: f64 = 0.02;
/// Bytes of inputs that wait in this process at most; beyond it they are sent, and `push` waits for room. Arbitrary.
const MOST_WAITING: usize = 64 << 20;
/// Inputs that are packed between two looks at whether workers have enough. Arbitrary: that takes some 100 us.
const STRIDE: usize = 4096;

/// What the chunks of a map tell it when they are over.
#[derive(Debug, Default)]
struct Progress {
    finished: AtomicUsize,
    calls: AtomicU64,
    nanoseconds: AtomicU64,
}

/// A chunk that tells map and pool how far it is.
struct Part {
    chunk: Chunk,
    progress: Arc<Progress>,
    pool: Arc<Pool>,
    running: AtomicBool,
}

impl Sink for Part {
    fn begin(&self, process: ProcessId) {
        self.chunk.begin(process);
        // Relaxed, as everywhere here: figures, which publish nothing.
        if !self.running.swap(true, Ordering::Relaxed) {
            self.pool.common.running.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn timing(&self, pid: u32, lane: u16, timing: Timing) {
        self.chunk.timing(pid, lane, timing);
    }

    fn deliver(&self, index: u32, reply: Reply<'_>) {
        self.pool.common.counter(&reply).fetch_add(1, Ordering::Relaxed);
        self.chunk.deliver(index, reply);
    }

    fn finish(&self, usage: Usage) {
        if self.running.swap(false, Ordering::Relaxed) {
            self.pool.common.running.fetch_sub(1, Ordering::Relaxed);
        }
        self.pool.common.nanoseconds.fetch_add(usage.wall_ns, Ordering::Relaxed);
        self.progress.nanoseconds.fetch_add(usage.wall_ns, Ordering::Relaxed);
        self.progress.calls.fetch_add(self.chunk.calls as u64, Ordering::Relaxed);
        self.progress.finished.fetch_add(1, Ordering::Relaxed);
        self.chunk.finish(usage);
    }
}

struct Sent {
    part: Arc<Part>,
    task: Option<TaskId>,
}

/// Packed inputs that no chunk has.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Where the first of them begins.
    at: usize,
    lengths: VecDeque<usize>,
}

impl Waiting {
    fn add(&mut self, packed: &[u8], lengths: &[usize]) {
        self.bytes.extend_from_slice(packed);
        self.lengths.extend(lengths);
    }

    /// The payload of the next `most` inputs, or of as many as a chunk may have, and their number.
    fn take(&mut self, most: usize, mode: u8) -> (Vec<u8>, usize) {
        let (mut calls, mut len) = (0, 0);
        while calls < most
            && let Some(next) = self.lengths.get(calls)
            && (calls == 0 || len + next <= CHUNK_BYTES)
        {
            (calls, len) = (calls + 1, len + next);
        }
        self.lengths.drain(..calls);
        let mut payload = Vec::with_capacity(1 + len);
        payload.push(mode);
        payload.extend_from_slice(self.bytes.get(self.at..self.at + len).unwrap_or_default());
        self.at += len;
        if self.at > self.bytes.len() / 2 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        (payload, calls)
    }
}

#[derive(Default)]
struct State {
    waiting: Waiting,
    chunks: VecDeque<Sent>,
    /// Chunks that have been sent, or never will be.
    sent: usize,
    /// Inputs in chunks.
    begun: usize,
    /// Inputs that are being packed.
    coming: usize,
    stopped: bool,
}

/// A map, as the pool knows it while inputs wait.
pub(crate) struct Feed {
    pool: Arc<Pool>,
    function: Arc<Function>,
    star: bool,
    workers: usize,
    /// Inputs in each chunk, if that was said.
    size: Option<usize>,
    progress: Arc<Progress>,
    state: Mutex<State>,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mode(&self) -> u8 {
        ITEMS | if self.star { STAR } else { 0 }
    }

    /// Inputs that no chunk has.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.lengths.len()
    }

    /// Inputs in the next chunk.
    fn chunk_size(&self, state: &State) -> usize {
        if let Some(size) = self.size {
            return size;
        }
        let left = state.waiting.lengths.len() + state.coming;
        let calls = self.progress.calls.load(Ordering::Relaxed);
        if calls > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 53 bits")]
            let mean = self.progress.nanoseconds.load(Ordering::Relaxed) as f64 * 1e-9 / calls as f64;
            return self.sized(left, mean);
        }
        if let Some(mean) = self.function.price.mean() {
            return self.sized(left, mean).min((left / (FAIR * self.workers)).max(1));
        }
        // Nothing is known yet: a little more each time, until the first chunk is back.
        if state.begun < self.workers { 1 } else { (state.begun / (2 * self.workers)).max(1) }
    }

    /// Inputs in a chunk of calls that take `mean` seconds each.
    fn sized(&self, left: usize, mean: f64) -> usize {
        let workers = u32::try_from(self.workers).unwrap_or(u32::MAX);
        packed_chunk_size(left as u64, workers, mean, TARGET).min(CHUNK_CALLS)
    }

    /// Sends chunks until the workers have enough, or with `all` until no input waits.
    pub(crate) fn feed(self: &Arc<Self>, all: bool) {
        let enough = self.workers * CHUNKS_PER_WORKER;
        loop {
            let mut state = self.lock();
            let unfinished = state.sent - self.progress.finished.load(Ordering::Relaxed);
            let waiting = state.waiting.lengths.len();
            if waiting == 0 || (!all && unfinished >= enough) {
                break;
            }
            if !all && state.coming > 0 && self.size.is_some_and(|size| waiting < size) {
                // It is to have the size that was asked for.
                break;
            }
            let size = self.chunk_size(&state);
            let (payload, calls) = state.waiting.take(size, self.mode());
            let part = self.append(&mut state, calls);
            drop(state);
            self.send(&part, &payload, Vec::new());
        }
        self.pool.common.know(self, &self.pool.host);
    }

    /// A chunk for the next `calls` inputs.
    fn append(&self, state: &mut State, calls: usize) -> Arc<Part> {
        let followed = Following::new(&self.function.name, 0, Some(state.begun));
        let part = Arc::new(Part {
            chunk: Chunk::new(state.begun, calls, self.function.clone(), followed),
            progress: self.progress.clone(),
            pool: self.pool.clone(),
            running: AtomicBool::new(false),
        });
        state.begun += calls;
        state.sent += 1;
        state.chunks.push_back(Sent { part: part.clone(), task: None });
        part
    }

    fn send(&self, part: &Arc<Part>, payload: &[u8], attached: Vec<BlockRef>) {
        let spec = TaskSpec {
            function: self.function.id,
            function_block: self.function.block,
            payload: Payload::Bytes(payload),
            // What waits in this process at one time is far less than 2^32 inputs of a byte.
            calls: u32::try_from(part.chunk.calls).unwrap_or(u32::MAX),
            priority: NORMAL,
            attached,
            terms: pointsman_shm::Terms::default(),
        };
        let task = self.pool.host.submit(spec, part.clone());
        let mut state = self.lock();
        if let Some(sent) = state.chunks.iter_mut().rev().find(|sent| Arc::ptr_eq(&sent.part, part)) {
            sent.task = Some(task);
        }
        let stopped = state.stopped;
        drop(state);
        if stopped {
            self.pool.host.cancel(task);
        }
    }

    /// Runs no input that no worker has begun; with `keep` their results are cancellations, else nobody will ask.
    fn stop(&self, keep: bool) {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        let calls = waiting.lengths.len();
        if keep && calls > 0 {
            // Relaxed: a statistic.
            self.pool.common.cancelled.fetch_add(calls as u64, Ordering::Relaxed);
            self.append(&mut state, calls).chunk.cancel();
            self.progress.finished.fetch_add(1, Ordering::Relaxed);
        }
        let mut tasks = Vec::new();
        if !keep {
            state.stopped = true;
            tasks.extend(state.chunks.iter().rev().filter_map(|sent| sent.task));
        }
        drop(state);
        for task in tasks {
            self.pool.host.cancel(task);
        }
        drop(waiting);
    }

    /// Cancels the inputs that wait.
    pub(crate) fn cancel(&self) {
        self.stop(true);
    }

    /// Runs no input that no worker has begun. No result will be asked for.
    pub(crate) fn end(&self, py: Python<'_>) {
        self.stop(false);
        self.pool.common.tell(py);
    }

    /// Hands the results that are ready to `give`; returns the exception that comes after them, if one does.
    pub(crate) fn take(
        self: &Arc<Self>,
        py: Python<'_>,
        mut give: impl FnMut(Py<PyAny>),
    ) -> PyResult<Option<Py<PyAny>>> {
        self.pool.host.drain();
        self.feed(false);
        let mut raised = None;
        while raised.is_none() {
            let front = self.lock().chunks.front().map(|sent| sent.part.clone());
            let Some(part) = front else { break };
            let ready = part.chunk.take(py, false, 0, |value| {
                give(value);
                Ok(())
            })?;
            raised = ready.raised;
            if raised.is_none() && part.chunk.is_cancelled() {
                raised = Some(py.import("concurrent.futures")?.getattr("CancelledError")?.call0()?.unbind());
            }
            if !ready.exhausted {
                break;
            }
            let gone = self.lock().chunks.pop_front();
            drop(gone);
        }
        self.pool.common.tell(py);
        Ok(raised)
    }

    /// Waits until a result can be taken; false when none came before the deadline.
    pub(crate) fn wait(&self, py: Python<'_>, deadline: Option<Instant>) -> PyResult<bool> {
        // As for a job: a spin between chunks would only take the core of a worker.
        let unfinished = self.lock().sent - self.progress.finished.load(Ordering::Relaxed);
        let first = self.progress.calls.load(Ordering::Relaxed) == 0;
        let spin = if first || unfinished < 2 { SPIN } else { Duration::ZERO };
        self.pool.wait_spinning(py, deadline, spin, &|| {
            self.lock().chunks.front().is_none_or(|sent| sent.part.chunk.has_news())
        })
    }

    /// Results that have not been taken.
    pub(crate) fn left(&self) -> usize {
        let state = self.lock();
        state.waiting.lengths.len() + state.chunks.iter().map(|sent| sent.part.chunk.left()).sum::<usize>()
    }
}

/// Packed inputs, and where each ends.
#[derive(Default)]
struct Packed {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

/// The calls of one `Executor.map` on worker processes.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct ProcessMap(Arc<Feed>);

#[pymethods]
impl ProcessMap {
    /// A map of `function` on the `workers` processes of `pool`; with `star`, each input holds the arguments of a call.
    /// `size` is the number of inputs in a chunk, if it is not to follow from what calls take.
    #[new]
    #[pyo3(signature = (pool, function, star, workers, size=None))]
    fn new(
        pool: &ProcessPool,
        function: &Bound<'_, PyAny>,
        star: bool,
        workers: usize,
        size: Option<usize>,
    ) -> PyResult<Self> {
        let pool = pool.pool.clone();
        let function = pool.function(function, false)?;
        Ok(Self(Arc::new(Feed {
            pool,
            function,
            star,
            workers: workers.max(1),
            size,
            progress: Arc::default(),
            state: Mutex::default(),
        })))
    }

    /// Adds inputs at the end. Of one that cannot travel the error is the result, which `explain(why, index)` makes.
    fn push(&self, py: Python<'_>, items: &Bound<'_, PyList>, explain: &Bound<'_, PyAny>) -> PyResult<()> {
        let (feed, pool) = (&self.0, &self.0.pool);
        pool.host.time_calls(trace::on());
        pool.check(py, &|| feed.function.name.clone())?;
        feed.lock().coming += items.len();
        let pushed = self.push_each(py, items, explain);
        feed.lock().coming = 0;
        if pushed.is_err() {
            // Nobody will have the results of those that are out.
            feed.stop(false);
        }
        pushed?;
        feed.feed(false);
        Ok(())
    }

    /// The results that are ready, the last one first, and the exception that comes after them, if one does.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>, Option<Py<PyAny>>)> {
        let mut values = Vec::new();
        let raised = self.0.take(py, |value| values.push(value))?;
        values.reverse();
        Ok((PyList::new(py, values)?, raised))
    }

    /// Waits until a result can be taken, for at most `seconds`; false when none came.
    #[pyo3(signature = (seconds=None))]
    fn wait(&self, py: Python<'_>, seconds: Option<f64>) -> PyResult<bool> {
        self.0.wait(py, waiting::deadline_after(seconds)?)
    }

    /// Yields the results, each within `timeout` seconds from now. Nothing more can be pushed.
    #[pyo3(signature = (timeout=None))]
    fn results(&self, timeout: Option<f64>) -> PyResult<ProcessResults> {
        Ok(ProcessResults::new(self.0.clone(), waiting::deadline_after(timeout)?))
    }

    /// Results that have not been taken.
    fn left(&self) -> usize {
        self.0.left()
    }

    /// Runs no input that no worker has begun. No result will be asked for.
    fn stop(&self, py: Python<'_>) {
        self.0.end(py);
    }
}

impl ProcessMap {
    fn push_each(&self, py: Python<'_>, items: &Bound<'_, PyList>, explain: &Bound<'_, PyAny>) -> PyResult<()> {
        let (feed, pool) = (&self.0, &self.0.pool);
        let mut packed = Packed::default();
        let mut store = HostStore::new(&pool.host, &pool.definitions);
        for item in items {
            let start = packed.bytes.len();
            if let Err(why) = self.pack(&item, &mut packed.bytes, &mut store) {
                packed.bytes.truncate(start);
                store.roll_back(0);
                self.add(&mut packed);
                self.fail(py, why, explain)?;
                store.doubt();
            } else if store.mark() > 0 {
                // Large inputs travel by themselves, after all that came before them.
                let mut payload = vec![feed.mode()];
                payload.extend(packed.bytes.drain(start..));
                self.add(&mut packed);
                feed.feed(true);
                let part = feed.append(&mut feed.lock(), 1);
                feed.send(&part, &payload, store.take());
                pool.wait_for_room(py)?;
                store.doubt();
            } else {
                packed.lengths.push(packed.bytes.len() - start);
                if packed.bytes.len() > MOST_WAITING {
                    self.add(&mut packed);
                    feed.feed(true);
                    pool.wait_for_room(py)?;
                    store.doubt();
                } else if packed.lengths.len() == STRIDE {
                    // Workers need not wait for the last input.
                    self.add(&mut packed);
                    feed.feed(false);
                }
            }
        }
        self.add(&mut packed);
        Ok(())
    }

    fn pack(&self, item: &Bound<'_, PyAny>, out: &mut Vec<u8>, store: &mut HostStore<'_>) -> PyResult<()> {
        if self.0.star && !item.is_exact_instance_of::<PyTuple>() {
            return codec::encode_pickled(item, out, store).map(drop);
        }
        codec::encode(item, out, store)
    }

    fn add(&self, packed: &mut Packed) {
        let mut state = self.0.lock();
        state.waiting.add(&packed.bytes, &packed.lengths);
        state.coming = state.coming.saturating_sub(packed.lengths.len());
        drop(state);
        packed.bytes.clear();
        packed.lengths.clear();
    }

    /// Gives the next input, which cannot travel, its result.
    fn fail(&self, py: Python<'_>, why: PyErr, explain: &Bound<'_, PyAny>) -> PyResult<()> {
        let feed = &self.0;
        if !why.is_instance_of::<PyException>(py) {
            return Err(why);
        }
        feed.feed(true);
        let index = feed.lock().begun;
        let error = explain.call1((why.into_value(py), index))?.unbind();
        let part = feed.append(&mut feed.lock(), 1);
        part.chunk.fill(VecDeque::from([Err(error)]));
        feed.progress.finished.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
