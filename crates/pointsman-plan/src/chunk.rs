//! Sizes chunks: how many calls a worker takes at a time.
//!
//! Factoring (Hummel, Schonberg and Flynn 1992): every round hands out half of the work that remains, in equal
//! chunks, and less than half when calls differ much, so that the last chunks are small enough to even the lanes
//! out.
//!
//! # Does not know
//!
//! Who hands the chunks out.
//!
//! # Invariants
//!
//! - I1. A chunk has at least one call, and no more calls than remain (one when none remains).
//! - I2. A chunk holds at most the target's work, unless one call alone is more.
//! - I3. Within I1 and I2, a chunk holds at least the least work that pays for its hand-out.

use crate::number::{real, whole, within};

/// Least work per chunk, in seconds, and least time of a call. FEASIBILITY B: see `Machine::least_chunk` and
/// `Machine::inline_dispatch`.
const LEAST: Least = Least { chunk: 200e-6, call: 0.03e-6 };

/// Least work per chunk whose inputs are packed already, in seconds: it costs a few system calls less to hand out, and no
/// time of the interpreter's. Arbitrary from 10 to 50 us: ten times what it takes.
const LEAST_PACKED: f64 = 20e-6;

/// Calls in a chunk for a process, at most: what they send and give is then in memory that was touched before, and in a
/// core's cache. A chunk costs some 15 us. Arbitrary from 4096 to 16384 (`benches/dispatch.py`, "own chunks").
pub const CHUNK_CALLS: usize = 8192;

/// Bytes of inputs in a chunk for a process, at most, unless one input has more. Arbitrary: its sending takes some
/// milliseconds.
pub const CHUNK_BYTES: usize = 16 << 20;

/// Chunks of calls of which nothing is known, or nothing but from an earlier job, that the calls left would be for each
/// worker: whatever the calls take now, one of them is a small part of all. Arbitrary from 4 to 16.
pub const FAIR: usize = 8;

/// The lower limits of chunks and calls, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Least {
    pub(crate) chunk: f64,
    pub(crate) call: f64,
}

/// The number of calls in the next chunk, when `remaining` calls are left for `lanes` lanes, one call takes
/// `mean_seconds` with the coefficient of variation `cv`, and a chunk shall not hold more than `target_seconds`.
pub fn chunk_size(remaining: u64, lanes: u32, mean_seconds: f64, cv: f64, target_seconds: f64) -> usize {
    let calls = chunk_within(remaining, lanes, mean_seconds, cv, target_seconds, LEAST);
    usize::try_from(calls).unwrap_or(usize::MAX)
}

/// As [`chunk_size`], of inputs that are packed already: chunks may be smaller.
pub fn packed_chunk_size(remaining: u64, lanes: u32, mean_seconds: f64, target_seconds: f64) -> usize {
    let least = Least { chunk: LEAST_PACKED, ..LEAST };
    let calls = chunk_within(remaining, lanes, mean_seconds, 0.0, target_seconds, least);
    usize::try_from(calls).unwrap_or(usize::MAX)
}

/// As [`chunk_size`], with the machine's own lower limits.
pub(crate) fn chunk_within(
    remaining: u64,
    lanes: u32,
    mean_seconds: f64,
    cv: f64,
    target_seconds: f64,
    least: Least,
) -> u64 {
    let (left, lanes) = (real(remaining.max(1)), f64::from(lanes.max(1)));
    let mean = within(mean_seconds, least.call.clamp(1e-12, 1e12), 1e12);
    // b and x are the paper's: how uneven the lanes will be, and by how much a round is cut for that.
    let b = lanes / (2.0 * left.sqrt()) * within(cv, 0.0, 1e3);
    let x = 2.0 + b * b + b * (b * b + 4.0).sqrt();
    let share = (left / (x * lanes)).ceil();
    // The factors keep a quotient that is whole but for its last bit from counting as the next number.
    let most = (within(target_seconds, 0.0, 1e12) / mean * (1.0 + 1e-12)).floor();
    let fewest = (least.chunk / mean * (1.0 - 1e-12)).ceil();
    whole(share.max(fewest).min(most).clamp(1.0, left)).clamp(1, remaining.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_hands_out_half_of_the_work() {
        let chunk = chunk_size(1000, 4, 1e-3, 0.0, 10.0);

        assert_eq!(chunk, 125);
    }

    #[test]
    fn uneven_calls_travel_in_smaller_chunks() {
        let (even, uneven) = (chunk_size(1000, 8, 1e-3, 0.0, 10.0), chunk_size(1000, 8, 1e-3, 5.0, 10.0));

        assert!(uneven < even, "{uneven} is not less than {even}");
    }

    #[test]
    fn tiny_calls_travel_in_chunks_that_pay_for_their_hand_out() {
        let chunk = chunk_size(1000, 2, 1e-6, 0.0, 0.2);

        assert_eq!(chunk, 250);
        assert_eq!(chunk_size(300, 2, 1e-6, 0.0, 0.2), 200);
    }

    #[test]
    fn a_chunk_holds_no_more_than_the_target() {
        let chunk = chunk_size(1_000_000, 2, 1e-3, 0.0, 0.2);

        assert_eq!(chunk, 200);
    }

    #[test]
    fn a_call_longer_than_the_target_travels_alone() {
        let chunk = chunk_size(100, 2, 1.0, 0.0, 0.2);

        assert_eq!(chunk, 1);
    }
}
