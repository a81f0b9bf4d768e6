//! Turns Python values into bytes and back: a tagged form for the plain ones, pickle for the rest.
//!
//! # Does not know
//!
//! Rings, tasks, futures. Large buffers go through a [`Store`] and come back through a [`Load`].
//!
//! # Invariants
//!
//! - C1. A tagged value is one whose exact type is a built-in scalar or a tuple of such: what comes
//!   back is equal and of the same type.
//! - C2. Decoding never reads beyond the bytes it was given; bytes that make no sense are a `ValueError`.
//! - C3. A block that a payload mentions is released when the value that was made from it is dropped. One that others read,
//!   too, is copied, and stays its owner's.

use pointsman_shm::{BlockRef, View};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::buffer::SharedBuffer;
use crate::once::{Once, name};

/// From this size (bytes) on a buffer travels in a block of its own instead of inside the payload.
/// Arbitrary: between 8 KiB and 128 KiB the dispatch bench does not change.
const BLOCK_FROM: usize = 32 * 1024;
/// Tuples nested deeper than this are pickled.
const MAX_DEPTH: u8 = 4;

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

/// Appends `value` in tagged form. False (and `out` as it was) when the value is not a plain one.
pub(crate) fn encode_plain(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, store: &mut dyn Store) -> bool {
    let (mark, stored) = (out.len(), store.mark());
    if encode_tagged(value, out, store, 0) {
        return true;
    }
    out.truncate(mark);
    store.roll_back(stored);
    false
}

