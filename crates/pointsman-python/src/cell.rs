//! The place where a call's outcome arrives, shared by the future and by whoever runs the call.
//!
//! # Does not know
//!
//! Where the call runs, or how its bytes are decoded.
//!
//! # Invariants
//!
//! - L1. The state moves only forward: pending, running, then one of cancelled or finished; it is settled once.
//! - L2. The outcome is there before the state says so (the state is stored with Release under the lock; readers
//!   load it with Acquire).
//! - L3. No Python code runs while the lock is held; Python objects are dropped after it is released.
//! - L4. Inputs lie where the outcome will, until the call is begun or settled: a call needs never both, and each byte of a
//!   cell is a byte for every call that waits; fresh memory costs more than what is done with it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pointsman_shm::Death;
use pyo3::prelude::*;

use crate::calling::Inputs;
use crate::sealed::Sealed;

/// What became of a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The value that it returned.
    Value(Py<PyAny>),
    /// The exception that it raised.
    Raised(Py<PyAny>),
    /// What a worker process sent, not yet decoded.
    Reply(Sealed),
    /// Its worker process died while it ran.
    Died(Box<Death>),
    /// The same, and its pool broke with it.
    Broke(Box<Death>),
    /// It was cancelled before it began.
    Cancelled,
}

impl Outcome {
    /// What the representation of a future says of its outcome, where that is known without decoding it.
    pub(crate) fn brought(&self, py: Python<'_>) -> Option<String> {
        let (verb, object) = match self {
            Self::Value(value) => ("returned", value),
            Self::Raised(error) => ("raised", error),
            Self::Died(_) | Self::Broke(_) => return Some(" raised WorkerDied".into()),
            Self::Reply(_) | Self::Cancelled => return None,
        };
        object.bind(py).get_type().name().ok().map(|name| format!(" {verb} {name}"))
    }
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Pending = 0,
    Running = 1,
    Cancelled = 2,
    Finished = 3,
}

/// The call has begun, or is settled.
#[derive(Debug)]
pub(crate) struct TooLate;

/// What [`Cell::open`] met.
pub(crate) enum Opened<R> {
    Found(R),
    Taken(Outcome),
    /// There is none, or another thread decodes it at this moment.
    Gone,
}

/// What a cell holds (L4).
#[derive(Debug, Default)]
enum Content {
    #[default]
    Nothing,
    Inputs(Inputs),
    Outcome(Outcome),
}

impl Content {
    fn into_inputs(self) -> Option<Inputs> {
        match self {
            Self::Inputs(inputs) => Some(inputs),
            Self::Nothing | Self::Outcome(_) => None,
        }
    }

    fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Outcome(outcome) => Some(outcome),
            Self::Nothing | Self::Inputs(_) => None,
        }
    }

    fn take_outcome(&mut self) -> Option<Outcome> {
        match std::mem::take(self) {
            Self::Outcome(outcome) => Some(outcome),
            other => {
                *self = other;
                None
            }
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    content: Content,
    /// Most calls have none.
    audience: Option<Box<Audience>>,
}

// The inputs lie in what the outcome needs anyway.
const _: () = assert!(size_of::<Slot>() <= size_of::<Outcome>() + size_of::<usize>());

/// Those who wait for an outcome.
#[derive(Debug, Default)]
struct Audience {
    /// Who must be told: the standard future that mirrors this cell, and event loops' waiters.
    watchers: Vec<Py<PyAny>>,
    /// Tells threads that sleep.
    settled: Option<Arc<Condvar>>,
}

/// One call's outcome and those who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    slot: Mutex<Slot>,
    /// A [`Stage`]; pending at first.
    stage: AtomicU8,
    /// For the future, which would be a word larger with it: how far its standard part is; nought at first.
    pub(crate) standard: AtomicU8,
}

impl Audience {
    /// Wakes the threads, and hands back the watchers.
    fn wake(audience: Option<Box<Self>>) -> Vec<Py<PyAny>> {
        audience.map_or_else(Vec::new, |audience| {
            if let Some(settled) = &audience.settled {
                settled.notify_all();
            }
            audience.watchers
        })
    }
}

