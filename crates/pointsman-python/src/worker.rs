//! The loop of a worker process: claim, decode, call, reply.
//!
//! # Does not know
//!
//! The pool, other workers, or what a call is for.
//!
//! # Invariants
//!
//! - W1. Every claimed call gets exactly one reply: its value, or the exception of whatever went wrong.
//! - W2. Waiting for work, and for room for a long reply, is done detached from the interpreter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pointsman_shm::{BlockRef, Claim, ClaimOutcome, Guest, SharedMemory, Timing};
use pyo3::exceptions::{PyBaseException, PyException, PyKeyboardInterrupt, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple, PyType};

use crate::classes::{Class, Classes};
use crate::clock;
use crate::codec::{self, Reader, Store};
use crate::inputs::{Inputs, SharedLoad, unreadable};
use crate::once::Once;
use crate::outcome::{RAISED, VALUE};
use crate::thread_pool::refuse_coroutine;
use crate::trace;

/// Functions that a worker keeps, and their bytes; beyond either all but the latest are forgotten, and read again. Arbitrary.
const MOST_FUNCTIONS: usize = 256;
const MOST_BYTES: u64 = 64 << 20;

/// Exit code of a worker that has served its time (`pointsman._worker`).
pub(crate) const RECYCLED: i32 = 82;

/// Replies up to this many bytes are sent without detaching, which would cost as much as a short call does.
const SHORT: usize = 1024;

/// What a single call must last for its CPU time to be asked for: that takes half a microsecond.
const LASTING: Duration = Duration::from_millis(1);

/// Puts large results into the lane's arena.
struct LaneStore<'a> {
    guest: &'a mut Guest,
    stored: Vec<BlockRef>,
}

impl Store for LaneStore<'_> {
    fn store(&mut self, py: Python<'_>, bytes: &[u8]) -> Option<BlockRef> {
        let mut block = self.guest.alloc(bytes.len())?;
        py.detach(|| block.as_mut_slice().copy_from_slice(bytes));
        let block = block.into_ref();
        self.stored.push(block);
        Some(block)
    }

    fn mark(&self) -> usize {
        self.stored.len()
    }

    fn naming<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        RESULTS.import(py, "pointsman._defining", "results").map(|results| Some(results.clone()))
    }

    fn class(&mut self, kind: &Bound<'_, PyType>) -> PyResult<Option<Arc<Class>>> {
        CLASSES.find(kind, false, || self.naming(kind.py()))
    }

    fn roll_back(&mut self, mark: usize) {
        for block in self.stored.drain(mark..) {
            self.guest.free(block);
        }
    }
}

/// The classes of results.
static CLASSES: Classes = Classes::new();

/// In a worker: classes may be others now.
#[pyfunction]
pub(crate) fn forget_classes() {
    CLASSES.forget();
}

static PACK: Once<Py<PyAny>> = Once::new();
static RESULTS: Once<Py<PyAny>> = Once::new();

/// One thread of a worker process.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct Lane {
    guest: Mutex<Option<Guest>>,
}

/// The memory that the pool shares with this worker process.
static SHARED: OnceLock<Arc<SharedMemory>> = OnceLock::new();

/// The bytes of a block that stays the pool's; None in a process that is no worker, or if there is no such block.
#[pyfunction]
pub(crate) fn shared_bytes(py: Python<'_>, offset: u64, len: u64) -> Option<Bound<'_, PyBytes>> {
    let view = SHARED.get()?.view_shared(BlockRef { offset, len })?;
    Some(PyBytes::new(py, view.as_slice()))
}

/// Opens the shared memory of this worker process: one lane for each of `lanes`.
#[pyfunction]
pub(crate) fn open_lanes(host: i32, lanes: Vec<i32>) -> PyResult<Vec<Lane>> {
    let lanes = lanes.into_iter().map(crate::descriptor::own).collect::<PyResult<Vec<_>>>()?;
    let guests =
        Guest::open(crate::descriptor::own(host)?, lanes).map_err(|error| PyOSError::new_err(error.to_string()))?;
    if let Some(guest) = guests.first() {
        let _ = SHARED.set(guest.host_memory());
    }
    Ok(guests.into_iter().map(|guest| Lane { guest: Mutex::new(Some(guest)) }).collect())
}

#[pymethods]
impl Lane {
    /// Says that this process has started.
    fn ready(&self) {
        if let Some(guest) = self.guest.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            guest.ready();
        }
    }

    /// Runs calls until the pool closes: then true. False when `most` calls have been run, or when after a call this
    /// process has more private memory than `memory` bytes: then another should take its place.
    #[pyo3(signature = (most=None, memory=None))]
    fn serve(&self, py: Python<'_>, most: Option<u64>, memory: Option<u64>) -> PyResult<bool> {
        let guest = self.guest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut guest) = guest else {
            return Err(PyValueError::new_err("the lane is being served"));
        };
        let (mut functions, mut scratch, mut meter) = (Functions::default(), Vec::new(), CpuMeter::started());
        let mut served = 0;
        while most.is_none_or(|most| served < most) && memory.is_none_or(|memory| served == 0 || !grows_beyond(memory))
        {
            let claim = match guest.claim_timeout(Duration::ZERO) {
                ClaimOutcome::Task(claim) => Some(claim),
                ClaimOutcome::Closed => None,
                ClaimOutcome::Idle => py.detach(|| guest.claim()),
            };
            let Some(claim) = claim else { return Ok(true) };
            // A Ctrl-C that came while nothing ran is nobody's: heard here, where the handler ignores it, and not in the
            // first call that runs Python code again.
            py.check_signals()?;
            served += u64::from(claim.calls);
            run(py, &mut guest, claim, &mut functions, &mut scratch, &mut meter)?;
        }
        Ok(false)
    }
}

