//! Keeps threads that wait in native code from meeting an interpreter that is ending.
//!
//! Up to CPython 3.13 a daemon thread that wants to attach then is ended with `pthread_exit`, which must not unwind through
//! frames of Rust. A thread that was waiting here stays here instead; the process is about to end anyway.
//!
//! # Invariants
//!
//! - E1. The flag is set by an `atexit` callback: only the thread that runs it and daemon threads are left then.
//! - E2. A thread counts itself as returning before it looks at the flag, and until it has attached. `interpreter_ends` sets
//!   the flag and then waits for those who return: they have not seen it, and must not meet the end while they attach.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

static ENDED_BY: OnceLock<ThreadId> = OnceLock::new();
static RETURNING: AtomicUsize = AtomicUsize::new(0);

/// How long the end waits for those who return (E2). They need the interpreter for an instant each; a thread that computes in
/// between makes them wait 5 ms.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says that the interpreter is about to end. For `atexit`.
#[pyfunction]
pub(crate) fn interpreter_ends(py: Python<'_>) {
    ENDED_BY.get_or_init(|| thread::current().id());
    let began = Instant::now();
    // SeqCst here and below: a thread that has not seen the flag is seen here (store, then load, on both sides).
    while RETURNING.load(Ordering::SeqCst) > 0 && began.elapsed() < PATIENCE {
        py.detach(|| thread::sleep(Duration::from_micros(100)));
    }
}

/// Runs `work` detached; does not come back to an interpreter that is ending.
pub(crate) fn detached<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    let result = py.detach(|| {
        let result = work();
        RETURNING.fetch_add(1, Ordering::SeqCst);
        if ENDED_BY.get().is_some_and(|ending| *ending != thread::current().id()) {
            RETURNING.fetch_sub(1, Ordering::SeqCst);
            loop {
                thread::park();
            }
        }
        result
    });
    RETURNING.fetch_sub(1, Ordering::SeqCst);
    result
}
