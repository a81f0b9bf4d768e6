//! `asyncio.gather` of our futures without a task for each: a task costs more than the rest of the way of a short call.
//!
//! `gather` takes what `asyncio.isfuture` says is a future of the loop as it is, and makes a task of everything else. Ours is
//! no such future to anybody else: `wrap_future` and `run_in_executor` must make one of their own, whose callbacks run in
//! the loop, and who waits with a time limit must be able to give up on it. So it is one only when `gather` asks.
//!
//! # Does not know
//!
//! Where calls run, or how a loop is woken.
//!
//! # Invariants
//!
//! - J1. Whoever asks is known by its code, and so is the callback of `gather`; where either is not as expected, ours is no
//!   such future, and `gather` makes tasks.
//! - J2. The callback of `gather` is called on the loop's thread, and not before `gather` has returned.
//! - J3. The loop is looked up once for each call of `gather`, which is known by its frame: it asks whether a future is one,
//!   for its loop, and leaves its callback, for one future after the other. (Before CPython 3.14 each look-up is a system
//!   call.) The frame is kept until the loop's next turn: `gather` has returned by then.

use std::cell::RefCell;

use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::types::{PyFrameMethods, PyTuple};

use crate::bridge;
use crate::calling;
use crate::future::FutureCore;
use crate::once::{Once, name};
use crate::port::{self, Port};

static GATHER: Once<Option<Gather>> = Once::new();
static FORGET: Once<Py<PyAny>> = Once::new();

/// What `gather` has asked for last.
struct Asked {
    /// The future, by its address; nought once it has left its callback with it.
    future: usize,
    frame: Py<PyAny>,
    event_loop: Py<PyAny>,
}

thread_local! {
    static ASKED: RefCell<Option<Asked>> = const { RefCell::new(None) };
}

/// The code of `asyncio.gather`, and of the callback that it leaves with what it waits for.
struct Gather {
    code: Py<PyAny>,
    callback: Py<PyAny>,
}

fn gather(py: Python<'_>) -> Option<&Gather> {
    let found = GATHER.get_or_init(|| find(py).ok().flatten());
    found.as_ref()
}

fn find(py: Python<'_>) -> PyResult<Option<Gather>> {
    let code = py.import("asyncio.tasks")?.getattr("gather")?.getattr("__code__")?;
    for constant in code.getattr("co_consts")?.cast::<PyTuple>()? {
        let named = constant.getattr_opt("co_name")?;
        if named.is_some_and(|name| name.eq("_done_callback").unwrap_or(false)) {
            return Ok(Some(Gather { code: code.unbind(), callback: constant.unbind() }));
        }
    }
    Ok(None)
}

/// Whether it is `gather` that asks for this future, through `ensure_future` and `isfuture`, in a running loop (J1).
pub(crate) fn asks(future: &Bound<'_, FutureCore>) -> PyResult<bool> {
    let py = future.py();
    let frame = calling::frame(py).and_then(|frame| frame.outer()).and_then(|frame| frame.outer());
    let asking = frame.filter(|frame| gather(py).is_some_and(|gather| gather.code.is(frame.code())));
    let Some(frame) = asking.filter(|_| !ends_with_stop_iteration(future)) else { return Ok(false) };
    // One that is done may get no callback, which would take this away again.
    let name = if FutureCore::is_settled(future) { 0 } else { future.as_ptr().addr() };
    let known = ASKED.with_borrow_mut(|asked| {
        let asked = asked.as_mut().filter(|asked| asked.frame.is(&frame));
        asked.map(|asked| asked.future = name).is_some()
    });
    if known {
        return Ok(true);
    }
    let Some(event_loop) = bridge::running_loop(py)? else { return Ok(false) };
    let forget = FORGET.import(py, "pointsman._native", "forget_gather")?;
    event_loop.call_method1(name!(py, "call_soon"), (forget,))?;
    let asked = Asked { future: name, frame: frame.into_any().unbind(), event_loop: event_loop.unbind() };
    let before = ASKED.with_borrow_mut(|known| known.replace(asked));
    drop(before);
    Ok(true)
}

/// Forgets the frame of `gather`, which has returned by now, and with it the locals of who called it.
#[pyfunction]
pub(crate) fn forget_gather() {
    let asked = ASKED.with_borrow_mut(Option::take);
    drop(asked);
}

/// The loop that runs here, for `gather`, which has just asked for this future, and for others who read it.
pub(crate) fn running_loop<'py>(future: &Bound<'py, FutureCore>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, name) = (future.py(), future.as_ptr().addr());
    let known = ASKED.with_borrow(|asked| {
        asked.as_ref().filter(|asked| asked.future == name).map(|asked| asked.event_loop.clone_ref(py))
    });
    known.map_or_else(|| bridge::running_loop(py), |known| Ok(Some(known.into_bound(py))))
}

/// Whether a future is done, with an exception that no future of a loop takes.
fn ends_with_stop_iteration(future: &Bound<'_, FutureCore>) -> bool {
    let py = future.py();
    FutureCore::is_settled(future)
        && FutureCore::outcome_for_loop(future).is_err_and(|error| error.is_instance_of::<PyStopIteration>(py))
}

/// Whether this is the callback that `gather` leaves.
pub(crate) fn is_callback(callback: &Bound<'_, PyAny>) -> bool {
    // What has not been asked for has left none.
    let Some(code) = calling::code_of(callback) else { return false };
    GATHER.get().is_some_and(|found| found.as_ref().is_some_and(|gather| gather.callback.is(&code)))
}

/// One future that `gather` waits for.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct Gathered {
    future: Py<FutureCore>,
    callback: Py<PyAny>,
    event_loop: Py<PyAny>,
    port: Py<Port>,
}

impl Gathered {
    /// Has the callback called in the loop that runs here, when the future is done.
    pub(crate) fn watch(future: &Bound<'_, FutureCore>, callback: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = future.py();
        let event_loop = running_loop(future)?;
        // `gather` has what it wanted to know of this one: who asks the next time may be another.
        ASKED.with_borrow_mut(|asked| asked.as_mut().map(|asked| asked.future = 0));
        let Some(event_loop) = event_loop else {
            return callback.call1((future,)).map(drop);
        };
        let this = Self {
            future: future.clone().unbind(),
            callback: callback.clone().unbind(),
            port: port::of(&event_loop)?.unbind(),
            event_loop: event_loop.unbind(),
        };
        let this = Bound::new(py, this)?;
        if !FutureCore::tell_waiter(future, this.clone().into_any().unbind())? {
            return Self::arrive(&this);
        }
        Ok(())
    }

    /// The outcome is there: has the loop's thread call `wake` (J2).
    pub(crate) fn arrive(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get().port.get().wake(slf.py(), port::Sleeper::Gathered(slf.clone().unbind()))
    }

    /// Tells `gather`, on the loop's thread.
    pub(crate) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        let future = self.future.bind(py);
        let done: Bound<'_, PyAny> = match FutureCore::outcome_for_loop(future) {
            // No future of a loop takes it: another stands in for ours.
            Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
                let standing_in = self.event_loop.bind(py).call_method0(name!(py, "create_future"))?;
                let error = port::presentable(py, error).into_value(py);
                standing_in.call_method1(name!(py, "set_exception"), (error,))?;
                standing_in
            }
            _ => future.clone().into_any(),
        };
        self.callback.bind(py).call1((done,)).map(drop)
    }
}
