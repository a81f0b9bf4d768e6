//! The owner's side of an arena: which blocks live, who has them, and what may be used again.
//!
//! # Does not know
//!
//! Tasks and frames. An owner is the host (its own arena) or a lane (its own).
//!
//! # Invariants
//!
//! - N1. Only the owner allocates and frees. A receiver says through the block's word (memory.rs, M3) that it has done.
//! - N2. A block is Loose (the owner's), Held (of a task that is not finished, never swept) or Sent (swept once released).
//! - N3. `free` frees loose blocks, `settle` held ones, sweeping sent ones; so no block is freed twice.
//! - N4. All blocks that were sent to a process are freed when it has died.

use std::collections::{HashMap, VecDeque};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::memory::{BLOCK_HEADER, RELEASED, SharedMemory};
use crate::os::{self, AsFd};
use crate::ranges::Ranges;
use crate::{BlockRef, layout};

/// Sent blocks that each allocation looks at. Arbitrary: a few keep up with any steady traffic.
const LOOKED_AT: usize = 4;
/// Free gaps below this are not worth a system call. Arbitrary: 256 pages.
const GAP: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Loose,
    Held,
    Sent(u32),
}

#[derive(Debug)]
struct Live {
    size: u64,
    state: State,
}

#[derive(Debug)]
struct Blocks {
    ranges: Ranges,
    live: HashMap<u64, Live>,
    /// Offsets of the sent blocks, the oldest first; some may have gone.
    sent: VecDeque<u64>,
    /// Whether anything was freed since the last trim, and up to where memory was in use since then.
    dirty: bool,
    highest: u64,
    /// Bytes of all blocks. Only a hint to those who read it without the lock.
    used: Arc<AtomicU64>,
}

impl Blocks {
    /// Frees a block in a state that passes the test.
    fn free_if(&mut self, offset: u64, test: impl Fn(State) -> bool) {
        if self.live.get(&offset).is_some_and(|live| test(live.state))
            && let Some(live) = self.live.remove(&offset)
        {
            self.ranges.give(offset - BLOCK_HEADER, live.size);
            // Relaxed, here and below: changed under the lock, and publishes nothing.
            self.used.fetch_sub(live.size, Ordering::Relaxed);
            self.dirty = true;
        }
    }
}

/// An arena with its owner's books.
#[derive(Debug)]
pub(crate) struct Arena {
    memory: Arc<SharedMemory>,
    blocks: Mutex<Blocks>,
    used: Arc<AtomicU64>,
    /// A lane sends a block as soon as somebody knows it; the host's belong to tasks first.
    sends_at_once: bool,
}

impl Arena {
    /// The arena of a segment, empty.
    pub(crate) fn new(memory: Arc<SharedMemory>, sends_at_once: bool) -> Self {
        let whole = memory.arena();
        let start = whole.start;
        let ranges = Ranges::new(whole);
        let used = Arc::new(AtomicU64::new(0));
        let blocks = Blocks {
            ranges,
            live: HashMap::new(),
            sent: VecDeque::new(),
            dirty: false,
            highest: start,
            used: used.clone(),
        };
        Self { memory, blocks: Mutex::new(blocks), used, sends_at_once }
    }

    fn lock(&self) -> MutexGuard<'_, Blocks> {
        // No foreign code runs under this lock, so a poisoned one still guards whole books.
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block of `len` bytes, if there is room.
    pub(crate) fn alloc(self: &Arc<Self>, len: usize) -> Option<Block> {
        let len = u64::try_from(len).ok()?;
        let size = len.checked_next_multiple_of(BLOCK_HEADER)?.max(BLOCK_HEADER).checked_add(BLOCK_HEADER)?;
        let mut blocks = self.lock();
        self.sweep(&mut blocks, LOOKED_AT);
        let start = blocks.ranges.take(size).or_else(|| {
            self.sweep(&mut blocks, usize::MAX);
            blocks.ranges.take(size)
        })?;
        let block = BlockRef { offset: start + BLOCK_HEADER, len };
        // Relaxed: the frame or slot that carries the reference publishes the word with it.
        self.memory.block_word(block.offset).store(0, Ordering::Relaxed);
        blocks.live.insert(block.offset, Live { size, state: State::Loose });
        blocks.used.fetch_add(size, Ordering::Relaxed);
        blocks.highest = blocks.highest.max(start + size);
        Some(Block { arena: self.clone(), reference: block, start: self.memory.owned(block)?, owned: true })
    }

    /// Frees a loose block.
    pub(crate) fn free(&self, block: BlockRef) {
        self.lock().free_if(block.offset, |state| state == State::Loose);
    }

