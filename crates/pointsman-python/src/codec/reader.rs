//! Reads values back from tagged form.
//!
//! # Does not know
//!
//! What wrote them, or what they are for.

use pointsman_shm::{BlockRef, View};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyList, PyString, PyTuple};

use super::names::Names;
use super::{
    BUFFER_BLOCK, BYTES, BYTES_BLOCK, DICT, FALSE, FLOAT, INT, LIST, Load, NONE, OBJECT, PICKLE, PICKLE_BLOCK, STR,
    STR_BLOCK, TRUE, TUPLE, pickling, split_len,
};
use crate::buffer::SharedBuffer;
use crate::once::{Once, name};

static KEYS: Names = Names::new(false);
static ATTRIBUTES: Names = Names::new(true);
static FOUND: Once<Py<PyAny>> = Once::new();
static BLANK: Once<Py<PyAny>> = Once::new();

/// A buffer of these bytes that is nobody else's.
fn copy<'py>(py: Python<'py>, bytes: &[u8], read_only: bool) -> Bound<'py, PyAny> {
    if read_only { PyBytes::new(py, bytes).into_any() } else { PyByteArray::new(py, bytes).into_any() }
}

fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyString::new(py, utf8(bytes)?).into_any())
}

fn utf8(bytes: &[u8]) -> PyResult<&str> {
    std::str::from_utf8(bytes).map_err(|_| PyValueError::new_err("a text is not UTF-8"))
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
            TUPLE => PyTuple::new(py, self.values(py)?)?.into_any(),
            LIST => PyList::new(py, self.values(py)?)?.into_any(),
            DICT => self.dictionary(py)?.into_any(),
            OBJECT => self.object(py)?,
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

    /// The number of parts of a container.
    fn parts(&mut self) -> PyResult<usize> {
        let len = self.len()?;
        if len > self.bytes.len() {
            return Err(PyValueError::new_err("a container is longer than its frame"));
        }
        Ok(len)
    }

    fn values<'py>(&mut self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let len = self.parts()?;
        let mut values = Vec::with_capacity(len);
        for _ in 0..len {
            values.push(self.value(py)?);
        }
        Ok(values)
    }

    fn dictionary<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let entries = PyDict::new(py);
        for _ in 0..self.parts()? {
            let key = if self.bytes.first() == Some(&STR) { self.name(py, &KEYS)?.into_any() } else { self.value(py)? };
            entries.set_item(key, self.value(py)?)?;
        }
        Ok(entries)
    }

    /// An object that is nothing but its attributes.
    fn object<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let count = self.parts()?;
        let named = self.value(py)?.cast_into::<PyTuple>()?;
        let class = FOUND.import(py, "pointsman._defining", "found")?.call1(named)?;
        let object = BLANK
            .get_or_try_init(|| PyResult::Ok(py.import("builtins")?.getattr("object")?.getattr("__new__")?.unbind()))?;
        let object = object.bind(py).call1((class,))?;
        let attributes = object.getattr(name!(py, "__dict__"))?.cast_into::<PyDict>()?;
        for _ in 0..count {
            attributes.set_item(self.name(py, &ATTRIBUTES)?, self.value(py)?)?;
        }
        Ok(object)
    }

    /// A text that has probably come before.
    fn name<'py>(&mut self, py: Python<'py>, names: &Names) -> PyResult<Bound<'py, PyString>> {
        if self.byte()? != STR {
            return Err(PyValueError::new_err("the name of an attribute is no text"));
        }
        let len = self.len()?;
        Ok(names.get(py, utf8(self.take(len)?)?))
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
