//! The bytes of a task in its slot.
//!
//! # Does not know
//!
//! The slot's word, which comes before them and belongs to [`crate::slots`].

use crate::BlockRef;
use crate::frame::{u32_at, u64_at};
use crate::layout::SLOT;

/// Offset in a slot: the word comes first.
pub(crate) const AT: usize = 8;
const FIXED: usize = 44;
const BLOCK: usize = 16;
/// Offset in a slot of an inline payload, in the place of a reference to a block. Word, record and a call with one number fit
/// into 64 bytes: each line that the host writes and a lane reads travels from one core to the other and back.
pub(crate) const INLINE_AT: usize = AT + FIXED;
/// Longest payload that travels inside a slot.
pub const INLINE: usize = SLOT - INLINE_AT;

const IS_INLINE: u16 = 1;
const REFILL: u16 = 2;

/// Where the payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Inline(usize),
    Block(BlockRef),
}

/// A task as a lane sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) task: u64,
    pub(crate) function: u64,
    pub(crate) function_block: BlockRef,
    pub(crate) payload: Place,
    pub(crate) first: u32,
    pub(crate) calls: u32,
    /// Asks the claimer to tell the host that the slots run low.
    pub(crate) refill: bool,
}

impl Record {
    pub(crate) const LEN: usize = FIXED + BLOCK;

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let (block, len, inline) = match self.payload {
            // At most `INLINE`.
            Place::Inline(len) => (BlockRef { offset: 0, len: 0 }, u16::try_from(len).unwrap_or(u16::MAX), IS_INLINE),
            Place::Block(block) => (block, 0, 0),
        };
        let flags = inline | if self.refill { REFILL } else { 0 };
        let mut bytes = [0; Self::LEN];
        for (at, word) in
            [self.task, self.function, self.function_block.offset, self.function_block.len].iter().enumerate()
        {
            bytes[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes[32..36].copy_from_slice(&self.first.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.calls.to_le_bytes());
        bytes[40..42].copy_from_slice(&flags.to_le_bytes());
        bytes[42..44].copy_from_slice(&len.to_le_bytes());
        bytes[44..52].copy_from_slice(&block.offset.to_le_bytes());
        bytes[52..].copy_from_slice(&block.len.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let word = |index: usize| u64_at(bytes, index * 8);
        let [flags, len] = [40, 42].map(|at| u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let payload = if flags & IS_INLINE == 0 {
            Place::Block(BlockRef { offset: u64_at(bytes, 44)?, len: u64_at(bytes, 52)? })
        } else {
            Place::Inline(Some(usize::from(len)).filter(|len| *len <= INLINE)?)
        };
        Some(Self {
            task: word(0)?,
            function: word(1)?,
            function_block: BlockRef { offset: word(2)?, len: word(3)? },
            payload,
            first: u32_at(bytes, 32)?,
            calls: u32_at(bytes, 36)?,
            refill: flags & REFILL != 0,
        })
    }
}

/// A few bytes that need no allocation.
#[derive(Clone, Copy, Debug)]
pub struct SmallBuf {
    bytes: [u8; INLINE],
    len: usize,
}

impl SmallBuf {
    /// Zeros to be filled; at most [`INLINE`] of them.
    pub(crate) fn zeros(len: usize) -> Self {
        Self { bytes: [0; INLINE], len: len.min(INLINE) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_survives_the_journey(task: u64, function: u64, offset: u64, len: u64, inline in 0..=INLINE, short: bool, first: u32, calls: u32, refill: bool) {
            let block = BlockRef { offset, len };
            let payload = if short { Place::Inline(inline) } else { Place::Block(block) };
            let record = Record { task, function, function_block: block, payload, first, calls, refill };

            prop_assert_eq!(Some(record), Record::decode(&record.encode()));
        }
    }
}
