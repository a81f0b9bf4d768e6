//! The results of one chunk of a job, as they arrive, and their order.
//!
//! # Does not know
//!
//! The other chunks of the job, or how a chunk was sent.
//!
//! # Invariants
//!
//! - K1. Replies arrive in the order of the chunk's calls, each once (the host's promise); they are decoded in that order.
//! - K2. No Python code runs while the lock is held.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pointsman_shm::{Death, LaneMemory, ProcessId, Reply, Sink, Timing, Usage};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::cell::Outcome;
use crate::outcome;
use crate::process_pool::Function;
use crate::sealed;
use crate::trace::Following;

/// Raw replies of consecutive calls that came from one lane.
#[derive(Debug)]
struct Run {
    lane: Arc<LaneMemory>,
    /// For each reply: tag, length (u32), bytes.
    bytes: Vec<u8>,
    read: usize,
}

impl Run {
    /// The next reply: its tag and its bytes.
    fn peek(&self) -> Option<(u8, &[u8])> {
        let (tag, rest) = self.bytes.get(self.read..)?.split_first()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        Some((*tag, rest.get(..u32::from_le_bytes(*len) as usize)?))
    }
}

/// Buffers of runs that have been read, for the next ones: memory that was touched before is far cheaper.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// Buffers that are kept, and the bytes that each has at least and at most. Arbitrary: chunks of tiny calls need some 100
/// KB, and those of a pool are no more at a time.
const MOST_SPARE: usize = 4;
const SPARE_BYTES: std::ops::RangeInclusive<usize> = 1 << 12..=1 << 20;

/// Calls of a chunk up to which it needs none of them.
const FEW: usize = 256;

