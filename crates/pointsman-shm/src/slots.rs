//! The ring of task slots: the host publishes, lanes claim, and one word per slot says whose turn it is.
//!
//! # Does not know
//!
//! What a task is: a slot is a word and some bytes.
//!
//! # Invariants
//!
//! - S1. A slot's word says kind, ring position and, when claimed, the owner. Position `p` lives in slot `p % count` and
//!   goes FREE(p) -> READY(p) -> CLAIMED(p, lane) -> FREE(p + count); every step is one store or one compare-exchange.
//!   The word holds the position less the slot's number, so that memory of zeros is FREE for the first lap.
//! - S2. Only the host publishes, in order of position. Only the claimer (or the host, once the claimer has died or is the
//!   host itself) frees.
//! - S3. The bytes of a slot are written by the host while FREE, and read by the owner while CLAIMED.
//! - S4. The hint is at or before the first position that may be ready; it only grows.
//!
//! # Memory ordering
//!
//! READY is stored with Release and claimed with Acquire: the owner sees the bytes. FREE is stored with Release and
//! tested with Acquire: the host writes after the owner has read. A lane killed at any point leaves a word that says
//! exactly what it owned.

use crate::region::Region;
use crate::sync::Ordering;

const FREE: u64 = 0;
const READY: u64 = 1;
const CLAIMED: u64 = 2;

/// Bits of a position in a slot's word: at a million tasks a second they repeat after two years, and a mistake would
/// need a claimer that sleeps exactly so long between two instructions.
const POSITION_BITS: u32 = 46;
const POSITION_MASK: u64 = (1 << POSITION_BITS) - 1;

/// The owner's number that means the host.
pub(crate) const HOST_LANE: u16 = u16::MAX;

fn encode(kind: u64, position: u64, lane: u16) -> u64 {
    (position & POSITION_MASK) << 18 | u64::from(lane) << 2 | kind
}

/// A slot's word, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Snapshot {
    kind: u64,
    lane: u16,
    position: u64,
}

impl Snapshot {
    fn of(word: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "16 bits were put there")]
        let lane = (word >> 2) as u16;
        Self { kind: word & 3, lane, position: word >> 18 }
    }

    /// This word's lap less `position`'s, allowing for the wrap.
    fn ahead_of(self, position: u64) -> i64 {
        let distance = self.position.wrapping_sub(position) & POSITION_MASK;
        // Shifting the sign bit of the 46-bit difference to the top and back extends it.
        (distance << (64 - POSITION_BITS)).cast_signed() >> (64 - POSITION_BITS)
    }
}

/// Where the slots lie in a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) hint: usize,
    pub(crate) base: usize,
    pub(crate) stride: usize,
    /// A power of two.
    pub(crate) count: u64,
}

impl Slots {
    /// The offset of the slot of a position; its word is at the start.
    pub(crate) fn at(&self, position: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "less than `count`, which is a u32")]
        let index = (position & (self.count - 1)) as usize;
        self.base + index * self.stride
    }

    /// The part of a position that its slot's place does not tell.
    fn lap(&self, position: u64) -> u64 {
        position & !(self.count - 1)
    }

    fn word(&self, kind: u64, position: u64, lane: u16) -> u64 {
        encode(kind, self.lap(position), lane)
    }

    /// Whether the host may write and publish this position.
    pub(crate) fn is_free<R: Region>(&self, region: &R, position: u64) -> bool {
        // Acquire: pairs with the Release in `free`, so the owner has read before the host writes (S3).
        region.word64(self.at(position)).load(Ordering::Acquire) == self.word(FREE, position, 0)
    }

    /// Offers a position that is free and written.
    pub(crate) fn publish<R: Region>(&self, region: &R, position: u64) {
        // Release: pairs with the Acquire in `claim` and `take_back` (S3).
        region.word64(self.at(position)).store(self.word(READY, position, 0), Ordering::Release);
    }

    /// Takes the first ready position for this lane.
    pub(crate) fn claim<R: Region>(&self, region: &R, lane: u16) -> Option<u64> {
        let hint = region.word64(self.hint);
        // Relaxed: a hint; the slots' own words decide (S4).
        let mut position = hint.load(Ordering::Relaxed);
        loop {
            let word = region.word64(self.at(position));
            // Relaxed: only the exchange below gives rights.
            let seen = word.load(Ordering::Relaxed);
            let snapshot = Snapshot::of(seen);
            match snapshot.ahead_of(self.lap(position)) {
                0 if snapshot.kind == READY => {
                    let mine = self.word(CLAIMED, position, lane);
                    // Acquire: pairs with the Release in `publish` (S3). One step claims and names the owner (S1).
                    if word.compare_exchange(seen, mine, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                        hint.fetch_max(position + 1, Ordering::Relaxed);
                        return Some(position);
                    }
                }
                0 if snapshot.kind == FREE => return None,
                // Behind: the slot's last use is not over, so this position has not been published.
                ahead if ahead < 0 => return None,
                // Taken by somebody, or over long since: the hint may know better.
                _ => position = (position + 1).max(hint.load(Ordering::Relaxed)),
            }
        }
    }

    /// Whether a position is ready to be claimed. For a lane that must decide whether to sleep, or whom to wake.
    pub(crate) fn has_work<R: Region>(&self, region: &R) -> bool {
        let hint = region.word64(self.hint);
        let mut position = hint.load(Ordering::Relaxed);
        loop {
            let snapshot = Snapshot::of(region.word64(self.at(position)).load(Ordering::Relaxed));
            match snapshot.ahead_of(self.lap(position)) {
                0 if snapshot.kind == READY => return true,
                0 if snapshot.kind == FREE => return false,
                ahead if ahead < 0 => return false,
                _ => position = (position + 1).max(hint.load(Ordering::Relaxed)),
            }
        }
    }

    /// Claims a ready position for the host, so that no lane will run it.
    pub(crate) fn take_back<R: Region>(&self, region: &R, position: u64) -> bool {
        let (ready, mine) = (self.word(READY, position, 0), self.word(CLAIMED, position, HOST_LANE));
        // Relaxed: the host wrote the bytes itself; the exchange alone decides who owns the position.
        region.word64(self.at(position)).compare_exchange(ready, mine, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Gives a claimed slot back, for the position of the next lap.
    pub(crate) fn free<R: Region>(&self, region: &R, position: u64) {
        // Release: pairs with the Acquire in `is_free` (S3).
        region.word64(self.at(position)).store(self.word(FREE, position + self.count, 0), Ordering::Release);
    }

    /// Whether this position waits to be claimed. A hint.
    pub(crate) fn is_ready<R: Region>(&self, region: &R, position: u64) -> bool {
        region.word64(self.at(position)).load(Ordering::Relaxed) == self.word(READY, position, 0)
    }

    /// The lane that has claimed this position and not freed it.
    pub(crate) fn owner<R: Region>(&self, region: &R, position: u64) -> Option<u16> {
        // Acquire: pairs with nothing a live lane does; a dead lane's stores are visible since its death was awaited.
        let snapshot = Snapshot::of(region.word64(self.at(position)).load(Ordering::Acquire));
        (snapshot.kind == CLAIMED && snapshot.ahead_of(self.lap(position)) == 0).then_some(snapshot.lane)
    }
}
