//! Keeps threads that wait in native code from meeting an interpreter that is ending.
//!
//! Up to CPython 3.13 a daemon thread that wants to attach then is ended with `pthread_exit`, which must not unwind through
//! frames of Rust. A thread that was waiting here stays here instead; the process is about to end anyway.
//!
//! # Invariants
//!
//! - E1. The flag is set by an `atexit` callback: only the thread that runs it and daemon threads are left then.

use std::sync::OnceLock;
use std::thread::{self, ThreadId};

use pyo3::prelude::*;

static ENDED_BY: OnceLock<ThreadId> = OnceLock::new();

/// Says that the interpreter is about to end. For `atexit`.
#[pyfunction]
pub(crate) fn interpreter_ends() {
    ENDED_BY.get_or_init(|| thread::current().id());
}

/// Runs `work` detached; does not come back to an interpreter that is ending.
pub(crate) fn detached<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    py.detach(|| {
        let result = work();
        if ENDED_BY.get().is_some_and(|ending| *ending != thread::current().id()) {
            loop {
                thread::park();
            }
        }
        result
    })
}
