//! What lies where in a segment, and the header that says so. README.md draws it.
//!
//! # Does not know
//!
//! How memory is made or mapped.
//!
//! # Invariants
//!
//! - Y1. A header that [`Header::decode`] accepts describes areas that lie inside the segment, in order, without overlap.
//! - Y2. Words written by different sides lie on different cache lines.

use std::io;
use std::ops::Range;

use crate::bell::Bell;
use crate::frame::{u32_at, u64_at};
use crate::lanes::Lanes;
use crate::ring::RingAt;
use crate::slots::Slots;

const MAGIC: u64 = u64::from_le_bytes(*b"pointsmn");
const VERSION: u32 = 1;
/// Everything begins at a multiple of this.
pub(crate) const PAGE: u64 = 4096;

/// Most lanes that a host has at one time. Arbitrary: any number that machines do not reach does.
pub(crate) const MOST_LANES: usize = 1024;
const LANE_STRIDE: usize = 128;
/// Bytes of a slot.
pub(crate) const SLOT: usize = 256;

const HINT: usize = 128;
const BELL: usize = 256;
const PRESSURE: usize = 384;
const MORE: usize = 512;
const USED_LANES: usize = 516;
const TRACE: usize = 520;
const LANE_TABLE: usize = 4096;
const SLOTS: usize = LANE_TABLE + MOST_LANES * LANE_STRIDE;

const TAIL: usize = 128;
const HEAD: usize = 256;
const ROOM: usize = 384;
const STARTED: usize = 512;
const PID: usize = 516;
const RING: usize = 4096;

/// The words of the host segment that are neither slots nor lanes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostWords;

impl HostWords {
    /// Rung when a task is over, for those who wait for results.
    pub(crate) const BELL: Bell = Bell(BELL);
    /// Rung when somebody must drain or refill although nobody waits.
    pub(crate) const PRESSURE: Bell = Bell(PRESSURE);
    /// Not zero while the host keeps tasks that found no slot.
    pub(crate) const MORE: usize = MORE;
    /// Not zero while lanes shall tell when calls begin and end.
    pub(crate) const TRACE: usize = TRACE;
}

/// The words of a lane segment outside of its ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneWords;

impl LaneWords {
    /// Not zero once the process has started.
    pub(crate) const STARTED: usize = STARTED;
    /// The process that opened the segment.
    pub(crate) const PID: usize = PID;
}

/// The table of lanes in a host segment.
pub(crate) const LANES: Lanes = Lanes { base: LANE_TABLE, stride: LANE_STRIDE, used: USED_LANES };

/// The slots of a host segment.
pub(crate) fn slots(count: u32) -> Slots {
    Slots { hint: HINT, base: SLOTS, stride: SLOT, count: u64::from(count) }
}

/// The ring of a lane segment.
pub(crate) fn ring(capacity: u32) -> RingAt {
    RingAt { tail: TAIL, head: HEAD, room: Bell(ROOM), bytes: RING, capacity: u64::from(capacity) }
}

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Slots, lanes and the host's arena.
    Host { slots: u32, spin_ns: u64 },
    /// A lane's ring and arena.
    Lane { ring: u32, lane: u16, process: u32 },
}

impl Kind {
    /// Bytes before the arena.
    pub(crate) fn fixed(self) -> u64 {
        let fixed = match self {
            Self::Host { slots, .. } => SLOTS as u64 + u64::from(slots) * SLOT as u64,
            Self::Lane { ring, .. } => RING as u64 + u64::from(ring),
        };
        fixed.next_multiple_of(PAGE)
    }
}

/// The first bytes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Bytes of the segment.
    pub(crate) len: u64,
}

impl Header {
    pub(crate) const LEN: usize = 64;

    /// Where blocks are.
    pub(crate) fn arena(&self) -> Range<u64> {
        self.kind.fixed()..self.len
    }

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let (kind, a, b, c) = match self.kind {
            Kind::Host { slots, spin_ns } => (1_u32, slots, spin_ns, 0),
            Kind::Lane { ring, lane, process } => (2, ring, u64::from(lane), process),
        };
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&kind.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.len.to_le_bytes());
        bytes[24..28].copy_from_slice(&a.to_le_bytes());
        bytes[28..32].copy_from_slice(&c.to_le_bytes());
        bytes[32..40].copy_from_slice(&b.to_le_bytes());
        bytes
    }

    /// Checks a header against the length of its segment.
    pub(crate) fn decode(bytes: &[u8; Self::LEN], actual: u64) -> io::Result<Self> {
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()));
        if u64_at(bytes, 0) != Some(MAGIC) {
            return refuse("this is not a segment of pointsman");
        }
        if u32_at(bytes, 8) != Some(VERSION) {
            return refuse("the segment was made by another version of pointsman: restart the program");
        }
        let (Some(kind), Some(len), Some(a), Some(c), Some(b)) =
            (u32_at(bytes, 12), u64_at(bytes, 16), u32_at(bytes, 24), u32_at(bytes, 28), u64_at(bytes, 32))
        else {
            return refuse("the segment's header is cut off");
        };
        if !a.is_power_of_two() {
            return refuse("a count in the segment's header is not a power of two");
        }
        let kind = match (kind, u16::try_from(b)) {
            (1, _) => Kind::Host { slots: a, spin_ns: b },
            (2, Ok(lane)) if usize::from(lane) < MOST_LANES => Kind::Lane { ring: a, lane, process: c },
            _ => return refuse("the segment is of no known kind"),
        };
        if len != actual || len < kind.fixed() {
            return refuse("the segment has another length than its header says");
        }
        Ok(Self { kind, len })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_survives_the_journey() {
        let header = Header { kind: Kind::Lane { ring: 1 << 20, lane: 7, process: 3 }, len: 1 << 30 };

        assert_eq!(header, Header::decode(&header.encode(), 1 << 30).unwrap());
    }

    #[test]
    fn a_segment_of_another_length_is_refused() {
        let header = Header { kind: Kind::Host { slots: 16, spin_ns: 0 }, len: 1 << 30 };

        assert!(Header::decode(&header.encode(), 1 << 29).is_err());
    }

    proptest! {
        #[test]
        fn any_header_is_refused_or_stays_inside(mut bytes: [u8; 64], whole: bool, actual: u64) {
            if whole {
                bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
                bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
                bytes[16..24].copy_from_slice(&actual.to_le_bytes());
            }
            if let Ok(header) = Header::decode(&bytes, actual) {
                prop_assert!(header.arena().start <= header.arena().end && header.arena().end <= actual);
            }
        }
    }
}
