//! The table of lanes: who sleeps, who searches, who has been told to end.
//!
//! # Does not know
//!
//! Processes, tasks, or how many slots are ready.
//!
//! # Invariants
//!
//! - L1. A lane's state word is written by the lane, except that anybody may change PARKED to SEARCHING (and then wakes it),
//!   and the host resets it when the lane has died. There are no shared counts: a total is a look at all words.
//! - L2. A lane that stops searching with a task looks whether there is more; if so, and nobody searches, it wakes one.
//! - L3. A lane looks for work after it has stored PARKED and before it sleeps.
//! - L4. The order word is written by the host alone.
//!
//! # Memory ordering
//!
//! Two Dekker pairs, each with a `SeqCst` fence on both sides (README, "Parking"): publish-then-look-at-states against
//! store-state-then-look-for-work; and order-then-look-at-rings against end-then-look-at-order.

use std::time::Duration;

use crate::region::Region;
use crate::sync::{Ordering, fence};

/// The lane runs a task, or does not exist.
pub(crate) const RUNNING: u32 = 0;
/// The lane sleeps, or is about to.
pub(crate) const PARKED: u32 = 1;
/// The lane looks for work, or has just been woken to do so.
pub(crate) const SEARCHING: u32 = 2;

/// The lane goes on.
pub(crate) const ORDER_RUN: u32 = 0;
/// The lane claims nothing more and ends.
pub(crate) const ORDER_END: u32 = 1;
/// The lane claims nothing until told otherwise: it may be about to be killed.
pub(crate) const ORDER_HOLD: u32 = 2;

/// Where the table lies in a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes {
    pub(crate) base: usize,
    pub(crate) stride: usize,
    /// Offset of the word that says how many entries have been used.
    pub(crate) used: usize,
}

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parked {
    /// Somebody woke the lane, or there was a reason not to sleep. The lane is searching.
    Woken,
    /// The time was over. The lane is searching.
    TimedOut,
}

impl Lanes {
    fn state(&self, lane: usize) -> usize {
        self.base + lane * self.stride
    }

    /// The order word lies on a cache line of its own where the stride allows it.
    fn order(&self, lane: usize) -> usize {
        self.state(lane) + self.stride / 2
    }

    fn used<R: Region>(&self, region: &R) -> usize {
        // Relaxed: a lane that is missed looks for work itself when it starts.
        region.word32(self.used).load(Ordering::Relaxed) as usize
    }

    /// Makes room for this lane in every look at all lanes. The host only.
    pub(crate) fn admit<R: Region>(&self, region: &R, lane: u16) {
        self.reset(region, lane);
        region.word32(self.used).fetch_max(u32::from(lane) + 1, Ordering::Relaxed);
    }

    /// Forgets what a dead lane's words say. The host only.
    pub(crate) fn reset<R: Region>(&self, region: &R, lane: u16) {
        region.word32(self.state(usize::from(lane))).store(RUNNING, Ordering::Relaxed);
        region.word32(self.order(usize::from(lane))).store(ORDER_RUN, Ordering::Relaxed);
    }

    /// The state of a lane. A hint.
    pub(crate) fn state_of<R: Region>(&self, region: &R, lane: u16) -> u32 {
        region.word32(self.state(usize::from(lane))).load(Ordering::Relaxed)
    }

    /// Stores this lane's own state and makes it visible before whatever the lane looks at next.
    pub(crate) fn enter<R: Region>(&self, region: &R, lane: u16, state: u32) {
        region.word32(self.state(usize::from(lane))).store(state, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `wake_one` (L2, L3).
        fence(Ordering::SeqCst);
    }

    /// Stores this lane's own state without looking at anything afterwards.
    pub(crate) fn leave<R: Region>(&self, region: &R, lane: u16, state: u32) {
        region.word32(self.state(usize::from(lane))).store(state, Ordering::Relaxed);
    }

    /// Sleeps until woken, unless `work` finds a reason not to.
    pub(crate) fn park<R: Region>(
        &self,
        region: &R,
        lane: u16,
        work: impl FnOnce() -> bool,
        limit: Option<Duration>,
    ) -> Parked {
        self.enter(region, lane, PARKED);
        let at = self.state(usize::from(lane));
        let state = region.word32(at);
        if work() {
            // Acquire, here and below: pairs with the Release in `unpark`, so that this lane's next stores come after it.
            state.swap(SEARCHING, Ordering::Acquire);
            return Parked::Woken;
        }
        loop {
            region.sleep(at, PARKED, limit);
            if state.load(Ordering::Acquire) != PARKED {
                return Parked::Woken;
            }
            if limit.is_some() {
                // The waker's exchange and this one meet on the word: whichever comes second sees the other.
                let timed_out = state.compare_exchange(PARKED, SEARCHING, Ordering::Acquire, Ordering::Acquire).is_ok();
                return if timed_out { Parked::TimedOut } else { Parked::Woken };
            }
        }
    }

    /// Wakes one parked lane, unless some lane is searching already. After work has been published.
    pub(crate) fn wake_one<R: Region>(&self, region: &R) -> bool {
        // SeqCst: pairs with the fence in `enter`; either the lane sees the work or we see its state (L2, L3).
        fence(Ordering::SeqCst);
        let mut parked = None;
        for lane in 0..self.used(region) {
            match region.word32(self.state(lane)).load(Ordering::Relaxed) {
                SEARCHING => return false,
                PARKED if parked.is_none() => parked = Some(lane),
                _ => {}
            }
        }
        parked.is_some_and(|lane| self.unpark(region, lane))
    }

    /// Wakes one parked lane, whoever searches.
    pub(crate) fn wake_any<R: Region>(&self, region: &R) {
        // SeqCst: pairs with the fence in `enter`.
        fence(Ordering::SeqCst);
        let _ = (0..self.used(region)).any(|lane| self.unpark(region, lane));
    }

    /// Wakes every lane that sleeps, also those that a waker named and died before it woke them.
    pub(crate) fn rouse_all<R: Region>(&self, region: &R) {
        // SeqCst: pairs with the fence in `enter`.
        fence(Ordering::SeqCst);
        for lane in 0..self.used(region) {
            if !self.unpark(region, lane) {
                region.wake(self.state(lane));
            }
        }
    }

    fn unpark<R: Region>(&self, region: &R, lane: usize) -> bool {
        let at = self.state(lane);
        // Release: pairs with the Acquire in `park`. A failure means that the lane is awake, or being woken.
        let woken = region.word32(at).compare_exchange(PARKED, SEARCHING, Ordering::Release, Ordering::Relaxed).is_ok();
        if woken {
            region.wake(at);
        }
        woken
    }

    /// Tells a lane to run, end or hold, and wakes it to hear it. The host only (L4).
    pub(crate) fn command<R: Region>(&self, region: &R, lane: u16, order: u32) {
        let at = self.order(usize::from(lane));
        region.word32(at).store(order, Ordering::Relaxed);
        // SeqCst: pairs with the fence a lane makes after END and in `enter`: either the lane sees the order before it
        // claims, or the host, looking after this call, sees the END.
        fence(Ordering::SeqCst);
        region.wake(at);
        self.unpark(region, usize::from(lane));
    }

    /// This lane's order.
    pub(crate) fn order_of<R: Region>(&self, region: &R, lane: u16) -> u32 {
        region.word32(self.order(usize::from(lane))).load(Ordering::Relaxed)
    }

    /// Sleeps while the order is HOLD. May return early.
    pub(crate) fn hold<R: Region>(&self, region: &R, lane: u16) {
        region.sleep(self.order(usize::from(lane)), ORDER_HOLD, None);
    }
}
