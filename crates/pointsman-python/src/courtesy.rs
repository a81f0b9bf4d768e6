//! When the threads of a pool, and those that wait for its calls, spin for each other rather than sleep.
//!
//! Whoever asks for the interpreter while it is taken sleeps until it is let go of. So a partner that is about to let go is
//! waited for in a spin. Where other threads press for the interpreter it is handed over: whoever has it keeps it until the
//! other is awake and looks, and the other takes it the moment that it is free, long before those that sleep have woken.
//!
//! # Does not know
//!
//! Queues, or what calls are.
//!
//! # Invariants
//!
//! - Y1. All of it is hints: wrong, they cost time and nothing else. So every access is Relaxed.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock;
use crate::thread_pool::Shared;

/// Calls up to this long are worth spinning for. Twice what it takes to wake a sleeping thread (FEASIBILITY A).
const SHORT: Duration = Duration::from_micros(40);
/// A wait for the interpreter that only a thread of others explains: ours let go of it within microseconds, or are in a
/// call. Arbitrary between that and the 5 ms after which the interpreter makes a thread let go.
const PRESSING: Duration = Duration::from_micros(500);
/// Waits after which the pressure is taken to be over, if none of them was long. A wrong guess costs 5 ms, and caution costs
/// some 20 us for each call: 500 makes the two equal.
const PRESSED_FOR: usize = 500;
/// Nanoseconds between two moments for which an event loop stops; 20 times as long as such a moment.
const GLANCE_EVERY: u64 = 1_000_000;

impl Shared {
    /// Notes how long a thread has waited for the interpreter.
    pub(crate) fn waited(&self, time: Duration) {
        // Relaxed: a hint.
        if time > PRESSING {
            self.pressed.store(PRESSED_FOR, Ordering::Relaxed);
        } else {
            let pressed = self.pressed.load(Ordering::Relaxed);
            if pressed > 0 {
                self.pressed.store(pressed - 1, Ordering::Relaxed);
            }
        }
    }

    /// Whether threads that are not ours press for the interpreter.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed) > 0
    }

    /// Whether it is worth spinning for a call, or for the next one.
    pub(crate) fn calls_are_short(&self) -> bool {
        Duration::from_nanos(self.counters.mean.load(Ordering::Relaxed)) <= SHORT
    }

    /// Notes where a caller is; whether a worker was seen on the same core.
    pub(crate) fn meets_worker(&self) -> bool {
        let core = clock::core();
        // Relaxed: a hint.
        self.caller_core.store(core, Ordering::Relaxed);
        self.worker_core.load(Ordering::Relaxed) == core
    }

    /// Whether an event loop may stop for a moment to see whether a call is done soon; not again for some time.
    pub(crate) fn may_glance(&self) -> bool {
        let since = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: a hint.
        if self.is_pressed() || !self.calls_are_short() || since < self.glance_after.load(Ordering::Relaxed) {
            return false;
        }
        self.glance_after.store(since.saturating_add(GLANCE_EVERY), Ordering::Relaxed);
        true
    }
}
