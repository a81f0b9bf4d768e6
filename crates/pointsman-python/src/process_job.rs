//! A job of many calls that worker processes run in chunks, and the caller too if it likes.
//!
//! # Does not know
//!
//! How large a chunk should be, or whether the caller takes part: the engine says.
//!
//! # Invariants
//!
//! - R1. Chunks lie in the order of their inputs; each index is in one chunk.
//! - R2. A chunk that the caller steals back was cancelled first: no worker has begun it or will.
//! - R3. No Python code runs, and no Python object is dropped, while the lock is held.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pointsman_shm::{KillReason, Payload, TaskId, TaskSpec};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::chunk::Chunk;
use crate::groups;
use crate::host_store::HostStore;
use crate::process_pool::{Function, Pool, ProcessPool, SPIN};
use crate::terms::{self, Terms};
use crate::trace::{self, Following, Kind};
use crate::waiting;

/// How long a worker may take to die once it was killed, before the caller goes on regardless. Arbitrary: it takes a
/// millisecond, unless the worker is stuck in the kernel.
const DEATH_TAKES: Duration = Duration::from_millis(300);

/// Bytes that are kept to pack further inputs into, at most. Arbitrary.
const MOST_PACKED: usize = 1 << 20;

struct Sent {
    chunk: Arc<Chunk>,
    /// Index of the job's first input, seen from this chunk: inputs that never came here may lie between.
    base: usize,
    task: Option<TaskId>,
    /// The inputs, kept so that the caller can steal the chunk back.
    items: Option<Py<PyList>>,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Sent>,
    pushed: usize,
    taken: usize,
    calls: u64,
    wall_ns: u64,
    cpu_ns: u64,
}

impl State {
    /// The chunks that workers have, or will have.
    fn unfinished(&self) -> impl Iterator<Item = &Sent> {
        self.chunks.iter().filter(|sent| sent.task.is_some() && !sent.chunk.is_finished())
    }

    /// Takes a chunk out of the job whose results have all been taken.
    fn remove(&mut self, place: usize, chunk: &Arc<Chunk>) -> Option<Sent> {
        let is_there = self.chunks.get(place).is_some_and(|sent| Arc::ptr_eq(&sent.chunk, chunk));
        if is_there { self.chunks.remove(place) } else { None }
    }
}

/// Chunks in flight and their results, in order or as they are ready.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct ProcessJob {
    pool: Arc<Pool>,
    function: Arc<Function>,
    star: bool,
    keep_going: bool,
    /// Whether results are given in the order of the inputs.
    ordered: bool,
    /// Index of the first input in the whole job, for messages.
    base: usize,
    terms: pointsman_shm::Terms,
    /// The job's number in traces.
    number: u32,
    /// Where inputs are packed: memory that was touched before is far cheaper.
    packed: Mutex<Vec<u8>>,
    state: Mutex<State>,
}

impl ProcessJob {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends inputs to the workers; their outcomes go to `chunk`.
    fn send(&self, items: &Bound<'_, PyList>, chunk: Arc<Chunk>) -> PyResult<(TaskId, usize)> {
        let host = &self.pool.host;
        host.time_calls(trace::on());
        let began = trace::posted();
        let calls = items.len();
        let mut payload = std::mem::take(&mut *self.packed());
        payload.clear();
        payload.reserve(16 + calls * 12);
        let mut store = HostStore::new(host, &self.pool.definitions);
        groups::encode(items, self.star, &mut payload, &mut store)?;
        let attached = store.take();
        let buffers: u64 = attached.iter().map(|block| block.len).sum();
        let bytes = payload.len() + usize::try_from(buffers).unwrap_or(usize::MAX);
        let spec = TaskSpec {
            function: self.function.id,
            function_block: self.function.block,
            payload: Payload::Bytes(&payload),
            calls: u32::try_from(calls)?,
            priority: 2,
            attached,
            terms: self.terms,
        };
        if began != 0 {
            trace::transfer(items.py(), Kind::Send, trace::name(&self.function.name), self.number, began, bytes);
        }
        let task = host.submit(spec, chunk);
        if payload.capacity() <= MOST_PACKED {
            *self.packed() = payload;
        }
        Ok((task, bytes))
    }

