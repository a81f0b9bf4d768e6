//! Divides a cap on shared memory among the parts of a pool.
//!
//! # Does not know
//!
//! What is kept in the parts.
//!
//! # Invariants
//!
//! - Z1. The parts that can fill add up to the cap at most. Headers and tables, some 150 KiB, come on top.

use pointsman_shm::HostConfig;
use pyo3::PyErr;

use crate::process_pool::invalid;

/// The least that is left for arguments, and for results, below which a cap is refused. Arbitrary: a few large replies.
const LEAST: u64 = 1 << 20;
const SLOT: u64 = 256;

/// The sizes of a pool that may take `most` bytes for itself and `lanes` lanes.
pub(crate) fn sizes(most: u64, lanes: u32) -> Option<HostConfig> {
    let lanes = u64::from(lanes);
    let whole = HostConfig::default();
    let slots = if most / 16 >= u64::from(whole.slots) * SLOT { whole.slots } else { 1024 };
    let ring = (most / 8 / lanes).clamp(64 << 10, u64::from(whole.ring_bytes));
    // A power of two, not above: the host would round up.
    let ring = 1 << ring.ilog2();
    let left = most.checked_sub(u64::from(slots) * SLOT + lanes * ring)?;
    let (host, lane) = (left / 2, left / 2 / lanes);
    (host >= LEAST && left >= LEAST).then(|| HostConfig {
        slots,
        window: slots,
        ring_bytes: u32::try_from(ring).unwrap_or(whole.ring_bytes),
        host_arena_bytes: host.min(whole.host_arena_bytes),
        lane_arena_bytes: lane.min(whole.lane_arena_bytes),
        ..whole
    })
}

/// The error for a cap that leaves no room.
pub(crate) fn too_little(most: u64, lanes: u32) -> PyErr {
    let least = (1 << 20..=1_u64 << 40).step_by(1 << 20).find(|most| sizes(*most, lanes.max(1)).is_some());
    let least = least.unwrap_or(u64::MAX) >> 20;
    invalid(format!("shared_memory must be at least {least} MiB for {lanes} workers, not {most} bytes"))
}
