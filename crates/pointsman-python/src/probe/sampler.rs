//! Owns the native thread that looks at the GIL and at the observed thread's clock.
//!
//! # Does not know
//!
//! Python objects, attaching, what the looks are for. It never takes the GIL.
//!
//! # Invariants
//!
//! - I1. The lock is held for the copying of a few words, never across a system call other than those of
//!   the lock and its condition variables, never while looking.
//! - I2. A look is taken without the lock, then added only if the observation's number is still the
//!   same; so `end` never waits for a look, and a look that comes late is thrown away.
//! - I3. The native thread sleeps unless something is observed, or was within the last `WARM`; a parked
//!   one costs no CPU.
//!
//! # Memory ordering
//!
//! Everything shared is under the lock, but for two counters of the whole process (`CPU`, `LIVE`) that
//! publish nothing but themselves.

mod pace;

use std::num::NonZero;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::clocks::{self, ThreadClock};
use super::gil::View;
use super::tally::{Presence, Tally};
use pace::Pace;

/// Arbitrary: how long the native thread stays up after an observation. To wake it costs the caller
/// 7 us (measured on a 2-core x86-64 virtual machine), ten idle looks cost it 0.1 ms on another core; calls that are measured one
/// after another then find it awake.
const WARM: Duration = Duration::from_millis(1);
const WARM_STEP: Duration = Duration::from_micros(100);

/// Arbitrary: a new call waits for the end of a sleep up to this long, rather than pay for a wake.
const SHORT: Duration = Duration::from_millis(1);

/// The looks need no Python stack.
const STACK: usize = 128 * 1024;

/// Nanoseconds of CPU that the native threads of this process took, for all probes.
static CPU: AtomicU64 = AtomicU64::new(0);
/// Native threads alive.
static LIVE: AtomicU32 = AtomicU32::new(0);

pub(super) fn cpu_of_all() -> Duration {
    // Relaxed: pairs with the Relaxed addition in `Meter::publish`; a count that orders nothing.
    Duration::from_nanos(CPU.load(Ordering::Relaxed))
}

#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "threads are counted on Linux only"))]
pub(super) fn live() -> u32 {
    // Relaxed: pairs with the Relaxed changes in `Alive`; a count that orders nothing.
    LIVE.load(Ordering::Relaxed)
}

/// Forgets the threads of the parent: none of them lives in a forked child.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "threads are counted on Linux only"))]
pub(super) fn forget_threads() {
    // Relaxed: as in `live`; a child has one thread when this runs.
    LIVE.store(0, Ordering::Relaxed);
}

/// What to look at. It can be looked at after its end: the clock then says so, the rest are numbers.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) number: u64,
    pub(super) begun: Instant,
    /// None: not to be looked at.
    pub(super) arm_after: Option<Duration>,
    pub(super) clock: ThreadClock,
    pub(super) tstate: usize,
}

#[derive(Default)]
struct State {
    target: Option<Target>,
    tally: Tally,
    looking: bool,
    parked: bool,
    stopped: bool,
    waiters: u32,
}

pub(super) struct Sampler {
    state: Mutex<State>,
    work: Condvar,
    ended: Condvar,
    gil: &'static View,
}

impl Sampler {
    /// Where nothing can be seen, and where the system gives no thread, none looks.
    pub(super) fn start(gil: &'static View) -> Arc<Self> {
        let sampler = Arc::new(Self { state: Mutex::default(), work: Condvar::new(), ended: Condvar::new(), gil });
        if gil.is_seen() {
            let theirs = Arc::clone(&sampler);
            // Counted by the starter, so that no count of threads falls between start and first breath.
            let alive = Alive::new();
            let body = move || {
                let _alive = alive;
                clocks::prepare_native_thread();
                theirs.run();
            };
            let name = "pointsman-probe".to_owned();
            let thread = thread::Builder::new().name(name).stack_size(STACK);
            sampler.lock().looking = thread.spawn(body).is_ok();
        }
        sampler
    }

