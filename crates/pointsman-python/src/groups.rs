//! The inputs of a chunk on their way: plain ones one after the other, others pickled in groups.
//!
//! A group is pickled as one list, so that what its inputs share is sent once, and pickle is called once for all of them.
//! Not the whole chunk: pickle remembers every object that it meets, on both sides, and is four times as slow once that is
//! more than the caches hold (lists of 300 pairs: 18 us each by up to 16, 82 us by 4,000).
//!
//! # Does not know
//!
//! Chunks, tasks, or who reads the inputs (`inputs`).
//!
//! # Invariants
//!
//! - E1. Each group is preceded by its number of inputs, at least one; the numbers of a chunk add up to that of its calls.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::codec::{self, Pickled};
use crate::host_store::HostStore;
use crate::once::name;
use crate::process_pool::{ITEMS, ITEMS_PICKLED, STAR};

/// Pickled bytes of a group that are its inputs' own. Arbitrary from 4 to 32 KiB.
const OWN: usize = 16 * 1024;
/// Times what is sent again with each group that its inputs' own bytes are at least. Arbitrary from 2 to 8.
const REPAID: usize = 4;
/// Inputs of the first two groups, which tell what one adds to a group and what comes with any.
const FIRST: usize = 4;
const SECOND: usize = 8;

/// Parts of an input that are looked at, and characters of a text that is not worth sending once. Arbitrary.
const LOOKED_AT: usize = 16;
const SMALL: usize = 256;

/// How many inputs go into each group.
#[derive(Debug, Default)]
enum Size {
    #[default]
    First,
    Second {
        bytes: usize,
    },
    Known(usize),
}

impl Size {
    fn next(&self) -> usize {
        match self {
            Self::First => FIRST,
            Self::Second { .. } => SECOND,
            Self::Known(size) => *size,
        }
    }

    /// Learns from a group, which has become so many bytes.
    fn learn(&mut self, bytes: usize) {
        *self = match self {
            Self::First => Self::Second { bytes },
            Self::Second { bytes: first } => {
                let each = (bytes.saturating_sub(*first) / (SECOND - FIRST)).max(1);
                let shared = first.saturating_sub(FIRST * each);
                Self::Known((OWN.max(REPAID * shared) / each).max(1))
            }
            Self::Known(size) => Self::Known(*size),
        };
    }
}

/// Appends the inputs of a chunk; with `star` each is a tuple of arguments.
pub(crate) fn encode(
    items: &Bound<'_, PyList>,
    star: bool,
    out: &mut Vec<u8>,
    store: &mut HostStore<'_>,
) -> PyResult<()> {
    let flag = if star { STAR } else { 0 };
    out.push(ITEMS | flag);
    let mut plain = true;
    for item in items {
        if star && !item.is_exact_instance_of::<PyTuple>() || !codec::encode_scalars(&item, out, store)? {
            plain = false;
            break;
        }
    }
    if plain {
        return Ok(());
    }
    begin_again(out, store, flag);
    let mut size = if are_seen_to_share(items) { Size::Known(items.len()) } else { Size::default() };
    let mut at = 0;
    while at < items.len() {
        let end = items.len().min(at + size.next());
        match encode_group(&items.get_slice(at, end), out, store)? {
            Pickled { by_value: true, .. } if end - at < items.len() => {
                // What is pickled by value costs far more than the inputs: once, then.
                begin_again(out, store, flag);
                return encode_group(items, out, store).map(drop);
            }
            Pickled { bytes, .. } => size.learn(bytes),
        }
        at = end;
    }
    Ok(())
}

/// Whether the first two inputs have an object in common that is worth sending once, in their items or attributes.
fn are_seen_to_share(items: &Bound<'_, PyList>) -> bool {
    let (Ok(one), Ok(other)) = (items.get_item(0), items.get_item(1)) else { return true };
    let pairs = || parts(&one).into_iter().zip(parts(&other));
    one.is(&other) || pairs().any(|(part, counterpart)| part.is(&counterpart) && !is_small(&part))
}

/// The first items of a tuple, list or dictionary, or the first attributes of an object.
fn parts<'py>(item: &Bound<'py, PyAny>) -> Vec<Bound<'py, PyAny>> {
    if let Ok(tuple) = item.cast_exact::<PyTuple>() {
        return tuple.iter().take(LOOKED_AT).collect();
    }
    if let Ok(list) = item.cast_exact::<PyList>() {
        return list.iter().take(LOOKED_AT).collect();
    }
    let attributes = || item.getattr(name!(item.py(), "__dict__")).ok().and_then(|names| names.cast_into().ok());
    let names: Option<Bound<'py, PyDict>> = item.cast_exact().ok().cloned().or_else(attributes);
    names.map(|names| names.values().iter().take(LOOKED_AT).collect()).unwrap_or_default()
}

fn is_small(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.cast_exact::<PyString>().is_ok_and(|text| text.len().is_ok_and(|len| len < SMALL))
        || value.cast_exact::<PyBytes>().is_ok_and(|bytes| bytes.as_bytes().len() < SMALL)
}

fn begin_again(out: &mut Vec<u8>, store: &mut HostStore<'_>, flag: u8) {
    codec::Store::roll_back(store, 0);
    out.clear();
    out.push(ITEMS_PICKLED | flag);
}

fn encode_group(items: &Bound<'_, PyList>, out: &mut Vec<u8>, store: &mut HostStore<'_>) -> PyResult<Pickled> {
    codec::write_len(out, items.len());
    codec::encode_pickled(items.as_any(), out, store)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(each: usize, shared: usize) -> usize {
        let mut size = Size::default();
        for _ in 0..3 {
            size.learn(shared + each * size.next());
        }
        size.next()
    }

    #[test]
    fn inputs_that_share_nothing_go_in_groups_of_some_kilobytes() {
        assert_eq!(learnt(2 << 10, 30), OWN >> 11);
        assert_eq!(learnt(1 << 20, 30), 1);
    }

    #[test]
    fn what_inputs_share_is_sent_with_many_of_them() {
        assert!(learnt(20, 100_000) * 20 >= REPAID * 100_000 - 20);
    }

    #[test]
    fn inputs_that_add_nothing_are_one_group() {
        assert!(learnt(0, 1 << 20) >= 1 << 20);
    }
}
