//! Decides where calls should run: a pure function of what was measured of a call, of facts about the
//! machine, and of the calls that are left.
//!
//! [`decide()`] prices every placement (a plain loop, threads, processes with threads inside them) and takes the
//! cheapest one that beats the plain loop clearly. Its [`Plan`] carries every candidate worth knowing, so that a
//! decision can explain itself and a prediction can be held against what really happened.
//!
//! # Does not know
//!
//! Python, threads, clocks, files, memory maps, and how a placement is carried out.
//!
//! # Invariants
//!
//! - I1. The same arguments give the same plan: nothing here reads a clock or keeps state.
//! - I2. No argument makes it panic: numbers are clamped where they enter (NaN, infinities, negatives).
//! - I3. When the plain loop is allowed, the chosen candidate is never predicted to be slower than it.

#![forbid(unsafe_code)]

mod chunk;
mod cluster;
mod cores;
mod cost_model;
mod decide;
mod explain;
mod human;
mod job;
mod machine;
mod number;
mod observation;
mod plan;
mod turning;

pub use chunk::{CHUNK_BYTES, CHUNK_CALLS, FAIR, chunk_size, packed_chunk_size};
pub use cluster::{Cluster, Engine};
pub use decide::decide;
pub use human::{human_bytes, human_seconds};
pub use job::{Backend, Backends, Carried, Job};
pub use machine::{Constant, Machine, Provenance};
pub use observation::{Bytes, Observation, Seconds, Workload};
pub use plan::{Candidate, Limit, Plan};
pub use turning::turning_points;