/// As [`encode_plain`], of a tuple of these that nobody has made.
pub(crate) fn encode_items(items: &[Bound<'_, PyAny>], out: &mut Vec<u8>, store: &mut dyn Store) -> bool {
    let (mark, stored) = (out.len(), store.mark());
    out.push(TUPLE);
    write_len(out, items.len());
    if items.iter().all(|item| encode_tagged(item, out, store, 1)) {
        return true;
    }
    out.truncate(mark);
    store.roll_back(stored);
    false
}

fn encode_tagged(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, store: &mut dyn Store, depth: u8) -> bool {
    let py = value.py();
    if let Ok(int) = value.cast_exact::<PyInt>() {
        let Ok(number) = int.extract::<i64>() else {
            return false;
        };
        out.push(INT);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(text) = value.cast_exact::<PyString>() {
        // A string with lone surrogates has no UTF-8 form: pickle knows how to carry it.
        let Ok(text) = text.to_str() else {
            return false;
        };
        encode_bytes(py, text.as_bytes(), STR, STR_BLOCK, out, store);
    } else if let Ok(float) = value.cast_exact::<PyFloat>() {
        out.push(FLOAT);
        out.extend_from_slice(&float.value().to_le_bytes());
    } else if value.is_none() {
        out.push(NONE);
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        out.push(if truth.is_true() { TRUE } else { FALSE });
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        encode_bytes(py, bytes.as_bytes(), BYTES, BYTES_BLOCK, out, store);
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        if depth == MAX_DEPTH {
            return false;
        }
        out.push(TUPLE);
        write_len(out, tuple.len());
        return tuple.iter().all(|item| encode_tagged(&item, out, store, depth + 1));
    } else {
        return false;
    }
    true
}

fn encode_bytes(py: Python<'_>, bytes: &[u8], tag: u8, block_tag: u8, out: &mut Vec<u8>, store: &mut dyn Store) {
    if bytes.len() >= BLOCK_FROM
        && let Some(block) = store.store(py, bytes)
    {
        out.push(block_tag);
        write_block(out, block);
        return;
    }
    out.push(tag);
    write_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends `value`, in tagged form if it is plain, else pickled.
pub(crate) fn encode(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, store: &mut dyn Store) -> PyResult<()> {
    if encode_plain(value, out, store) {
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
    let (pickled, buffers, by_value) = dumps(value)?;
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

/// Pickles by reference where that will do, by value where the other side could not follow it; whether it was by value.
fn dumps<'py>(value: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyList>, bool)> {
    let py = value.py();
    let functions = pickling(py)?;
    let buffers = PyList::empty(py);
    let options = PyDict::new(py);
    options.set_item(name!(py, "buffer_callback"), buffers.getattr(name!(py, "append"))?)?;
    let fast = functions.dumps.bind(py).call((value, 5), Some(&options));
    if let Ok(pickled) = fast {
        let pickled = pickled.cast_into::<PyBytes>()?;
        // What `__main__` defines is not there on the other side, nor what other modules do that it cannot import.
        // Their names in the bytes are the signs; data that merely contains one costs a second pickling, nothing else.
        let lost = functions.signs.bind(py).iter().any(|sign| {
            sign.cast::<PyBytes>().is_ok_and(|sign| memchr::memmem::find(pickled.as_bytes(), sign.as_bytes()).is_some())
        });
        if !lost {
            return Ok((pickled, buffers, false));
        }
    }
    let buffers = PyList::empty(py);
    let pickled = py
        .import("pointsman._transport")?
        .getattr("dumps_by_value")?
        .call1((value, buffers.getattr(name!(py, "append"))?))?;
    Ok((pickled.cast_into::<PyBytes>()?, buffers, true))
}

/// A buffer of these bytes that is nobody else's.
fn copy<'py>(py: Python<'py>, bytes: &[u8], read_only: bool) -> Bound<'py, PyAny> {
    if read_only { PyBytes::new(py, bytes).into_any() } else { PyByteArray::new(py, bytes).into_any() }
}

fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let text = std::str::from_utf8(bytes).map_err(|_| PyValueError::new_err("a text is not UTF-8"))?;
    Ok(PyString::new(py, text).into_any())
}

/// Calls `found` with each block that encoded values refer to. Stops where the bytes make no sense (C2).
pub(crate) fn each_block(bytes: &[u8], found: &mut dyn FnMut(BlockRef)) {
    let mut rest = bytes;
    while let Some((kind, after)) = rest.split_first() {
        let Some(after) = skip_value(*kind, after, found) else { return };
        rest = after;
    }
}

/// What comes after a value of this kind. The items of a tuple are left: they are values like any other.
fn skip_value<'a>(kind: u8, bytes: &'a [u8], found: &mut dyn FnMut(BlockRef)) -> Option<&'a [u8]> {
    match kind {
        NONE | FALSE | TRUE => Some(bytes),
        INT | FLOAT => bytes.get(8..),
        TUPLE => split_len(bytes).map(|(_, items)| items),
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

/// Reads values from the front of a byte slice.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    load: &'a dyn Load,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], load: &'a dyn Load) -> Self {
        Self { bytes, load }
    }

    /// Bytes that have not been read.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, len: usize) -> PyResult<&'a [u8]> {
        if len > self.bytes.len() {
            return Err(PyValueError::new_err("a frame ends in the middle of a value"));
        }
        let (front, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        Ok(front)
    }

    pub(crate) fn byte(&mut self) -> PyResult<u8> {
        Ok(self.take(1)?[0])
    }

    fn word(&mut self) -> PyResult<[u8; 8]> {
        let mut word = [0; 8];
        word.copy_from_slice(self.take(8)?);
        Ok(word)
    }

    pub(crate) fn len(&mut self) -> PyResult<usize> {
        let (len, rest) =
            split_len(self.bytes).ok_or_else(|| PyValueError::new_err("a frame ends in the middle of a length"))?;
        self.bytes = rest;
        usize::try_from(len).map_err(|_| PyValueError::new_err("a length is out of range"))
    }

    fn block(&mut self) -> PyResult<View> {
        let offset = u64::from_le_bytes(self.word()?);
        let len = u64::from_le_bytes(self.word()?);
        self.load
            .load(BlockRef { offset, len })
            .ok_or_else(|| PyValueError::new_err("a frame refers to memory outside of its segment"))
    }

    /// The next value.
    pub(crate) fn value<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self.byte()? {
            NONE => py.None().into_bound(py),
            FALSE => PyBool::new(py, false).to_owned().into_any(),
            TRUE => PyBool::new(py, true).to_owned().into_any(),
            INT => i64::from_le_bytes(self.word()?).into_pyobject(py)?.into_any(),
            FLOAT => PyFloat::new(py, f64::from_le_bytes(self.word()?)).into_any(),
            STR => {
                let len = self.len()?;
                text(py, self.take(len)?)?
            }
            BYTES => {
                let len = self.len()?;
                PyBytes::new(py, self.take(len)?).into_any()
            }
            TUPLE => self.tuple(py)?.into_any(),
            BYTES_BLOCK => PyBytes::new(py, self.block()?.as_slice()).into_any(),
            STR_BLOCK => text(py, self.block()?.as_slice())?,
            PICKLE => {
                let len = self.len()?;
                let pickled = PyBytes::new(py, self.take(len)?).into_any();
                self.unpickle(&pickled)?
            }
            PICKLE_BLOCK => {
                let pickled = Bound::new(py, SharedBuffer::new(self.block()?, true))?.into_any();
                self.unpickle(&pickled)?
            }
            _ => {
                return Err(PyValueError::new_err("a frame holds a value of no known kind"));
            }
        })
    }

    /// The items of a tuple, whose tag has been read.
    fn tuple<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let len = self.len()?;
        if len > self.bytes.len() {
            return Err(PyValueError::new_err("a tuple is longer than its frame"));
        }
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(self.value(py)?);
        }
        PyTuple::new(py, items)
    }

    fn unpickle<'py>(&mut self, pickled: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = pickled.py();
        let count = self.len()?;
        let loads = pickling(py)?.loads.bind(py);
        if count == 0 {
            return loads.call1((pickled,));
        }
        let buffers = PyList::empty(py);
        for _ in 0..count {
            let kind = self.byte()?;
            let read_only = self.byte()? != 0;
            if kind == BUFFER_BLOCK {
                let view = self.block()?;
                if self.load.is_shared() {
                    buffers.append(copy(py, view.as_slice(), read_only))?;
                } else {
                    buffers.append(Bound::new(py, SharedBuffer::new(view, read_only))?)?;
                }
            } else {
                let len = self.len()?;
                buffers.append(copy(py, self.take(len)?, read_only))?;
            }
        }
        let options = PyDict::new(py);
        options.set_item(name!(py, "buffers"), buffers)?;
        loads.call((pickled,), Some(&options))
    }
}