    pub(super) fn is_looking(&self) -> bool {
        self.lock().looking
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self, target: Target) {
        let mut state = self.lock();
        state.tally = Tally::default();
        state.target = Some(target);
        let wake = state.parked && target.arm_after.is_some();
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    pub(super) fn end(&self) -> Tally {
        let mut state = self.lock();
        state.target = None;
        let (tally, waiters) = (state.tally, state.waiters);
        drop(state);
        if waiters > 0 {
            self.ended.notify_all();
        }
        tally
    }

    /// None if this is not the observation under way.
    pub(super) fn tally(&self, number: u64) -> Option<Tally> {
        let state = self.lock();
        state.observes(number).then_some(state.tally)
    }

    pub(super) fn knocked(&self, number: u64, waited: bool) {
        let mut state = self.lock();
        if state.observes(number) {
            state.tally.knock(waited);
        }
    }

    /// Waits until `deadline` (true) or until this observation ends (false).
    pub(super) fn wait(&self, number: u64, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        state.waiters += 1;
        let still_observed = loop {
            if !state.observes(number) {
                break false;
            }
            let Some(deadline) = deadline else {
                state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break true;
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.waiters -= 1;
        still_observed
    }

    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.work.notify_one();
    }

    fn run(&self) {
        let mut pace = Pace::new(thread::available_parallelism().map_or(1, NonZero::get));
        let mut meter = Meter::default();
        let mut eye = Eye::default();
        let mut idle_since = Instant::now();
        let mut state = self.lock();
        while !state.stopped {
            let target = state.target.filter(|target| target.arm_after.is_some());
            let pause = if let Some(target) = target {
                idle_since = Instant::now();
                let age = idle_since.saturating_duration_since(target.begun);
                let early = target.arm_after.unwrap_or_default().saturating_sub(age);
                if early.is_zero() {
                    drop(state);
                    let pause = self.look(&target, &mut eye, &mut pace);
                    meter.publish();
                    state = self.lock();
                    Some(pause)
                } else {
                    Some(early)
                }
            } else if idle_since.elapsed() < WARM {
                Some(WARM_STEP)
            } else {
                pace.forget();
                None
            };
            state = self.pause(state, pause);
            if pause.is_none() {
                idle_since = Instant::now();
            }
        }
    }

    /// Looks once, and says how long to sleep until the next time.
    fn look(&self, target: &Target, eye: &mut Eye, pace: &mut Pace) -> Duration {
        if eye.turn_to(target) {
            pace.begin();
        }
        let threads = clocks::threads();
        let (presence, held) = eye.look(target, self.gil);
        let mut state = self.lock();
        if state.observes(target.number) {
            state.tally.look(presence, held, threads);
        }
        drop(state);
        let now = Instant::now();
        let age = now.saturating_duration_since(target.begun);
        pace.interval(age, now, clocks::process_cpu_native())
    }

    /// Sleeps; a long sleep can be ended by the next `begin`, a short one is not worth a wake.
    fn pause<'a>(&'a self, mut state: MutexGuard<'a, State>, pause: Option<Duration>) -> MutexGuard<'a, State> {
        match pause {
            Some(pause) if pause <= SHORT => {
                drop(state);
                thread::sleep(pause);
                self.lock()
            }
            Some(pause) => {
                state.parked = true;
                let woken = self.work.wait_timeout(state, pause);
                let mut state = woken.unwrap_or_else(PoisonError::into_inner).0;
                state.parked = false;
                state
            }
            None => {
                state.parked = true;
                let mut state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.parked = false;
                state
            }
        }
    }
}

impl State {
    fn observes(&self, number: u64) -> bool {
        self.target.is_some_and(|target| target.number == number)
    }
}

/// Remembers the last look, to tell a displaced thread from one that waits.
#[derive(Default)]
struct Eye {
    number: u64,
    last: Option<(Instant, Duration)>,
}

impl Eye {
    /// Whether this is another call than the last one looked at, of which nothing is remembered then.
    fn turn_to(&mut self, target: &Target) -> bool {
        let new = self.number != target.number;
        if new {
            self.number = target.number;
            self.last = None;
        }
        new
    }

    fn look(&mut self, target: &Target, gil: &View) -> (Presence, bool) {
        let now = Instant::now();
        let before = target.clock.read_native();
        let held = gil.is_held_by(target.tstate);
        let after = target.clock.read_native();
        let (Some(before), Some(after)) = (before, after) else {
            return (Presence::Away, held);
        };
        let just_ran = |(when, cpu): (Instant, Duration)| after.saturating_sub(cpu) * 2 > now - when;
        let presence = if after > before {
            Presence::Running
        } else if self.last.is_some_and(just_ran) {
            Presence::JustRan
        } else {
            Presence::Away
        };
        self.last = Some((now, after));
        (presence, held)
    }
}

/// Adds this thread's CPU time to that of all probes.
#[derive(Default)]
struct Meter {
    published: Duration,
}

impl Meter {
    fn publish(&mut self) {
        let now = ThreadClock::here().read_native().unwrap_or(self.published);
        let spent = now.saturating_sub(self.published);
        self.published = now;
        // Relaxed: pairs with the Relaxed load in `cpu_of_all`.
        CPU.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(0), Ordering::Relaxed);
    }
}

struct Alive;

impl Alive {
    fn new() -> Self {
        // Relaxed: pairs with the Relaxed load in `live`.
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // Relaxed: pairs with the Relaxed load in `live`.
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}
