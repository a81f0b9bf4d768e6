//! Which pools' calls a thread is running, so that it can run others of theirs or give its place away while it waits.
//!
//! # Does not know
//!
//! What calls are, or how a pool runs them.

use std::cell::RefCell;
use std::sync::Arc;

use pyo3::prelude::*;

use crate::thread_pool::Shared;

struct Serving {
    pool: Arc<Shared>,
    worker: Option<usize>,
}

thread_local! {
    /// The pools whose calls this thread is running, innermost last.
    static SERVING: RefCell<Vec<Serving>> = const { RefCell::new(Vec::new()) };
}

/// How many calls this thread is running, one inside the other; 0 on a thread that is no worker.
pub(crate) fn depth() -> usize {
    SERVING.with_borrow(Vec::len)
}

/// Marks this thread as one that serves `pool` while `work` runs.
pub(crate) fn serving<R>(pool: &Arc<Shared>, worker: Option<usize>, work: impl FnOnce() -> R) -> R {
    let worker = worker.or_else(|| pool.worker_here());
    SERVING.with_borrow_mut(|serving| serving.push(Serving { pool: pool.clone(), worker }));
    let result = work();
    SERVING.with_borrow_mut(Vec::pop);
    result
}

/// This thread's number among the workers of `pool`, if it is one.
pub(crate) fn worker_of(pool: &Arc<Shared>) -> Option<usize> {
    SERVING.with_borrow(|serving| {
        serving.iter().rev().find(|serving| Arc::ptr_eq(&serving.pool, pool)).and_then(|serving| serving.worker)
    })
}

/// Whether this thread is running a call of `pool`.
pub(crate) fn serves(pool: &Arc<Shared>) -> bool {
    SERVING.with_borrow(|serving| serving.iter().any(|serving| Arc::ptr_eq(&serving.pool, pool)))
}

/// The pool whose worker this thread is; of others it only runs calls.
pub(crate) fn home() -> Option<Arc<Shared>> {
    SERVING.with_borrow(|serving| serving.first().map(|serving| serving.pool.clone()))
}

/// Says that this thread is about to wait for something that may need its pool: while it does, another may take its place.
/// Returns whether it is a worker at all; if so, `worker_resumes` must follow.
#[pyfunction]
pub(crate) fn worker_waits(py: Python<'_>) -> PyResult<bool> {
    let Some(pool) = home() else { return Ok(false) };
    if pool.queue.step_out()
        && let Err(error) = pool.start(py)
        && pool.queue.workers() == 0
    {
        pool.queue.step_in();
        return Err(error.into());
    }
    Ok(true)
}

/// Says that this thread, which waited, goes on.
#[pyfunction]
pub(crate) fn worker_resumes() {
    if let Some(pool) = home() {
        pool.queue.step_in();
    }
}
