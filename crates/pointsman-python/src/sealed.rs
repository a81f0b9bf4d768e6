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

/// A reply as it came.
#[derive(Debug)]
pub(crate) struct Sealed {
    tag: u8,
    bytes: Box<[u8]>,
    lane: Arc<LaneMemory>,
}

impl Sealed {
    pub(crate) fn new(tag: u8, bytes: &[u8], lane: &Arc<LaneMemory>) -> Self {
        Self { tag, bytes: bytes.into(), lane: lane.clone() }
    }

    /// Tag, bytes and lane, for the one who decodes them.
    pub(crate) fn open(mut self) -> (u8, Box<[u8]>, Arc<LaneMemory>) {
        (self.tag, std::mem::take(&mut self.bytes), self.lane.clone())
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        release(&self.bytes, &self.lane);
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
