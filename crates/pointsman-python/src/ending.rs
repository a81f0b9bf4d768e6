//! Keeps threads that wait in native code from meeting an interpreter that is ending.
//!
//! Up to CPython 3.13 a daemon thread that wants to attach then is ended with `pthread_exit`, which must not unwind through
//! frames of Rust. A thread that was waiting here stays here instead; the process is about to end anyway.
//!
//! # Invariants
//!
//! - E1. The flag is set by an `atexit` callback: only the thread that runs it and daemon threads are left then.
//! - E2. Who wants to attach, or to run Python code below a native frame, counts itself first and then looks at the flag;
//!   who sets the flag looks at the count afterwards, and gives the GIL away until it is 0. So none is on the way when the
//!   interpreter ends, except one that stays away for more than [`PATIENCE`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

static ENDED_BY: OnceLock<ThreadId> = OnceLock::new();
static ON_THE_WAY: AtomicUsize = AtomicUsize::new(0);

/// How long the end of the program waits for threads that are on the way. Arbitrary: it takes them microseconds, or one
/// switch interval of the GIL for each.
const PATIENCE: Duration = Duration::from_millis(500);

/// Counts a thread as on the way while it lives (E2).
struct OnTheWay;

impl OnTheWay {
    /// Nothing if the interpreter is ending, and not by this thread.
    fn new() -> Option<Self> {
        ON_THE_WAY.fetch_add(1, Ordering::Relaxed);
        let this = Self;
        // Pairs with the fence in `interpreter_ends`: of the count and the flag one side sees the other's.
        fence(Ordering::SeqCst);
        ENDED_BY.get().is_none_or(|ending| *ending == thread::current().id()).then_some(this)
    }
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `interpreter_ends`.
        ON_THE_WAY.fetch_sub(1, Ordering::Release);
    }
}

/// Says that the interpreter is about to end. For `atexit`.
#[pyfunction]
pub(crate) fn interpreter_ends(py: Python<'_>) {
    ENDED_BY.get_or_init(|| thread::current().id());
    // Pairs with the fence in `OnTheWay::new`.
    fence(Ordering::SeqCst);
    let until = Instant::now() + PATIENCE;
    // Acquire: pairs with the Release of the drop.
    while ON_THE_WAY.load(Ordering::Acquire) > 0 && Instant::now() < until {
        py.detach(|| thread::sleep(Duration::from_micros(50)));
    }
}

/// Runs `work` detached; does not come back to an interpreter that is ending.
pub(crate) fn detached<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    let (result, _on_the_way) = py.detach(|| {
        let result = work();
        match OnTheWay::new() {
            Some(on_the_way) => (result, on_the_way),
            None => loop {
                thread::park();
            },
        }
    });
    result
}

/// Calls Python code that may wait, below a native frame; refuses when the interpreter is ending.
pub(crate) fn call<'py>(callable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let Some(_on_the_way) = OnTheWay::new() else {
        return Err(PyRuntimeError::new_err("cannot schedule new futures after interpreter shutdown"));
    };
    callable.call0()
}

/// Attaches a thread that is none of Python's; not to an interpreter that is ending.
pub(crate) fn attach(work: impl FnOnce(Python<'_>)) {
    if let Some(_on_the_way) = OnTheWay::new() {
        let _ = Python::try_attach(work);
    }
}
