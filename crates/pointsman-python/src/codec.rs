//! Turns Python values into bytes and back: a tagged form for the plain ones, pickle for the rest.
//!
//! # Does not know
//!
//! Rings, tasks, futures. Large buffers go through a [`Store`] and come back through a [`Load`].
//!
//! # Invariants
//!
//! - C1. A tagged value is one whose exact type is a built-in scalar, a tuple of tagged values, or a container of them that
//!   is there once (`writer`, T1): what comes back is equal and of the same type.
//! - C2. Decoding never reads beyond the bytes it was given; bytes that make no sense are a `ValueError`.
//! - C3. A block that a payload mentions is released when the value that was made from it is dropped. One that others read,
//!   too, is copied, and stays its owner's.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use pointsman_shm::{BlockRef, View};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

mod names;
mod reader;
mod writer;

use crate::classes::Class;
use crate::once::{Once, name};
pub(crate) use reader::Reader;
use writer::{BLOCK_FROM, Writer};

const NONE: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const STR: u8 = 5;
const BYTES: u8 = 6;
const TUPLE: u8 = 7;
const PICKLE: u8 = 8;
const BYTES_BLOCK: u8 = 9;
const STR_BLOCK: u8 = 10;
const PICKLE_BLOCK: u8 = 11;
const LIST: u8 = 12;
const DICT: u8 = 13;
/// Its number of attributes, what its class is found by, and the names and values of the attributes.
const OBJECT: u8 = 14;

const BUFFER_INLINE: u8 = 0;
const BUFFER_BLOCK: u8 = 1;

/// Where large buffers are put. `None` when there is no room: the buffer then travels inside the payload.
pub(crate) trait Store {
    /// Copies `bytes` into a block of shared memory.
    fn store(&mut self, py: Python<'_>, bytes: &[u8]) -> Option<BlockRef>;
    /// How many blocks have been stored.
    fn mark(&self) -> usize;
    /// Frees the blocks stored since `mark`: what mentioned them is not sent.
    fn roll_back(&mut self, mark: usize);
    /// What pickles with classes named that the other side cannot import (`pointsman._defining`), if anything does.
    fn naming<'py>(&self, _py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(None)
    }
    /// The class, if its objects are to be written as their attributes.
    fn class(&mut self, _kind: &Bound<'_, PyType>) -> PyResult<Option<Arc<Class>>> {
        Ok(None)
    }
    /// Code of the user's may run now, and change any class.
    fn doubt(&mut self) {}
}

/// Where blocks are read from.
pub(crate) trait Load {
    /// The block's memory, kept alive by the view; `None` when the reference makes no sense.
    fn load(&self, block: BlockRef) -> Option<View>;
    /// Whether others read the blocks, too, so that what is made from one must be a copy of it.
    fn is_shared(&self) -> bool {
        false
    }
}

/// The functions of Python's pickling that are called from here, looked up once.
struct Pickling {
    dumps: Py<PyAny>,
    loads: Py<PyAny>,
    /// What pickles have in them that mention a module which the other side cannot import; it grows as such are met.
    signs: Py<PyList>,
}

impl Pickling {
    fn mention_lost(&self, pickled: &Bound<'_, PyBytes>) -> bool {
        self.signs.bind(pickled.py()).iter().any(|sign| {
            sign.cast::<PyBytes>().is_ok_and(|sign| memchr::memmem::find(pickled.as_bytes(), sign.as_bytes()).is_some())
        })
    }
}

static PICKLING: Once<Pickling> = Once::new();

fn pickling(py: Python<'_>) -> PyResult<&Pickling> {
    PICKLING.get_or_try_init(|| {
        let pickle = py.import("_pickle")?;
        let signs = py.import("pointsman._naming")?.getattr("signs")?.cast_into::<PyList>()?;
        Ok(Pickling {
            dumps: pickle.getattr("dumps")?.unbind(),
            loads: pickle.getattr("loads")?.unbind(),
            signs: signs.unbind(),
        })
    })
}

