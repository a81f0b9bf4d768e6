//! A word on which one side sleeps until the other has news: doorbell, pressure, and room in a ring.
//!
//! # Does not know
//!
//! What the news is.
//!
//! # Invariants
//!
//! - B1. Bit 0 is set by a side that is about to sleep ("armed"); the other bits count the rings. Only a change of
//!   the word ends a sleep.
//! - B2. Whoever arms looks for news after arming and before sleeping; whoever has news publishes it before ringing.
//!
//! # Memory ordering
//!
//! Arm-then-look against publish-then-look-at-the-bell is a Dekker pair. The `SeqCst` fence in [`Bell::arm`] pairs with
//! the one in [`Bell::announce`]: Acquire and Release cannot order a store before a later load of another word.

use std::time::Duration;

use crate::region::Region;
use crate::sync::{Ordering, fence};

const ARMED: u32 = 1;

/// The bell whose word lies at this offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bell(pub(crate) usize);

/// The value that an armed bell had: evidence that its holder may sleep once it has looked for news.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Armed(u32);

impl Bell {
    /// Says that the caller is about to sleep.
    pub(crate) fn arm<R: Region>(self, region: &R) -> Armed {
        // Relaxed: the fence below orders it before the look for news.
        let before = region.word32(self.0).fetch_or(ARMED, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `announce` (Dekker pair, see above).
        fence(Ordering::SeqCst);
        Armed(before | ARMED)
    }

    /// Sleeps until the bell has been rung since it was armed, or the time is over.
    pub(crate) fn sleep<R: Region>(self, region: &R, armed: Armed, limit: Option<Duration>) {
        region.sleep(self.0, armed.0, limit);
    }

    /// Wakes those who sleep, if any do. The news must have been stored before.
    pub(crate) fn announce<R: Region>(self, region: &R) {
        // SeqCst: pairs with the fence in `arm` (Dekker pair, see above).
        fence(Ordering::SeqCst);
        self.ring_if_armed(region);
    }

    /// As [`Bell::announce`], for a caller that has made a `SeqCst` fence since its news.
    pub(crate) fn ring_if_armed<R: Region>(self, region: &R) {
        let word = region.word32(self.0);
        // Relaxed throughout: the word carries no data, and the fences order it against the news.
        let mut seen = word.load(Ordering::Relaxed);
        while seen & ARMED != 0 {
            // Adding one to an odd count clears the flag and counts the ring in one step (B1).
            match word.compare_exchange(seen, seen.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return region.wake(self.0),
                Err(now) => seen = now,
            }
        }
    }

    /// Wakes those who sleep even if the word says that they have been woken: a ringer may have died half-way.
    pub(crate) fn rouse<R: Region>(self, region: &R) {
        region.word32(self.0).fetch_add(2, Ordering::Relaxed);
        region.wake(self.0);
    }

    /// Whether somebody sleeps or is about to. A hint.
    pub(crate) fn is_armed<R: Region>(self, region: &R) -> bool {
        region.word32(self.0).load(Ordering::Relaxed) & ARMED != 0
    }
}