    /// Frees a block that was referred to, but will not reach anybody after all.
    pub(crate) fn take_back(&self, block: BlockRef) {
        self.lock().free_if(block.offset, |state| state != State::Held);
    }

    /// Binds loose blocks to a task, or makes them fresh for its remainder.
    pub(crate) fn hold(&self, held: impl IntoIterator<Item = BlockRef>) {
        let mut blocks = self.lock();
        for block in held {
            if let Some(live) = blocks.live.get_mut(&block.offset)
                && !matches!(live.state, State::Sent(_))
            {
                live.state = State::Held;
                // Relaxed: the slot that carries the reference publishes it. A former receiver has died.
                self.memory.block_word(block.offset).store(0, Ordering::Relaxed);
            }
        }
    }

    /// The task of these blocks is finished: frees those that no view holds, leaves the others to process `receiver`.
    pub(crate) fn settle(&self, held: impl IntoIterator<Item = BlockRef>, receiver: Option<u32>) {
        let mut blocks = self.lock();
        for block in held {
            // Acquire: pairs with the Release in `View::drop`. No new views come, since the task is over.
            let views = self.memory.block_word(block.offset).load(Ordering::Acquire);
            match (receiver, blocks.live.get_mut(&block.offset)) {
                (Some(process), Some(live)) if live.state == State::Held && views != 0 && views < RELEASED => {
                    live.state = State::Sent(process);
                    blocks.sent.push_back(block.offset);
                }
                _ => blocks.free_if(block.offset, |state| state == State::Held),
            }
        }
    }

    /// Frees everything that was sent to a process that has died (N4).
    pub(crate) fn forget(&self, process: u32) {
        let mut blocks = self.lock();
        let Blocks { sent, .. } = &mut *blocks;
        for offset in std::mem::take(sent) {
            match blocks.live.get(&offset) {
                Some(live) if live.state == State::Sent(process) => {
                    blocks.free_if(offset, |_| true);
                }
                Some(live) if matches!(live.state, State::Sent(_)) => blocks.sent.push_back(offset),
                _ => {}
            }
        }
    }

    /// Frees the released ones among the oldest `count` sent blocks.
    fn sweep(&self, blocks: &mut Blocks, count: usize) {
        for _ in 0..count.min(blocks.sent.len()) {
            let Some(offset) = blocks.sent.pop_front() else {
                return;
            };
            if !blocks.live.get(&offset).is_some_and(|live| matches!(live.state, State::Sent(_))) {
                continue;
            }
            // Acquire: pairs with the Release in `View::drop`, so we write after the last read.
            if self.memory.block_word(offset).load(Ordering::Acquire) >= RELEASED {
                blocks.free_if(offset, |_| true);
            } else {
                blocks.sent.push_back(offset);
            }
        }
    }

    /// Gives memory that is not in use back to the system. True if blocks are still out, so that more may come.
    pub(crate) fn trim(&self) -> bool {
        let mut blocks = self.lock();
        self.sweep(&mut blocks, usize::MAX);
        if std::mem::take(&mut blocks.dirty) {
            let (end, highest) = (blocks.ranges.taken_end(), blocks.highest);
            for gap in blocks.ranges.free() {
                let (from, to) =
                    (gap.start.next_multiple_of(layout::PAGE), gap.end.min(highest) / layout::PAGE * layout::PAGE);
                if from < to && (gap.start == end || to - from >= GAP) {
                    // A failure leaves the pages in use, as they were.
                    let _ = os::punch(self.memory.as_fd(), from, to - from);
                }
            }
            blocks.highest = end;
        }
        !blocks.sent.is_empty()
    }

    /// Whether the blocks take more than this many bytes.
    pub(crate) fn has_more_than(&self, bytes: u64) -> bool {
        if self.used.load(Ordering::Relaxed) <= bytes {
            return false;
        }
        let mut blocks = self.lock();
        self.sweep(&mut blocks, usize::MAX);
        self.used.load(Ordering::Relaxed) > bytes
    }

    /// Bytes up to the highest block in use.
    #[cfg(test)]
    pub(crate) fn in_use(&self) -> u64 {
        self.lock().ranges.taken_end() - self.memory.arena().start
    }

    /// The longest block that could ever be had.
    pub(crate) fn capacity(&self) -> u64 {
        let whole = self.memory.arena();
        (whole.end - whole.start).saturating_sub(2 * BLOCK_HEADER)
    }
}

/// A block that nobody else knows yet. Freed when dropped.
#[derive(Debug)]
pub struct Block {
    arena: Arc<Arena>,
    reference: BlockRef,
    start: NonNull<u8>,
    owned: bool,
}

