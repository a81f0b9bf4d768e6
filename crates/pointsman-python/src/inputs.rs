//! The inputs of a claim, read from its payload as their calls come.
//!
//! # Does not know
//!
//! Replies, or how inputs were sent (`packing`, `groups`).
//!
//! # Invariants
//!
//! - I1. An input that cannot be read fails its own call, and those whose inputs were pickled together with it.

use pointsman_shm::{BlockRef, Claim, ClaimedPayload, Guest, View};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::codec::{Load, Reader};
use crate::process_pool::{CALL_PICKLED, CALL_PLAIN, ITEMS, ITEMS_PICKLED, STAR};

pub(crate) struct GuestLoad<'a>(pub(crate) &'a Guest);

impl Load for GuestLoad<'_> {
    fn load(&self, block: BlockRef) -> Option<View> {
        self.0.view(block)
    }
}

/// Reads what stays the host's, and other workers read, too: functions.
pub(crate) struct SharedLoad<'a>(pub(crate) &'a Guest);

impl Load for SharedLoad<'_> {
    fn load(&self, block: BlockRef) -> Option<View> {
        self.0.view_shared(block)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// See the module's header.
pub(crate) enum Inputs<'py> {
    Single(Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>),
    Items(Box<Items<'py>>),
}

/// Those of a chunk. Each is decoded when its call comes: large ones one after the other take the same warm memory, all at
/// once they would take fresh pages each time.
pub(crate) struct Items<'py> {
    payload: ClaimedPayload,
    /// Where the first input begins that has not been read.
    at: usize,
    /// The index of the first that has been neither taken nor left out.
    next: usize,
    star: bool,
    /// Whether they were pickled in groups, and what is left of the last.
    grouped: bool,
    group: std::vec::IntoIter<Bound<'py, PyAny>>,
    /// Why the inputs before the next could not be read, if they could not.
    unread: Option<PyErr>,
}

impl<'py> Inputs<'py> {
    pub(crate) fn of(py: Python<'py>, guest: &Guest, claim: Claim) -> PyResult<Self> {
        let bytes = bytes_of(&claim.payload);
        let load = GuestLoad(guest);
        let mut reader = Reader::new(bytes, &load);
        let mode = reader.byte()?;
        let star = mode & STAR != 0;
        Ok(match mode & !STAR {
            CALL_PLAIN => Self::Single(reader.value(py)?.cast_into()?, None),
            CALL_PICKLED => {
                let (args, kwargs): (Bound<'py, PyTuple>, Bound<'py, PyDict>) = reader.value(py)?.extract()?;
                Self::Single(args, Some(kwargs))
            }
            mode @ (ITEMS | ITEMS_PICKLED) => {
                let at = bytes.len() - reader.left();
                let (grouped, group) = (mode == ITEMS_PICKLED, Vec::new().into_iter());
                let items = Items { payload: claim.payload, at, next: 0, star, grouped, group, unread: None };
                Self::Items(Box::new(items))
            }
            _ => return Err(PyValueError::new_err("a task of no known mode")),
        })
    }

    /// Makes the call with this index, which is above that of the last; `begins` is called just before.
    pub(crate) fn call(
        &mut self,
        py: Python<'py>,
        guest: &Guest,
        function: &Bound<'py, PyAny>,
        index: usize,
        begins: impl FnOnce(),
    ) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Single(args, kwargs) => {
                begins();
                function.call(&*args, kwargs.as_ref())
            }
            Self::Items(items) => {
                let item = items.take(py, guest, index)?;
                begins();
                if items.star { function.call1(arguments(py, &item)?) } else { function.call1((item,)) }
            }
        }
    }
}

impl<'py> Items<'py> {
    /// The input with this index. Those before it have been taken, or run elsewhere.
    fn take(&mut self, py: Python<'py>, guest: &Guest, index: usize) -> PyResult<Bound<'py, PyAny>> {
        loop {
            if let Some(error) = self.unread.as_ref().filter(|_| index < self.next) {
                return Err(error.clone_ref(py));
            }
            let item = match self.group.next() {
                Some(item) => item,
                None if self.grouped => {
                    self.take_group(py, guest)?;
                    continue;
                }
                None => self.read(guest, |reader| reader.value(py)).map_err(|error| unreadable(py, error))?,
            };
            self.next += 1;
            if self.next > index {
                return Ok(item);
            }
        }
    }

    /// Reads the next group, or why it cannot be read.
    fn take_group(&mut self, py: Python<'py>, guest: &Guest) -> PyResult<()> {
        let mut count = 0;
        let items = self.read(guest, |reader| {
            count = reader.len()?;
            Ok(reader.value(py)?.cast_into::<PyList>()?)
        });
        match items {
            Ok(items) => self.group = items.iter().collect::<Vec<_>>().into_iter(),
            // Nothing is left (E1).
            Err(error) if count == 0 => return Err(unreadable(py, error)),
            Err(error) => {
                self.unread = Some(unreadable(py, error));
                self.next += count;
            }
        }
        Ok(())
    }

    /// Reads on from where the last reading ended, whatever came of that.
    fn read<T>(&mut self, guest: &Guest, one: impl FnOnce(&mut Reader<'_>) -> PyResult<T>) -> PyResult<T> {
        let (bytes, load) = (bytes_of(&self.payload), GuestLoad(guest));
        let mut reader = Reader::new(bytes.get(self.at..).unwrap_or_default(), &load);
        let read = one(&mut reader);
        self.at = bytes.len() - reader.left();
        read
    }
}

fn arguments<'py>(py: Python<'py>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    item.cast_exact::<PyTuple>()
        .cloned()
        .map_or_else(|_| py.import("builtins")?.getattr("tuple")?.call1((item,))?.cast_into().map_err(PyErr::from), Ok)
}

fn bytes_of(payload: &ClaimedPayload) -> &[u8] {
    match payload {
        ClaimedPayload::Inline(bytes) => bytes.as_slice(),
        ClaimedPayload::Block(view) => view.as_slice(),
    }
}

/// What a call gets in place of an input that could not be read.
pub(crate) fn unreadable(py: Python<'_>, error: PyErr) -> PyErr {
    let built = py
        .import("pointsman._outcome")
        .and_then(|module| module.call_method1("unreadable_arguments", (error.value(py),)));
    built.map_or_else(|other| other, PyErr::from_value)
}
