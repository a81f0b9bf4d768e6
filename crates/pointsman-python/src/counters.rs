//! The figures of a pool's calls: true at every moment, and next to free for the workers that make them.
//!
//! # Does not know
//!
//! Calls, or who asks for the figures.
//!
//! # Invariants
//!
//! - K1. A worker's [`Ledger`] is written by that worker alone, so it takes no exchange, which costs more than the rest of
//!   the bookkeeping; everybody may read it.
//! - K2. A call is counted as submitted before it is queued, as begun before it runs, and as ended before it is settled.
//!   A worker runs one at a time, whatever it notes while others look.
//! - K3. What a worker has noted goes to the common ledger when it ends, under the lock that readers hold.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Looks at a ledger that is written meanwhile, before one of them is taken as it is. Arbitrary.
const LOOKS: usize = 8;

/// What there is to say of calls: of an executor's, or of one of its maps'.
#[derive(Clone, Copy, Default)]
pub(crate) struct Figures {
    pub(crate) queued: usize,
    pub(crate) running: usize,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) spent: Duration,
}

/// What was noted of calls.
#[derive(Default)]
#[repr(align(64))]
struct Ledger {
    begun: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    nanoseconds: AtomicU64,
}

#[derive(Default)]
pub(crate) struct Counters {
    submitted: AtomicU64,
    withdrawn: AtomicU64,
    /// Of threads that are no workers, and of workers that have ended.
    common: Ledger,
    workers: Mutex<Vec<Arc<Ledger>>>,
    /// A moving mean of the calls' durations, in nanoseconds.
    pub(crate) mean: AtomicU64,
}

/// Where a thread notes its calls.
pub(crate) struct Desk<'a> {
    counters: &'a Counters,
    own: Option<Arc<Ledger>>,
}

/// What a reader found in a ledger.
struct Seen {
    begun: u64,
    completed: u64,
    failed: u64,
}

impl Ledger {
    /// What it says of one moment, if its worker writes seldom enough for that.
    fn read(&self) -> Seen {
        let ended = || (self.completed.load(Ordering::Acquire), self.failed.load(Ordering::Acquire));
        let mut before = ended();
        for _ in 0..LOOKS {
            // Acquire, all of them: pairs with the Release stores of `note`, so that they are read in this order.
            let begun = self.begun.load(Ordering::Acquire);
            let after = ended();
            if before == after {
                return Seen { begun, completed: after.0, failed: after.1 };
            }
            before = after;
        }
        let begun = self.begun.load(Ordering::Acquire);
        Seen { begun, completed: before.0, failed: before.1 }
    }
}

// Where nothing else is said, Relaxed: counters publish nothing but themselves; a cell's Release store orders them for
// whoever sees an outcome.
impl Counters {
    fn workers(&self) -> MutexGuard<'_, Vec<Arc<Ledger>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a call will be queued.
    pub(crate) fn submitted(&self) {
        self.submitted.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a call was cancelled before anybody began it.
    pub(crate) fn withdrawn(&self) {
        self.withdrawn.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds the figures of calls that were counted elsewhere.
    pub(crate) fn add(&self, figures: &Figures) {
        let calls = figures.completed + figures.failed;
        self.submitted.fetch_add(calls, Ordering::Relaxed);
        self.common.begun.fetch_add(calls, Ordering::Relaxed);
        self.common.completed.fetch_add(figures.completed, Ordering::Relaxed);
        self.common.failed.fetch_add(figures.failed, Ordering::Relaxed);
        self.common.nanoseconds.fetch_add(nanoseconds(figures.spent), Ordering::Relaxed);
    }

    /// For a thread that is no worker of the pool.
    pub(crate) fn desk(&self) -> Desk<'_> {
        Desk { counters: self, own: None }
    }

    /// For a worker, as long as it is one.
    pub(crate) fn workers_desk(&self) -> Desk<'_> {
        let own = Arc::new(Ledger::default());
        self.workers().push(own.clone());
        Desk { counters: self, own: Some(own) }
    }

