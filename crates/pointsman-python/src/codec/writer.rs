//! Writes plain values in tagged form: scalars, tuples, small lists and dictionaries, objects that are nothing but attributes.
//!
//! # Does not know
//!
//! Pickle, or which classes the other side has (`classes`).
//!
//! # Invariants
//!
//! - T1. What has an identity of its own (a list, a dictionary, an object) is written once in a value, or the value is not
//!   written at all: so nothing that was shared comes back in two, and nothing that holds itself is followed for ever.
//! - T2. No Python code runs while the parts of a container are written, but for classes that are looked up: it is copied
//!   before, and has the length that was written.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::{
    BYTES, BYTES_BLOCK, DICT, FALSE, FLOAT, INT, LIST, NONE, OBJECT, STR, STR_BLOCK, Store, TRUE, TUPLE, write_block,
    write_len,
};
use crate::once::name;

/// From this size (bytes) on a buffer travels in a block of its own instead of inside the payload.
/// Arbitrary: between 8 KiB and 128 KiB the dispatch bench does not change.
pub(super) const BLOCK_FROM: usize = 32 * 1024;
/// Tuples and containers nested deeper than this are pickled.
const MAX_DEPTH: u8 = 8;
/// Parts of all containers together, each of which counts for some parts itself; what has more is pickled. Arbitrary: pickle
/// is slow to begin with (2 us and more), and as fast from a hundred parts or so on.
const MOST_PARTS: usize = 256;
const CONTAINER: usize = 8;
/// Items of all tuples within a value; what has more is pickled, which writes a tuple once that is there many times. Arbitrary:
/// to find that out takes less than a millisecond.
const MOST_IN_TUPLES: usize = 1 << 16;
/// Bytes of texts in containers, at most: pickle writes a long one once, however often it is there. Arbitrary.
const LONG_TEXT: usize = 1024;

/// Writes one value.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    store: &'a mut dyn Store,
    /// Parts of containers that may be written yet; none where they are to be pickled.
    left: usize,
    /// The containers and objects that have been written (T1).
    seen: Vec<usize>,
    /// Items of tuples that may be written yet.
    in_tuples: usize,
}

impl<'a> Writer<'a> {
    /// With `apart` it takes lists, dictionaries and objects apart.
    pub(super) fn new(out: &'a mut Vec<u8>, store: &'a mut dyn Store, apart: bool) -> Self {
        Self { out, store, left: if apart { MOST_PARTS } else { 0 }, seen: Vec::new(), in_tuples: MOST_IN_TUPLES }
    }

