//! The frames of a result ring: how they look, and a parser that takes nothing on trust.
//!
//! # Does not know
//!
//! Rings, lanes, or whether a frame's task exists.
//!
//! # Invariants
//!
//! - F1. A frame is a header of 8 bytes (length u32, kind u8, tag u8, zero u16) and a payload padded to 8 bytes.
//! - F2. Any bytes parse to a frame or to a [`FrameError`]; nothing panics.

use thiserror::Error;

/// Bytes of a frame's header.
pub(crate) const HEADER: usize = 8;

const BEGIN: u8 = 1;
const VALUE: u8 = 2;
const PART: u8 = 3;
const END: u8 = 4;
const TIMING: u8 = 5;
const LAST: u8 = 6;

/// What is wrong with the bytes of a ring.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum FrameError {
    #[error("the ring claims to hold {0} bytes more than it was given")]
    Overrun(u64),
    #[error("a ring position is not a multiple of 8")]
    Unaligned,
    #[error("a frame of {0} bytes does not fit into what the ring holds")]
    TooLong(u32),
    #[error("unknown frame kind {0}")]
    Kind(u8),
    #[error("a frame of kind {kind} has {len} bytes")]
    Length { kind: u8, len: u32 },
    #[error("the reserved bytes of a frame are not zero")]
    Reserved,
}

/// The kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A lane has begun a task: its id and the index of the first call.
    Begin,
    /// The outcome of the next call; the tag is the binding's own.
    Value(u8),
    /// A piece of an outcome that the next VALUE or LAST completes.
    Part,
    /// The task is over: its id, wall and CPU nanoseconds.
    End,
    /// The outcome of a task's last call, and the end of the task: wall nanoseconds, then what a VALUE holds.
    Last(u8),
    /// When the next call, whose VALUE or LAST follows, began and ended. Only while somebody traces.
    Timing,
}

/// A frame's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) len: u32,
}

/// Bytes that a payload of this length takes in a ring, with its header.
pub(crate) const fn footprint(len: usize) -> usize {
    HEADER + len.next_multiple_of(8)
}

impl Header {
    /// The bytes of this header.
    pub(crate) fn encode(self) -> [u8; HEADER] {
        let (kind, tag) = match self.kind {
            Kind::Begin => (BEGIN, 0),
            Kind::Value(tag) => (VALUE, tag),
            Kind::Last(tag) => (LAST, tag),
            Kind::Part => (PART, 0),
            Kind::End => (END, 0),
            Kind::Timing => (TIMING, 0),
        };
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4] = kind;
        bytes[5] = tag;
        bytes
    }

    /// Checks the bytes of a header. `available` is what the ring holds from its start on.
    pub(crate) fn decode(bytes: [u8; HEADER], available: u64) -> Result<Self, FrameError> {
        let [a, b, c, d, kind, tag, zero, nought] = bytes;
        let len = u32::from_le_bytes([a, b, c, d]);
        if (zero, nought) != (0, 0) {
            return Err(FrameError::Reserved);
        }
        let (kind, fixed) = match kind {
            BEGIN => (Kind::Begin, Some(Begin::LEN)),
            VALUE => (Kind::Value(tag), None),
            LAST => (Kind::Last(tag), None),
            PART => (Kind::Part, None),
            END => (Kind::End, Some(End::LEN)),
            TIMING => (Kind::Timing, Some(Timing::LEN)),
            other => return Err(FrameError::Kind(other)),
        };
        if fixed.is_some_and(|fixed| fixed != len as usize) {
            return Err(FrameError::Length { kind: bytes[4], len });
        }
        if footprint(len as usize) as u64 > available {
            return Err(FrameError::TooLong(len));
        }
        Ok(Self { kind, len })
    }
}

/// The payload of a BEGIN frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) task: u64,
    pub(crate) first: u32,
}

impl Begin {
    pub(crate) const LEN: usize = 16;

    pub(crate) fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.task.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.first.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self { task: u64_at(bytes, 0)?, first: u32_at(bytes, 8)? })
    }
}

/// The payload of an END frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) task: u64,
    pub(crate) wall_ns: u64,
    pub(crate) cpu_ns: u64,
}

impl End {
    pub(crate) const LEN: usize = 24;

    pub(crate) fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.task.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.wall_ns.to_le_bytes());
        bytes[16..].copy_from_slice(&self.cpu_ns.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self { task: u64_at(bytes, 0)?, wall_ns: u64_at(bytes, 8)?, cpu_ns: u64_at(bytes, 16)? })
    }
}

/// When a call was ready to run, began and ended, in nanoseconds of the monotonic clock, which all processes share.
///
/// One whose `ended` is 0 tells of no call: only that its lane is `ready` for the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// When the lane turned to this call: it had claimed the task, or sent the reply to the call before.
    pub ready: u64,
    /// When the function was called.
    pub began: u64,
    /// When it returned.
    pub ended: u64,
    /// When its outcome was packed, to be sent at once.
    pub packed: u64,
    /// CPU nanoseconds of the call's thread; [`Timing::UNKNOWN`] if nobody looked.
    pub cpu: u64,
    /// Those of them with the GIL held; [`Timing::UNKNOWN`] if nobody looked.
    pub held: u64,
}

impl Timing {
    pub(crate) const LEN: usize = 48;
    /// What stands for a figure that was not measured.
    pub const UNKNOWN: u64 = u64::MAX;

    pub(crate) fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        for (at, word) in [self.ready, self.began, self.ended, self.packed, self.cpu, self.held].into_iter().enumerate()
        {
            bytes[8 * at..8 * at + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            ready: u64_at(bytes, 0)?,
            began: u64_at(bytes, 8)?,
            ended: u64_at(bytes, 16)?,
            packed: u64_at(bytes, 24)?,
            cpu: u64_at(bytes, 32)?,
            held: u64_at(bytes, 40)?,
        })
    }
}

/// The little-endian number at an offset, if there are bytes enough.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The little-endian number at an offset, if there are bytes enough.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes: [u8; 8], available in 0_u64..1 << 20) {
            if let Ok(header) = Header::decode(bytes, available) {
                prop_assert!(footprint(header.len as usize) as u64 <= available);
                let again = Header::decode(header.encode(), available);
                prop_assert_eq!(Ok(header), again);
            }
        }

        #[test]
        fn payloads_survive_the_journey(task: u64, first: u32, wall_ns: u64, cpu_ns: u64, ready: u64, held: u64) {
            let (begin, end) = (Begin { task, first }, End { task, wall_ns, cpu_ns });
            let timing = Timing { ready, began: task, ended: wall_ns, packed: held, cpu: cpu_ns, held };

            prop_assert_eq!(Some(begin), Begin::decode(&begin.encode()));
            prop_assert_eq!(Some(end), End::decode(&end.encode()));
            prop_assert_eq!(Some(timing), Timing::decode(&timing.encode()));
        }
    }

    #[test]
    fn a_begin_of_the_wrong_length_is_refused() {
        let header = Header { kind: Kind::Begin, len: 15 };

        assert_eq!(Err(FrameError::Length { kind: 1, len: 15 }), Header::decode(header.encode(), 1000));
    }
}
