//! Hands queued jobs to the threads of one process: a priority queue, parking, and the
//! count of workers that it takes.
//!
//! # Does not know
//!
//! Python, shared memory, what a job does, or what it costs. A job is any `T: Send`.
//!
//! # Invariants
//!
//! - I1. A posted job is handed out exactly once: by [`Queue::take`], [`Queue::try_take`],
//!   [`Queue::withdraw`] or [`Queue::close`].
//! - I2. No code of a job runs while the queue's lock is held; a job is never dropped under it either.
//! - I3. A worker that parks is woken by the next post, by `close`, or by its own time limit.

#![forbid(unsafe_code)]

mod queue;
mod sync;

pub use queue::{Limits, PATIENCE, Posted, Priority, Queue, Taken};
