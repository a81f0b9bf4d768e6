//! Hands queued jobs to the threads of one process: a priority queue, parking, and the
//! count of workers that it takes.
//!
//! # Does not know
//!
//! Python, shared memory, what a job does, or what it costs. A job is any `T: Send`.
//!
//! # Invariants
//!
//! - I1. A posted job is handed out exactly once: by [`Queue::take_or_search`], [`Queue::search`], [`Queue::try_take`],
//!   [`Queue::try_take_before`] or [`Queue::close`].
//! - I2. No code of a job runs while the queue's lock is held; a job is never dropped under it either.
//! - I3. A worker that parks is woken by a post that no searching worker is there for, by a worker that leaves jobs behind
//!   (the chain), by `close`, or by its own time limit. So while jobs wait and none is searching, nobody is parked.

#![forbid(unsafe_code)]

mod lines;
mod queue;
mod spin;
mod stuck;
mod sync;

pub use lines::{Order, PATIENCE, Priority};
pub use queue::{Limits, Posted, Queue, Taken};
pub use spin::spin;
pub use stuck::{Awaits, Wait, is_stuck};
