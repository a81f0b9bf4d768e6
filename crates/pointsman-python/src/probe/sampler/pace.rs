//! Says how long the native thread sleeps between looks, so that looking costs the call next to nothing.
//!
//! On a core of its own the thread disturbs nobody; where the call fills all cores, each look takes one
//! away from it, and a call whose threads wait for each other pays that twice. That is noticed after
//! `WINDOW`, and has by then cost such a call up to 2 ms, once.
//!
//! # Does not know
//!
//! What is looked at; threads; locks. It is told the time, and the CPU time of the process.
//!
//! # Invariants
//!
//! - I1. An interval is never longer than `CROWDED`, so a sleeping thread notices a new call soon.

use std::time::{Duration, Instant};

/// Measured: a look with its sleep takes 10 us of CPU on a 2-core x86-64 virtual machine, so the
/// native thread takes 16 % of a core during the first step, then 5 %, then 1 %.
const STEPS: [(Duration, Duration); 2] =
    [(Duration::from_millis(5), Duration::from_micros(50)), (Duration::from_millis(100), Duration::from_micros(200))];
const LAST_STEP: Duration = Duration::from_millis(1);

/// Measured (benches/probe.py, as above): where no core is left, looks at 1 ms slowed a call by 2.3 %.
const CROWDED: Duration = Duration::from_millis(2);

/// Derived: two ticks at 250 Hz. The kernel brings the clocks of running threads up to date once per
/// tick; a shorter window would see too little of them.
const WINDOW: Duration = Duration::from_millis(8);

/// Arbitrary: a call that fills all cores but half of one is taken to fill them all. Between 0.3 and
/// 0.7 no workload of benches/probe.py is judged otherwise.
const SLACK: f64 = 0.5;

pub(super) struct Pace {
    cores: f64,
    window: Option<(Instant, Duration)>,
    crowded: bool,
}

impl Pace {
    pub(super) fn new(cores: usize) -> Self {
        let cores = f64::from(u32::try_from(cores).unwrap_or(u32::MAX));
        Self { cores, window: None, crowded: false }
    }

    /// Another call begins. It is likely the same function again, so what was learnt stays.
    pub(super) fn begin(&mut self) {
        self.window = None;
    }

    /// Nothing has been observed for a while: what comes next may be anything.
    pub(super) fn forget(&mut self) {
        self.crowded = false;
    }

    /// How long to sleep after a look at a call of this age.
    pub(super) fn interval(&mut self, age: Duration, now: Instant, process: Duration) -> Duration {
        let (since, before) = *self.window.get_or_insert((now, process));
        let wall = now.saturating_duration_since(since);
        if wall >= WINDOW {
            let busy = process.saturating_sub(before).as_secs_f64() / wall.as_secs_f64();
            self.crowded = busy > self.cores - SLACK;
            self.window = Some((now, process));
        }
        if self.crowded || self.cores < 2.0 {
            return CROWDED;
        }
        let step = STEPS.iter().find(|(until, _)| age < *until);
        step.map_or(LAST_STEP, |(_, interval)| *interval)
    }
}

#[cfg(test)]
mod tests {
    use super::{CROWDED, Duration, Instant, LAST_STEP, Pace};

    fn after(pace: &mut Pace, milliseconds: u64, cores_used: u32) -> Duration {
        let begun = Instant::now();
        pace.begin();
        let mut interval = Duration::ZERO;
        for elapsed in (0..=milliseconds).map(Duration::from_millis) {
            interval = pace.interval(elapsed, begun + elapsed, elapsed * cores_used);
        }
        interval
    }

    #[test]
    fn looks_become_rarer_as_a_call_grows_older() {
        let mut pace = Pace::new(4);
        let intervals = [1, 50, 500].map(|age| after(&mut pace, age, 1));

        assert!(intervals.is_sorted_by(|a, b| a < b), "{intervals:?}");
        assert_eq!(intervals[2], LAST_STEP);
    }

    #[test]
    fn a_call_that_fills_all_cores_is_looked_at_rarely_and_so_is_the_next() {
        let mut pace = Pace::new(4);

        assert_eq!(after(&mut pace, 20, 4), CROWDED);
        assert_eq!(after(&mut pace, 1, 4), CROWDED);
        assert!(after(&mut pace, 20, 1) < CROWDED);
    }

    #[test]
    fn after_a_pause_a_call_is_judged_afresh() {
        let mut pace = Pace::new(4);
        after(&mut pace, 20, 4);
        pace.forget();

        assert!(after(&mut pace, 1, 4) < CROWDED);
    }

    #[test]
    fn on_a_single_core_every_look_interrupts_the_call() {
        assert_eq!(after(&mut Pace::new(1), 1, 1), CROWDED);
    }
}
