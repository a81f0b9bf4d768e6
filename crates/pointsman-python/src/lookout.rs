//! Workers of thread pools that wait for calls by other means than ours: `concurrent.futures.wait`, `as_completed`, an event
//! loop of their own. Who waits so cannot look for a circle, so one thread looks for all of them, while there are any.
//!
//! # Does not know
//!
//! What calls are, or how a circle is found ([`is_stuck`] does).
//!
//! # Invariants
//!
//! - L1. A wait is noted before it begins, and forgotten once its calls are settled. A worker that has gone on before counts
//!   as waiting until then, which costs a worker too many at worst.
//! - L2. No Python object is dropped while the list's lock is held, and nobody holds it detached: a fork of this process
//!   must not find it taken. A queue's lock may be taken under it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use pointsman_scheduler::{Wait, is_stuck};
use pyo3::prelude::*;

use crate::ending;
use crate::future::FutureCore;
use crate::patience;

/// Time between two looks, at first and at most. Arbitrary: a look takes some 0.1 us for each wait, and a circle costs one
/// such pause.
const FIRST: Duration = Duration::from_millis(1);
const LAST: Duration = Duration::from_millis(50);

struct Outside {
    /// The process that it belongs to: a forked child has none of its parent's threads.
    process: u32,
    thread: usize,
    home: Option<usize>,
    /// Calls of thread pools, not all of which are settled.
    calls: Vec<Py<FutureCore>>,
}

impl Outside {
    /// What it waits for: the first of its calls that is not settled.
    fn wait(&self) -> Option<Wait> {
        let awaits = self.calls.iter().find_map(|call| call.get().thread_call()?.awaited())?;
        Some(Wait { thread: self.thread, home: self.home, awaits })
    }
}

struct List {
    waits: Vec<Outside>,
    /// The process in which a thread looks; 0 for none.
    looked_after: u32,
}

static LIST: Mutex<List> = Mutex::new(List { waits: Vec::new(), looked_after: 0 });

fn list() -> MutexGuard<'static, List> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that this thread, a worker, is about to wait for the call of a future.
pub(crate) fn note(future: &Bound<'_, FutureCore>) {
    let (process, thread, home) = (std::process::id(), patience::here(), patience::home());
    let call = future.clone().unbind();
    let mut list = list();
    match list.waits.iter_mut().find(|wait| wait.process == process && wait.thread == thread) {
        Some(wait) => {
            // What is on the list may be left of a thread that has ended, whose name this one has.
            wait.home = home;
            wait.calls.push(call);
        }
        None => list.waits.push(Outside { process, thread, home, calls: vec![call] }),
    }
    let starts = list.looked_after != process;
    list.looked_after = process;
    drop(list);
    if starts && thread::Builder::new().name("pointsman-lookout".into()).spawn(move || look_out(process)).is_err() {
        self::list().looked_after = 0;
    }
}

/// What the workers on the list wait for.
pub(crate) fn waits() -> Vec<Wait> {
    let process = std::process::id();
    list().waits.iter().filter(|wait| wait.process == process).filter_map(Outside::wait).collect()
}

fn look_out(process: u32) {
    let mut pause = FIRST;
    loop {
        thread::sleep(pause);
        let mut lent = None;
        // An interpreter that is ending keeps this thread here, or does not let it look: then it ends, too.
        ending::attach(|py| lent = look(py, process));
        let Some(lent) = lent else { return };
        pause = if lent { FIRST } else { LAST.min(2 * pause) };
    }
}

/// Gives the first call that workers wait for in a circle a worker; whether there was one. `None`: nobody waits any more.
fn look(py: Python<'_>, process: u32) -> Option<bool> {
    let mut gone = Vec::new();
    let mut list = list();
    for wait in list.waits.iter_mut().filter(|wait| wait.process == process) {
        gone.extend(
            wait.calls.extract_if(.., |call| call.get().thread_call().is_none_or(|call| call.awaited().is_none())),
        );
    }
    list.waits.retain(|wait| !(wait.process == process && wait.calls.is_empty()));
    let heads: Vec<_> = list
        .waits
        .iter()
        .filter(|wait| wait.process == process)
        .filter_map(|wait| Some((wait.thread, wait.calls.first()?.clone_ref(py))))
        .collect();
    if heads.is_empty() {
        list.looked_after = 0;
    }
    drop(list);
    drop(gone);
    if heads.is_empty() {
        return None;
    }
    let waits = patience::all_waits();
    for (thread, call) in heads {
        let Some(waited_for) = call.get().thread_call() else { continue };
        if !is_stuck(&waits, thread) {
            continue;
        }
        match waited_for.lend(py, call.bind(py)) {
            Ok(true) => return Some(true),
            Ok(false) => {}
            // No thread can be started now; perhaps at the next look.
            Err(error) => error.write_unraisable(py, None),
        }
    }
    Some(false)
}
