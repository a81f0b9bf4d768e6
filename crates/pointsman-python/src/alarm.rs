//! Wakes one waiting thread after a time, unless it is cleared first; setting and clearing cost a lock.
//!
//! # Does not know
//!
//! What it is for.
//!
//! # Invariants
//!
//! - A1. `wait` returns once for each `set` or `set_again` that is not cleared or replaced before its time.
//! - A2. A `set_again` counts only if the alarm was not set or cleared since `wait` returned.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::ending::detached;

#[derive(Debug, Default)]
struct State {
    due: Option<Instant>,
    first: bool,
    rang: bool,
    asleep: bool,
}

/// An alarm clock with one sleeper.
#[pyclass(module = "pointsman._native", frozen)]
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    state: Mutex<State>,
    changed: Condvar,
}

impl Alarm {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring_at(&self, state: MutexGuard<'_, State>, seconds: f64, first: bool) {
        let mut state = state;
        state.due = Duration::try_from_secs_f64(seconds).ok().and_then(|ahead| Instant::now().checked_add(ahead));
        state.first = first;
        state.rang = false;
        let asleep = state.asleep;
        drop(state);
        if asleep {
            self.changed.notify_one();
        }
    }
}

#[pymethods]
impl Alarm {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Rings after this many seconds.
    fn set(&self, seconds: f64) {
        self.ring_at(self.lock(), seconds, true);
    }

    /// Rings once more, if nobody has set or cleared the alarm since it rang.
    fn set_again(&self, seconds: f64) {
        let state = self.lock();
        if state.rang {
            self.ring_at(state, seconds, false);
        }
    }

    /// Does not ring.
    fn clear(&self) {
        let mut state = self.lock();
        state.due = None;
        state.rang = false;
    }

    /// Sleeps until the alarm rings; whether it was set rather than set again.
    fn wait(&self, py: Python<'_>) -> bool {
        detached(py, || {
            let mut state = self.lock();
            loop {
                let now = Instant::now();
                state = match state.due {
                    Some(due) if due <= now => {
                        state.due = None;
                        state.rang = true;
                        return state.first;
                    }
                    // A later clear needs no wake: the sleeper finds nothing due and sleeps on.
                    Some(due) => self.changed.wait_timeout(state, due - now).unwrap_or_else(PoisonError::into_inner).0,
                    None => {
                        state.asleep = true;
                        let mut state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                        state.asleep = false;
                        state
                    }
                };
            }
        })
    }
}
