//! A mapped segment, the words and bytes in it, and views of the blocks that were received through it.
//!
//! # Does not know
//!
//! Rings, slots, or who owns the arena.
//!
//! # Invariants
//!
//! - M1. The mapping lives as long as the [`SharedMemory`], and every [`View`] holds an `Arc` of it.
//! - M2. Offsets that come from the other side are checked against the arena before any use; all others come from the
//!   layout, and are checked against the mapping as well.
//! - M3. The word before a block counts its views; the last view to go sets RELEASED, once. A released block has no
//!   views and gets none until its owner uses the memory again.
//! - M4. A block that was sent is written by its receiver alone; the word is changed by atomic operations only.
//! - M5. A view that a forked child inherited belongs to its parent: dropping it in the child changes nothing.

use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::BlockRef;
use crate::layout::{Header, Kind, PAGE};
use crate::os::{self, AsFd, BorrowedFd, OwnedFd};
use crate::region::Region;

/// Set in a block's word when its receiver has done with it.
pub(crate) const RELEASED: u32 = 1 << 31;
/// Bytes before each block, and the granularity of arenas.
pub(crate) const BLOCK_HEADER: u64 = 64;
/// The smallest segment worth having; below it creating one fails.
const SMALLEST: u64 = 64 << 20;

/// A mapped segment: the host's, or a lane's.
#[derive(Debug)]
pub struct SharedMemory {
    mapping: os::Mapping,
    file: OwnedFd,
    header: Header,
    generation: u32,
}

/// The segment of a lane, as the host sees it: what replies refer to.
pub type LaneMemory = SharedMemory;

impl SharedMemory {
    /// Makes and maps a segment with an arena of `arena` bytes, or fewer where the process's limits are tight.
    pub(crate) fn create(kind: Kind, arena: u64) -> io::Result<Self> {
        let fixed = kind.fixed();
        let wanted = fixed.saturating_add(arena).min(os::largest_segment()) / PAGE * PAGE;
        let mut len = wanted.max(fixed + PAGE);
        loop {
            match Self::create_exactly(kind, len) {
                Err(_) if len / 2 >= SMALLEST.max(fixed + PAGE) => len = len / 2 / PAGE * PAGE,
                result => return result,
            }
        }
    }

    fn create_exactly(kind: Kind, len: u64) -> io::Result<Self> {
        let file = os::create_memory("pointsman", len)?;
        let mapping = os::Mapping::new(file.as_fd(), len)?;
        let memory = Self { mapping, file, header: Header { kind, len }, generation: os::fork_generation() };
        memory.write(0, &memory.header.encode());
        Ok(memory)
    }

