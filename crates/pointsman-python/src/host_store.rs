//! Where large arguments go: blocks of the host's arena.
//!
//! # Does not know
//!
//! What the blocks hold, or which task gets them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pointsman_shm::BlockRef;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::classes::{Class, Classes};
use crate::codec::Store;
use crate::once::Once;
use crate::process_pool::Workers;

/// Puts large buffers into the host's arena, and frees them again when the call cannot be sent after all.
pub(crate) struct HostStore<'a> {
    host: &'a Arc<Workers>,
    definitions: &'a Definitions,
    attached: Vec<BlockRef>,
    /// Where the class lies that was looked at last, if nothing has run since then.
    looked: Option<usize>,
}

impl<'a> HostStore<'a> {
    /// Workers are told once of the classes of what is packed for them.
    pub(crate) fn new(host: &'a Arc<Workers>, definitions: &'a Definitions) -> Self {
        Self { host, definitions, attached: Vec::new(), looked: None }
    }

    pub(crate) fn take(&mut self) -> Vec<BlockRef> {
        std::mem::take(&mut self.attached)
    }
}

impl Drop for HostStore<'_> {
    fn drop(&mut self) {
        self.roll_back(0);
    }
}

/// The share of the host's arena that definitions of classes may take, and their bytes at most: they are not freed before the
/// pool ends. Arbitrary: one takes 1 to 5 kB.
const SHARE: u64 = 16;
const MOST: u64 = 4 << 20;

/// What pickles arguments with their classes named, once that is needed.
pub(crate) struct Definitions {
    made: Once<Py<PyAny>>,
    classes: Classes,
    room: u64,
}

impl Definitions {
    /// For a pool with an arena of so many bytes.
    pub(crate) fn new(arena: u64) -> Self {
        Self { made: Once::new(), classes: Classes::new(), room: MOST.min(arena / SHARE) }
    }
}

/// Puts into the host's arena what stays there until the pool ends.
#[pyclass(module = "pointsman._native", frozen)]
struct Definer {
    host: Arc<Workers>,
    room: AtomicU64,
}

#[pymethods]
impl Definer {
    fn __call__(&self, bytes: &[u8]) -> Option<(u64, u64)> {
        let len = bytes.len() as u64;
        // Relaxed: it guards nothing but itself.
        self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(len)).ok()?;
        let mut block = self.host.alloc(bytes.len())?;
        block.as_mut_slice().copy_from_slice(bytes);
        let block = block.into_ref();
        Some((block.offset, block.len))
    }
}

impl Store for HostStore<'_> {
    fn store(&mut self, py: Python<'_>, bytes: &[u8]) -> Option<BlockRef> {
        let mut block = self.host.alloc(bytes.len())?;
        py.detach(|| block.as_mut_slice().copy_from_slice(bytes));
        let block = block.into_ref();
        self.attached.push(block);
        Some(block)
    }

    fn mark(&self) -> usize {
        self.attached.len()
    }

    fn roll_back(&mut self, mark: usize) {
        for block in self.attached.drain(mark..) {
            self.host.free(block);
        }
    }

    fn naming<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let definitions = self.definitions.made.get_or_try_init(|| {
            let class = py.import("pointsman._defining")?.getattr("Definitions")?;
            let definer = Definer { host: self.host.clone(), room: AtomicU64::new(self.definitions.room) };
            PyResult::Ok(class.call1((definer,))?.unbind())
        })?;
        Ok(Some(definitions.bind(py).clone()))
    }

    fn class(&mut self, kind: &Bound<'_, PyType>) -> PyResult<Option<Arc<Class>>> {
        let address = Some(kind.as_ptr() as usize);
        let sure = self.looked == address;
        let class = self.definitions.classes.find(kind, sure, || self.naming(kind.py()))?;
        self.looked = address;
        Ok(class)
    }

    fn doubt(&mut self) {
        self.looked = None;
    }
}
