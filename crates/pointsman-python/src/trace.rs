//! Keeps when calls ran, while somebody traces: where, how long they queued, computed, held the GIL, and travelled.
//!
//! [`stopwatch`] takes the times of one call on the thread that runs it, [`timed`] wraps a function for loops that are
//! Python's, [`write`] makes the file that Perfetto and Chrome open.
//!
//! # Does not know
//!
//! Plans, or why a call ran where it did: `pointsman._trace` adds that.
//!
//! # Invariants
//!
//! - T1. While nobody traces, every hook costs one relaxed load of [`ON`].
//! - T2. The lock is held for the copying of events, never while Python code runs or a file is written, but for the spool:
//!   a plain write of what has piled up.
//! - T3. Times are nanoseconds of the monotonic clock, which all processes of a machine share.
//! - T4. Numbers of names and tracks stay what they are after a trace: calls that outlast it may meet the next one.
//! - T5. A trace holds what was recorded between its beginning and its end; traces may overlap.

mod following;
mod spool;
mod stopwatch;
mod timed;
mod write;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::once;

pub(crate) use self::following::Following;
use self::spool::Spool;
pub(crate) use self::stopwatch::{Span, begin, end};
pub(crate) use self::timed::Timed;
use crate::clock;

/// Stands for a time, a figure or an index that is not known.
pub(crate) const UNKNOWN: u64 = pointsman_shm::Timing::UNKNOWN;

/// Whether anybody traces. Relaxed everywhere: what it publishes is a wish; the recorder's lock orders the rest.
static ON: AtomicBool = AtomicBool::new(false);
static RECORDER: Mutex<Option<Recorder>> = Mutex::new(None);
/// Changes in a forked child, so that threads know when their track is one of the parent's.
static GENERATION: AtomicU64 = AtomicU64::new(1);
/// In a forked child, whose copy of the lock nobody will ever release.
static LOST: AtomicBool = AtomicBool::new(false);

thread_local! {
    static TRACK: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// Whether calls are to be recorded.
#[inline]
pub(crate) fn on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn now() -> u64 {
    clock::monotonic()
}

/// Now, if calls are recorded; else 0, which stands for not known.
#[inline]
pub(crate) fn posted() -> u64 {
    if on() { now() } else { 0 }
}

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Call,
    /// Arguments that were packed and handed to worker processes; results that were unpacked.
    Send,
    Receive,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Value,
    Raised,
    Died,
    Cancelled,
}

impl Ending {
    pub(crate) fn of(good: bool) -> Self {
        if good { Self::Value } else { Self::Raised }
    }
}

/// One call, or one transfer by the caller. Times in nanoseconds; 0 where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) kind: Kind,
    pub(crate) ending: Ending,
    pub(crate) track: u32,
    pub(crate) name: u32,
    /// The job that it belongs to, and the call's place in it; job 0 is none.
    pub(crate) job: u32,
    pub(crate) index: u64,
    /// When it was handed over, and when a worker turned to it.
    pub(crate) posted: u64,
    pub(crate) ready: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    /// When its outcome was on its way.
    pub(crate) sent: u64,
    /// [`UNKNOWN`] where nobody looked.
    pub(crate) cpu: u64,
    pub(crate) held: u64,
    /// Of transfers.
    pub(crate) bytes: u64,
}

impl Event {
    /// A call of which nothing but its times is known.
    pub(crate) fn call(name: u32, track: u32, span: Span) -> Self {
        Self {
            kind: Kind::Call,
            ending: Ending::Value,
            track,
            name,
            job: 0,
            index: UNKNOWN,
            posted: 0,
            ready: span.ready,
            began: span.began,
            ended: span.ended,
            sent: span.ended,
            cpu: span.cpu,
            held: span.held,
            bytes: 0,
        }
    }
}

/// A row of the picture: a thread, or a lane of a worker process.
#[derive(Clone)]
struct Track {
    pid: u32,
    tid: u32,
    label: String,
}

/// A function, and what was measured of its calls, for those of which not all was measured.
#[derive(Clone, Default)]
struct Name {
    text: String,
    cpu: f64,
    wall: f64,
    held: f64,
    held_of: f64,
}

#[derive(Default)]
struct Recorder {
    spool: Spool,
    names: Vec<Name>,
    by_name: HashMap<String, u32>,
    tracks: Vec<Track>,
    by_track: HashMap<(u32, u32), u32>,
    traces: usize,
}

