//! Takes back the part of a batch that a loop has not reached.
//!
//! # Invariants
//!
//! - H1. Under the GIL nothing else runs between reading the position and cutting the list, since neither step runs
//!   Python code; so an item is either the loop's or handed back, never both.

use pyo3::prelude::*;
use pyo3::types::PyList;

/// Removes from `items` what `iterator`, an iterator over that list, has not yet given out, and returns it.
///
/// The loop that uses the iterator ends after the item that it has. Only for interpreters with a GIL (H1).
#[pyfunction]
pub(crate) fn cut<'py>(items: &Bound<'py, PyList>, iterator: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
    let py = items.py();
    let left: usize = iterator.call_method0(pyo3::intern!(py, "__length_hint__"))?.extract()?;
    let len = items.len();
    let at = len.saturating_sub(left);
    let rest = items.get_slice(at, len);
    items.set_slice(at, len, PyList::empty(py).as_any())?;
    Ok(rest)
}
