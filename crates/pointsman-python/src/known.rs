//! The functions that workers of a pool know, for as long as what they rest on is unchanged.
//!
//! # Does not know
//!
//! How a function is packed or sent.
//!
//! # Invariants
//!
//! - N1. No Python code runs, and no Python object is dropped, while the lock is held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::dependency::Dependency;
use crate::packing::Function;

/// Functions that a pool remembers, and their packed bytes; beyond either, all but the latest are forgotten. Arbitrary.
const MOST_FUNCTIONS: usize = 256;
const MOST_BYTES: u64 = 64 << 20;

struct Known {
    /// Keeps the object's address from being used again.
    _python: Py<PyAny>,
    function: Arc<Function>,
    /// None for most.
    dependencies: Option<Arc<Vec<Dependency>>>,
}

#[derive(Default)]
struct Tables {
    /// By the address of the function's object, and whether it may travel without its module.
    known: BTreeMap<(usize, bool), Known>,
    bytes: u64,
    /// Where functions lie that were packed once and not kept, since nobody could tell whether they would be the same. A hint.
    unsure: BTreeSet<usize>,
}

#[derive(Default)]
pub(crate) struct KnownFunctions(Mutex<Tables>);

impl KnownFunctions {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function as workers know it, if they do and it is as it was.
    pub(crate) fn get(&self, function: &Bound<'_, PyAny>, slim: bool) -> Option<Arc<Function>> {
        let py = function.py();
        let (made, dependencies) = {
            let tables = self.lock();
            let known = tables.known.get(&(function.as_ptr() as usize, slim))?;
            (known.function.clone(), known.dependencies.clone())
        };
        let unchanged =
            dependencies.is_none_or(|dependencies| dependencies.iter().all(|dependency| dependency.is_unchanged(py)));
        unchanged.then_some(made)
    }

    /// Whether the function was packed before, and not kept.
    pub(crate) fn was_unsure(&self, function: &Bound<'_, PyAny>) -> bool {
        self.lock().unsure.contains(&(function.as_ptr() as usize))
    }

    /// The function was packed, and is not kept.
    pub(crate) fn note_unsure(&self, function: &Bound<'_, PyAny>) {
        let mut tables = self.lock();
        if tables.unsure.len() >= MOST_FUNCTIONS {
            tables.unsure.clear();
        }
        tables.unsure.insert(function.as_ptr() as usize);
    }

    /// Remembers a function of so many `bytes` until one of its `dependencies` has changed.
    pub(crate) fn keep(
        &self,
        function: &Bound<'_, PyAny>,
        slim: bool,
        made: Arc<Function>,
        dependencies: Vec<Dependency>,
    ) {
        dependencies.iter().for_each(Dependency::settle);
        let bytes = made.owned.iter().map(|block| block.len).sum();
        let known = Known {
            _python: function.clone().unbind(),
            function: made,
            dependencies: (!dependencies.is_empty()).then(|| Arc::new(dependencies)),
        };
        let mut tables = self.lock();
        tables.bytes = tables.bytes.saturating_add(bytes);
        let full = tables.known.len() >= MOST_FUNCTIONS || tables.bytes > MOST_BYTES;
        let forgotten = if full {
            tables.bytes = bytes;
            std::mem::take(&mut tables.known)
        } else {
            BTreeMap::new()
        };
        let replaced = tables.known.insert((function.as_ptr() as usize, slim), known);
        drop(tables);
        drop((forgotten, replaced));
    }
}