impl Recorder {
    fn push(&mut self, event: Event) {
        if event.kind == Kind::Call
            && event.cpu != UNKNOWN
            && let Some(name) = self.names.get_mut(event.name as usize)
        {
            let figure = |nanoseconds: u64| std::time::Duration::from_nanos(nanoseconds).as_secs_f64();
            name.cpu += figure(event.cpu);
            name.wall += figure(event.ended.saturating_sub(event.began));
            if event.held != UNKNOWN {
                name.held += figure(event.held);
                name.held_of += figure(event.cpu);
            }
        }
        self.spool.push(event);
    }

    fn track(&mut self, pid: u32, tid: u32, label: impl FnOnce() -> String) -> u32 {
        let next = u32::try_from(self.tracks.len()).unwrap_or(u32::MAX);
        let track = *self.by_track.entry((pid, tid)).or_insert(next);
        if track == next {
            self.tracks.push(Track { pid, tid, label: label() });
        }
        track
    }
}

fn lock() -> MutexGuard<'static, Option<Recorder>> {
    RECORDER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of a function's name.
pub(crate) fn name(text: &str) -> u32 {
    let mut recorder = lock();
    let recorder = recorder.get_or_insert_with(Recorder::default);
    if let Some(number) = recorder.by_name.get(text) {
        return *number;
    }
    let number = u32::try_from(recorder.names.len()).unwrap_or(0);
    recorder.names.push(Name { text: text.to_owned(), ..Name::default() });
    recorder.by_name.insert(text.to_owned(), number);
    number
}

/// The number of the name that messages use for a function.
pub(crate) fn name_of(function: &Bound<'_, PyAny>) -> u32 {
    let named = function.getattr(once::name!(function.py(), "__qualname__"));
    let text = named.as_ref().ok().and_then(|named| named.cast::<PyString>().ok()?.to_str().ok());
    // Most have a name that is text, which need not be copied.
    text.map_or_else(|| name(&crate::calling::name_of(function)), name)
}

/// The track of the calling thread.
pub(crate) fn here(py: Python<'_>) -> u32 {
    // Relaxed: a stale number only means that the track is looked up.
    let generation = GENERATION.load(Ordering::Relaxed);
    let (known, number) = TRACK.get();
    if known == generation {
        return number;
    }
    // Before the lock: this runs Python code (T2).
    let named = py.import("threading").and_then(|module| module.call_method0("current_thread"));
    let label = named.and_then(|thread| thread.getattr("name")?.extract()).unwrap_or_default();
    let number = track(std::process::id(), native_thread(), || label);
    TRACK.set((generation, number));
    number
}

fn native_thread() -> u32 {
    #[cfg(target_os = "linux")]
    {
        rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
    }
    #[cfg(not(target_os = "linux"))]
    {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
        thread_local! {
            // Relaxed: only unlike numbers are wanted.
            static NUMBER: u32 = NEXT.fetch_add(1, Ordering::Relaxed);
        }
        NUMBER.with(|number| *number)
    }
}

/// The track of a worker process's lane, or another that has no thread of its own.
pub(crate) fn track(pid: u32, tid: u32, label: impl FnOnce() -> String) -> u32 {
    lock().get_or_insert_with(Recorder::default).track(pid, tid, label)
}

/// Keeps an event.
pub(crate) fn record(event: Event) {
    if let Some(recorder) = lock().as_mut().filter(|recorder| recorder.traces > 0) {
        recorder.push(event);
    }
}

/// Keeps events, and leaves the vector empty.
pub(crate) fn record_all(events: &mut Vec<Event>) {
    if let Some(recorder) = lock().as_mut().filter(|recorder| recorder.traces > 0) {
        for event in events.drain(..) {
            recorder.push(event);
        }
    }
    events.clear();
}

/// Keeps a transfer by the calling thread that began at `began` and ends now.
pub(crate) fn transfer(py: Python<'_>, kind: Kind, name: u32, job: u32, began: u64, bytes: usize) {
    let span = Span { ready: began, began, ended: now(), cpu: UNKNOWN, held: UNKNOWN };
    let track = here(py);
    record(Event { kind, job, bytes: bytes as u64, ..Event::call(name, track, span) });
}

/// A trace from its making until it is written or dropped.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct Trace {
    began: u64,
    first: u64,
    pid: u32,
    open: AtomicBool,
}

#[pymethods]
impl Trace {
    #[new]
    fn new() -> PyResult<Self> {
        // Relaxed: set in a child before it has a second thread.
        if LOST.load(Ordering::Relaxed) {
            return Err(PyRuntimeError::new_err(
                "this process was forked while another thread traced a call: start the trace in a fresh process",
            ));
        }
        let mut recorder = lock();
        let state = recorder.get_or_insert_with(Recorder::default);
        state.traces += 1;
        let trace =
            Self { began: now(), first: state.spool.len(), pid: std::process::id(), open: AtomicBool::new(true) };
        ON.store(true, Ordering::Relaxed);
        Ok(trace)
    }