    /// Writes a tuple of these that nobody has made. False if one is not plain: then a part of it may have been written.
    pub(super) fn items(&mut self, items: &[Bound<'_, PyAny>]) -> PyResult<bool> {
        self.out.push(TUPLE);
        write_len(self.out, items.len());
        self.all(items, 1)
    }

    /// Writes a value. False if it is not plain: then a part of it may have been written.
    pub(super) fn value(&mut self, value: &Bound<'_, PyAny>, depth: u8) -> PyResult<bool> {
        if let Ok(int) = value.cast_exact::<PyInt>() {
            let Ok(number) = int.extract::<i64>() else {
                return Ok(false);
            };
            self.out.push(INT);
            self.out.extend_from_slice(&number.to_le_bytes());
        } else if let Ok(text) = value.cast_exact::<PyString>() {
            // A string with lone surrogates has no UTF-8 form: pickle knows how to carry it.
            let Ok(text) = text.to_str() else {
                return Ok(false);
            };
            return Ok(self.bytes(value.py(), text.as_bytes(), STR, STR_BLOCK));
        } else if let Ok(float) = value.cast_exact::<PyFloat>() {
            self.out.push(FLOAT);
            self.out.extend_from_slice(&float.value().to_le_bytes());
        } else if value.is_none() {
            self.out.push(NONE);
        } else if let Ok(truth) = value.cast_exact::<PyBool>() {
            self.out.push(if truth.is_true() { TRUE } else { FALSE });
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            return Ok(self.bytes(value.py(), bytes.as_bytes(), BYTES, BYTES_BLOCK));
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            if depth == MAX_DEPTH {
                return Ok(false);
            }
            if depth > 1 {
                let Some(left) = self.in_tuples.checked_sub(tuple.len()) else { return Ok(false) };
                self.in_tuples = left;
            }
            self.out.push(TUPLE);
            write_len(self.out, tuple.len());
            for item in tuple.iter_borrowed() {
                if !self.value(&item, depth + 1)? {
                    return Ok(false);
                }
            }
        } else if self.left == 0 {
            return Ok(false);
        } else if let Ok(list) = value.cast_exact::<PyList>() {
            return self.list(list, depth);
        } else if let Ok(entries) = value.cast_exact::<PyDict>() {
            return self.dictionary(entries, depth);
        } else {
            return self.object(value, depth);
        }
        Ok(true)
    }

    fn all(&mut self, items: &[Bound<'_, PyAny>], depth: u8) -> PyResult<bool> {
        for item in items {
            if !self.value(item, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn bytes(&mut self, py: Python<'_>, bytes: &[u8], tag: u8, block_tag: u8) -> bool {
        if bytes.len() > LONG_TEXT && !self.seen.is_empty() {
            return false;
        }
        if bytes.len() >= BLOCK_FROM
            && let Some(block) = self.store.store(py, bytes)
        {
            self.out.push(block_tag);
            write_block(self.out, block);
        } else {
            self.out.push(tag);
            write_len(self.out, bytes.len());
            self.out.extend_from_slice(bytes);
        }
        true
    }

    /// Whether a container of so many parts is to be taken apart, at this depth (T1).
    fn opens(&mut self, container: &Bound<'_, PyAny>, parts: usize, depth: u8) -> bool {
        let address = container.as_ptr() as usize;
        let Some(left) = self.left.checked_sub(CONTAINER + parts) else { return false };
        if depth >= MAX_DEPTH || self.seen.contains(&address) {
            return false;
        }
        self.left = left;
        self.seen.push(address);
        true
    }

    fn list(&mut self, list: &Bound<'_, PyList>, depth: u8) -> PyResult<bool> {
        let items: Vec<_> = if list.len() <= MOST_PARTS { list.iter().collect() } else { return Ok(false) };
        if !self.opens(list, items.len(), depth) {
            return Ok(false);
        }
        self.out.push(LIST);
        write_len(self.out, items.len());
        self.all(&items, depth + 1)
    }

    fn dictionary(&mut self, entries: &Bound<'_, PyDict>, depth: u8) -> PyResult<bool> {
        let Some(entries) = self.entries(entries, entries, depth)? else { return Ok(false) };
        self.out.push(DICT);
        write_len(self.out, entries.len());
        for (name, value) in &entries {
            if !(self.value(name, depth + 1)? && self.value(value, depth + 1)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The entries of a dictionary that is a container, or what it has; none if it is not to be taken apart.
    #[expect(clippy::type_complexity, reason = "it is no longer said than pairs of what a dictionary has")]
    fn entries<'py>(
        &mut self,
        container: &Bound<'py, PyAny>,
        entries: &Bound<'py, PyDict>,
        depth: u8,
    ) -> PyResult<Option<Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>>> {
        if entries.len() > MOST_PARTS {
            return Ok(None);
        }
        // Where threads run Python code at one time, another may change it meanwhile.
        let entries: Vec<_> = entries.copy()?.iter().collect();
        Ok(self.opens(container, 2 * entries.len(), depth).then_some(entries))
    }

    fn object(&mut self, object: &Bound<'_, PyAny>, depth: u8) -> PyResult<bool> {
        let Some(class) = self.store.class(&object.get_type())? else { return Ok(false) };
        let Ok(attributes) = object.getattr(name!(object.py(), "__dict__")) else { return Ok(false) };
        let Ok(attributes) = attributes.cast_exact::<PyDict>() else { return Ok(false) };
        let Some(attributes) = self.entries(object, attributes, depth)? else { return Ok(false) };
        self.out.push(OBJECT);
        write_len(self.out, attributes.len());
        self.out.extend_from_slice(class.named());
        for (name, value) in &attributes {
            if !(name.is_exact_instance_of::<PyString>()
                && self.value(name, depth + 1)?
                && self.value(value, depth + 1)?)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
