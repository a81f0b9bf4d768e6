//! What a pool of worker processes, its calls and the host's own threads share: figures, who must be told, and what waits.
//!
//! # Does not know
//!
//! Functions, or how calls are sent.
//!
//! # Invariants
//!
//! - Q1. Mirrored futures whose calls settled during a drain wait in `told` until some attached thread tells them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::Instant;

use pointsman_shm::{Cause, Death, Hooks, KillReason, ProcessId, Reply};
use pyo3::prelude::*;

use crate::future;
use crate::process_map::Feed;
use crate::process_pool::Workers;

/// Deaths of which the log has not been told, and whether another process takes the place.
#[derive(Clone, Default)]
struct Obituaries(Arc<Mutex<Vec<(Death, bool)>>>);

impl Obituaries {
    fn lock(&self) -> MutexGuard<'_, Vec<(Death, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one. Whoever attaches first tells of it: a thread that waits for outcomes, or one that is started here, for a
    /// program that asks for nothing more. Not this thread, which must not wait for the interpreter.
    fn add(&self, death: Death, replaced: bool) {
        let mut deaths = self.lock();
        let first = deaths.is_empty();
        deaths.push((death, replaced));
        drop(deaths);
        if first {
            let these = self.clone();
            let told = thread::Builder::new().name("pointsman-obituary".into()).spawn(move || {
                crate::ending::attach(|py| these.tell(py, "tell_unasked"));
            });
            // Without a thread they wait for somebody who attaches.
            drop(told);
        }
    }

    /// Tells the log, by a function of `pointsman._log`.
    fn tell(&self, py: Python<'_>, how: &str) {
        let deaths = std::mem::take(&mut *self.lock());
        if deaths.is_empty() {
            return;
        }
        let told: Vec<_> = deaths
            .iter()
            .map(|(death, replaced)| {
                let (cause, number) = crate::death::cause(death);
                (cause, number, death.pid, *replaced)
            })
            .collect();
        let told = py.import("pointsman._log").and_then(|module| module.call_method1(how, (told,)));
        if let Err(error) = told {
            // A handler of the program's that raises: its business, and no reason to lose an outcome.
            error.write_unraisable(py, None);
        }
    }
}

/// What hooks and the pool share; knows nothing of the host, so that nothing refers in a circle for ever.
#[derive(Default)]
pub(crate) struct Common {
    told: Mutex<Vec<Py<PyAny>>>,
    pub(crate) completed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) nanoseconds: AtomicU64,
    pub(crate) deaths: AtomicU64,
    obituaries: Obituaries,
    /// When the first process was asked for, and when it was ready.
    pub(crate) asked: OnceLock<Instant>,
    pub(crate) ready: OnceLock<Instant>,
    /// The initializer's name, for the message when it raises.
    pub(crate) initializer: OnceLock<String>,
    /// Why no worker will ever come.
    pub(crate) broken: OnceLock<Death>,
    pub(crate) running: AtomicI64,
    /// The host, where the death of one worker is to break the pool.
    pub(crate) breaks: OnceLock<Weak<Workers>>,
    /// Whether the zygote has died and nobody has asked for another.
    pub(crate) zygote_lost: AtomicBool,
    /// The maps whose inputs wait.
    maps: Mutex<Vec<Arc<Feed>>>,
}

/// Exit code of a worker whose initializer raised (`pointsman._worker`).
const INITIALIZER_RAISED: &str = "code 81";

impl Common {
    /// Adds what only this side knows to the death of a pool, and remembers it.
    pub(crate) fn explain(&self, death: &Death) -> Death {
        let mut death = death.clone();
        if let Cause::NeverStarted(why) = &mut death.cause {
            if let Some(name) = self.initializer.get().filter(|_| why.contains(INITIALIZER_RAISED)) {
                *why = format!("the initializer {name} raised, see its traceback on standard error; {why}");
            }
            self.broken.get_or_init(|| death.clone());
        }
        death
    }

    /// Where a call with this outcome is counted.
    pub(crate) fn counter(&self, reply: &Reply<'_>) -> &AtomicU64 {
        match reply {
            Reply::Value { tag, .. } if *tag == crate::outcome::VALUE => &self.completed,
            Reply::Died(Death { cause: Cause::Killed(KillReason::Cancelled), target: Some(_), .. })
            | Reply::Cancelled => &self.cancelled,
            Reply::Value { .. } | Reply::Died(_) => &self.failed,
        }
    }

    pub(crate) fn lock_maps(&self) -> MutexGuard<'_, Vec<Arc<Feed>>> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a map whose inputs wait, so that they are sent though nobody takes its results; forgets one without.
    pub(crate) fn know(&self, feed: &Arc<Feed>, host: &Workers) {
        let mut maps = self.lock_maps();
        let known = maps.iter().position(|known| Arc::ptr_eq(known, feed));
        let gone = match (known, feed.waiting() > 0) {
            (None, true) => {
                maps.push(feed.clone());
                None
            }
            (Some(at), false) => Some(maps.swap_remove(at)),
            _ => None,
        };
        host.set_feeding(!maps.is_empty());
        drop(maps);
        drop(gone);
    }

    /// Sends inputs of maps for which workers have become free, or with `all` those that wait.
    pub(crate) fn feed(&self, all: bool) {
        let maps = self.lock_maps().clone();
        for map in maps {
            map.feed(all);
        }
    }

    /// Has mirrored futures told of their outcomes by the next attached thread (Q1).
    pub(crate) fn will_tell(&self, watchers: Vec<Py<PyAny>>) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).extend(watchers);
    }

    pub(crate) fn has_told(&self) -> bool {
        !self.told.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Tells mirrored futures of their outcomes (Q1).
    pub(crate) fn tell(&self, py: Python<'_>) {
        // Relaxed: a count that says only whether it is worth looking.
        if self.deaths.load(Ordering::Relaxed) > 0 {
            self.obituaries.tell(py, "tell_of_deaths");
        }
        loop {
            let mirrors = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
            if mirrors.is_empty() {
                return;
            }
            for mirror in mirrors {
                future::tell(py, &mirror);
            }
        }
    }
}

impl Hooks for Common {
    fn looked(&self) {
        self.feed(false);
    }

    fn process_started(&self, _process: ProcessId) {
        self.ready.get_or_init(Instant::now);
    }

    fn process_died(&self, death: &Death, respawn: bool) {
        self.feed(false);
        if death.cause == Cause::Exit(crate::worker::RECYCLED) {
            return;
        }
        self.deaths.fetch_add(1, Ordering::Relaxed);
        let orderly = matches!(death.cause, Cause::Exit(0) | Cause::Killed(KillReason::Shutdown));
        if !orderly {
            self.obituaries.add(death.clone(), respawn);
        }
        if let Some(host) = self.breaks.get().and_then(Weak::upgrade).filter(|_| !orderly) {
            let broken = self.broken.get_or_init(|| {
                let (cause, number) = crate::death::cause(death);
                Death::never_started(format!(
                    "the worker process {} died ({cause} {number}), which breaks this executor, as on_worker_death='break' says",
                    death.pid
                ))
            });
            host.set_respawn(false);
            host.abandon(broken.clone());
            host.shutdown(true);
        }
    }

    fn zygote_died(&self) {
        self.zygote_lost.store(true, Ordering::Relaxed);
    }
}
