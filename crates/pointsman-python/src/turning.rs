//! Whether calls that waited when they were measured come to compute, and how few of them run until that is known.
//!
//! # Does not know
//!
//! Inputs, results, or who runs calls.
//!
//! # Invariants
//!
//! - U1. Nothing is held back for longer than [`LONGEST`] in all: what was taken for computing may have been something else.

use std::time::{Duration, Instant};

use crate::probe::ThreadClock;

/// Seconds and calls between two looks at whether calls have turned, the share of a core that they must compute for, and
/// how many times what was measured. Arbitrary: long enough that a few odd calls do not count.
const TURN_SECONDS: f64 = 0.05;
const TURN_CALLS: u32 = 4;
const SATURATED: f64 = 0.8;
const MUCH: f64 = 2.0;

/// Calls that compute, each for this many seconds at least and this share of its time: those that run, and the last in a row
/// that have ended. From so many on no more than a few run at a time until it is known whether calls have turned: all that
/// run compete with the caller, who has to decide. Arbitrary; the share is what each of some calls gets of the GIL.
const BRAKE_CALLS: u32 = 3;
const BRAKE_SECONDS: f64 = 1e-3;
/// The same for one that runs: it may wait after this.
const RUNNING_SECONDS: f64 = 3e-3;
const BRAKE_SHARE: f64 = 0.2;
const BRAKED: usize = 2;
const LONGEST: Duration = Duration::from_secs(1);
/// How long a thread that is held back sleeps at most: nobody tells it that a call which computed waits now.
pub(crate) const PAUSE: Duration = Duration::from_millis(5);
/// Running calls that are looked at, the last ones: each look is a system call. Arbitrary.
const LOOKED_AT: usize = 8;

/// Watches the calls of a job.
pub(crate) struct Watch {
    /// Seconds that a call was measured to compute.
    expected: f64,
    /// Cores from which on the GIL is not the limit.
    enough: f64,
    since: Instant,
    calls: u32,
    cpu: f64,
    /// Calls in a row that have ended and computed for much longer.
    dear: u32,
    running: Vec<Running>,
    /// When calls were held back first.
    braked: Option<Instant>,
}

/// A call that runs, or some that were claimed together, by the index of the first.
struct Running {
    first: usize,
    clock: ThreadClock,
    cpu: Duration,
    began: Instant,
}

impl Watch {
    /// Of calls that were measured to compute for `expected` seconds and stay where they keep `enough` cores busy, after
    /// `calls` that took `cpu` seconds.
    pub(crate) fn new(expected: f64, enough: f64, calls: u32, cpu: f64) -> Self {
        Self { expected, enough, since: Instant::now(), calls, cpu, dear: 0, running: Vec::new(), braked: None }
    }

    fn is_dear(&self, cpu: f64, wall: f64, least: f64) -> bool {
        cpu > (MUCH * self.expected).max(least) && cpu > BRAKE_SHARE * wall
    }

    /// Notes that this thread begins a call.
    pub(crate) fn begun(&mut self, first: usize) {
        let clock = ThreadClock::here();
        let cpu = clock.read_native().unwrap_or_default();
        self.running.push(Running { first, clock, cpu, began: Instant::now() });
    }

    /// Notes that calls are over, and what each of them computed and took.
    pub(crate) fn ended(&mut self, first: usize, done: u32, cpu: f64, wall: f64) {
        if let Some(at) = self.running.iter().position(|one| one.first == first) {
            self.running.remove(at);
        }
        self.dear = if self.is_dear(cpu, wall, BRAKE_SECONDS) { self.dear.saturating_add(done) } else { 0 };
    }

    /// Running calls that compute.
    fn computing(&self) -> u32 {
        let last = self.running.iter().rev().take(LOOKED_AT);
        let dear = last.filter(|one| {
            let cpu = one.clock.read_native().map_or(Duration::ZERO, |now| now.saturating_sub(one.cpu));
            self.is_dear(cpu.as_secs_f64(), one.began.elapsed().as_secs_f64(), RUNNING_SECONDS)
        });
        u32::try_from(dear.count()).unwrap_or(u32::MAX)
    }

    /// Whether no further call shall begin now while so many run.
    pub(crate) fn holds_back(&mut self, running: usize) -> bool {
        if running < BRAKED || (self.dear < BRAKE_CALLS && self.dear + self.computing() < BRAKE_CALLS) {
            return false;
        }
        self.braked.get_or_insert_with(Instant::now).elapsed() < LONGEST
    }

    /// Whether calls compute for much longer than was measured, and the GIL has become the limit, not the cores; of all
    /// `calls` so far, which have computed for `cpu` seconds.
    pub(crate) fn has_turned(&mut self, calls: u32, cpu: f64) -> bool {
        let (elapsed, fresh, computed) = (self.since.elapsed().as_secs_f64(), calls - self.calls, cpu - self.cpu);
        if elapsed < TURN_SECONDS || fresh < TURN_CALLS {
            return false;
        }
        (self.since, self.calls, self.cpu) = (Instant::now(), calls, cpu);
        let limited = computed > SATURATED * elapsed && computed < self.enough * elapsed;
        limited && computed > MUCH * self.expected * f64::from(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new(1e-4, 1.2, 0, 0.0)
    }

    #[test]
    fn calls_that_come_to_compute_have_turned_where_the_gil_is_the_limit_and_not_where_they_have_all_cores() {
        let after = |cores_used: f64| {
            let mut watch = watch();
            watch.since = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
            watch.has_turned(100, cores_used)
        };

        assert!(!after(0.5));
        assert!(after(0.97));
        assert!(after(1.1));
        assert!(!after(1.95));
    }

    #[test]
    fn calls_that_come_to_compute_run_few_at_a_time_until_one_waits_again() {
        let mut watch = watch();
        for index in 0..BRAKE_CALLS {
            assert!(!watch.holds_back(BRAKED));
            watch.ended(index as usize, 1, 5e-3, 10e-3);
        }
        assert!(watch.holds_back(BRAKED));
        assert!(!watch.holds_back(BRAKED - 1));

        watch.ended(9, 1, 1e-4, 10e-3);
        assert!(!watch.holds_back(BRAKED));
    }

    #[test]
    fn calls_that_compute_a_little_and_wait_for_long_are_not_held_back() {
        let mut watch = watch();

        watch.ended(0, 100, 2e-3, 100e-3);

        assert!(!watch.holds_back(50));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn those_that_run_and_compute_count_before_any_has_ended() {
        let mut watch = watch();
        for index in 0..BRAKE_CALLS {
            watch.begun(index as usize);
        }
        let before = watch.holds_back(9);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }

        // All three have this thread's clock.
        assert!(!before);
        assert!(watch.holds_back(9));
    }

    #[test]
    fn nothing_is_held_back_for_ever() {
        let mut watch = watch();
        watch.ended(0, BRAKE_CALLS, 5e-3, 5e-3);
        assert!(watch.holds_back(9));

        watch.braked = Instant::now().checked_sub(LONGEST);

        assert!(!watch.holds_back(9));
    }
}
