//! Finds where CPython keeps the state of its GIL, and reads it without taking part.
//!
//! Three ways, each believed only once it has been seen to tell "held by me" from "let go":
//!
//! - up to 3.11 the current thread state is one atomic of the whole process, and a function reads it;
//! - from 3.13 on the runtime publishes the offsets of its structures for debuggers;
//! - else the structure is searched for, once: the switch interval is set to a value that nothing else
//!   has, and the place found where it stands before the address of our own thread state and a 1.
//!
//! # Does not know
//!
//! When to look and what for; clocks; threads.
//!
//! # Invariants
//!
//! - I1. An address is found by copies read through `/proc/self/mem`, which fails where a pointer would
//!   fault; nothing is dereferenced before it has passed I2.
//! - I2. The GIL's structure is accepted only inside the mapping that holds `_PyRuntime`, the static
//!   storage of the interpreter, aligned, and after `tells_the_truth`. That storage stays mapped and keeps
//!   its meaning until the process ends.
//! - I3. CPython reads and writes `locked`, `last_holder` and `enabled` with atomic operations only.
//! - I4. A thread state is compared as a number, and followed by nobody.

use std::ffi::c_void;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::thread;

use pyo3::prelude::*;

use crate::once::Once;

#[cfg(target_os = "linux")]
mod search;

/// A way to see the GIL.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only the searches on Linux find anything"))]
pub(super) enum View {
    /// `_PyThreadState_UncheckedGet` of 3.11, which reads one atomic of the process.
    CurrentThread(extern "C" fn() -> *mut c_void),
    /// The GIL's structure, and how it was found.
    Structure(Structure, &'static str),
    /// The build has no GIL, or runs without it.
    NoGil,
    /// Not recognised.
    Unseen,
}

/// The words of CPython's `struct _gil_runtime_state` that say who holds it.
pub(super) struct Structure {
    locked: &'static AtomicI32,
    last_holder: &'static AtomicUsize,
    /// A free-threaded build can turn its GIL on: there, above 0 while it is.
    enabled: Option<&'static AtomicI32>,
}

impl View {
    pub(super) fn is_seen(&self) -> bool {
        !matches!(self, Self::Unseen)
    }

    /// Whether this thread state holds the GIL at this moment. Never blocks, needs no attachment.
    pub(super) fn is_held_by(&self, tstate: usize) -> bool {
        match self {
            Self::CurrentThread(read) => read().addr() == tstate,
            Self::Structure(structure, _) => structure.is_held_by(tstate),
            Self::NoGil | Self::Unseen => false,
        }
    }

    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::CurrentThread(_) => "current thread state of the process",
            Self::Structure(_, found) => found,
            Self::NoGil => "no GIL (free-threaded)",
            Self::Unseen if cfg!(target_os = "linux") => "not seen: knocking (interpreter not recognised)",
            Self::Unseen => "not seen: knocking (not Linux)",
        }
    }
}

impl Structure {
    fn is_held_by(&self, tstate: usize) -> bool {
        // Relaxed, all three: pair with CPython's stores in `take_gil` and `drop_gil`. Nothing is read
        // through them, and a look that falls between two of those stores is one look astray.
        let enabled = self.enabled.is_none_or(|enabled| enabled.load(Ordering::Relaxed) > 0);
        enabled && self.locked.load(Ordering::Relaxed) == 1 && self.last_holder.load(Ordering::Relaxed) == tstate
    }
}

/// The view that works in this interpreter, found at the first call.
pub(super) fn view(py: Python<'_>) -> &'static View {
    static VIEW: Once<View> = Once::new();
    VIEW.get_or_init(|| find(py))
}

pub(super) fn current_thread_state(_py: Python<'_>) -> usize {
    // SAFETY: `_py` proves that this thread is attached, so there is a current one; used by I4 only.
    let tstate = unsafe { pyo3::ffi::PyThreadState_Get() };
    tstate.addr()
}

fn find(py: Python<'_>) -> View {
    match candidates(py).find(|view| tells_the_truth(py, view)) {
        Some(view) => view,
        None if runs_without_gil(py) => View::NoGil,
        None => View::Unseen,
    }
}

/// The views that this interpreter offers, best first, each found when asked for.
pub(super) fn candidates(py: Python<'_>) -> impl Iterator<Item = View> {
    let searches: [fn(Python<'_>) -> Option<View>; 3] = [current_thread, published, calibrated];
    searches.into_iter().filter_map(move |search| search(py))
}

/// Looks once from another thread while we hold the GIL, and once while we do not.
pub(super) fn tells_the_truth(py: Python<'_>, view: &View) -> bool {
    let tstate = current_thread_state(py);
    let seen_from_elsewhere = || {
        thread::scope(|scope| {
            let look = thread::Builder::new().spawn_scoped(scope, || view.is_held_by(tstate));
            look.ok().and_then(|look| look.join().ok())
        })
    };
    let held = seen_from_elsewhere();
    let let_go = py.detach(|| !view.is_held_by(tstate));
    // Without a GIL in force nobody ever holds it; the structure then still tells when it returns.
    (held == Some(true) || (held == Some(false) && runs_without_gil(py))) && let_go
}

/// Whether the interpreter runs without its GIL now (a free-threaded build may take it back).
fn runs_without_gil(py: Python<'_>) -> bool {
    let asked = py.import("sys").and_then(|sys| sys.call_method0("_is_gil_enabled"));
    asked.and_then(|enabled| enabled.is_truthy()).is_ok_and(|enabled| !enabled)
}

#[cfg(target_os = "linux")]
use search::{calibrated, current_thread, published};

#[cfg(not(target_os = "linux"))]
fn current_thread(_py: Python<'_>) -> Option<View> {
    None
}
#[cfg(not(target_os = "linux"))]
use self::{current_thread as calibrated, current_thread as published};

#[cfg(test)]
mod tests {
    use super::{AtomicI32, AtomicUsize, Ordering, Structure};

    #[test]
    fn a_free_threaded_build_holds_its_gil_only_while_that_is_turned_on() {
        static LOCKED: AtomicI32 = AtomicI32::new(1);
        static HOLDER: AtomicUsize = AtomicUsize::new(7);
        static ENABLED: AtomicI32 = AtomicI32::new(0);
        let structure = Structure { locked: &LOCKED, last_holder: &HOLDER, enabled: Some(&ENABLED) };
        assert!(!structure.is_held_by(7));

        // Relaxed: pairs with the loads in `is_held_by`, on this thread.
        ENABLED.store(1, Ordering::Relaxed);
        assert!(structure.is_held_by(7));
        assert!(!structure.is_held_by(8));
    }
}