/// A block of the host's arena.
pub type HostBlock = Block;
/// A block of a lane's arena.
pub type LaneBlock = Block;

// SAFETY: a block is an address range of a mapping that `arena` keeps (memory.rs, M1); it belongs to no thread.
unsafe impl Send for Block {}
// SAFETY: `&Block` gives no access to the bytes.
unsafe impl Sync for Block {}

impl Block {
    /// The bytes to fill.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let len = usize::try_from(self.reference.len).unwrap_or(0);
        // SAFETY: the arena gave these bytes to this block alone (ranges.rs, A2), inside the mapping (memory.rs, M2).
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), len) }
    }

    /// Makes a reference that can be sent. From now on the receiver, the task or `free` ends the block's life.
    pub fn into_ref(mut self) -> BlockRef {
        self.owned = false;
        if self.arena.sends_at_once {
            let mut blocks = self.arena.lock();
            if let Some(live) = blocks.live.get_mut(&self.reference.offset) {
                live.state = State::Sent(0);
            }
            blocks.sent.push_back(self.reference.offset);
        }
        self.reference
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.owned {
            self.arena.free(self.reference);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Kind;

    fn arena(sends_at_once: bool) -> Arc<Arena> {
        let kind = Kind::Lane { ring: 4096, lane: 0, process: 0 };
        Arc::new(Arena::new(Arc::new(SharedMemory::create(kind, 64 << 20).unwrap()), sends_at_once))
    }

    #[test]
    fn a_block_that_its_receiver_has_dropped_is_used_again() {
        let arena = arena(true);
        let first = arena.alloc(1 << 20).unwrap().into_ref();
        drop(arena.memory.view(first).unwrap());

        assert_eq!(first, arena.alloc(1 << 20).unwrap().into_ref());
    }

    #[test]
    fn a_block_that_is_being_viewed_is_not_used_again() {
        let arena = arena(true);
        let first = arena.alloc(1 << 20).unwrap().into_ref();
        let view = arena.memory.view(first).unwrap();

        assert_ne!(first, arena.alloc(1 << 20).unwrap().into_ref());
        drop(view);
        assert!(arena.memory.view(first).is_none(), "released");
    }

    #[test]
    fn a_held_block_outlives_its_views_until_the_task_is_settled() {
        let arena = arena(false);
        let block = arena.alloc(100).unwrap().into_ref();
        arena.hold([block]);
        drop(arena.memory.view(block));
        assert_ne!(block, arena.alloc(100).unwrap().into_ref());
        arena.settle([block], Some(1));

        assert_eq!(block, arena.alloc(100).unwrap().into_ref());
    }

    #[test]
    fn a_dead_process_gives_its_blocks_back() {
        let arena = arena(false);
        let block = arena.alloc(100).unwrap().into_ref();
        arena.hold([block]);
        std::mem::forget(arena.memory.view(block));
        arena.settle([block], Some(1));
        arena.forget(2);
        assert_ne!(0, arena.in_use());
        arena.forget(1);

        assert_eq!(0, arena.in_use());
    }

    #[test]
    fn a_reference_to_outside_of_the_arena_gets_no_view() {
        let arena = arena(true);
        let end = arena.memory.arena().end;
        for (offset, len) in [
            (0, 8),
            (64, 8),
            (end - 64, 65),
            (u64::MAX - 63, 64),
            (end - 64, u64::MAX),
            (end + 64, 1),
            (4096 * 3 + 1, 1),
        ] {
            assert!(arena.memory.view(BlockRef { offset, len }).is_none(), "{offset} {len}");
        }
    }

    #[test]
    fn an_arena_that_is_full_says_so_and_recovers() {
        let arena = arena(true);
        let whole = usize::try_from(arena.capacity()).unwrap();
        let block = arena.alloc(whole).unwrap();
        assert!(arena.alloc(1).is_none());
        drop(block);

        assert!(arena.alloc(whole).is_some());
    }

    #[test]
    fn trimming_keeps_the_bytes_of_live_blocks() {
        let arena = arena(true);
        let mut blocks: Vec<_> = (0..6_u8).map(|_| arena.alloc(3 << 20).unwrap()).collect();
        for (fill, block) in (0_u8..).zip(&mut blocks) {
            block.as_mut_slice().fill(fill + 1);
        }
        drop(blocks.split_off(4));
        drop(blocks.remove(1));
        arena.trim();

        for (block, fill) in blocks.iter_mut().zip([1, 3, 4]) {
            assert!(block.as_mut_slice().iter().all(|byte| *byte == fill));
        }
    }
}
