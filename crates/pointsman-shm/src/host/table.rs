//! The tasks that are not over: a slab in which an id is never valid twice.
//!
//! # Invariants
//!
//! - T1. A task's id holds its seat and the seat's generation; the generation changes when the task leaves.

use std::sync::Arc;

use crate::task::{BlockRef, TaskId, Terms, Usage};

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the overflow queue.
    Waiting,
    /// Published at this ring position; perhaps claimed, but not known to have begun.
    Ring(u64),
    /// Begun by this lane.
    Running(u16),
}

/// Where a task's payload is.
#[derive(Debug)]
pub(super) enum Stored {
    /// In the slot only.
    InSlot,
    /// Here; if published, in the slot as well.
    Bytes(Box<[u8]>),
    /// In the arena.
    Block(BlockRef),
}

/// A task.
#[derive(Debug)]
pub(super) struct Entry<S: ?Sized> {
    pub(super) sink: Arc<S>,
    pub(super) place: Place,
    pub(super) stored: Stored,
    /// What most tasks do without: each byte here is one for every task that waits.
    pub(super) rare: Option<Box<Rare>>,
    pub(super) function: u64,
    pub(super) function_block: BlockRef,
    pub(super) calls: u32,
    /// The next call to be delivered; those before it have been.
    pub(super) next: u32,
    pub(super) rank: u8,
    /// Tasks that had left the overflow queue when this one was submitted.
    pub(super) stamp: u64,
    pub(super) usage: Usage,
}

/// What few tasks have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    attached: Vec<BlockRef>,
    pub(super) terms: Terms,
    /// How often call `next` has been begun again.
    pub(super) retried: u32,
}

impl Rare {
    /// None if there is nothing of the kind.
    pub(super) fn of(attached: Vec<BlockRef>, terms: Terms) -> Option<Box<Self>> {
        (!attached.is_empty() || terms != Terms::default()).then(|| Box::new(Self { attached, terms, retried: 0 }))
    }
}

impl<S: ?Sized> Entry<S> {
    pub(super) fn terms(&self) -> Terms {
        self.rare.as_ref().map_or_else(Terms::default, |rare| rare.terms)
    }

    fn attached(&self) -> &[BlockRef] {
        self.rare.as_ref().map_or(&[], |rare| &rare.attached)
    }

    /// Forgets how often its call has been begun again: another is next.
    pub(super) fn forget_retries(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.retried = 0;
        }
    }

    /// The blocks that belong to the task.
    pub(super) fn blocks(&self) -> impl Iterator<Item = BlockRef> {
        let payload = match self.stored {
            Stored::Block(block) => Some(block),
            _ => None,
        };
        payload.into_iter().chain(self.attached().iter().copied())
    }

    pub(super) fn has_blocks(&self) -> bool {
        matches!(self.stored, Stored::Block(_)) || !self.attached().is_empty()
    }
}

#[derive(Debug)]
struct Seat<S: ?Sized> {
    generation: u32,
    entry: Option<Entry<S>>,
}

/// All tasks that are not over.
#[derive(Debug)]
pub(super) struct Table<S: ?Sized> {
    seats: Vec<Seat<S>>,
    free: Vec<u32>,
    len: usize,
}

impl<S: ?Sized> Table<S> {
    pub(super) fn new() -> Self {
        Self { seats: Vec::new(), free: Vec::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, entry: Entry<S>) -> TaskId {
        self.len += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.seats.push(Seat { generation: 1, entry: None });
            // Four thousand million tasks would take more memory than there is.
            u32::try_from(self.seats.len() - 1).unwrap_or(u32::MAX)
        });
        let seat = &mut self.seats[index as usize];
        seat.entry = Some(entry);
        TaskId(u64::from(seat.generation) << 32 | u64::from(index))
    }

    fn seat(id: TaskId) -> (usize, u32) {
        #[expect(clippy::cast_possible_truncation, reason = "two halves of 32 bits")]
        let parts = ((id.0 as u32) as usize, (id.0 >> 32) as u32);
        parts
    }

    pub(super) fn get(&self, id: TaskId) -> Option<&Entry<S>> {
        let (index, generation) = Self::seat(id);
        self.seats.get(index).filter(|seat| seat.generation == generation)?.entry.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut Entry<S>> {
        let (index, generation) = Self::seat(id);
        self.seats.get_mut(index).filter(|seat| seat.generation == generation)?.entry.as_mut()
    }

    pub(super) fn remove(&mut self, id: TaskId) -> Option<Entry<S>> {
        let (index, generation) = Self::seat(id);
        let seat = self.seats.get_mut(index).filter(|seat| seat.generation == generation)?;
        let entry = seat.entry.take()?;
        // Zero is skipped, so that an id of zeros is never valid.
        seat.generation = seat.generation.checked_add(1).unwrap_or(1);
        self.free.push(u32::try_from(index).unwrap_or(u32::MAX));
        self.len -= 1;
        Some(entry)
    }

    /// The ids of all tasks.
    pub(super) fn ids(&self) -> Vec<TaskId> {
        let seats = (0_u64..).zip(&self.seats).filter(|(_, seat)| seat.entry.is_some());
        seats.map(|(index, seat)| TaskId(u64::from(seat.generation) << 32 | index)).collect()
    }
}