    fn packed(&self) -> MutexGuard<'_, Vec<u8>> {
        self.packed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the inputs of a cancelled chunk that have not been run.
    fn send_rest(&self, py: Python<'_>, mut sent: Sent) -> PyResult<Sent> {
        sent.chunk.reopen();
        if let Some(items) = &sent.items {
            let items = items.bind(py);
            let rest = items.get_slice(sent.chunk.arrived(), items.len());
            sent.task = Some(self.send(&rest, sent.chunk.clone())?.0);
        }
        Ok(sent)
    }

    /// The error of calls that have no results because the pool was ended before they had begun.
    fn ended(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let message = format!("the pool was ended before all calls of {} had begun", self.function.name);
        Ok(py.import("pointsman._errors")?.getattr("PoolBrokenError")?.call1((message,))?.unbind())
    }

    fn append(&self, chunk: Arc<Chunk>, base: usize, task: Option<TaskId>, items: Option<Py<PyList>>) {
        let calls = chunk.calls;
        let mut state = self.lock();
        state.pushed += calls;
        state.chunks.push_back(Sent { chunk, base, task, items });
    }
}

#[pymethods]
impl ProcessJob {
    /// A job that calls `function` on each input; with `star`, on the input's items. With `keep_going` an exception is a result. With
    /// `slim` the function may travel without its module.
    #[new]
    #[pyo3(signature = (pool, function, star, keep_going, base=0, terms=None, number=0, ordered=true, slim=false))]
    #[expect(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "those of Python are keywords")]
    fn new(
        pool: &ProcessPool,
        function: &Bound<'_, PyAny>,
        star: bool,
        keep_going: bool,
        base: usize,
        terms: Option<&Bound<'_, Terms>>,
        number: u32,
        ordered: bool,
        slim: bool,
    ) -> PyResult<Self> {
        let terms = terms::shared(terms);
        let pool = pool.pool.clone();
        let function = pool.function(function, slim)?;
        Ok(Self {
            pool,
            function,
            star,
            keep_going,
            ordered,
            base,
            terms,
            number,
            packed: Mutex::default(),
            state: Mutex::default(),
        })
    }

    /// Sends a chunk of inputs to the workers; `index` is that of the first of them, if not as many came before. Returns
    /// the bytes that went with it.
    #[pyo3(signature = (items, index=None))]
    fn push(&self, items: Bound<'_, PyList>, index: Option<usize>) -> PyResult<usize> {
        let calls = items.len();
        let first = self.lock().pushed;
        let base = index.map_or(self.base, |index| index.saturating_sub(first));
        let followed = Following::new(&self.function.name, self.number, Some(base + first));
        let chunk = Arc::new(Chunk::new(first, calls, self.function.clone(), followed));
        let (task, bytes) = self.send(&items, chunk.clone())?;
        self.append(chunk, base, Some(task), Some(items.unbind()));
        Ok(bytes)
    }

    /// Keeps a place for `calls` results that the caller computes itself; fill it with [`ProcessJob::fill`].
    fn reserve(&self, calls: usize) -> usize {
        let first = self.lock().pushed;
        let chunk = Arc::new(Chunk::new(first, calls, self.function.clone(), None));
        self.append(chunk, self.base, None, None);
        first
    }

