//! The inputs of a job that several threads share, and its results: in the places of the inputs, or as they are ready.
//!
//! # Does not know
//!
//! Who runs the calls, what a result means, or the lock that it lies under.
//!
//! # Invariants
//!
//! - I1. `taken <= claimed <= pushed`: indices in the job, of the next result to be given, the next input to be claimed, and
//!   the next to be added. Where results are wanted as they are ready, `taken` is only how many were given.
//! - I2. Nothing of Python's is dropped here, since a lock is held: what becomes unwanted is handed out.
//! - I3. Each segment of `open` has an input that nobody has claimed, and so lies in `unread`, too, or, where results are
//!   wanted as they are ready, comes to lie in `gone`.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::segment::{Segment, Settled};

/// Results from which on a list is given as it is rather than copied into another with its neighbours. Arbitrary.
const WHOLE: usize = 64;

struct Stretch {
    segment: Arc<Segment>,
    /// Places beyond it have been given back.
    end: usize,
}

#[derive(Default)]
pub(crate) struct Places {
    /// Those whose results have not all been taken, in order.
    unread: VecDeque<Stretch>,
    /// Those with inputs that nobody has claimed, in order (I3).
    open: VecDeque<Arc<Segment>>,
    pushed: usize,
    claimed: usize,
    /// What was claimed together and has results to be taken, if they are wanted as they are ready: `unread` is empty then.
    ready: Option<VecDeque<(Arc<Segment>, Range<usize>)>>,
    /// Segments to be dropped without the lock (I2).
    gone: Vec<Arc<Segment>>,
    /// Inputs that will never be claimed, though their results are missed.
    dropped: usize,
    pub(crate) taken: usize,
}

/// What is given of the results at one time.
pub(crate) enum Given {
    /// A list whose places all hold values.
    Whole(Py<PyList>),
    Some(Vec<Py<PyAny>>),
}

/// What [`Places::take`] hands out.
pub(crate) struct Taken {
    pub(crate) given: Given,
    /// The exception that comes after them, if one does.
    pub(crate) raised: Option<Py<PyAny>>,
    /// To be dropped without the lock.
    pub(crate) gone: Vec<Arc<Segment>>,
}

impl Places {
    /// No inputs yet; their results will be wanted in order, or as they are ready.
    pub(crate) fn new(ordered: bool) -> Self {
        Self { ready: (!ordered).then(VecDeque::new), ..Self::default() }
    }

    pub(crate) fn pushed(&self) -> usize {
        self.pushed
    }

    /// Inputs that nobody has claimed.
    pub(crate) fn unclaimed(&self) -> usize {
        self.pushed - self.claimed - self.dropped
    }

    /// Results that have not been taken.
    pub(crate) fn untaken(&self) -> usize {
        self.pushed - self.taken
    }

    /// Adds inputs, at least one. The list is the job's from then on.
    pub(crate) fn push(&mut self, inputs: Bound<'_, PyList>) {
        let segment = Arc::new(Segment::new(self.pushed, inputs));
        self.pushed += segment.len();
        if self.ready.is_none() {
            self.unread.push_back(Stretch { segment: segment.clone(), end: segment.len() });
        }
        self.open.push_back(segment);
    }

    /// Claims up to `count` inputs that lie side by side.
    pub(crate) fn claim(&mut self, count: usize) -> Option<(Arc<Segment>, Range<usize>)> {
        let segment = self.open.front()?;
        let from = self.claimed - segment.first;
        let upto = segment.len().min(from + count);
        self.claimed += upto - from;
        // The last one to be had goes with its segment, which may be nobody else's when its results have been taken (I2).
        let segment = if upto == segment.len() { self.open.pop_front()? } else { segment.clone() };
        Some((segment, from..upto))
    }

    /// Notes that results of inputs that were claimed are there; whether somebody may be waiting for them.
    pub(crate) fn settled(&mut self, segment: &Arc<Segment>, places: Range<usize>) -> bool {
        if let Some(ready) = &mut self.ready {
            ready.push_back((segment.clone(), places));
            return true;
        }
        (segment.first + places.start..segment.first + places.end).contains(&self.taken)
    }

