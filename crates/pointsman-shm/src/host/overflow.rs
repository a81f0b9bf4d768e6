//! Tasks that found no slot, the most urgent first.
//!
//! # Does not know
//!
//! What a task is, or whether it still exists: an id whose task has gone is skipped by the caller.
//!
//! # Invariants
//!
//! - O1. Among equal ranks the order is that of submission; what is put back goes to the front.
//! - O2. A task that more than [`PATIENCE`] others have passed goes next, as if it were most urgent.

use std::collections::{BTreeMap, VecDeque};

use crate::task::TaskId;

/// Tasks that may overtake a waiting one. Arbitrary: anything from 100 to 10,000 keeps strict order for a burst and ends
/// starvation within a second of steady load.
const PATIENCE: u64 = 1000;

#[derive(Debug, Default)]
pub(super) struct Overflow {
    lines: BTreeMap<u8, VecDeque<(TaskId, u64)>>,
    left: u64,
}

impl Overflow {
    /// Tasks that have left so far: the stamp of one that comes now.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn push_back(&mut self, rank: u8, id: TaskId, stamp: u64) {
        self.lines.entry(rank).or_default().push_back((id, stamp));
    }

    pub(super) fn push_front(&mut self, rank: u8, id: TaskId, stamp: u64) {
        self.lines.entry(rank).or_default().push_front((id, stamp));
    }

    /// The next task, and the rank at which it goes.
    pub(super) fn pop(&mut self) -> Option<(TaskId, u8)> {
        let left = self.left;
        let patient = |line: &VecDeque<(TaskId, u64)>| line.front().is_some_and(|(_, stamp)| left - stamp > PATIENCE);
        let most_urgent = *self.lines.keys().next()?;
        let rank = self.lines.iter().rev().find(|(_, line)| patient(line)).map_or(most_urgent, |(rank, _)| *rank);
        let line = self.lines.get_mut(&rank)?;
        let (id, _) = line.pop_front()?;
        if line.is_empty() {
            self.lines.remove(&rank);
        }
        Some((id, if rank == most_urgent { rank } else { 0 }))
    }

    /// Counts a task that has gone to a slot.
    pub(super) fn count(&mut self) {
        self.left += 1;
    }

    pub(super) fn clear(&mut self) {
        self.lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_goes_first_and_equals_in_order() {
        let mut overflow = Overflow::default();
        for (rank, id) in [(2, 1), (0, 2), (2, 3), (1, 4), (0, 5)] {
            overflow.push_back(rank, TaskId(id), 0);
        }

        let order: Vec<_> = std::iter::from_fn(|| overflow.pop()).map(|(id, _)| id.0).collect();
        assert_eq!(vec![2, 5, 4, 1, 3], order);
    }

    #[test]
    fn a_task_that_has_been_passed_a_thousand_times_goes_next() {
        let mut overflow = Overflow::default();
        overflow.push_back(3, TaskId(7), 0);
        for id in 100..=100 + PATIENCE {
            overflow.push_back(0, TaskId(id), overflow.left());
            assert_eq!(Some((TaskId(id), 0)), overflow.pop());
            overflow.count();
        }
        overflow.push_back(0, TaskId(8), overflow.left());

        assert_eq!(Some((TaskId(7), 0)), overflow.pop());
    }
}
