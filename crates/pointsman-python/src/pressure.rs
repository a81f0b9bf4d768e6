//! How long a waiting caller should keep the GIL: who gives it up while another thread computes gets it back after 5 ms.
//!
//! # Does not know
//!
//! What is waited for.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a caller keeps the GIL as a rule: a reply that is under way comes within it (FEASIBILITY B: 7.8 us a call
/// beside a computing thread, 4,100 us without).
const BRIEF: Duration = Duration::from_micros(2);
/// The same once the GIL was slow to come back, which costs 5 ms each time. Others lose it for no longer than a third of
/// what a thread that computes takes it for; enough for a call of 1 ms whose worker must first be woken. Arbitrary from
/// there up to those 5 ms.
const LONG: Duration = Duration::from_micros(1500);
/// A GIL that takes longer than this to come back is wanted by others. Arbitrary between a context switch (20 us) and
/// the switch interval (5 ms).
const SLOW: Duration = Duration::from_millis(1);
/// Waits after which it is tried again whether others still want it. Arbitrary: one try costs 5 ms.
const REMEMBERED: u32 = 1000;

/// Waits in a row that were in vain after which the GIL is given up at once, and after how many more it is kept again.
/// Arbitrary: calls that take longer cost others a tenth of what they would without.
const IN_VAIN: u32 = 3;
const AGAIN: u32 = 30;

/// What is known of others that want the GIL.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    /// Waits for which it is taken to last.
    left: AtomicU32,
    /// Waits since the last for which it was worth it.
    in_vain: AtomicU32,
}

impl Pressure {
    /// How long to wait with the GIL.
    pub(crate) fn patience(&self) -> Duration {
        // Relaxed, as everywhere here: a guess that publishes nothing.
        let worth = self.in_vain.load(Ordering::Relaxed) % AGAIN < IN_VAIN;
        if worth && self.left.load(Ordering::Relaxed) > 0 { LONG } else { BRIEF }
    }

    /// The outcome did not come while the GIL was kept.
    pub(crate) fn kept_in_vain(&self) {
        if self.left.load(Ordering::Relaxed) > 0 {
            self.in_vain.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The outcome came while the GIL was kept.
    pub(crate) fn spared(&self) {
        self.in_vain.store(0, Ordering::Relaxed);
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    }

    /// The GIL took that long to come back.
    pub(crate) fn came_back(&self, after: Duration) {
        if after > SLOW {
            self.left.store(REMEMBERED, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gil_is_kept_longer_after_it_was_slow_to_come_back_and_not_for_ever() {
        let pressure = Pressure::default();
        assert_eq!(BRIEF, pressure.patience());
        pressure.came_back(Duration::from_micros(30));
        assert_eq!(BRIEF, pressure.patience());
        pressure.came_back(Duration::from_millis(5));
        assert_eq!(LONG, pressure.patience());
        for _ in 0..REMEMBERED {
            pressure.spared();
        }
        assert_eq!(BRIEF, pressure.patience());
    }

    #[test]
    fn it_is_not_kept_for_calls_that_take_longer_but_to_try_again() {
        let pressure = Pressure::default();
        pressure.came_back(Duration::from_millis(5));
        let kept: Vec<bool> = (0..=AGAIN)
            .map(|_| {
                let long = pressure.patience() == LONG;
                pressure.kept_in_vain();
                long
            })
            .collect();

        assert_eq!(IN_VAIN as usize + 1, kept.iter().filter(|long| **long).count());
        assert!(kept[0] && kept[AGAIN as usize]);
    }
}