impl Cell {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Of a call that takes its inputs from here.
    pub(crate) fn holding(inputs: Inputs) -> Self {
        let slot = Slot { content: Content::Inputs(inputs), audience: None };
        Self { slot: Mutex::new(slot), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stage(&self) -> Stage {
        // Acquire: pairs with the Release stores of `begin` and `settle`.
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Pending,
            1 => Stage::Running,
            2 => Stage::Cancelled,
            _ => Stage::Finished,
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.stage(), Stage::Cancelled | Stage::Finished)
    }

    /// Pending to running. False when the call was cancelled, or runs already: then do not run it.
    pub(crate) fn begin(&self) -> bool {
        // AcqRel: the Release half pairs with the Acquire in `stage`; the Acquire half orders after a cancel.
        self.stage
            .compare_exchange(Stage::Pending as u8, Stage::Running as u8, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The same, and takes the inputs.
    pub(crate) fn begin_with_inputs(&self) -> Option<Inputs> {
        let mut slot = self.lock();
        if !self.begin() {
            return None;
        }
        std::mem::take(&mut slot.content).into_inputs()
    }

    /// What `look` finds in the inputs of a call that has not begun. `look` must not run Python code.
    pub(crate) fn look_at_inputs<R>(&self, look: impl FnOnce(&Inputs) -> R) -> Option<R> {
        match &self.lock().content {
            Content::Inputs(inputs) => Some(look(inputs)),
            Content::Nothing | Content::Outcome(_) => None,
        }
    }

    /// Settles the call. Returns whether this was the first outcome, and the watchers that must be told.
    pub(crate) fn settle(&self, outcome: Outcome) -> (bool, Vec<Py<PyAny>>) {
        let mut slot = self.lock();
        if self.is_settled() {
            drop(slot);
            drop(outcome);
            return (false, Vec::new());
        }
        let stage = if matches!(outcome, Outcome::Cancelled) { Stage::Cancelled } else { Stage::Finished };
        let before = std::mem::replace(&mut slot.content, Content::Outcome(outcome));
        // Release: pairs with the Acquire in `stage` (L2).
        self.stage.store(stage as u8, Ordering::Release);
        let audience = slot.audience.take();
        drop(slot);
        let watchers = Audience::wake(audience);
        drop(before);
        (true, watchers)
    }

    /// Cancels a call that has not begun, and hands back the watchers that must be told, and the inputs, which are the
    /// user's to drop.
    pub(crate) fn cancel_pending(&self) -> Result<(Vec<Py<PyAny>>, Option<Inputs>), TooLate> {
        let mut slot = self.lock();
        // AcqRel: competes with `begin`; exactly one of the two wins.
        let won = self.stage.compare_exchange(
            Stage::Pending as u8,
            Stage::Cancelled as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if won.is_err() {
            return Err(TooLate);
        }
        let before = std::mem::replace(&mut slot.content, Content::Outcome(Outcome::Cancelled));
        let audience = slot.audience.take();
        drop(slot);
        Ok((Audience::wake(audience), before.into_inputs()))
    }

    /// Registers somebody to be told when the call settles. Gives it back when that has happened already.
    pub(crate) fn watch(&self, watcher: Py<PyAny>) -> Option<Py<PyAny>> {
        let mut slot = self.lock();
        if self.is_settled() {
            drop(slot);
            return Some(watcher);
        }
        slot.audience.get_or_insert_default().watchers.push(watcher);
        None
    }

    /// Waits until the call is settled, for at most `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> bool {
        let mut slot = self.lock();
        if self.is_settled() {
            return true;
        }
        let settled = slot.audience.get_or_insert_default().settled.get_or_insert_default().clone();
        let (slot, _) = settled.wait_timeout(slot, limit).unwrap_or_else(PoisonError::into_inner);
        drop(slot);
        self.is_settled()
    }

    /// What `look` finds in the outcome; if it finds nothing, the outcome itself, to be decoded without the lock and put
    /// back with [`Cell::keep`]. `look` must not run Python code.
    pub(crate) fn open<R>(&self, look: impl FnOnce(&Outcome) -> Option<R>) -> Opened<R> {
        let mut slot = self.lock();
        match slot.content.outcome().map(look) {
            Some(Some(found)) => Opened::Found(found),
            Some(None) => slot.content.take_outcome().map_or(Opened::Gone, Opened::Taken),
            None => Opened::Gone,
        }
    }

    /// Takes the outcome out.
    pub(crate) fn take(&self) -> Option<Outcome> {
        self.lock().content.take_outcome()
    }

    /// Stores the decoded outcome and hands back what it replaces.
    pub(crate) fn keep(&self, outcome: Outcome) -> Option<Outcome> {
        let before = std::mem::replace(&mut self.lock().content, Content::Outcome(outcome));
        match before {
            Content::Outcome(before) => Some(before),
            Content::Nothing | Content::Inputs(_) => None,
        }
    }

    /// Calls `look` with the outcome, for the garbage collector, which must not wait: `None` when the lock is taken.
    pub(crate) fn try_look<R>(&self, look: impl FnOnce(Option<&Outcome>) -> R) -> Option<R> {
        let slot = self.slot.try_lock().ok()?;
        Some(look(slot.content.outcome()))
    }
}
