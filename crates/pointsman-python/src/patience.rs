//! Workers of thread pools that wait for calls: which of them wait in a circle, and how they are helped out of it.
//!
//! A worker that waits for a call of its own pool runs that call itself, if nobody has begun it: what lies below it on the
//! stack waits for it anyway. It runs no other call meanwhile: that one might wait for what lies below. So workers may come
//! to wait for each other until none is left to run what all wait for. Whoever has waited for some time looks whether that
//! is so, and if it is, has the call run by a worker beyond the pool's limit.
//!
//! # Does not know
//!
//! What calls are, or how a circle is found ([`is_stuck`] does).
//!
//! # Invariants
//!
//! - P1. A worker that waits is on the list from the first look on, until it goes on.
//! - P2. No Python object is dropped while the list's lock is held. A queue's lock may be taken under it, never the reverse.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pointsman_scheduler::{Awaits, Wait, is_stuck};
use pyo3::prelude::*;

use crate::ending::detached;
use crate::lookout;
use crate::serving;
use crate::thread_pool::{Job, Shared};
use crate::waiting::SLICE;

/// How long a worker that waits sleeps before it looks for a circle, at first and at most. Arbitrary: most calls are over
/// before the first look, and a circle costs one such pause.
const FIRST: Duration = Duration::from_micros(500);
const LAST: Duration = Duration::from_millis(10);

/// The longest pause while many wait: each of n looks at all of them, so pauses grow with the square of n. A look takes
/// some 0.1 us for each, hence all of them take about a tenth of a core, up to a thousand. Whoever closes a circle has
/// only begun to look.
const LONGEST: Duration = Duration::from_secs(1);
const FOR_EACH_PAIR: Duration = Duration::from_micros(1);

/// Waits from which on a circle is looked for detached. Arbitrary: to let go of the interpreter costs more than to look
/// through fewer.
const MANY: usize = 32;

fn longest_pause(waiting: usize) -> Duration {
    let pairs = u32::try_from(waiting.saturating_mul(waiting)).unwrap_or(u32::MAX);
    FOR_EACH_PAIR.saturating_mul(pairs).clamp(LAST, LONGEST)
}

thread_local! {
    static HERE: u8 = const { 0 };
}