/// A byte for a short length; this one, and eight more, for a long one.
const LONG: u8 = u8::MAX;

pub(crate) fn write_len(out: &mut Vec<u8>, len: usize) {
    match u8::try_from(len) {
        Ok(short) if short < LONG => out.push(short),
        _ => {
            out.push(LONG);
            out.extend_from_slice(&(len as u64).to_le_bytes());
        }
    }
}

/// A length and what comes after it.
fn split_len(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (short, rest) = bytes.split_first()?;
    if *short < LONG {
        return Some((u64::from(*short), rest));
    }
    let (long, rest) = rest.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*long), rest))
}

fn write_block(out: &mut Vec<u8>, block: BlockRef) {
    out.extend_from_slice(&block.offset.to_le_bytes());
    out.extend_from_slice(&block.len.to_le_bytes());
}

/// Appends a scalar, or a tuple of such, in tagged form. False (and `out` as it was) when the value is none.
pub(crate) fn encode_scalars(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, store: &mut dyn Store) -> PyResult<bool> {
    attempt(out, store, |out, store| Writer::new(out, store, false).value(value, 0))
}

/// Appends `value` in tagged form. False (and `out` as it was) when the value is not a plain one.
pub(crate) fn encode_plain(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, store: &mut dyn Store) -> PyResult<bool> {
    attempt(out, store, |out, store| Writer::new(out, store, true).value(value, 0))
}

/// As [`encode_plain`], of a tuple of these that nobody has made.
pub(crate) fn encode_items(items: &[Bound<'_, PyAny>], out: &mut Vec<u8>, store: &mut dyn Store) -> PyResult<bool> {
    attempt(out, store, |out, store| Writer::new(out, store, true).items(items))
}

/// Leaves everything as it was if this comes to nothing.
fn attempt(
    out: &mut Vec<u8>,
    store: &mut dyn Store,
    write: impl FnOnce(&mut Vec<u8>, &mut dyn Store) -> PyResult<bool>,
) -> PyResult<bool> {
    let (mark, stored) = (out.len(), store.mark());
    let written = write(out, store);
    if !matches!(written, Ok(true)) {
        out.truncate(mark);
        store.roll_back(stored);
    }
    written
}

/// Puts nothing anywhere.
struct Nowhere;

impl Store for Nowhere {
    fn store(&mut self, _py: Python<'_>, _bytes: &[u8]) -> Option<BlockRef> {
        None
    }

    fn mark(&self) -> usize {
        0
    }

    fn roll_back(&mut self, _mark: usize) {}
}

/// A short plain value in tagged form.
pub(crate) fn tagged(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut bytes = Vec::new();
    if encode_scalars(value, &mut bytes, &mut Nowhere)? {
        return Ok(bytes);
    }
    Err(PyValueError::new_err("this is no plain value"))
}

/// Appends `value`, in tagged form if it is plain, else pickled.
pub(crate) fn encode(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, store: &mut dyn Store) -> PyResult<()> {
    if encode_plain(value, out, store)? {
        return Ok(());
    }
    encode_pickled(value, out, store).map(drop)
}

/// Appends what is pickled already, and has no buffers beside it.
pub(crate) fn write_pickle(pickled: &[u8], out: &mut Vec<u8>) {
    out.push(PICKLE);
    write_len(out, pickled.len());
    out.extend_from_slice(pickled);
    write_len(out, 0);
}

/// What has been pickled.
pub(crate) struct Pickled {
    /// Its bytes, and those of its large buffers.
    pub(crate) bytes: usize,
    /// Whether something in it travels by value.
    pub(crate) by_value: bool,
}

/// Appends `value` pickled with protocol 5, its large buffers beside it.
pub(crate) fn encode_pickled(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, store: &mut dyn Store) -> PyResult<Pickled> {
    let py = value.py();
    store.doubt();
    let (pickled, buffers, by_value) = dumps(value, store)?;
    let bytes = pickled.as_bytes();
    let (mark, stored) = (out.len(), store.mark());
    if bytes.len() >= BLOCK_FROM
        && let Some(block) = store.store(py, bytes)
    {
        out.push(PICKLE_BLOCK);
        write_block(out, block);
    } else {
        out.push(PICKLE);
        write_len(out, bytes.len());
        out.extend_from_slice(bytes);
    }
    write_len(out, buffers.len());
    let mut whole = bytes.len();
    for buffer in buffers.iter() {
        match encode_buffer(&buffer, out, store) {
            Ok(bytes) => whole += bytes,
            Err(error) => {
                out.truncate(mark);
                store.roll_back(stored);
                return Err(error);
            }
        }
    }
    Ok(Pickled { bytes: whole, by_value })
}

/// Appends a large buffer, or where it is; returns its bytes.
fn encode_buffer(buffer: &Bound<'_, PyAny>, out: &mut Vec<u8>, store: &mut dyn Store) -> PyResult<usize> {
    let py = buffer.py();
    let raw = crate::buffer::Raw::of(&buffer.call_method0("raw")?)?;
    let bytes = raw.bytes();
    if bytes.len() >= BLOCK_FROM
        && let Some(block) = store.store(py, bytes)
    {
        out.push(BUFFER_BLOCK);
        out.push(u8::from(raw.read_only()));
        write_block(out, block);
    } else {
        out.push(BUFFER_INLINE);
        out.push(u8::from(raw.read_only()));
        write_len(out, bytes.len());
        out.extend_from_slice(bytes);
    }
    Ok(bytes.len())
}

/// Types of values that had to be pickled with their classes named, by their addresses. A hint.
static NAMED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());
/// How many are kept. Arbitrary.
const MOST_NAMED: usize = 256;

