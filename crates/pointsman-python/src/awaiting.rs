//! What `await` of a future goes through: the iterator that a task drives, which is also the object that it waits for.
//!
//! A task of asyncio waits for anything that has `_asyncio_future_blocking`. So one object does for the loop's own future,
//! for the iterator over it, and for whoever is told of the outcome; and a task is woken without a place in the loop's line.
//!
//! # Does not know
//!
//! Where calls run, how a loop is woken ([`Port`] does), or how trio waits.
//!
//! # Invariants
//!
//! - W1. The wake-up that a task has left is taken out by whoever calls or schedules it, so it is called at most once.
//! - W2. Only `arrive` is called on other threads than the loop's.
//! - W3. No Python code runs, and no Python object is dropped, while the lock is held.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTraceback, PyType};

use crate::bridge;
use crate::future::FutureCore;
use crate::once::{Once, name};
use crate::port::{self, Port, Sleeper};

static CANCELLED: Once<Py<PyType>> = Once::new();

/// What a task wants to be called when its wait is over, and the context to call it in.
struct WakeUp {
    callback: Py<PyAny>,
    context: Option<Py<PyAny>>,
}

/// Where the wait takes place, while it lasts.
struct Place {
    event_loop: Py<PyAny>,
    port: Py<Port>,
    /// Takes back the place of a call of our own background loop, which another call has meanwhile.
    come_back: Option<Py<PyAny>>,
}

#[derive(Default)]
struct State {
    begun: bool,
    place: Option<Place>,
    wake_up: Option<WakeUp>,
    /// The message of the cancellation, if the wait was cancelled.
    cancelled: Option<Py<PyAny>>,
}

/// One `await` of one future.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct Awaiting {
    future: Py<FutureCore>,
    /// Set for the task that this is yielded to, which clears it.
    blocking: AtomicBool,
    state: Mutex<State>,
}

impl Awaiting {
    pub(crate) fn new(future: Py<FutureCore>) -> Self {
        Self { future, blocking: AtomicBool::new(false), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outcome is there: has the loop's thread call `wake`.
    pub(crate) fn arrive(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let port = slf.get().lock().place.as_ref().map(|place| place.port.clone_ref(py));
        // None when nobody waits any more.
        port.map_or(Ok(()), |port| port.get().wake(py, Sleeper::Task(slf.clone().unbind())))
    }

    /// Goes on with the task that waits, on the loop's thread.
    pub(crate) fn wake(slf: &Bound<'_, Self>) -> PyResult<()> {
        let wake_up = slf.get().lock().wake_up.take();
        let Some(WakeUp { callback, context }) = wake_up else { return Ok(()) };
        let py = slf.py();
        match context {
            Some(context) => context.call_method1(py, name!(py, "run"), (callback, slf))?,
            None => callback.call1(py, (slf,))?,
        };
        Ok(())
    }

    /// Has the outcome told to this object; false if it is there already.
    fn leave(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let (py, this) = (slf.py(), slf.get());
        let Some(event_loop) = bridge::running_loop(py)? else {
            return Err(PyRuntimeError::new_err("no running event loop"));
        };
        let port = port::of(&event_loop)?;
        let place = Place { event_loop: event_loop.clone().unbind(), port: port.unbind(), come_back: None };
        this.lock().place = Some(place);
        if !FutureCore::tell_waiter(this.future.bind(py), slf.clone().into_any().unbind())? {
            return Ok(false);
        }
        if let Some(release) = event_loop.getattr_opt(name!(py, "_pointsman_release"))? {
            let come_back = release.call0()?.unbind();
            if let Some(place) = &mut this.lock().place {
                place.come_back = Some(come_back);
            }
        }
        Ok(true)
    }

    /// Ends the wait, whether or not the outcome is there.
    fn end(&self, py: Python<'_>) -> PyResult<()> {
        let mut state = self.lock();
        let (place, wake_up) = (state.place.take(), state.wake_up.take());
        drop(state);
        drop(wake_up);
        if let Some(come_back) = place.and_then(|place| place.come_back) {
            come_back.call0(py)?;
        }
        Ok(())
    }

    /// What the `await` is worth: raises, as iterators return by raising.
    fn finish(&self, py: Python<'_>) -> PyErr {
        match FutureCore::outcome_for_loop(self.future.bind(py)) {
            Ok(value) => pyo3::exceptions::PyStopIteration::new_err((value,)),
            Err(error) => port::presentable(py, error),
        }
    }

    /// Takes the next step of the wait: gives itself to the task, or ends.
    fn step(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let begun = std::mem::replace(&mut this.lock().begun, true);
        if begun {
            this.end(py)?;
            if !FutureCore::is_settled(this.future.bind(py)) {
                return Err(PyRuntimeError::new_err("await was not used with a future: this task was woken too early"));
            }
        } else if !FutureCore::is_done_soon(this.future.bind(py)) && Self::leave(slf)? {
            // Relaxed: read by the task on this thread.
            this.blocking.store(true, Ordering::Relaxed);
            return Ok(slf.clone().into_any().unbind());
        }
        Err(this.finish(py))
    }
}

/// The class of exceptions that tells of a cancellation inside event loops.
pub(crate) fn cancelled(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    CANCELLED.import(py, "asyncio", "CancelledError")
}

/// The exception that `throw` is given, which may be a class, or a class and its argument.
fn thrown<'py>(
    kind: Bound<'py, PyAny>,
    value: Option<Bound<'py, PyAny>>,
    traceback: Option<Bound<'py, PyTraceback>>,
) -> PyResult<PyErr> {
    let py = kind.py();
    let error = match value {
        _ if kind.is_instance_of::<PyBaseException>() => kind,
        Some(value) if value.is_instance_of::<PyBaseException>() => value,
        Some(value) => kind.call1((value,))?,
        None => kind.call0()?,
    };
    let error = PyErr::from_value(error);
    if traceback.is_some() {
        error.set_traceback(py, traceback);
    }
    Ok(error)
}

#[pymethods]
impl Awaiting {
    // What makes it an iterator.

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Self::step(slf)
    }