    /// Maps a segment that another process made.
    pub(crate) fn open(file: OwnedFd) -> io::Result<Self> {
        let len = os::memory_len(file.as_fd())?;
        if len < PAGE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the segment is too short"));
        }
        let mapping = os::Mapping::new(file.as_fd(), len)?;
        let header = Header { kind: Kind::Host { slots: 1, spin_ns: 0 }, len };
        let mut memory = Self { mapping, file, header, generation: os::fork_generation() };
        let mut bytes = [0; Header::LEN];
        memory.read(0, &mut bytes);
        memory.header = Header::decode(&bytes, len)?;
        Ok(memory)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.header.kind
    }

    /// Where blocks are.
    pub(crate) fn arena(&self) -> Range<u64> {
        self.header.arena()
    }

    /// The address of `len` bytes at `at`. Panics when they are not inside the mapping (M2).
    fn address(&self, at: usize, len: usize) -> NonNull<u8> {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.mapping.len()), "outside of the segment");
        // SAFETY: the offset is inside the mapping, which is one allocation by M1.
        unsafe { self.mapping.start().add(at) }
    }

    /// The start and the word of a block, if it lies in the arena (M2).
    fn block(&self, block: BlockRef) -> Option<(NonNull<u8>, &AtomicU32)> {
        let arena = self.arena();
        let begins = block.offset.checked_sub(BLOCK_HEADER)?;
        let ends = block.offset.checked_add(block.len)?;
        if begins < arena.start || ends > arena.end || !block.offset.is_multiple_of(BLOCK_HEADER) {
            return None;
        }
        let (at, len) = (usize::try_from(block.offset).ok()?, usize::try_from(block.len).ok()?);
        Some((self.address(at, len), self.block_word(block.offset)))
    }

    /// The word before the block at an offset.
    pub(crate) fn block_word(&self, offset: u64) -> &AtomicU32 {
        self.word32(usize::try_from(offset - BLOCK_HEADER).unwrap_or(usize::MAX))
    }

    /// The address of a block of the arena's owner.
    pub(crate) fn owned(&self, block: BlockRef) -> Option<NonNull<u8>> {
        self.block(block).map(|(start, _)| start)
    }

    /// A view of a block that was received. `None` if it lies outside of the arena, or has been released.
    pub fn view(self: &Arc<Self>, block: BlockRef) -> Option<View> {
        let (start, word) = self.block(block)?;
        // Acquire: pairs with the Release in `View::drop`, should another view of the block just have gone.
        word.fetch_update(Ordering::Acquire, Ordering::Relaxed, |views| (views < RELEASED - 1).then_some(views + 1))
            .ok()?;
        Some(View { memory: self.clone(), block, start, counted: true })
    }

    /// A view of a block that stays its owner's: dropping the view releases nothing.
    pub fn view_shared(self: &Arc<Self>, block: BlockRef) -> Option<View> {
        let (start, _) = self.block(block)?;
        Some(View { memory: self.clone(), block, start, counted: false })
    }

    /// Releases a block that nobody has viewed, nor will (M3). In a forked child it does nothing (M5).
    pub fn release(self: &Arc<Self>, block: BlockRef) {
        if self.is_ours() {
            drop(self.view(block));
        }
    }

    /// Whether this process made the mapping itself, rather than inherited it by a fork.
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == os::fork_generation()
    }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Region for SharedMemory {
    fn word32(&self, at: usize) -> &AtomicU32 {
        assert!(at.is_multiple_of(4), "an unaligned word");
        let word = self.address(at, 4).cast();
        // SAFETY: inside the mapping and aligned by the assertions, alive as long as `self` (M1); all access is atomic.
        unsafe { word.as_ref() }
    }

    fn word64(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8), "an unaligned word");
        let word = self.address(at, 8).cast();
        // SAFETY: inside the mapping and aligned by the assertions, alive as long as `self` (M1); all access is atomic.
        unsafe { word.as_ref() }
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        let from = self.address(at, into.len());
        // SAFETY: the range is inside the mapping (M2), and `into` is ordinary memory that does not overlap it.
        unsafe { from.as_ptr().copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
    }

    fn write(&self, at: usize, from: &[u8]) {
        let to = self.address(at, from.len());
        // SAFETY: the range is inside the mapping (M2), and `from` is ordinary memory that does not overlap it.
        unsafe { to.as_ptr().copy_from_nonoverlapping(from.as_ptr(), from.len()) };
    }

    fn sleep(&self, at: usize, expected: u32, limit: Option<Duration>) {
        os::futex_wait(self.word32(at), expected, limit);
    }

    fn wake(&self, at: usize) {
        os::futex_wake(self.word32(at));
    }
}

/// A received block. It keeps the memory mapped; dropping the last view of a block gives it back to its owner.
#[derive(Debug)]
pub struct View {
    memory: Arc<SharedMemory>,
    block: BlockRef,
    start: NonNull<u8>,
    counted: bool,
}

// SAFETY: a view is an address range of a mapping, which belongs to no thread (M1).
unsafe impl Send for View {}
// SAFETY: `&View` only reads; whoever writes through `ptr` takes that on himself (M4).
unsafe impl Sync for View {}

impl View {
    /// The first byte. The receiver may write, as long as nobody reads a slice meanwhile.
    pub fn ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Bytes in the block.
    #[expect(clippy::len_without_is_empty, reason = "a block's size, not a collection's")]
    pub fn len(&self) -> usize {
        usize::try_from(self.block.len).unwrap_or(usize::MAX)
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `block` checked the range (M2), the mapping lives (M1), and only the receiver writes (M4).
        unsafe { std::slice::from_raw_parts(self.ptr(), self.len()) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if !self.counted || !self.memory.is_ours() {
            return;
        }
        let word = self.memory.block_word(self.block.offset);
        // Release: pairs with the Acquire in `Arena`'s sweep, so the owner writes after the last read.
        // A hostile owner may have spoilt the count: then the word is left as it is.
        let _ = word.fetch_update(Ordering::Release, Ordering::Relaxed, |views| match views {
            0 | RELEASED.. => None,
            1 => Some(RELEASED),
            more => Some(more - 1),
        });
    }
}
