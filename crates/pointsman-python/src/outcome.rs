//! From what a worker sent to the value or exception that a caller sees.
//!
//! # Does not know
//!
//! How the bytes travelled. Exceptions are built by `pointsman._outcome`, the only place that knows their classes.

use pointsman_shm::LaneMemory;
use pyo3::prelude::*;
use std::sync::Arc;

use crate::cell::Outcome;
use crate::codec::Reader;
use crate::once::Once;
use crate::sealed::Recorded;

/// Reply tags, shared with the worker.
pub(crate) const VALUE: u8 = 0;
pub(crate) const RAISED: u8 = 1;

static MODULE: Once<Py<PyModule>> = Once::new();

fn module(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    Ok(MODULE.get_or_try_init(|| py.import("pointsman._outcome").map(Bound::unbind))?.bind(py))
}

/// The value, or the exception, of an outcome. `name` and `index` say which call it was, should that be asked.
pub(crate) fn decode(
    py: Python<'_>,
    outcome: Outcome,
    name: &dyn Fn() -> String,
    index: Option<usize>,
) -> Result<Py<PyAny>, Py<PyAny>> {
    let built = match outcome {
        Outcome::Value(value) => return Ok(value),
        Outcome::Raised(error) => return Err(error),
        Outcome::Reply(reply) => {
            return reply.open(|tag, bytes, lane| decode_reply(py, tag, bytes, lane, name, index));
        }
        Outcome::Cancelled => module(py).and_then(|module| module.call_method0("cancelled")),
        Outcome::Died(death) => {
            let (cause, number) = crate::death::cause(&death);
            module(py).and_then(|module| module.call_method1("worker_died", (cause, number, death.pid, name(), index)))
        }
    };
    Err(exception(py, built))
}

/// The value, or the exception, in the bytes that a worker sent.
pub(crate) fn decode_reply(
    py: Python<'_>,
    tag: u8,
    bytes: &[u8],
    lane: &Arc<LaneMemory>,
    name: &dyn Fn() -> String,
    index: Option<usize>,
) -> Result<Py<PyAny>, Py<PyAny>> {
    let load = Recorded::new(lane);
    let value = Reader::new(bytes, &load).value(py);
    if value.is_err() {
        load.release_rest(bytes);
    }
    let built = match value {
        Ok(value) if tag == VALUE => return Ok(value.unbind()),
        Ok(packed) => module(py).and_then(|module| module.call_method1("unpack_exception", (packed, name(), index))),
        Err(error) => module(py)
            .and_then(|module| module.call_method1("unreadable_result", (error.into_value(py), name(), index))),
    };
    Err(exception(py, built))
}

/// The exception that was built, or the one that building it raised.
fn exception(py: Python<'_>, built: PyResult<Bound<'_, PyAny>>) -> Py<PyAny> {
    match built {
        Ok(error) => error.unbind(),
        Err(error) => error.into_value(py).into_any(),
    }
}