    fn send(slf: &Bound<'_, Self>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        Self::step(slf)
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &self,
        py: Python<'_>,
        kind: Bound<'_, PyAny>,
        value: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyTraceback>>,
    ) -> PyResult<Py<PyAny>> {
        let error = thrown(kind, value, traceback)?;
        self.lock().begun = true;
        self.end(py)?;
        if error.matches(py, cancelled(py)?)? {
            self.future.call_method0(py, name!(py, "cancel"))?;
        }
        Err(error)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.lock().begun = true;
        self.end(py)
    }

    // What makes it a future to a task.

    #[getter(_asyncio_future_blocking)]
    fn is_blocking(&self) -> bool {
        self.blocking.load(Ordering::Relaxed)
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, blocking: bool) {
        self.blocking.store(blocking, Ordering::Relaxed);
    }

    fn get_loop(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let event_loop = self.lock().place.as_ref().map(|place| place.event_loop.clone_ref(py));
        event_loop.ok_or_else(|| PyRuntimeError::new_err("nothing waits for this future"))
    }

    #[pyo3(signature = (callback, *, context=None))]
    fn add_done_callback(&self, callback: Py<PyAny>, context: Option<Py<PyAny>>) {
        let replaced = self.lock().wake_up.replace(WakeUp { callback, context });
        drop(replaced);
    }

    /// Ends the wait with a `CancelledError` soon; false if it is over.
    #[pyo3(signature = (msg=None))]
    fn cancel(slf: &Bound<'_, Self>, msg: Option<Py<PyAny>>) -> PyResult<bool> {
        let py = slf.py();
        let mut state = slf.get().lock();
        let Some(wake_up) = state.wake_up.take() else { return Ok(false) };
        state.cancelled = Some(msg.unwrap_or_else(|| py.None()));
        let event_loop = state.place.as_ref().map(|place| place.event_loop.clone_ref(py));
        drop(state);
        let Some(event_loop) = event_loop else { return Ok(false) };
        let options = PyDict::new(py);
        if let Some(context) = wake_up.context {
            options.set_item(name!(py, "context"), context)?;
        }
        event_loop.bind(py).call_method(name!(py, "call_soon"), (wake_up.callback, slf), Some(&options))?;
        Ok(true)
    }

    /// What a task that was woken asks first: raises if the wait was cancelled.
    fn result(&self, py: Python<'_>) -> PyResult<()> {
        let cancellation = self.lock().cancelled.take();
        match cancellation {
            None => Ok(()),
            Some(message) if message.is_none(py) => Err(PyErr::from_value(cancelled(py)?.call0()?)),
            Some(message) => Err(PyErr::from_value(cancelled(py)?.call1((message,))?)),
        }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<wait for {}>", self.future.bind(py).repr()?))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.future)?;
        // Whoever holds the lock holds a reference, too.
        let Ok(state) = self.state.try_lock() else { return Ok(()) };
        if let Some(place) = &state.place {
            visit.call(&place.event_loop)?;
            visit.call(&place.port)?;
            visit.call(&place.come_back)?;
        }
        if let Some(wake_up) = &state.wake_up {
            visit.call(&wake_up.callback)?;
            visit.call(&wake_up.context)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let mut state = self.lock();
        let (place, wake_up) = (state.place.take(), state.wake_up.take());
        drop(state);
        drop((place, wake_up));
    }
}
