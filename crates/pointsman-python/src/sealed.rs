//! Replies that have not been decoded, and what becomes of the blocks that they refer to.
//!
//! # Does not know
//!
//! What a reply means.
//!
//! # Invariants
//!
//! - E1. Each block that a reply refers to is viewed or released exactly once: by the decoder, or by whoever drops the
//!   reply undecoded, or decodes only a part of it. So a worker's arena never fills with what nobody will read.

use std::cell::RefCell;
use std::sync::Arc;

use pointsman_shm::{BlockRef, LaneMemory, View};

use crate::codec::{self, Load};

/// Bytes of a reply that need no allocation: a number, a short text, or a reference to a block.
const MOST_SHORT: usize = 21;

/// With the tag, so that both take no more than three words.
#[derive(Debug)]
enum Bytes {
    Short(u8, u8, [u8; MOST_SHORT]),
    Long(u8, Box<[u8]>),
}

/// A reply as it came.
#[derive(Debug)]
pub(crate) struct Sealed {
    bytes: Bytes,
    lane: Arc<LaneMemory>,
}

impl Sealed {
    pub(crate) fn new(tag: u8, bytes: &[u8], lane: &Arc<LaneMemory>) -> Self {
        let mut short = [0; MOST_SHORT];
        let kept = match (u8::try_from(bytes.len()), short.get_mut(..bytes.len())) {
            (Ok(len), Some(room)) => {
                room.copy_from_slice(bytes);
                Bytes::Short(tag, len, short)
            }
            _ => Bytes::Long(tag, bytes.into()),
        };
        Self { bytes: kept, lane: lane.clone() }
    }

    fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Short(_, len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Bytes::Long(_, bytes) => bytes,
        }
    }

    /// Gives tag, bytes and lane to the one who decodes them, and with them the blocks that they refer to (E1).
    pub(crate) fn open<R>(mut self, decode: impl FnOnce(u8, &[u8], &Arc<LaneMemory>) -> R) -> R {
        let (Bytes::Short(tag, ..) | Bytes::Long(tag, _)) = self.bytes;
        let decoded = decode(tag, self.bytes(), &self.lane);
        self.bytes = Bytes::Short(tag, 0, [0; MOST_SHORT]);
        decoded
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        release(self.bytes(), &self.lane);
    }
}

/// Gives back every block that `bytes`, which nobody will decode, refer to.
pub(crate) fn release(bytes: &[u8], lane: &Arc<LaneMemory>) {
    codec::each_block(bytes, &mut |block| lane.release(block));
}

/// Loads blocks of a lane and remembers which.
pub(crate) struct Recorded<'a> {
    lane: &'a Arc<LaneMemory>,
    loaded: RefCell<Vec<BlockRef>>,
}

impl<'a> Recorded<'a> {
    pub(crate) fn new(lane: &'a Arc<LaneMemory>) -> Self {
        Self { lane, loaded: RefCell::default() }
    }

    /// Releases the blocks of a reply whose decoding ended before it came to them.
    pub(crate) fn release_rest(&self, bytes: &[u8]) {
        let loaded = self.loaded.borrow();
        codec::each_block(bytes, &mut |block| {
            if !loaded.contains(&block) {
                self.lane.release(block);
            }
        });
    }
}

impl Load for Recorded<'_> {
    fn load(&self, block: BlockRef) -> Option<View> {
        self.loaded.borrow_mut().push(block);
        self.lane.view(block)
    }
}
