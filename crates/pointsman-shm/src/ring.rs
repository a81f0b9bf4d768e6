//! The result ring of a lane: one producer (the lane), one consumer (the host), bytes in frames.
//!
//! # Does not know
//!
//! What the frames say, or who wakes whom for them.
//!
//! # Invariants
//!
//! - R1. Tail and head are byte positions that never wrap in practice (64 bits), both multiples of 8, and
//!   `head <= tail <= head + capacity`. The producer alone stores the tail, the consumer alone the head.
//! - R2. A frame is committed by one store of the tail that covers it whole.
//! - R3. The consumer keeps its own head: what the region says the head is matters to the producer only.
//! - R4. The consumer believes neither tail nor frames: every length is checked before it is used.
//!
//! # Memory ordering
//!
//! Tail: stored with Release by the producer, loaded with Acquire by the consumer, who then sees the frames. Head: stored
//! with Release by the consumer, loaded with Acquire by the producer, who then may overwrite what was read.

use crate::bell::Bell;
use crate::frame::{FrameError, HEADER, Header, Kind, footprint};
use crate::region::Region;
use crate::sync::Ordering;

/// Where a ring lies in a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingAt {
    pub(crate) tail: usize,
    pub(crate) head: usize,
    /// The producer sleeps on it until there is room.
    pub(crate) room: Bell,
    pub(crate) bytes: usize,
    /// A power of two.
    pub(crate) capacity: u64,
}

impl RingAt {
    /// Splits the area of `len` bytes from a position into its part before the ring's end and its part after.
    fn split(&self, position: u64, len: usize) -> (usize, usize) {
        #[expect(clippy::cast_possible_truncation, reason = "less than the capacity, which is a u32")]
        let (start, capacity) = ((position & (self.capacity - 1)) as usize, self.capacity as usize);
        (self.bytes + start, len.min(capacity - start))
    }

    fn write<R: Region>(&self, region: &R, position: u64, from: &[u8]) {
        let (at, before) = self.split(position, from.len());
        region.write(at, &from[..before]);
        if before < from.len() {
            region.write(self.bytes, &from[before..]);
        }
    }

    fn read<R: Region>(&self, region: &R, position: u64, into: &mut [u8]) {
        let (at, before) = self.split(position, into.len());
        region.read(at, &mut into[..before]);
        if before < into.len() {
            region.read(self.bytes, &mut into[before..]);
        }
    }
}

/// The lane's end.
#[derive(Debug)]
pub(crate) struct Producer {
    ring: RingAt,
    tail: u64,
    head: u64,
}

impl Producer {
    /// The producer of a ring that is empty and new.
    pub(crate) fn new(ring: RingAt) -> Self {
        Self { ring, tail: 0, head: 0 }
    }

    /// Commits a frame if there is room for it.
    pub(crate) fn push<R: Region>(&mut self, region: &R, kind: Kind, payload: &[u8]) -> bool {
        let size = footprint(payload.len()) as u64;
        if !self.has_room(region, size) {
            return false;
        }
        // The caller's pieces are at most an eighth of a ring, whose capacity is a u32.
        let Ok(len) = u32::try_from(payload.len()) else {
            return false;
        };
        self.ring.write(region, self.tail, &Header { kind, len }.encode());
        self.ring.write(region, self.tail + HEADER as u64, payload);
        self.tail += size;
        // Release: pairs with the Acquire in `Consumer::look` (R2).
        region.word64(self.ring.tail).store(self.tail, Ordering::Release);
        true
    }

    /// Whether a frame of `size` bytes fits. Looks at the shared head only when the remembered one says no.
    pub(crate) fn has_room<R: Region>(&mut self, region: &R, size: u64) -> bool {
        let fits = |head: u64| self.tail + size <= head + self.ring.capacity;
        fits(self.head) || {
            // Acquire: pairs with the Release in `Consumer::release`.
            self.head = region.word64(self.ring.head).load(Ordering::Acquire);
            self.tail + size <= self.head + self.ring.capacity
        }
    }

    /// Whether more than half of the ring waits to be read, by the head last seen.
    pub(crate) fn is_half_full(&self) -> bool {
        self.tail - self.head > self.ring.capacity / 2
    }

    /// The longest payload that goes into one frame; longer ones go in pieces.
    pub(crate) fn longest(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "the capacity is a u32")]
        let capacity = self.ring.capacity as usize;
        capacity / 8
    }

    /// The bell that tells of room.
    pub(crate) fn room(&self) -> Bell {
        self.ring.room
    }
}

/// The host's end.
#[derive(Debug)]
pub(crate) struct Consumer {
    ring: RingAt,
    head: u64,
    released: u64,
    /// The tail as last seen and found possible.
    tail: u64,
}

impl Consumer {
    /// The consumer of a ring that is empty and new.
    pub(crate) fn new(ring: RingAt) -> Self {
        Self { ring, head: 0, released: 0, tail: 0 }
    }

    /// Sees what the producer has committed so far; [`Consumer::next`] goes no further.
    pub(crate) fn look<R: Region>(&mut self, region: &R) -> Result<(), FrameError> {
        // Acquire: pairs with the Release in `Producer::push`.
        let tail = region.word64(self.ring.tail).load(Ordering::Acquire);
        if tail == self.tail {
            return Ok(());
        }
        let held = tail.wrapping_sub(self.head);
        if held > self.ring.capacity {
            return Err(FrameError::Overrun(held.wrapping_sub(self.ring.capacity)));
        }
        if !tail.is_multiple_of(8) {
            return Err(FrameError::Unaligned);
        }
        self.tail = tail;
        Ok(())
    }

    /// The next frame that was seen, its payload copied to the end of `into`.
    pub(crate) fn next<R: Region>(&mut self, region: &R, into: &mut Vec<u8>) -> Result<Option<Header>, FrameError> {
        let available = self.tail - self.head;
        if available == 0 {
            return Ok(None);
        }
        let mut bytes = [0; HEADER];
        self.ring.read(region, self.head, &mut bytes);
        let header = Header::decode(bytes, available)?;
        let (len, start) = (header.len as usize, into.len());
        if into.try_reserve(len).is_err() {
            return Err(FrameError::TooLong(header.len));
        }
        into.resize(start + len, 0);
        self.ring.read(region, self.head + HEADER as u64, &mut into[start..]);
        self.head += footprint(len) as u64;
        Ok(Some(header))
    }

    /// Gives the room of what was read back to the producer, and wakes it if that is much.
    pub(crate) fn release<R: Region>(&mut self, region: &R) {
        if self.released == self.head {
            return;
        }
        // Release: pairs with the Acquire in `Producer::has_room`.
        region.word64(self.ring.head).store(self.head, Ordering::Release);
        self.released = self.head;
        // A wake for every few bytes would cost more than the bytes; the last release always finds the ring empty.
        if self.tail - self.head <= self.ring.capacity / 2 {
            self.ring.room.announce(region);
        }
    }
}