    /// What there is to say of all calls.
    pub(crate) fn figures(&self) -> Figures {
        let workers = self.workers();
        // First, so that no more calls seem to wait than do. Acquire keeps the loads below behind it; it has no partner.
        let submitted = self.submitted.load(Ordering::Acquire);
        let (mut begun, mut running) = (0, 0);
        let mut sum = Figures::default();
        for (ledger, most) in workers.iter().map(|ledger| (&**ledger, 1)).chain([(&self.common, u64::MAX)]) {
            let seen = ledger.read();
            begun += seen.begun;
            running += seen.begun.saturating_sub(seen.completed + seen.failed).min(most);
            sum.completed += seen.completed;
            sum.failed += seen.failed;
            sum.spent += Duration::from_nanos(ledger.nanoseconds.load(Ordering::Relaxed));
        }
        let count = |calls: u64| usize::try_from(calls).unwrap_or(usize::MAX);
        sum.queued = count(submitted.saturating_sub(begun + self.withdrawn.load(Ordering::Relaxed)));
        sum.running = count(running);
        sum
    }
}

impl Desk<'_> {
    fn note(&self, of: fn(&Ledger) -> &AtomicU64, more: u64) {
        // Release, both: pairs with the Acquire loads of `read`.
        match &self.own {
            // Nobody else writes here (K1).
            Some(own) => of(own).store(of(own).load(Ordering::Relaxed).wrapping_add(more), Ordering::Release),
            None => {
                of(&self.counters.common).fetch_add(more, Ordering::Release);
            }
        }
    }

    /// Notes that a call begins.
    pub(crate) fn begun(&self) {
        self.note(|ledger| &ledger.begun, 1);
    }

    /// Notes that a call has ended; it must be settled only then (K2).
    pub(crate) fn ended(&self, ok: bool) {
        self.note(if ok { |ledger| &ledger.completed } else { |ledger| &ledger.failed }, 1);
    }

    /// Notes for how long a call has run.
    pub(crate) fn spent(&self, time: Duration) {
        let time = nanoseconds(time);
        self.note(|ledger| &ledger.nanoseconds, time);
        let mean = self.counters.mean.load(Ordering::Relaxed);
        // A lost update matters little to a mean.
        self.counters.mean.store(mean - mean / 8 + time / 8, Ordering::Relaxed);
    }
}

impl Drop for Desk<'_> {
    fn drop(&mut self) {
        let Some(own) = self.own.take() else { return };
        let mut workers = self.counters.workers();
        for of in [
            |ledger: &Ledger| &ledger.begun,
            |ledger: &Ledger| &ledger.completed,
            |ledger: &Ledger| &ledger.failed,
            |ledger: &Ledger| &ledger.nanoseconds,
        ] as [fn(&Ledger) -> &AtomicU64; 4]
        {
            of(&self.counters.common).fetch_add(of(&own).load(Ordering::Relaxed), Ordering::Relaxed);
        }
        workers.retain(|ledger| !Arc::ptr_eq(ledger, &own));
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(counters: &Counters) -> (usize, usize, u64, u64) {
        let figures = counters.figures();
        (figures.queued, figures.running, figures.completed, figures.failed)
    }

    #[test]
    fn a_call_is_queued_then_runs_then_has_ended() {
        let counters = Counters::default();
        let desk = counters.workers_desk();
        let mut seen = vec![];

        counters.submitted();
        seen.push(told(&counters));
        desk.begun();
        seen.push(told(&counters));
        desk.ended(true);
        seen.push(told(&counters));

        assert_eq!(vec![(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0)], seen);
    }

    #[test]
    fn what_a_worker_has_noted_outlives_it() {
        let counters = Counters::default();
        counters.submitted();
        counters.submitted();
        let desk = counters.workers_desk();
        desk.begun();
        desk.ended(false);
        desk.spent(Duration::from_millis(2));
        drop(desk);

        counters.withdrawn();

        assert_eq!((0, 0, 0, 1), told(&counters));
        assert_eq!(Duration::from_millis(2), counters.figures().spent);
    }

    #[test]
    fn calls_counted_elsewhere_have_neither_to_wait_nor_to_run() {
        let counters = Counters::default();

        counters.add(&Figures { completed: 5, failed: 2, ..Figures::default() });

        assert_eq!((0, 0, 5, 2), told(&counters));
    }
}
