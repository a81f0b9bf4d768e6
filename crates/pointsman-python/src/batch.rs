//! Takes back the part of a batch that a loop has not reached.
//!
//! # Invariants
//!
//! - H1. Under the GIL nothing else runs between reading the position and cutting the list, since neither step runs
//!   Python code; so an item is either the loop's or handed back, never both.

use crate::once::name;
use pyo3::prelude::*;
use pyo3::types::{PyList, PySlice};

/// Removes from `items`, a list or a range, what `iterator`, an iterator over it, has not yet given out, and returns it.
/// A range stays as it is, and its iterator ends.
///
/// The loop that uses the iterator ends after the item that it has. Only for interpreters with a GIL (H1).
#[pyfunction]
pub(crate) fn cut<'py>(items: &Bound<'py, PyAny>, iterator: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = items.py();
    let left: usize = iterator.call_method0(name!(py, "__length_hint__"))?.extract()?;
    let len = items.len()?;
    let at = len.saturating_sub(left);
    let Ok(items) = items.cast::<PyList>() else {
        iterator.call_method1(name!(py, "__setstate__"), (len,))?;
        let rest = items.get_item(PySlice::new(py, at.try_into()?, len.try_into()?, 1))?;
        return py.get_type::<PyList>().call1((rest,));
    };
    let rest = items.get_slice(at, len);
    items.set_slice(at, len, PyList::empty(py).as_any())?;
    Ok(rest.into_any())
}

/// Ends `iterator`, one of the whole list, and returns what it has not yet given out of the items before place `end`.
///
/// As for [`cut`], only for interpreters with a GIL (H1).
#[pyfunction]
pub(crate) fn cut_before<'py>(
    whole: &Bound<'py, PyList>,
    iterator: &Bound<'py, PyAny>,
    end: usize,
) -> PyResult<Bound<'py, PyList>> {
    let py = whole.py();
    let left: usize = iterator.call_method0(name!(py, "__length_hint__"))?.extract()?;
    let at = whole.len().saturating_sub(left);
    iterator.call_method1(name!(py, "__setstate__"), (whole.len(),))?;
    Ok(if at < end { whole.get_slice(at, end) } else { PyList::empty(py) })
}
