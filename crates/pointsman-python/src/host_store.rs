//! Where large arguments go: blocks of the host's arena.
//!
//! # Does not know
//!
//! What the blocks hold, or which task gets them.

use pointsman_shm::BlockRef;
use pyo3::prelude::*;

use crate::codec::Store;
use crate::process_pool::Workers;

/// Puts large buffers into the host's arena, and frees them again when the call cannot be sent after all.
pub(crate) struct HostStore<'a> {
    host: &'a Workers,
    attached: Vec<BlockRef>,
}

impl<'a> HostStore<'a> {
    pub(crate) fn new(host: &'a Workers) -> Self {
        Self { host, attached: Vec::new() }
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
}