    /// Takes the last chunk back that no worker runs: its first index, and those of its inputs that have not been run.
    ///
    /// A chunk whose worker died goes on with the calls after the one that died; it may be taken back then, too.
    fn steal<'py>(&self, py: Python<'py>) -> Option<(usize, Bound<'py, PyList>)> {
        let candidates: Vec<(usize, TaskId)> = {
            let state = self.lock();
            let queued = state.chunks.iter().rev().filter(|sent| sent.items.is_some() && !sent.chunk.is_finished());
            queued.filter_map(|sent| sent.task.map(|task| (sent.chunk.first, task))).take(4).collect()
        };
        for (first, task) in candidates {
            if self.pool.host.cancel(task) {
                let mut state = self.lock();
                let Some(sent) = state.chunks.iter_mut().find(|sent| sent.chunk.first == first) else { break };
                sent.task = None;
                let done = sent.chunk.arrived();
                let Some(items) = sent.items.take() else { break };
                drop(state);
                let items = items.into_bound(py);
                return Some((first, items.get_slice(done, items.len())));
            }
        }
        None
    }

    /// Stores the results that the caller computed for the chunk that begins at `first`; `raised` comes after them.
    fn fill(&self, first: usize, values: &Bound<'_, PyList>, raised: Option<Py<PyAny>>) -> PyResult<()> {
        let mut results: VecDeque<_> = values.iter().map(|value| Ok(value.unbind())).collect();
        results.extend(raised.map(Err));
        let chunk = {
            let state = self.lock();
            state.chunks.iter().find(|sent| sent.chunk.first == first).map(|sent| sent.chunk.clone())
        };
        chunk.ok_or_else(|| PyValueError::new_err("no chunk begins there"))?.fill(results);
        Ok(())
    }

    /// The results that are ready, and the exception that comes after them, if one does.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyList>, Option<Py<PyAny>>)> {
        self.pool.host.drain();
        let values = PyList::empty(py);
        // Of those before it, each has a call that has not come back.
        let mut place = 0;
        loop {
            let next = self.lock().chunks.get(place).map(|sent| (sent.chunk.clone(), sent.base));
            let Some((chunk, base)) = next else { break };
            let began = trace::posted();
            let ready = chunk.take(py, self.keep_going, base, |value| values.append(value))?;
            let count = ready.count;
            if began != 0 && count > 0 {
                trace::transfer(py, Kind::Receive, trace::name(&self.function.name), self.number, began, 0);
            }
            let mut state = self.lock();
            state.taken += count;
            if ready.raised.is_some() {
                return Ok((values, ready.raised));
            }
            if !ready.exhausted {
                if self.ordered {
                    break;
                }
                place += 1;
                continue;
            }
            let gone = state.remove(place, &chunk);
            if let Some((wall, cpu)) = chunk.usage()
                && gone.as_ref().is_some_and(|sent| sent.task.is_some())
            {
                state.calls += chunk.calls as u64;
                state.wall_ns += wall;
                state.cpu_ns += cpu;
            }
            drop(state);
            // One that the caller takes back leaves its inputs with the caller.
            let lost = chunk.is_cancelled() && gone.as_ref().is_some_and(|sent| sent.items.is_some());
            drop(gone);
            if lost {
                return Ok((values, Some(self.ended(py)?)));
            }
        }
        self.pool.common.tell(py);
        Ok((values, None))
    }

    /// Waits until a result can be taken, or `pending` or fewer chunks are left unfinished, for at most `seconds`.
    #[pyo3(signature = (seconds=None, pending=0))]
    fn wait(&self, py: Python<'_>, seconds: Option<f64>, pending: usize) -> PyResult<bool> {
        let deadline = waiting::deadline_after(seconds)?;
        // A spin pays while single calls are to show what they take, and for the last chunk; not between chunks that take a
        // good part of a millisecond: it would take the core of a worker.
        let spin = {
            let state = self.lock();
            if state.calls == 0 || state.unfinished().take(2).count() < 2 { SPIN } else { Duration::ZERO }
        };
        self.pool.wait_spinning(py, deadline, spin, &|| {
            let state = self.lock();
            let looked_at = if self.ordered { 1 } else { state.chunks.len() };
            state.chunks.is_empty()
                || state.chunks.iter().take(looked_at).any(|sent| sent.chunk.has_news())
                || (pending > 0
                    && state.chunks.iter().rev().filter(|sent| !sent.chunk.is_finished()).take(pending + 1).count()
                        <= pending)
        })
    }

    /// Cancels what no worker has begun; hands back those inputs with the index of the first of each chunk.
    fn stop<'py>(&self, py: Python<'py>) -> Vec<(usize, Bound<'py, PyList>)> {
        let mut back = Vec::new();
        while let Some(chunk) = self.steal(py) {
            back.push(chunk);
        }
        back
    }

    /// Ends the calls of this job that run, for what [`ProcessJob::stop`] has left: they may end by themselves for
    /// `grace` seconds, then their workers are killed. Calls that run in other threads of the same worker die with it.
    fn kill(&self, py: Python<'_>, grace: f64) -> PyResult<()> {
        let running: Vec<(TaskId, Arc<Chunk>)> = {
            let state = self.lock();
            let unfinished = state.chunks.iter().filter(|sent| !sent.chunk.is_finished());
            unfinished.filter_map(|sent| Some((sent.task?, sent.chunk.clone()))).collect()
        };
        let ended = || running.iter().all(|(_, chunk)| chunk.is_finished());
        let interrupted = self.pool.wait(py, waiting::deadline_after(Some(grace))?, &ended);
        let host = &self.pool.host;
        let until = Instant::now() + DEATH_TAKES;
        py.detach(|| {
            for (task, _) in &running {
                // What a worker that died by itself has left waits to be run again.
                if !host.kill(*task, KillReason::Cancelled) {
                    host.cancel(*task);
                }
            }
            host.wait(&ended, Some(until), SPIN);
        });
        interrupted.map(|_| ())
    }

    /// Takes back the chunks at the end that no worker has begun: their inputs, in order. They are no part of the job
    /// any more.
    fn give_back<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut back = Vec::new();
        loop {
            let last = {
                let state = self.lock();
                let untouched = |sent: &&Sent| sent.items.is_some() && sent.chunk.arrived() == 0;
                state.chunks.back().filter(untouched).and_then(|sent| sent.task)
            };
            let Some(task) = last else { break };
            if !self.pool.host.cancel(task) {
                break;
            }
            let mut state = self.lock();
            let Some(gone) = state.chunks.pop_back() else { break };
            if gone.chunk.arrived() > 0 {
                // Its worker began it and died between the look and the cancel: what is left goes out again.
                drop(state);
                let again = self.send_rest(py, gone)?;
                self.lock().chunks.push_back(again);
                break;
            }
            state.pushed -= gone.chunk.calls;
            drop(state);
            back.extend(gone.items);
        }
        let inputs = PyList::empty(py);
        for items in back.iter().rev() {
            for item in items.bind(py) {
                inputs.append(item)?;
            }
        }
        Ok(inputs)
    }

    /// (chunks that workers have not finished, calls whose results have not been taken, calls pushed, results taken)
    fn figures(&self) -> (usize, usize, usize, usize) {
        // The caller, who takes what has arrived, may be busy with a call.
        self.pool.host.drain();
        let state = self.lock();
        let unfinished = state.unfinished().count();
        let left = state.chunks.iter().map(|sent| sent.chunk.left()).sum();
        (unfinished, left, state.pushed, state.taken)
    }

    /// Seconds that a call of the function has taken in these workers, in an earlier job if not in this one; None when no
    /// chunk has told.
    fn known(&self) -> Option<f64> {
        self.function.price.mean()
    }

    /// (calls, wall seconds, CPU seconds) over the chunks that workers have finished, also those whose results wait.
    fn observed(&self) -> (u64, f64, f64) {
        let state = self.lock();
        let (mut calls, mut wall_ns, mut cpu_ns) = (state.calls, state.wall_ns, state.cpu_ns);
        for sent in state.chunks.iter().filter(|sent| sent.task.is_some()) {
            if let Some((wall, cpu)) = sent.chunk.usage() {
                (calls, wall_ns, cpu_ns) = (calls + sent.chunk.calls as u64, wall_ns + wall, cpu_ns + cpu);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds need no more than 53 bits of nanoseconds")]
        (calls, wall_ns as f64 * 1e-9, cpu_ns as f64 * 1e-9)
    }
}
