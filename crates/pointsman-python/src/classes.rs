//! The classes whose objects are written as their attributes, and how the other side finds them.
//!
//! # Does not know
//!
//! What the other side was told, or which objects are nothing but their attributes (`pointsman._defining`).
//!
//! # Invariants
//!
//! - P1. A class is looked up again once it has changed, or pickle was told otherwise of any class (`copyreg`).
//! - P2. No Python code runs, and no Python object is dropped, while the lock is held.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::codec;
use crate::dependency::Watch;
use crate::once::{Once, name};

/// Classes that are remembered. Arbitrary.
const MOST: usize = 256;

static REGISTERED: Once<Py<PyDict>> = Once::new();

/// A class whose objects are nothing but their attributes.
pub(crate) struct Class {
    /// Keeps the address from being used again.
    _kind: Py<PyType>,
    /// What the other side finds it by, as a tagged value.
    named: Vec<u8>,
    watch: Option<Py<Watch>>,
    /// How many classes pickle had been told of.
    registered: usize,
}

impl Class {
    pub(crate) fn named(&self) -> &[u8] {
        &self.named
    }

    fn is_as_it_was(&self, py: Python<'_>) -> bool {
        registered(py).is_ok_and(|count| count == self.registered)
            && self.watch.as_ref().is_none_or(|watch| watch.get().is_unchanged(py))
    }
}

fn registered(py: Python<'_>) -> PyResult<usize> {
    Ok(REGISTERED.import(py, "copyreg", "dispatch_table")?.len())
}

/// By the addresses of classes; nothing for those whose objects are pickled.
#[derive(Default)]
pub(crate) struct Classes(Mutex<BTreeMap<usize, Option<Arc<Class>>>>);

impl Classes {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Option<Arc<Class>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The class as it is, if its objects are to be written as their attributes. `naming` knows one that is new here. With
    /// `sure` nothing has run since the class was looked at.
    pub(crate) fn find<'py>(
        &self,
        kind: &Bound<'py, PyType>,
        sure: bool,
        naming: impl FnOnce() -> PyResult<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<Option<Arc<Class>>> {
        let py = kind.py();
        let address = kind.as_ptr() as usize;
        let (known, full) = {
            let all = self.lock();
            (all.get(&address).cloned(), all.len() >= MOST)
        };
        match known {
            Some(Some(class)) if sure || class.is_as_it_was(py) => return Ok(Some(class)),
            Some(None) => return Ok(None),
            None if full => return Ok(None),
            _ => {}
        }
        let Some(naming) = naming()? else { return Ok(None) };
        let count = registered(py)?;
        let told = naming.call_method1(name!(py, "plain"), (kind,))?;
        let class = match told.extract::<Option<(Bound<'_, PyTuple>, Option<Py<Watch>>)>>()? {
            Some((named, watch)) => {
                let named = codec::tagged(named.as_any())?;
                Some(Arc::new(Class { _kind: kind.clone().unbind(), named, watch, registered: count }))
            }
            None => None,
        };
        let replaced = self.lock().insert(address, class.clone());
        drop(replaced);
        Ok(class)
    }

    /// Knows no class any more.
    pub(crate) fn forget(&self) {
        let all = std::mem::take(&mut *self.lock());
        drop(all);
    }
}