/// Whether this process has more private memory than this many bytes, and not only what it keeps for the next calls.
fn grows_beyond(bytes: u64) -> bool {
    has_more_than(bytes) && {
        pointsman_shm::give_back();
        has_more_than(bytes)
    }
}

/// Whether this process has more private memory than this many bytes; false where the system does not say.
fn has_more_than(bytes: u64) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|figure| figure.parse::<u64>().ok());
    kib.is_some_and(|kib| kib.saturating_mul(1024) > bytes)
}

/// The functions that a worker has read.
#[derive(Default)]
struct Functions {
    known: HashMap<u64, Py<PyAny>>,
    bytes: u64,
}

impl Functions {
    fn keep(&mut self, number: u64, function: &Bound<'_, PyAny>, bytes: u64) {
        self.bytes += bytes;
        if self.known.len() >= MOST_FUNCTIONS || self.bytes > MOST_BYTES {
            let large = self.bytes > MOST_BYTES;
            self.bytes = bytes;
            // What goes with them may run code of the user's.
            drop(std::mem::take(&mut self.known));
            if large && let Err(error) = collect_garbage(function.py()) {
                error.write_unraisable(function.py(), None);
            }
        }
        self.known.insert(number, function.clone().unbind());
    }
}

/// Frees functions that refer to themselves, and what they hold: the interpreter looks at how many objects there are, not at
/// how large they are.
fn collect_garbage(py: Python<'_>) -> PyResult<()> {
    let gc = py.import("gc")?;
    if gc.call_method0("isenabled")?.is_truthy()? {
        gc.call_method0("collect")?;
    }
    Ok(())
}

/// Tells what CPU time calls have used. That clock is a system call.
struct CpuMeter {
    /// What it said when it was read last.
    read: f64,
}

impl CpuMeter {
    fn started() -> Self {
        Self { read: clock::thread_cpu() }
    }

    /// What was used since the last reading, `wall` at most.
    fn used(&mut self, wall: Duration) -> Duration {
        let now = clock::thread_cpu();
        let used = Duration::try_from_secs_f64((now - self.read).max(0.0)).unwrap_or_default();
        self.read = now;
        used.min(wall)
    }
}

/// Runs the calls of a claim and replies to each (W1).
fn run(
    py: Python<'_>,
    guest: &mut Guest,
    claim: Claim,
    functions: &mut Functions,
    scratch: &mut Vec<u8>,
    meter: &mut CpuMeter,
) -> PyResult<()> {
    let alone = claim.calls == 1;
    if !alone {
        *meter = CpuMeter::started();
    }
    let began = Instant::now();
    let (first, calls, timed) = (claim.first, claim.calls - claim.first, claim.timed);
    let mut ready = if timed { trace::now() } else { 0 };
    if timed {
        guest.tell_timing(Timing { ready, ..Timing::default() });
    }
    let prepared = function_of(py, guest, &claim, functions).and_then(|function| {
        let inputs = Inputs::of(py, guest, claim).map_err(|error| unreadable(py, error))?;
        Ok((function, inputs))
    });
    match prepared {
        Ok((function, mut inputs)) => {
            for call in 0..calls {
                let mut watched = None;
                let result = inputs.call(py, guest, &function, (first + call) as usize, || {
                    watched = timed.then(|| trace::begin(py, true));
                });
                let timing = watched.map(|watched| {
                    let span = trace::end(py, watched, call + 1 == calls);
                    Timing { ready, began: span.began, ended: span.ended, packed: 0, cpu: span.cpu, held: span.held }
                });
                let result = result.and_then(|value| refuse_coroutine(&value, &function).map(|()| value));
                let last = alone.then_some((began, &mut *meter));
                ready = match reply(py, guest, result, scratch, timing, last)? {
                    // Its input could not be read, so there was no call to be timed.
                    0 if timed => trace::now(),
                    packed => packed,
                };
            }
        }
        Err(error) => {
            for _ in 0..calls {
                let last = alone.then_some((began, &mut *meter));
                reply(py, guest, Err(error.clone_ref(py)), scratch, None, last)?;
            }
        }
    }
    if !alone {
        let wall = began.elapsed();
        guest.end(nanoseconds(wall), nanoseconds(meter.used(wall)));
    }
    Ok(())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn function_of<'py>(
    py: Python<'py>,
    guest: &Guest,
    claim: &Claim,
    functions: &mut Functions,
) -> PyResult<Bound<'py, PyAny>> {
    if let Some(function) = functions.known.get(&claim.function) {
        return Ok(function.bind(py).clone());
    }
    let view = guest
        .view_shared(claim.function_block)
        .ok_or_else(|| PyValueError::new_err("the function is not in shared memory"))?;
    let loader = SharedLoad(guest);
    let function = Reader::new(view.as_slice(), &loader).value(py)?;
    let mut bytes = claim.function_block.len;
    codec::each_block(view.as_slice(), &mut |block| bytes = bytes.saturating_add(block.len));
    functions.keep(claim.function, &function, bytes);
    Ok(function)
}