fn spare() -> MutexGuard<'static, Vec<Vec<u8>>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Run {
    fn drop(&mut self) {
        while let Some((_, bytes)) = self.peek() {
            sealed::release(bytes, &self.lane);
            self.read += 5 + bytes.len();
        }
        if SPARE_BYTES.contains(&self.bytes.capacity()) {
            let mut spare = spare();
            if spare.len() < MOST_SPARE {
                self.bytes.clear();
                spare.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

#[derive(Debug)]
enum Piece {
    Run(Run),
    Died(Death),
    Local(VecDeque<Result<Py<PyAny>, Py<PyAny>>>),
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Piece>,
    arrived: usize,
    taken: usize,
    cancelled: bool,
    finished: bool,
    wall_ns: u64,
    cpu_ns: u64,
    followed: Option<Following>,
}

/// One chunk of a job.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) first: usize,
    pub(crate) calls: usize,
    function: Arc<Function>,
    state: Mutex<State>,
}

/// What a chunk had to give.
#[derive(Default)]
pub(crate) struct Ready {
    /// How many values.
    pub(crate) count: usize,
    /// The exception of the call that comes after the values.
    pub(crate) raised: Option<Py<PyAny>>,
    /// Whether every result of the chunk has been taken.
    pub(crate) exhausted: bool,
}

impl Sink for Chunk {
    fn begin(&self, _process: ProcessId) {
        if let Some(followed) = &mut self.lock().followed {
            followed.begun();
        }
    }

    fn timing(&self, pid: u32, lane: u16, timing: Timing) {
        if let Some(followed) = &mut self.lock().followed {
            followed.timing(pid, lane, timing);
        }
    }

    fn deliver(&self, _index: u32, reply: Reply<'_>) {
        let mut state = self.lock();
        match reply {
            Reply::Value { tag, bytes, lane } => {
                if let Some(followed) = &mut state.followed {
                    followed.delivered(tag == outcome::RAISED);
                }
                let same_lane = matches!(state.pieces.back(), Some(Piece::Run(run)) if Arc::ptr_eq(&run.lane, lane));
                if !same_lane {
                    let bytes = if self.calls > FEW { spare().pop() } else { None }.unwrap_or_default();
                    state.pieces.push_back(Piece::Run(Run { lane: lane.clone(), bytes, read: 0 }));
                }
                if let Some(Piece::Run(run)) = state.pieces.back_mut() {
                    run.bytes.push(tag);
                    run.bytes.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
                    run.bytes.extend_from_slice(bytes);
                }
            }
            Reply::Died(death) => {
                if let Some(followed) = &mut state.followed {
                    followed.died();
                }
                state.pieces.push_back(Piece::Died(death.clone()));
            }
            Reply::Cancelled => {
                state.cancelled = true;
                return;
            }
        }
        state.arrived += 1;
    }

    fn finish(&self, usage: Usage) {
        let mut state = self.lock();
        if let Some(followed) = &mut state.followed {
            followed.finish();
        }
        state.finished = true;
        state.wall_ns += usage.wall_ns;
        state.cpu_ns += usage.cpu_ns;
        if !state.cancelled {
            self.function.price.learn(self.calls as u64, usage.wall_ns);
        }
    }
}

impl Chunk {
    /// `followed` is what traces its calls, if anybody does.
    pub(crate) fn new(first: usize, calls: usize, function: Arc<Function>, followed: Option<Following>) -> Self {
        let state = State { followed, ..State::default() };
        Self { first, calls, function, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills in results that this process computed itself.
    pub(crate) fn fill(&self, results: VecDeque<Result<Py<PyAny>, Py<PyAny>>>) {
        let mut state = self.lock();
        state.cancelled = false;
        state.arrived += results.len();
        state.pieces.push_back(Piece::Local(results));
        state.finished = true;
    }

    /// Says that no call of the chunk will run.
    pub(crate) fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        state.finished = true;
    }

    /// Whether calls that are left have been cancelled.
    pub(crate) fn is_cancelled(&self) -> bool {
        let state = self.lock();
        state.cancelled && state.finished && state.pieces.is_empty()
    }

    /// Takes back a cancel: what is left will be run after all.
    pub(crate) fn reopen(&self) {
        let mut state = self.lock();
        state.cancelled = false;
        state.finished = false;
    }

    /// Calls whose outcomes have arrived, whoever made them.
    pub(crate) fn arrived(&self) -> usize {
        self.lock().arrived
    }

    /// Whether something can be taken, or nothing more will come.
    pub(crate) fn has_news(&self) -> bool {
        let state = self.lock();
        state.arrived > state.taken || state.finished
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Calls whose results have not been taken.
    pub(crate) fn left(&self) -> usize {
        self.calls - self.lock().taken
    }

    /// Calls whose results have arrived, and the worker's seconds for them, once the chunk is finished.
    pub(crate) fn usage(&self) -> Option<(u64, u64)> {
        let state = self.lock();
        (state.finished && !state.cancelled).then_some((state.wall_ns, state.cpu_ns))
    }

    /// Takes what is ready, decoding it, and hands the values to `give`. With `keep_going` an exception is a result like
    /// any other. `base` is added to the indices that messages name.
    pub(crate) fn take(
        &self,
        py: Python<'_>,
        keep_going: bool,
        base: usize,
        mut give: impl FnMut(Py<PyAny>) -> PyResult<()>,
    ) -> PyResult<Ready> {
        let mut ready = Ready::default();
        while ready.raised.is_none() {
            let mut state = self.lock();
            let piece = state.pieces.pop_front();
            let from = base + self.first + state.taken;
            drop(state);
            let Some(mut piece) = piece else { break };
            let count = ready.count;
            let mut at = from;
            let emptied = loop {
                let Some(decoded) = piece.next(py, &self.function.name, at) else {
                    break true;
                };
                match decoded {
                    // What is no `Exception` wants to end the program: that is nobody's result.
                    Err(error) if !(keep_going && error.bind(py).is_instance_of::<PyException>()) => {
                        ready.raised = Some(error);
                    }
                    Ok(value) | Err(value) => {
                        give(value)?;
                        ready.count += 1;
                    }
                }
                at += 1;
                if ready.raised.is_some() {
                    break false;
                }
            };
            let taken = ready.count - count + usize::from(ready.raised.is_some());
            let mut state = self.lock();
            state.taken += taken;
            if !emptied {
                piece.put_back(&mut state.pieces);
            }
        }
        let state = self.lock();
        ready.exhausted = state.taken == self.calls || (state.finished && state.cancelled && state.pieces.is_empty());
        Ok(ready)
    }
}

impl Piece {
    /// Decodes the next result of the piece; `index` is the call's place in its job.
    fn next(&mut self, py: Python<'_>, name: &str, index: usize) -> Option<Result<Py<PyAny>, Py<PyAny>>> {
        match self {
            Self::Run(run) => {
                let (tag, bytes) = run.peek()?;
                let decoded = outcome::decode_reply(py, tag, bytes, &run.lane, &|| name.to_owned(), Some(index));
                run.read += 5 + bytes.len();
                Some(decoded)
            }
            Self::Died(death) => {
                let death = death.clone();
                *self = Self::Local(VecDeque::new());
                Some(outcome::decode(py, Outcome::Died(Box::new(death)), &|| name.to_owned(), Some(index)))
            }
            Self::Local(results) => results.pop_front(),
        }
    }

    /// Returns the rest of a piece to the front, in front of what arrived meanwhile.
    fn put_back(self, pieces: &mut VecDeque<Self>) {
        pieces.push_front(self);
    }
}
