//! Bytes in and out of Python's buffer protocol. One of the files of this crate that may use `unsafe`.
//!
//! # Does not know
//!
//! What the bytes mean, or where they go.
//!
//! # Invariants
//!
//! - B1. A [`SharedBuffer`] owns its [`View`]; the view's memory stays mapped and unreleased while it lives, and
//!   every exported `Py_buffer` holds a reference to its `SharedBuffer`.
//! - B2. A [`Raw`] owns one acquired `Py_buffer`, contiguous and of bytes, until it is dropped.
//! - B3. Nobody else writes to a view's memory: a block has one receiver.
#![allow(unsafe_code, reason = "the buffer protocol is a C interface")]

use std::ffi::{c_int, c_void};

use pointsman_shm::View;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

/// A block of shared memory that Python sees as a buffer.
#[pyclass(module = "pointsman._native", frozen)]
#[derive(Debug)]
pub(crate) struct SharedBuffer {
    view: View,
    read_only: bool,
}

impl SharedBuffer {
    pub(crate) fn new(view: View, read_only: bool) -> Self {
        Self { view, read_only }
    }
}

#[pymethods]
impl SharedBuffer {
    fn __len__(&self) -> usize {
        self.view.len()
    }

    /// Fills `view` for a consumer.
    ///
    /// # Safety
    ///
    /// Called by the interpreter only, with a `view` that it owns.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no buffer to fill"));
        }
        let this = slf.get();
        let address = this.view.ptr().cast::<c_void>();
        let len = ffi::Py_ssize_t::try_from(this.view.len())?;
        // SAFETY: the memory is `len` bytes by B1, and the buffer keeps `slf` by B1; writers are alone by B3.
        let result =
            unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), address, len, c_int::from(this.read_only), flags) };
        if result == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

/// The bytes of an object that supports the buffer protocol.
pub(crate) struct Raw {
    buffer: Box<ffi::Py_buffer>,
}

impl Raw {
    /// Acquires the bytes of `object`, which must be contiguous.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut buffer = Box::new(ffi::Py_buffer::new());
        // SAFETY: `buffer` is a fresh structure on the heap that stays where it is until it is released (B2).
        let result = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *buffer, ffi::PyBUF_SIMPLE) };
        if result == 0 { Ok(Self { buffer }) } else { Err(PyErr::fetch(object.py())) }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        let len = usize::try_from(self.buffer.len).unwrap_or(0);
        if len == 0 {
            return &[];
        }
        // SAFETY: an acquired simple buffer is `len` contiguous bytes until it is released (B2).
        unsafe { std::slice::from_raw_parts(self.buffer.buf.cast::<u8>(), len) }
    }

    pub(crate) fn read_only(&self) -> bool {
        self.buffer.readonly != 0
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: acquired in `of` and released only here (B2); the thread is attached, since `Raw` is neither Send nor kept.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.buffer) };
    }
}