/// Bytes of an outcome up to which packing it takes no longer than asking for the time: such a call has ended and is
/// packed at one moment.
const AT_ONCE: usize = 64;

/// Sends one call's outcome, after its timing if that is wanted; that of a task's only call, which `began` then, ends the
/// task. What cannot be packed is replaced by the reason why. Returns when it was packed, if the timing is wanted.
fn reply(
    py: Python<'_>,
    guest: &mut Guest,
    result: PyResult<Bound<'_, PyAny>>,
    scratch: &mut Vec<u8>,
    timing: Option<Timing>,
    last: Option<(Instant, &mut CpuMeter)>,
) -> PyResult<u64> {
    scratch.clear();
    let result = result.and_then(|value| {
        let value = if holds_exception(&value, DEEPEST) { rebuildable(&value)? } else { value };
        let mut store = LaneStore { guest, stored: Vec::new() };
        codec::encode(&value, scratch, &mut store).map_err(|error| unpackable(py, &value, error))
    });
    let tag = match result {
        Ok(()) => VALUE,
        Err(error) => {
            let packed = packed_error(py, error)?;
            scratch.clear();
            let mut store = LaneStore { guest, stored: Vec::new() };
            codec::encode(&packed, scratch, &mut store)?;
            RAISED
        }
    };
    let mut packed = 0;
    if let Some(timing) = timing {
        packed = if tag == VALUE && scratch.len() <= AT_ONCE { timing.ended } else { trace::now() };
        guest.tell_timing(Timing { packed, ..timing });
    }
    let (guest, bytes) = (&mut *guest, &*scratch);
    let commit = || {
        let Some((began, meter)) = last else { return guest.reply(tag, bytes) };
        let wall = began.elapsed();
        if wall < LASTING {
            return guest.reply_last(tag, bytes, nanoseconds(wall));
        }
        guest.reply(tag, bytes)?;
        guest.end(nanoseconds(wall), nanoseconds(meter.used(wall)));
        Ok(())
    };
    // If the ring is full, this waits attached for a short one; the host's own thread drains it within a millisecond or so.
    let sent = if bytes.len() <= SHORT { commit() } else { py.detach(commit) };
    sent.map(|()| packed).map_err(|error| PyOSError::new_err(error.to_string()))
}

/// How deep in lists, tuples and dictionaries exceptions are looked for that a call has given back, and in how many items of
/// each. Arbitrary: who keeps errors keeps them beside what they are of.
const DEEPEST: usize = 2;
const MOST_ITEMS: usize = 1024;

/// Whether a result is an exception, or has one in it, not too deep.
fn holds_exception(value: &Bound<'_, PyAny>, depth: usize) -> bool {
    if value.is_instance_of::<PyBaseException>() {
        return true;
    }
    if depth == 0 {
        return false;
    }
    let holds = |item: Bound<'_, PyAny>| holds_exception(&item, depth - 1);
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return tuple.iter().take(MOST_ITEMS).any(holds);
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return list.iter().take(MOST_ITEMS).any(holds);
    }
    value.cast_exact::<PyDict>().is_ok_and(|dict| dict.len() <= MOST_ITEMS && dict.values().iter().any(holds))
}

/// The same result with exceptions that can be made again on the other side.
fn rebuildable<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    value.py().import("pointsman._rebuilding")?.call_method1("in_result", (value,))
}

/// What a call raised, ready to be sent. A Ctrl-C that comes while it is made ready is what the call has raised.
fn packed_error(py: Python<'_>, mut error: PyErr) -> PyResult<Bound<'_, PyAny>> {
    loop {
        let packed = PACK
            .import(py, "pointsman._outcome", "pack_exception")
            .and_then(|pack| pack.call1((error.into_value(py),)));
        match packed {
            // A group's workers are sent two: one by the terminal, and one by the program.
            Err(again) if again.is_instance_of::<PyKeyboardInterrupt>(py) => error = again,
            packed => return packed,
        }
    }
}

fn unpackable(py: Python<'_>, value: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyException>(py) {
        // It asks to end the process, or was Ctrl-C: as if the call had raised it.
        return error;
    }
    let built = py
        .import("pointsman._outcome")
        .and_then(|module| module.call_method1("unpackable_result", (value, error.value(py))));
    built.map_or_else(|other| other, PyErr::from_value)
}