/// Where the type of a value lies, or of the first in a tuple or list, or in one in that; if it is none of the built-in ones.
fn leading_type(value: &Bound<'_, PyAny>) -> Option<usize> {
    let mut first = value.clone();
    for _ in 0..2 {
        let inner = first.cast_exact::<PyTuple>().ok().and_then(|tuple| tuple.get_item(0).ok());
        let inner = inner.or_else(|| first.cast_exact::<PyList>().ok().and_then(|list| list.get_item(0).ok()));
        let Some(inner) = inner else { break };
        first = inner;
    }
    let plain = first.is_none()
        || first.is_exact_instance_of::<PyTuple>()
        || first.is_exact_instance_of::<PyList>()
        || first.is_exact_instance_of::<PyDict>()
        || first.is_exact_instance_of::<PyString>()
        || first.is_exact_instance_of::<PyBytes>()
        || first.is_exact_instance_of::<PyInt>()
        || first.is_exact_instance_of::<PyFloat>();
    (!plain).then(|| first.get_type_ptr() as usize)
}

/// What was pickled, its large buffers, and whether something in it travels by value.
type Dumped<'py> = (Bound<'py, PyBytes>, Bound<'py, PyList>, bool);

/// Pickles with classes named that the other side cannot import; `None` where that will not do.
fn dumps_named<'py>(value: &Bound<'py, PyAny>, store: &dyn Store) -> PyResult<Option<Dumped<'py>>> {
    let py = value.py();
    let Some(naming) = store.naming(py)? else { return Ok(None) };
    let buffers = PyList::empty(py);
    let named = naming.call_method1(name!(py, "dumps"), (value, &buffers))?;
    Ok(named.cast_into::<PyBytes>().ok().map(|named| (named, buffers, false)))
}

