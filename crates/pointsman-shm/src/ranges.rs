//! Hands out ranges of a line of numbers: the lowest that fits, and takes them back.
//!
//! # Does not know
//!
//! Memory. It counts bytes only in name.
//!
//! # Invariants
//!
//! - A1. Free ranges are disjoint and never adjacent, all inside the whole.
//! - A2. A taken range is in none of them until it is given back.

use std::collections::BTreeMap;
use std::ops::Range;

/// The free ranges of an arena.
#[derive(Debug)]
pub(crate) struct Ranges {
    free: BTreeMap<u64, u64>,
    whole: Range<u64>,
}

impl Ranges {
    /// All of it free.
    pub(crate) fn new(whole: Range<u64>) -> Self {
        Self { free: BTreeMap::from([(whole.start, whole.end - whole.start)]), whole }
    }

    /// Takes the lowest free range of this length: low addresses are warm, and stay few.
    pub(crate) fn take(&mut self, len: u64) -> Option<u64> {
        let (&start, &size) = self.free.iter().find(|(_, size)| **size >= len)?;
        self.free.remove(&start);
        if size > len {
            self.free.insert(start + len, size - len);
        }
        Some(start)
    }

    /// Gives back a range that was taken.
    pub(crate) fn give(&mut self, mut start: u64, mut len: u64) {
        if let Some((&before, &size)) = self.free.range(..start).next_back()
            && before + size == start
        {
            self.free.remove(&before);
            start = before;
            len += size;
        }
        if let Some(size) = self.free.remove(&(start + len)) {
            len += size;
        }
        self.free.insert(start, len);
    }

    /// The free ranges, the lowest first.
    pub(crate) fn free(&self) -> impl Iterator<Item = Range<u64>> {
        self.free.iter().map(|(start, len)| *start..start + len)
    }

    /// The end of the highest range that is taken.
    pub(crate) fn taken_end(&self) -> u64 {
        match self.free.last_key_value() {
            Some((start, len)) if start + len == self.whole.end => *start,
            _ => self.whole.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn taken_ranges_never_overlap_and_all_come_back(steps in prop::collection::vec((any::<bool>(), 1_u64..9, any::<prop::sample::Index>()), 1..200)) {
            let mut ranges = Ranges::new(100..164);
            let mut taken: Vec<Range<u64>> = Vec::new();
            for (take, len, index) in steps {
                if take {
                    let lowest = (100..=164 - len).find(|start| taken.iter().all(|range| range.end <= *start || start + len <= range.start));
                    let got = ranges.take(len);
                    prop_assert_eq!(lowest, got);
                    taken.extend(got.map(|start| start..start + len));
                } else if !taken.is_empty() {
                    let range = taken.swap_remove(index.index(taken.len()));
                    ranges.give(range.start, range.end - range.start);
                }
                prop_assert_eq!(taken.iter().map(|range| range.end).max().unwrap_or(100), ranges.taken_end());
            }
            for range in taken {
                ranges.give(range.start, range.end - range.start);
            }

            prop_assert_eq!(vec![100..164], ranges.free().collect::<Vec<_>>());
        }
    }
}
