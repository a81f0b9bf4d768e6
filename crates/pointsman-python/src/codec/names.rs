//! Short texts that come again and again: keys of dictionaries and names of attributes, made once.
//!
//! # Does not know
//!
//! What they name.
//!
//! # Invariants
//!
//! - N1. No Python code runs, and no Python object is dropped, while the lock is held.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyString;

/// Texts that are kept: the last for each remainder of their hashes. Arbitrary.
const KEPT: usize = 256;
/// Bytes of the longest that is kept. Arbitrary.
const LONGEST: usize = 32;

/// The texts that were made last.
pub(super) struct Names {
    kept: Mutex<[Option<Py<PyString>>; KEPT]>,
    /// Whether they are interned, as names in code are.
    interned: bool,
}

impl Names {
    pub(super) const fn new(interned: bool) -> Self {
        Self { kept: Mutex::new([const { None }; KEPT]), interned }
    }

    /// This text, as an object that others may have, too.
    pub(super) fn get<'py>(&self, py: Python<'py>, text: &str) -> Bound<'py, PyString> {
        let make = || if self.interned { PyString::intern(py, text) } else { PyString::new(py, text) };
        if text.len() > LONGEST {
            return make();
        }
        let place = place(text);
        let found = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.get(place).and_then(Option::as_ref).map(|name| name.clone_ref(py))
        };
        if let Some(found) = found
            && found.bind(py).to_str().is_ok_and(|found| found == text)
        {
            return found.into_bound(py);
        }
        let text = make();
        let replaced = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.get_mut(place).and_then(|kept| kept.replace(text.clone().unbind()))
        };
        drop(replaced);
        text
    }
}

/// Where a text is kept: FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>), folded.
fn place(text: &str) -> usize {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 16)) as usize % KEPT
}