    /// Whether a result can be taken.
    pub(crate) fn is_next_ready(&self) -> bool {
        if let Some(ready) = &self.ready {
            return !ready.is_empty();
        }
        let next = self.unread.iter().find(|stretch| self.taken < stretch.segment.first + stretch.end);
        next.is_some_and(|stretch| stretch.segment.is_ready(self.taken - stretch.segment.first))
    }

    /// The inputs that nobody has claimed, which never will be; their results are missed all the same.
    pub(crate) fn drop_rest(&mut self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.dropped = self.pushed - self.claimed;
        let mut inputs = Vec::new();
        for segment in std::mem::take(&mut self.open) {
            let from = self.claimed.saturating_sub(segment.first);
            inputs.extend((from..segment.len()).map(|at| segment.take_input(py, at)));
            if self.ready.is_some() {
                self.gone.push(segment);
            }
            // Else `unread` has it, too: results of its are missed (I2, I3).
        }
        inputs
    }

    /// The same, and they belong to the job no more.
    pub(crate) fn give_back(&mut self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let inputs = self.drop_rest(py);
        (self.pushed, self.dropped) = (self.claimed, 0);
        for stretch in &mut self.unread {
            stretch.end = stretch.end.min(self.claimed.saturating_sub(stretch.segment.first));
        }
        inputs
    }

    /// The results that are there, up to an exception that is none: `is_value` says which are.
    pub(crate) fn take(&mut self, py: Python<'_>, is_value: impl Fn(usize) -> bool) -> Taken {
        if self.ready.is_some() { self.take_as_ready(py, is_value) } else { self.take_in_order(py, is_value) }
    }

    fn take_as_ready(&mut self, py: Python<'_>, is_value: impl Fn(usize) -> bool) -> Taken {
        let mut values = Vec::new();
        let (mut raised, mut gone) = (None, std::mem::take(&mut self.gone));
        while let Some((segment, places)) = self.ready.as_mut().and_then(VecDeque::front_mut) {
            let Some(at) = places.next() else {
                gone.extend(self.ready.as_mut().and_then(VecDeque::pop_front).map(|(segment, _)| segment));
                continue;
            };
            match segment.take(py, at) {
                None => continue,
                Some(Settled::Value(value)) => values.push(value),
                Some(Settled::Raised(error)) if is_value(segment.first + at) => values.push(error),
                Some(Settled::Raised(error)) => {
                    raised = Some(error);
                    break;
                }
            }
            self.taken += 1;
        }
        Taken { given: Given::Some(values), raised, gone }
    }

    fn take_in_order(&mut self, py: Python<'_>, is_value: impl Fn(usize) -> bool) -> Taken {
        let mut values = Vec::new();
        let (mut raised, mut gone) = (None, Vec::new());
        while let Some(stretch) = self.unread.front() {
            let (segment, end) = (&stretch.segment, stretch.end);
            let at = self.taken - segment.first;
            if at == end {
                gone.extend(self.unread.pop_front().map(|stretch| stretch.segment));
                continue;
            }
            if at == 0 && end == segment.len() && end >= WHOLE && segment.holds_values_only() {
                if !values.is_empty() {
                    break;
                }
                self.taken += end;
                let given = Given::Whole(segment.places(py));
                gone.extend(self.unread.pop_front().map(|stretch| stretch.segment));
                return Taken { given, raised, gone };
            }
            match segment.take(py, at) {
                None => break,
                Some(Settled::Value(value)) => values.push(value),
                Some(Settled::Raised(error)) if is_value(self.taken) => values.push(error),
                Some(Settled::Raised(error)) => {
                    raised = Some(error);
                    break;
                }
            }
            self.taken += 1;
        }
        Taken { given: Given::Some(values), raised, gone }
    }
}