/// A name of this thread.
pub(crate) fn here() -> usize {
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// What a call that is waited for does at the moment.
pub(crate) enum Progress {
    /// It is over.
    Done,
    /// This thread runs it.
    RunsOn(usize),
    /// A worker of its pool will run it, or does.
    Queued,
}

struct Entry {
    /// The process that it belongs to: a forked child has none of its parent's threads, and their queues may be locked.
    process: u32,
    thread: usize,
    home: Option<usize>,
    pool: Arc<Shared>,
    runner: Option<usize>,
}

static WAITING: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

fn list() -> MutexGuard<'static, Vec<Entry>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name of a pool.
pub(crate) fn name_of(pool: &Arc<Shared>) -> usize {
    Arc::as_ptr(pool).addr()
}

/// Takes this thread off the list at the end (P1).
struct Listed(usize);

impl Drop for Listed {
    fn drop(&mut self) {
        let mut list = list();
        // The last of this thread's: waits lie one inside the other.
        let gone = list.iter().rposition(|entry| entry.thread == self.0).map(|at| list.remove(at));
        drop(list);
        drop(gone);
    }
}

/// The name of the pool whose worker this thread is, if it is one.
pub(crate) fn home() -> Option<usize> {
    serving::home().filter(|home| home.worker_here().is_some()).map(|home| name_of(&home))
}

/// Puts this thread on the list, or says what it waits for now; what all who are on it wait for.
fn snapshot(pool: &Arc<Shared>, runner: Option<usize>, listed: &mut Option<Listed>) -> Vec<Wait> {
    let (process, thread) = (std::process::id(), here());
    let home = home();
    let entry = Entry { process, thread, home, pool: pool.clone(), runner };
    let mut list = list();
    let before = if listed.is_some() {
        let place = list.iter_mut().rev().find(|entry| entry.thread == thread);
        place.map(|place| std::mem::replace(place, entry))
    } else {
        list.push(entry);
        *listed = Some(Listed(thread));
        None
    };
    let waits = waits_of(&list, process);
    drop(list);
    drop(before);
    // Those who wait by other means may be part of a circle, too.
    [waits, lookout::waits()].concat()
}

/// What all workers wait for, by whatever means.
pub(crate) fn all_waits() -> Vec<Wait> {
    let waits = waits_of(&list(), std::process::id());
    [waits, lookout::waits()].concat()
}

fn waits_of(list: &[Entry], process: u32) -> Vec<Wait> {
    // Each queue's lock is taken once, since workers want it.
    let mut workers = HashMap::new();
    list.iter()
        .filter(|entry| entry.process == process)
        .map(|entry| {
            let pool = name_of(&entry.pool);
            let of_pool = || Awaits::Pool(pool, *workers.entry(pool).or_insert_with(|| entry.pool.queue.workers()));
            Wait { thread: entry.thread, home: entry.home, awaits: entry.runner.map_or_else(of_pool, Awaits::Thread) }
        })
        .collect()
}

/// Puts this thread on the list, or says what it waits for now; whether it is in a circle, and how many wait.
fn look(py: Python<'_>, pool: &Arc<Shared>, runner: Option<usize>, listed: &mut Option<Listed>) -> (bool, usize) {
    let waits = snapshot(pool, runner, listed);
    let find = || (is_stuck(&waits, here()), waits.len());
    if waits.len() < MANY { find() } else { detached(py, find) }
}

/// The workers beyond its limit that a pool has because of something that is waited for.
#[derive(Default)]
pub(crate) struct Loans(AtomicU32);

impl Loans {
    /// Notes a worker that the pool has been given already.
    pub(crate) fn add(&self) {
        // Relaxed: whoever takes the workers back last, the one who waits, has added them.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Takes them back: the first to come does. A worker too many ends when it comes for its next call.
    pub(crate) fn end(&self, pool: &Shared) {
        for _ in 0..self.0.swap(0, Ordering::Relaxed) {
            pool.queue.relieve();
        }
    }
}

/// Takes back, at the end of a wait, what nobody has taken back before.
struct Lent<'a>(&'a Loans, &'a Shared);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.end(self.1);
    }
}

/// Waits on a worker until `progress` says that it is over, or the deadline has passed; says which. `wait` sleeps detached,
/// for the time that it is given at most, and `job` is what a worker beyond the limit is to do if there is a circle; such
/// workers are counted in `loans`.
pub(crate) fn wait(
    py: Python<'_>,
    pool: &Arc<Shared>,
    deadline: Option<Instant>,
    loans: &Loans,
    progress: impl Fn() -> Progress,
    wait: impl Fn(Duration) -> bool + Send + Sync,
    job: impl Fn(Python<'_>) -> Option<Job>,
) -> PyResult<bool> {
    let mut pause = FIRST;
    let mut look_at = Instant::now() + pause;
    let mut listed = None;
    let mut debt = None;
    pool.home.check(py)?;
    loop {
        let next = deadline.map_or(look_at, |deadline| deadline.min(look_at));
        if detached(py, || wait(next.saturating_duration_since(Instant::now()).min(SLICE))) {
            return Ok(true);
        }
        py.check_signals()?;
        let runner = match progress() {
            Progress::Done => return Ok(true),
            Progress::RunsOn(thread) => Some(thread),
            Progress::Queued => None,
        };
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(false);
        }
        if Instant::now() < look_at {
            continue;
        }
        let (stuck, waiting) = look(py, pool, runner, &mut listed);
        if stuck
            && runner.is_none()
            && let Some(job) = job(py)
        {
            debt.get_or_insert_with(|| Lent(loans, pool));
            let started = pool.rescue(py, job);
            loans.add();
            started?;
        }
        pause = (2 * pause).min(longest_pause(waiting));
        look_at = Instant::now() + pause;
    }
}
