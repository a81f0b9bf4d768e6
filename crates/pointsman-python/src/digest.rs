//! What something is like, in sixteen bytes: for objects of which nobody can tell what changes in them.
//!
//! # Does not know
//!
//! What rests on it.
//!
//! # Invariants
//!
//! - D1. Two states have one digest only if they pickle to the same bytes, large buffers included, but for a chance of 2^-64
//!   and less (XXH3 with 128 bits; nobody gains by finding two that collide).

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use twox_hash::xxhash3_128::Hasher;

use crate::buffer::Raw;
use crate::codec;

pub(crate) type Digest = [u8; 16];

/// The digest of what an object becomes when it is pickled. Raises if it cannot be, or not by the names of what it mentions.
#[pyfunction]
pub(crate) fn digest(value: &Bound<'_, PyAny>) -> PyResult<Digest> {
    let Some((pickled, buffers)) = codec::dumps_by_name(value)? else {
        return Err(PyValueError::new_err("part of it travels by value"));
    };
    let mut hasher = Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        hasher.write(bytes);
    };
    add(pickled.as_bytes());
    for buffer in buffers.iter() {
        let raw = Raw::of(&buffer.call_method0("raw")?)?;
        add(&[u8::from(raw.read_only())]);
        add(raw.bytes());
    }
    Ok(hasher.finish_128().to_le_bytes())
}
