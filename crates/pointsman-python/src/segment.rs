//! A stretch of the inputs of a map or a job, whose places the results take one by one. One of the files that may use
//! `unsafe`.
//!
//! # Does not know
//!
//! Who runs the calls, or who waits for them.
//!
//! # Invariants
//!
//! - G1. A place is claimed once: by `claim`, by `leave_out` with all that are left, or by whoever has the segment alone and
//!   deals its places out itself.
//! - G2. What lies in a place is changed by whoever has claimed it, until it says what the place holds, and then by whoever
//!   takes the results.
//! - G3. Nobody else knows the list until all results are there, so it keeps its length and its memory.
#![allow(unsafe_code, reason = "for calls that do next to nothing, checked access to a list is a third of the price")]

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

const NOTHING: u8 = 0;
const VALUE: u8 = 1;
const RAISED: u8 = 2;

/// What came of one input.
pub(crate) enum Settled {
    Value(Py<PyAny>),
    Raised(Py<PyAny>),
}

pub(crate) struct Segment {
    /// Index of the first place in the map or the job.
    pub(crate) first: usize,
    places: Py<PyList>,
    holds: Box<[AtomicU8]>,
    /// The next place to be claimed, or one beyond the last.
    cursor: AtomicUsize,
    /// The first place whose input was left out.
    end: AtomicUsize,
}

impl Segment {
    pub(crate) fn new(first: usize, inputs: Bound<'_, PyList>) -> Self {
        let holds = std::iter::repeat_with(|| AtomicU8::new(NOTHING)).take(inputs.len()).collect();
        Self { first, places: inputs.unbind(), holds, cursor: AtomicUsize::new(0), end: AtomicUsize::new(usize::MAX) }
    }

    pub(crate) fn len(&self) -> usize {
        self.holds.len()
    }

    /// Claims the next place (G1).
    pub(crate) fn claim(&self) -> Option<usize> {
        // Relaxed: whose place it is; the inputs were there before the segment was.
        let at = self.cursor.fetch_add(1, Ordering::Relaxed);
        (at < self.len()).then_some(at)
    }

    pub(crate) fn unclaimed(&self) -> usize {
        self.len().saturating_sub(self.cursor.load(Ordering::Relaxed))
    }

    /// The address of a place.
    fn place(&self, at: usize) -> *mut *mut ffi::PyObject {
        debug_assert!(at < self.len());
        let list = self.places.as_ptr().cast::<ffi::PyListObject>();
        // SAFETY: it is a list, and alive (G3).
        let places = unsafe { (*list).ob_item };
        places.wrapping_add(at)
    }

    /// The input in a place that was claimed.
    pub(crate) fn input<'py>(&self, py: Python<'py>, at: usize) -> Bound<'py, PyAny> {
        // SAFETY: the place is within the list, and nobody else changes it (G2, G3).
        let object = unsafe { *self.place(at) };
        // SAFETY: the list holds the object.
        unsafe { Bound::from_borrowed_ptr(py, object) }
    }

    /// Puts an object in a place and returns what was there.
    fn replace<'py>(&self, py: Python<'py>, at: usize, object: Py<PyAny>) -> Bound<'py, PyAny> {
        // SAFETY: the place is within the list, and nobody else changes it (G2, G3).
        let before = unsafe { self.place(at).replace(object.into_ptr()) };
        // SAFETY: the reference was the list's.
        unsafe { Bound::from_owned_ptr(py, before) }
    }

    /// Puts the result in the place of its input.
    pub(crate) fn settle(&self, py: Python<'_>, at: usize, result: Settled) {
        let (object, holds) = match result {
            Settled::Value(value) => (value, VALUE),
            Settled::Raised(error) => (error, RAISED),
        };
        drop(self.replace(py, at, object));
        // Release: pairs with the Acquire of `holds`.
        self.holds[at].store(holds, Ordering::Release);
    }

    fn holds(&self, at: usize) -> u8 {
        // Acquire: pairs with the Release of `settle`.
        self.holds[at].load(Ordering::Acquire)
    }

    /// Whether there is nothing to wait for: the result is there, or will never be.
    pub(crate) fn is_ready(&self, at: usize) -> bool {
        self.holds(at) != NOTHING || self.is_left_out(at)
    }

    pub(crate) fn is_left_out(&self, at: usize) -> bool {
        // Acquire: pairs with the Release of `leave_out`.
        at >= self.end.load(Ordering::Acquire)
    }

    /// Takes a result that is there, and leaves nothing behind.
    pub(crate) fn take(&self, py: Python<'_>, at: usize) -> Option<Settled> {
        let holds = self.holds(at);
        if holds == NOTHING {
            return None;
        }
        let object = self.replace(py, at, py.None()).unbind();
        Some(if holds == VALUE { Settled::Value(object) } else { Settled::Raised(object) })
    }

    /// Takes a value that is there, and leaves nothing behind.
    pub(crate) fn take_value(&self, py: Python<'_>, at: usize) -> Option<Py<PyAny>> {
        (self.holds(at) == VALUE).then(|| self.replace(py, at, py.None()).unbind())
    }

    /// Takes an input out of a place that nobody will claim.
    pub(crate) fn take_input(&self, py: Python<'_>, at: usize) -> Py<PyAny> {
        self.replace(py, at, py.None()).unbind()
    }

    /// Whether all results are there, and none is an exception.
    pub(crate) fn holds_values_only(&self) -> bool {
        (0..self.len()).all(|at| self.holds(at) == VALUE)
    }

    /// The list itself, once it holds nothing but values: from then on it is somebody else's.
    pub(crate) fn places(&self, py: Python<'_>) -> Py<PyList> {
        self.places.clone_ref(py)
    }

    /// Claims all places that are left, and lets go of their inputs.
    pub(crate) fn leave_out(&self, py: Python<'_>) {
        let from = self.cursor.swap(self.len(), Ordering::Relaxed);
        if from >= self.len() {
            return;
        }
        // Release: pairs with the Acquire of `is_left_out`.
        self.end.store(from, Ordering::Release);
        for at in from..self.len() {
            drop(self.replace(py, at, py.None()));
        }
    }

    /// Lets go of the results that are there.
    pub(crate) fn discard(&self, py: Python<'_>) {
        for at in 0..self.len() {
            drop(self.take(py, at));
        }
    }

    /// Calls that run, have returned, and have raised.
    pub(crate) fn figures(&self) -> (usize, u64, u64) {
        // Acquire: pairs with the Release of `end` where a segment is cut short.
        let claimed = self.cursor.load(Ordering::Relaxed).min(self.len()).min(self.end.load(Ordering::Acquire));
        let (mut completed, mut failed) = (0, 0);
        for at in 0..claimed {
            match self.holds(at) {
                NOTHING => {}
                VALUE => completed += 1,
                _ => failed += 1,
            }
        }
        let settled = usize::try_from(completed + failed).unwrap_or(claimed);
        (claimed.saturating_sub(settled), completed, failed)
    }
}