    /// Nanoseconds of the monotonic clock at the beginning.
    #[getter]
    fn began(&self) -> u64 {
        self.began
    }

    /// Calls and transfers recorded so far.
    fn count(&self) -> u64 {
        lock().as_ref().map_or(0, |recorder| recorder.spool.len().saturating_sub(self.first))
    }

    /// Ends the trace and writes it to a new file at `path`, with `head` (a JSON value) as its `otherData` and `more`
    /// (JSON objects, with commas between them) behind its events. Returns the events written.
    fn write(&self, py: Python<'_>, path: std::path::PathBuf, head: &str, more: &str) -> PyResult<u64> {
        let Some(snapshot) = self.close().map_err(PyOSError::new_err)? else {
            return Err(PyValueError::new_err("this trace has ended"));
        };
        py.detach(|| write::write(&path, &snapshot, self.began, self.pid, head, more)).map_err(PyErr::from)
    }

    /// Ends the trace without a file.
    fn discard(&self) {
        drop(self.close());
    }
}

/// What a file is made of.
struct Snapshot {
    events: Vec<Event>,
    names: Vec<Name>,
    tracks: Vec<Track>,
}

impl Trace {
    /// Ends the trace; hands out what it has recorded, once.
    fn close(&self) -> Result<Option<Snapshot>, std::io::Error> {
        if self.pid != std::process::id() || !self.open.swap(false, Ordering::Relaxed) {
            return Ok(None);
        }
        let mut guard = lock();
        let Some(recorder) = guard.as_mut() else { return Ok(None) };
        recorder.traces -= 1;
        let last = recorder.traces == 0;
        let events = recorder.spool.from(self.first, last);
        let (names, tracks) = (recorder.names.clone(), recorder.tracks.clone());
        if last {
            ON.store(false, Ordering::Relaxed);
            recorder.spool = Spool::default();
            for name in &mut recorder.names {
                *name = Name { text: std::mem::take(&mut name.text), ..Name::default() };
            }
        }
        drop(guard);
        Ok(Some(Snapshot { events: events?, names, tracks }))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// Whether anybody traces.
#[pyfunction]
pub(crate) fn tracing() -> bool {
    on()
}

/// Nanoseconds of the clock that traces use.
#[pyfunction]
pub(crate) fn trace_now() -> u64 {
    now()
}

/// Keeps a call that Python has timed: when it was handed over (0 for not known), a worker turned to it, it began, ended,
/// and its outcome was on its way. `row` names its track, one for each that runs at the same time. `ending` is "value",
/// "raised", "died" or "cancelled". `cpu` is None for not known.
#[pyfunction]
#[pyo3(signature = (name, row, times, ending="value", job=0, index=None, cpu=None))]
pub(crate) fn trace_call(
    name: &str,
    row: (u32, u32, &str),
    times: (u64, u64, u64, u64, u64),
    ending: &str,
    job: u32,
    index: Option<u64>,
    cpu: Option<u64>,
) -> PyResult<()> {
    if !on() {
        return Ok(());
    }
    let ending = match ending {
        "value" => Ending::Value,
        "raised" => Ending::Raised,
        "died" => Ending::Died,
        "cancelled" => Ending::Cancelled,
        other => return Err(PyValueError::new_err(format!("no ending is called {other:?}"))),
    };
    let (posted, ready, began, ended, sent) = times;
    let span = Span { ready, began, ended, cpu: cpu.unwrap_or(UNKNOWN), held: UNKNOWN };
    let (name, track) = (self::name(name), track(row.0, row.1, || row.2.to_owned()));
    let call = Event::call(name, track, span);
    record(Event { ending, job, index: index.unwrap_or(UNKNOWN), posted, sent: sent.max(ended), ..call });
    Ok(())
}

/// Notes that `held` of `cpu` seconds of a function's calls were spent holding the GIL, for calls that nobody looked at.
#[pyfunction]
pub(crate) fn trace_share(name: &str, held: f64, cpu: f64) {
    let number = self::name(name);
    if let Some(name) = lock().as_mut().and_then(|recorder| recorder.names.get_mut(number as usize)) {
        name.held += held;
        name.held_of += cpu;
    }
}

/// Forgets every trace in a forked child: it is the parent's.
#[pyfunction]
pub(crate) fn trace_forget() {
    ON.store(false, Ordering::Relaxed);
    GENERATION.fetch_add(1, Ordering::Relaxed);
    match RECORDER.try_lock() {
        Ok(mut recorder) => *recorder = None,
        Err(TryLockError::Poisoned(poisoned)) => *poisoned.into_inner() = None,
        Err(TryLockError::WouldBlock) => LOST.store(true, Ordering::Relaxed),
    }
}
