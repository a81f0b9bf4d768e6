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
const FIXED: usize = 64;
/// Offset in a slot of an inline payload.
pub(crate) const INLINE_AT: usize = AT + FIXED;
/// Longest payload that travels inside a slot.
pub const INLINE: usize = SLOT - INLINE_AT;

const IS_INLINE: u32 = 1;
const REFILL: u32 = 2;

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
    pub(crate) const LEN: usize = FIXED;

    pub(crate) fn encode(&self) -> [u8; FIXED] {
        let (offset, len, inline) = match self.payload {
            Place::Inline(len) => (0, len as u64, IS_INLINE),
            Place::Block(block) => (block.offset, block.len, 0),
        };
        let flags = inline | if self.refill { REFILL } else { 0 };
        let mut bytes = [0; FIXED];
        for (at, word) in [self.task, self.function, self.function_block.offset, self.function_block.len, offset, len]
            .iter()
            .enumerate()
        {
            bytes[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        for (at, word) in [self.first, self.calls, flags].iter().enumerate() {
            bytes[48 + at * 4..52 + at * 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; FIXED]) -> Option<Self> {
        let word = |index: usize| u64_at(bytes, index * 8);
        let flags = u32_at(bytes, 56)?;
        let (offset, len) = (word(4)?, word(5)?);
        let payload = if flags & IS_INLINE == 0 {
            Place::Block(BlockRef { offset, len })
        } else {
            Place::Inline(usize::try_from(len).ok().filter(|len| *len <= INLINE)?)
        };
        Some(Self {
            task: word(0)?,
            function: word(1)?,
            function_block: BlockRef { offset: word(2)?, len: word(3)? },
            payload,
            first: u32_at(bytes, 48)?,
            calls: u32_at(bytes, 52)?,
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
