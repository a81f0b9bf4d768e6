//! Makes one list of many without looking at what is in them. One of the files that may use `unsafe`.
//!
//! # Invariants
//!
//! - J1. The lists are of the class itself and nobody else's, and the GIL is held throughout: nobody sees one between two
//!   steps, and no code of Python's runs amid them.
//! - J2. Each reference is in one list at any time: those that were copied are no longer in the list they are from.
//! - J3. A list has `allocated` places, of which the first are in use, as many as its size says. Where it has more, they are
//!   there for what is appended.
#![allow(unsafe_code, reason = "to take references over, instead of making others, there is no safe way")]

use std::mem::MaybeUninit;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

/// An empty list with room for so many things.
#[pyfunction]
pub(crate) fn roomy(py: Python<'_>, count: usize) -> PyResult<Bound<'_, PyList>> {
    // SAFETY: a new list, with that many places and nothing in them, or null with an exception set.
    let list = unsafe { ffi::PyList_New(ffi::Py_ssize_t::try_from(count)?) };
    // SAFETY: as it says: a new reference, or null with an exception set.
    let list = unsafe { Bound::from_owned_ptr_or_err(py, list) }?.cast_into::<PyList>()?;
    // SAFETY: no place is in use (J3).
    unsafe { set_len(&list, 0) };
    if count > 0 {
        // SAFETY: it is a list, which has this layout (J1).
        let places = unsafe { (*list.as_ptr().cast::<ffi::PyListObject>()).ob_item };
        let bytes = count * size_of::<*mut ffi::PyObject>();
        // SAFETY: that many bytes are the places of the list, none of which is in use (J3).
        let memory = unsafe { std::slice::from_raw_parts_mut(places.cast::<MaybeUninit<u8>>(), bytes) };
        pointsman_shm::use_large_pages(memory);
    }
    Ok(list)
}

/// Moves what is in `values` to the end of `into`, if there is room for it; whether there was.
///
/// Each thing would otherwise be touched twice, to count one reference more and one less, when it may have left the core's
/// cache.
#[pyfunction]
pub(crate) fn move_over(into: &Bound<'_, PyList>, values: &Bound<'_, PyList>) -> bool {
    let (there, count) = (into.len(), values.len());
    let whole = into.as_ptr().cast::<ffi::PyListObject>();
    // SAFETY: it is a list, which has this layout (J1).
    let room = usize::try_from(unsafe { (*whole).allocated }).unwrap_or(0).saturating_sub(there);
    if count > room || into.is(values) {
        return false;
    }
    if count == 0 {
        return true;
    }
    // SAFETY: as above; a list with room has places.
    let places = unsafe { (*whole).ob_item };
    // SAFETY: within the places, since there is room behind those in use (J3).
    let free = unsafe { places.add(there) };
    let part = values.as_ptr().cast::<ffi::PyListObject>();
    // SAFETY: as above.
    let from = unsafe { (*part).ob_item };
    // SAFETY: `count` places of one list are in use, and as many of the other are free (J3).
    unsafe { std::ptr::copy_nonoverlapping(from, free, count) };
    // SAFETY: those that were copied are in the other list now (J2).
    unsafe { set_len(values, 0) };
    // SAFETY: so many places are in use (J3).
    unsafe { set_len(into, there + count) };
    true
}

/// # Safety
///
/// That many places of the list are in use, by references that are nowhere else (J2, J3).
unsafe fn set_len(list: &Bound<'_, PyList>, len: usize) {
    let size = ffi::Py_ssize_t::try_from(len).unwrap_or(0);
    // SAFETY: a list begins with its size, and the caller answers for the rest.
    unsafe { (*list.as_ptr().cast::<ffi::PyVarObject>()).ob_size = size };
}