/// Pickles by reference, large buffers aside; `None` if that will not do.
pub(crate) fn dumps_by_name<'py>(
    value: &Bound<'py, PyAny>,
) -> PyResult<Option<(Bound<'py, PyBytes>, Bound<'py, PyList>)>> {
    let py = value.py();
    let functions = pickling(py)?;
    let buffers = PyList::empty(py);
    let options = PyDict::new(py);
    options.set_item(name!(py, "buffer_callback"), buffers.getattr(name!(py, "append"))?)?;
    let pickled = functions.dumps.bind(py).call((value, 5), Some(&options))?.cast_into::<PyBytes>()?;
    // What `__main__` defines is not there on the other side, nor what other modules do that it cannot import.
    // Their names in the bytes are the signs; data that merely contains one costs a second pickling, nothing else.
    Ok((!functions.mention_lost(&pickled)).then_some((pickled, buffers)))
}

/// Pickles by reference where that will do, by value where the other side could not follow it.
fn dumps<'py>(value: &Bound<'py, PyAny>, store: &dyn Store) -> PyResult<Dumped<'py>> {
    let py = value.py();
    let kind = leading_type(value);
    let tried = kind.is_some_and(|kind| NAMED.lock().unwrap_or_else(PoisonError::into_inner).contains(&kind));
    if tried && let Some(named) = dumps_named(value, store)? {
        return Ok(named);
    }
    if let Ok(fast) = dumps_by_name(value) {
        if let Some((pickled, buffers)) = fast {
            return Ok((pickled, buffers, false));
        }
        if !tried && let Some(named) = dumps_named(value, store)? {
            if let Some(kind) = kind {
                let mut types = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
                if types.len() < MOST_NAMED {
                    types.insert(kind);
                }
            }
            return Ok(named);
        }
    }
    let buffers = PyList::empty(py);
    let found = store.naming(py)?.map(|naming| naming.getattr(name!(py, "found"))).transpose()?;
    let pickled = py.import("pointsman._transport")?.getattr("dumps_by_value")?.call1((
        value,
        buffers.getattr(name!(py, "append"))?,
        found,
    ))?;
    Ok((pickled.cast_into::<PyBytes>()?, buffers, true))
}

/// Calls `found` with each block that encoded values refer to. Stops where the bytes make no sense (C2).
pub(crate) fn each_block(bytes: &[u8], found: &mut dyn FnMut(BlockRef)) {
    let mut rest = bytes;
    while let Some((kind, after)) = rest.split_first() {
        let Some(after) = skip_value(*kind, after, found) else { return };
        rest = after;
    }
}

/// What comes after a value of this kind. The parts of a container are left: they are values like any other.
fn skip_value<'a>(kind: u8, bytes: &'a [u8], found: &mut dyn FnMut(BlockRef)) -> Option<&'a [u8]> {
    match kind {
        NONE | FALSE | TRUE => Some(bytes),
        INT | FLOAT => bytes.get(8..),
        TUPLE | LIST | DICT | OBJECT => split_len(bytes).map(|(_, parts)| parts),
        STR | BYTES => skip_bytes(bytes),
        BYTES_BLOCK | STR_BLOCK => skip_block(bytes, found),
        PICKLE => skip_buffers(skip_bytes(bytes)?, found),
        PICKLE_BLOCK => skip_buffers(skip_block(bytes, found)?, found),
        _ => None,
    }
}

fn skip_buffers<'a>(bytes: &'a [u8], found: &mut dyn FnMut(BlockRef)) -> Option<&'a [u8]> {
    let (count, mut rest) = split_len(bytes)?;
    for _ in 0..count {
        let ([kind, _read_only], after) = rest.split_first_chunk::<2>()?;
        rest = if *kind == BUFFER_BLOCK { skip_block(after, found)? } else { skip_bytes(after)? };
    }
    Some(rest)
}

fn skip_bytes(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = split_len(bytes)?;
    rest.get(usize::try_from(len).ok()?..)
}

fn skip_block<'a>(bytes: &'a [u8], found: &mut dyn FnMut(BlockRef)) -> Option<&'a [u8]> {
    let (offset, rest) = bytes.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<8>()?;
    found(BlockRef { offset: u64::from_le_bytes(*offset), len: u64::from_le_bytes(*len) });
    Some(rest)
}
