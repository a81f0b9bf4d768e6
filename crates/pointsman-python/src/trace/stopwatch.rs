//! The times of one call, taken on the thread that runs it, and now and then a look at how it uses the GIL.
//!
//! Two readings of the clock for each call; the thread's CPU clock is a system call, so short calls are spared it but for
//! every [`EVERY`]th; the probe looks at one call, or at some milliseconds of short ones, and then pauses.
//!
//! # Does not know
//!
//! What is called, or where its times go.
//!
//! # Invariants
//!
//! - S1. A thread that runs calls one inside the other is looked at from the outermost only.
//! - S2. No look outlasts the claim in which it began: whoever waits is not looked at.

use std::cell::RefCell;

use pyo3::prelude::*;

use super::{UNKNOWN, now};
use crate::clock;
use crate::probe::Probe;

/// Nanoseconds of a call from which on its CPU time is read: the reading takes 1 % of it.
const LONG: u64 = 20_000;
/// Short calls of which one has its CPU time read.
const EVERY: u32 = 64;
/// Nanoseconds between two looks at the GIL: this many times as long as the look lasted, within these bounds. The native
/// thread that looks takes a tenth of a core while it does, and stays up for 1 ms after it: 1 % of a core at most.
/// Arbitrary between 10 and 50 times. Calls that are short share what was seen of them, so each look at such makes the
/// pause after it twice as long: one every 10 ms cost their jobs some 3 % (`benches/trace.py`).
const LOOK_EVERY: u64 = 20;
const LEAST_PAUSE: u64 = 10_000_000;
const LONGEST_PAUSE: u64 = 100_000_000;
const LONGEST_PAUSE_SHORT: u64 = 2_000_000_000;
/// Nanoseconds that a look at short calls lasts.
const LOOK_FOR: u64 = 5_000_000;

/// When a call was ready, began and ended, and the CPU time that it took, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub(crate) ready: u64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) cpu: u64,
    pub(crate) held: u64,
}

/// A call that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    at: u64,
    cpu: Option<f64>,
}

#[derive(Default)]
struct Watch {
    probe: Option<Probe>,
    /// When the look began that is under way, and the calls that it has seen.
    looking: Option<(u64, u32)>,
    look_after: u64,
    /// After the next look at short calls.
    pause: u64,
    depth: u32,
    calls: u32,
    /// Nanoseconds of the call before.
    before: u64,
}

thread_local! {
    static WATCH: RefCell<Watch> = RefCell::new(Watch { before: LONG, pause: LEAST_PAUSE, ..Watch::default() });
}

/// A call begins now. With `look` it may be looked at.
pub(crate) fn begin(py: Python<'_>, look: bool) -> Begun {
    WATCH.with_borrow_mut(|watch| {
        watch.depth += 1;
        watch.calls = watch.calls.wrapping_add(1);
        let mut at = now();
        if look && watch.depth == 1 && watch.looking.is_none() && at >= watch.look_after {
            watch.look_after = at + LEAST_PAUSE;
            let begun = watch.probe.get_or_insert_with(|| Probe::new(py)).begin(py, 100e-6);
            watch.looking = begun.is_ok().then_some((at, 0));
            at = now();
        }
        let cpu = (watch.before >= LONG || watch.calls.is_multiple_of(EVERY)).then(|| {
            let cpu = clock::thread_cpu();
            at = now();
            cpu
        });
        Begun { at, cpu }
    })
}

/// A call has ended. `last`: none follows at once on this thread (S2).
pub(crate) fn end(py: Python<'_>, begun: Begun, last: bool) -> Span {
    let ended = now();
    WATCH.with_borrow_mut(|watch| {
        watch.depth = watch.depth.saturating_sub(1);
        watch.before = ended - begun.at;
        let cpu = begun.cpu.map_or(UNKNOWN, |cpu| nanoseconds(clock::thread_cpu() - cpu).min(ended - begun.at));
        let mut span = Span { ready: begun.at, began: begun.at, ended, cpu, held: UNKNOWN };
        if watch.depth == 0
            && let Some((since, calls)) = &mut watch.looking
        {
            *calls += 1;
            if last || ended - *since >= LOOK_FOR {
                let (lasted, calls) = (ended - *since, f64::from(*calls));
                watch.looking = None;
                watch.look_after = ended + (LOOK_EVERY * lasted).clamp(LEAST_PAUSE, LONGEST_PAUSE);
                if watch.before < LOOK_FOR {
                    watch.look_after = watch.look_after.max(ended + watch.pause);
                    watch.pause = (2 * watch.pause).min(LONGEST_PAUSE_SHORT);
                }
                let seen = watch.probe.as_ref().and_then(|probe| probe.end(py).ok());
                if let Some(seen) = seen.filter(super::super::probe::Sample::was_seen) {
                    span.cpu = nanoseconds(seen.cpu() / calls).min(ended - begun.at);
                    span.held = nanoseconds(seen.held() / calls).min(span.cpu);
                }
            }
        }
        span
    })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as it should")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e9) as u64
}
