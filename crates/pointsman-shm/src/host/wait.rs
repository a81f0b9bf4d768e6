//! Waiting for outcomes: by a caller that drains for itself, and by the host's thread when nobody does.
//!
//! # Invariants
//!
//! - W1. A waiter counts itself, arms the bell, drains, looks, and only then sleeps. A lane rings after END; a drainer
//!   that delivers rings for the other sleepers. So whatever makes `done` true either is seen or wakes (README).
//! - W2. The drainer arms before it drains, too, so a lane that fills its ring never waits for nobody.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::core::Stage;
use super::{Host, Shared};
use crate::bell::Bell;
use crate::layout::HostWords;
use crate::spin::spin;
use crate::task::Sink;

impl<S: Sink + ?Sized> Host<S> {
    /// Waits until `done`, delivering meanwhile; false when the deadline came first.
    ///
    /// Spins for `spin` before it sleeps. Several threads may wait at once. `done` must be quick and is called often;
    /// what makes it true must be a delivery of this host.
    pub fn wait(&self, done: &dyn Fn() -> bool, deadline: Option<Instant>, spin: Duration) -> bool {
        let shared = &*self.shared;
        if shared.is_foreign() {
            return done();
        }
        shared.wait(done, deadline, spin)
    }
}

/// Counts a sleeper while it lives.
struct Sleeper<'a, S: Sink + ?Sized>(&'a Shared<S>);

impl<'a, S: Sink + ?Sized> Sleeper<'a, S> {
    fn new(shared: &'a Shared<S>) -> Self {
        // Relaxed: the lock that the following drain takes orders it (W1).
        shared.sleepers.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl<S: Sink + ?Sized> Drop for Sleeper<'_, S> {
    fn drop(&mut self) {
        self.0.sleepers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S: Sink + ?Sized> Shared<S> {
    fn wait(&self, done: &dyn Fn() -> bool, deadline: Option<Instant>, budget: Duration) -> bool {
        let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.drain(0);
        if done() {
            return true;
        }
        let budget = left().map_or(budget, |left| left.min(budget));
        let look = || {
            self.try_drain();
            done()
        };
        if !budget.is_zero() && spin(budget, look) {
            return true;
        }
        let _sleeper = Sleeper::new(self);
        loop {
            let armed = HostWords::BELL.arm(&*self.env.memory);
            self.drain(1);
            if done() {
                return true;
            }
            let left = left();
            if left == Some(Duration::ZERO) {
                return false;
            }
            HostWords::BELL.sleep(&*self.env.memory, armed, left);
        }
    }

    /// Drains, unless another does.
    fn try_drain(&self) {
        if let Ok(core) = self.core.try_lock() {
            drop(core);
            self.drain(0);
        }
    }

    /// Has the drainer look again at what it should wait for.
    pub(super) fn wake_drainer(&self) {
        HostWords::PRESSURE.announce(&*self.env.memory);
        HostWords::BELL.announce(&*self.env.memory);
    }
}

/// The body of the drainer: delivers when a lane presses for it, and, for collectors, while tasks are to follow, and at the end, always.
pub(super) fn keep_drained<S: Sink + ?Sized>(shared: &Shared<S>) {
    loop {
        let bell = if shared.drains_always() { HostWords::BELL } else { HostWords::PRESSURE };
        let armed = Bell::arm(bell, &*shared.env.memory);
        // What it should wait for may have changed before the bell was armed.
        let still = shared.drains_always() == (bell.0 == HostWords::BELL.0);
        let (delivered, started, over) = shared.act(0, |core| {
            let delivered = core.drain(&shared.env);
            core.strike_the_faulty();
            (delivered, core.newly_started(), core.stage == Stage::Closed && core.processes.is_empty())
        });
        if delivered > 0 {
            shared.hooks.drained();
        }
        shared.hooks.looked();
        for process in started {
            shared.hooks.process_started(process);
        }
        if over {
            return;
        }
        if still {
            bell.sleep(&*shared.env.memory, armed, None);
        }
    }
}

impl<S: Sink + ?Sized> Shared<S> {
    fn drains_always(&self) -> bool {
        // Acquire: pairs with the Release in `set_collectors` and `set_feeding`.
        self.collectors.load(Ordering::Acquire)
            || self.feeding.load(Ordering::Acquire)
            || self.lock().stage == Stage::Draining
    }
}
