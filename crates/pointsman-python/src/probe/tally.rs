//! Counts what the looks saw, and turns the counts into shares. Pure arithmetic.
//!
//! # Does not know
//!
//! Clocks, threads, the GIL, Python.
//!
//! # Invariants
//!
//! - I1. `held` of each kind is at most the count of that kind, so every share lies in 0..=1.

/// How a look found the observed thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Its clock moved while the GIL was read: it was on a CPU at that very moment.
    Running,
    /// Its clock stood still, yet moved for most of the time since the last look: most likely the look
    /// itself took its CPU.
    JustRan,
    /// Neither: it waits.
    Away,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    looks: u32,
    held: u32,
}

/// The looks at one call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) samples: u32,
    pub(super) threads_peak: u32,
    running: Count,
    just_ran: Count,
    knocks: Count,
    pairs: u32,
    changes: u32,
    last: Option<bool>,
}

/// Where chance gives fewer changes than this, how many there were tells nothing. Arbitrary between 2 and 10.
const LEAST_CHANGES: f64 = 4.0;

/// Where one state is rarer than this, its looks lie apart by chance alone. Arbitrary between 1 and 10 %.
const RARE: f64 = 0.05;

impl Tally {
    pub(super) fn look(&mut self, presence: Presence, held: bool, threads: u32) {
        self.samples += 1;
        self.threads_peak = self.threads_peak.max(threads);
        match presence {
            Presence::Running => self.running.add(held),
            Presence::JustRan => self.just_ran.add(held),
            Presence::Away => return,
        }
        if let Some(last) = self.last.replace(held) {
            self.pairs += 1;
            self.changes += u32::from(last != held);
        }
    }

    pub(super) fn knock(&mut self, waited: bool) {
        self.knocks.add(waited);
    }

    pub(super) fn on_cpu(&self) -> u32 {
        self.running.looks + self.just_ran.looks
    }

    /// Share of the looks at the thread on a CPU that found it holding the GIL; else of the knocks.
    ///
    /// Looks at a thread that just ran see the state in which it was displaced, or in which it went to
    /// wait, so they count only where the sure ones are few (a single core).
    pub(super) fn held_share(&self) -> Option<f64> {
        if self.running.looks > 0 && self.running.looks >= self.just_ran.looks / 4 {
            return self.running.share();
        }
        self.running.plus(self.just_ran).share().or_else(|| self.knocks.share())
    }

    /// Changes of state per pair of looks, over `2h(1-h)`, what independent looks would give.
    pub(super) fn flip(&self) -> f64 {
        let share = self.running.plus(self.just_ran).share().unwrap_or(0.0);
        let expected = 2.0 * share * (1.0 - share) * f64::from(self.pairs);
        let tells = expected >= LEAST_CHANGES && share.min(1.0 - share) >= RARE;
        if tells { f64::from(self.changes) / expected } else { 0.0 }
    }
}

impl Count {
    fn add(&mut self, held: bool) {
        self.looks += 1;
        self.held += u32::from(held);
    }

    fn plus(self, other: Self) -> Self {
        Self { looks: self.looks + other.looks, held: self.held + other.held }
    }

    fn share(self) -> Option<f64> {
        (self.looks > 0).then(|| f64::from(self.held) / f64::from(self.looks))
    }
}

#[cfg(test)]
mod tests {
    use super::{Presence, Tally};

    fn tally(looks: impl IntoIterator<Item = (Presence, bool)>) -> Tally {
        let mut tally = Tally::default();
        for (presence, held) in looks {
            tally.look(presence, held, 1);
        }
        tally
    }

    #[test]
    fn nothing_seen_has_no_share() {
        assert_eq!(tally([]).held_share(), None);
        assert_eq!(tally([(Presence::Away, true)]).held_share(), None);
    }

    #[test]
    fn looks_at_a_waiting_thread_do_not_count() {
        let seen = tally([(Presence::Running, true), (Presence::Away, false), (Presence::Away, false)]);

        assert_eq!(seen.held_share(), Some(1.0));
        assert_eq!((seen.samples, seen.on_cpu()), (3, 1));
    }

    #[test]
    fn sure_looks_outweigh_doubtful_ones_unless_they_are_few() {
        let many = (0..8).map(|_| (Presence::Running, true));
        let doubtful = (0..8).map(|_| (Presence::JustRan, false));
        assert_eq!(tally(many.chain(doubtful)).held_share(), Some(1.0));

        let doubtful = (0..8).map(|_| (Presence::JustRan, false));
        assert_eq!(tally(doubtful).held_share(), Some(0.0));
    }

    #[test]
    fn a_state_that_changes_at_every_look_flips_and_one_long_stretch_does_not() {
        let restless = tally((0..100).map(|i| (Presence::Running, i % 2 == 0)));
        let calm = tally((0..100).map(|i| (Presence::Running, i < 50)));
        let still = tally((0..100).map(|_| (Presence::Running, true)));
        let seldom = tally((0..400).map(|i| (Presence::Running, i % 100 != 50)));

        assert!(restless.flip() > 1.5, "{}", restless.flip());
        assert!(calm.flip() < 0.1, "{}", calm.flip());
        assert!(still.flip().abs() < f64::EPSILON);
        assert!(seldom.flip().abs() < f64::EPSILON);
    }

    #[test]
    fn knocks_speak_only_where_no_look_did() {
        let mut seen = tally([(Presence::Running, false)]);
        seen.knock(true);
        assert_eq!(seen.held_share(), Some(0.0));

        let mut blind = Tally::default();
        blind.knock(true);
        blind.knock(false);
        assert_eq!(blind.held_share(), Some(0.5));
    }
}
