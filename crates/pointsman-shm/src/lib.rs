//! Carries tasks to worker processes and their results back, over memory that all of them map.
//!
//! A [`Host`] has the pool, a [`Guest`] is one lane (thread) of a worker process, and a [`zygote::Server`] forks the
//! workers. `README.md` draws the layout, says who frees what, and proves that no wake-up is lost.
//!
//! # Does not know
//!
//! Python, pickle, what a call does, or where it should run.
//!
//! # Invariants
//!
//! - I1. Every call of every submitted task is delivered to its sink once: as a value, as a death, or as cancelled.
//! - I2. A process's death fails the calls that its lanes had begun and not replied to, and no others.
//! - I3. Whatever a worker writes into its memory, the host neither panics nor touches memory outside of the segments.
//! - I4. No file outside of `src/os/` asks which system it runs on.
#![cfg_attr(loom, allow(dead_code, unused_imports, reason = "under loom only the protocols are built"))]

mod bell;
mod frame;
mod lanes;
mod layout;
mod region;
mod ring;
mod slots;
mod sync;

#[cfg(not(loom))]
mod arena;
#[cfg(not(loom))]
mod death;
#[cfg(not(loom))]
mod guest;
#[cfg(not(loom))]
mod host;
#[cfg(all(test, not(loom)))]
mod hostile_tests;
#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod os;
#[cfg(not(loom))]
mod ranges;
#[cfg(not(loom))]
mod record;
#[cfg(not(loom))]
mod spin;
#[cfg(not(loom))]
mod task;
#[cfg(not(loom))]
pub mod zygote;

#[cfg(not(loom))]
pub use crate::arena::{Block, HostBlock, LaneBlock};
#[cfg(not(loom))]
pub use crate::death::{Cause, Death, HOPELESS, KillReason};
#[cfg(not(loom))]
pub use crate::frame::Timing;
#[cfg(not(loom))]
pub use crate::guest::{Claim, ClaimOutcome, ClaimedPayload, Guest, watch_parent};
#[cfg(not(loom))]
pub use crate::host::{Host, HostConfig, ProcessInfo, ProcessState};
#[cfg(not(loom))]
pub use crate::os::{OwnedFd, fork_generation, free_a_block_of, give_back, keep_freed, use_large_pages};

pub use crate::memory::{LaneMemory, SharedMemory, View};
#[cfg(not(loom))]
pub use crate::record::{INLINE, SmallBuf};
#[cfg(not(loom))]
pub use crate::task::{BlockRef, Hooks, Payload, ProcessId, Reply, Sink, TaskId, TaskSpec, Terms, Usage};
