//! The future: thin until somebody needs what only the standard one has, then mirrored by it.
//!
//! `pointsman.Future` derives from [`FutureCore`] and from `concurrent.futures.Future`. While nobody adds a callback or
//! hands it to `wait` or `as_completed`, none of the standard part exists, which is what makes it cheap to make.
//!
//! # Does not know
//!
//! Pools. What a future needs of the place where its call runs is the trait [`Origin`].
//!
//! # Invariants
//!
//! - F1. The cell is the truth. The standard part, once made, is told of the outcome exactly once.
//! - F2. A future that is hidden from the garbage collector has no attributes, and nothing but its first decoded outcome is
//!   ever stored in its cell; it is shown before it gets one that the collector must look at.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use pyo3::exceptions::{PyTimeoutError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::awaiting::{self, Awaiting};
use crate::bridge;
use crate::cell::{Cell, Opened, Outcome, Stage};
use crate::gathering::{self, Gathered};
use crate::home::{self, Home};
use crate::instance;
use crate::once::Once;
use crate::outcome;
use crate::thread_call::ThreadCall;
use crate::waiting::{deadline_after, wait_sliced};

/// What a future needs of the place where its call runs.
pub(crate) trait Origin: Send + Sync {
    /// Where the outcome arrives.
    fn cell(&self) -> &Cell;
    /// Waits until the call of `future` is settled or the deadline has passed; or runs it here, where that is allowed. Called
    /// attached; detaches while it waits.
    fn wait(&self, future: &Bound<'_, FutureCore>, deadline: Option<Instant>) -> PyResult<bool>;
    /// Waits for a moment if the call is likely to be done in it; whether it is.
    fn glance(&self, _py: Python<'_>) -> bool {
        false
    }
    /// Cancels the call if it has not begun.
    fn cancel(&self, py: Python<'_>) -> bool;
    /// Stops the call though it runs; false where that cannot be done.
    fn kill(&self, py: Python<'_>) -> bool;
    /// Gives the call an outcome though it may run on; false where that cannot be done.
    fn fail(&self, _py: Python<'_>, _error: Py<PyAny>) -> bool {
        false
    }
    /// Where the call runs; it can end nowhere else.
    fn home(&self) -> Home;
    /// Brings in what has arrived, without waiting.
    fn refresh(&self, py: Python<'_>);
    /// Somebody wants to be told of the outcome by other means than [`Origin::wait`]; with `blocks`, this thread is likely
    /// to do nothing else until then.
    fn watch(&self, future: &Bound<'_, FutureCore>, blocks: bool) -> PyResult<()>;
    /// Whether a pool runs the call.
    fn is_served(&self) -> bool {
        true
    }
    /// The function's name, for messages; empty when it is not known any more.
    fn describe(&self, py: Python<'_>) -> String;
}

/// What a cancellation may be given.
#[rustfmt::skip]
enum Message { None, Given }

impl<'py> FromPyObject<'_, 'py> for Message {
    type Error = PyErr;

    fn extract(_object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self::Given)
    }
}

/// The native half of `pointsman.Future`.
#[pyclass(module = "pointsman._native", subclass, frozen)]
pub(crate) struct FutureCore {
    source: OnceLock<Source>,
}

/// How far the standard part of a future is; its cell says so.
const THIN: u8 = 0;
const INFLATING: u8 = 1;
const INFLATED: u8 = 2;

/// Where the call runs.
enum Source {
    /// On threads; beside the future, which the queue holds: all others would be four times as large.
    Threads(Box<ThreadCall>),
    Elsewhere(Arc<dyn Origin>),
}

/// A future that no pool serves: whoever made it sets its outcome.
struct Orphan(Cell);

impl Origin for Orphan {
    fn cell(&self) -> &Cell {
        &self.0
    }

    fn wait(&self, future: &Bound<'_, FutureCore>, deadline: Option<Instant>) -> PyResult<bool> {
        wait_sliced(future.py(), Home::here(), deadline, |limit| self.0.wait(limit))
    }

    fn cancel(&self, _py: Python<'_>) -> bool {
        false
    }

    fn kill(&self, _py: Python<'_>) -> bool {
        false
    }

    // Whoever has it may set it.
    fn home(&self) -> Home {
        Home::here()
    }

    fn refresh(&self, _py: Python<'_>) {}

    fn watch(&self, _future: &Bound<'_, FutureCore>, _blocks: bool) -> PyResult<()> {
        Ok(())
    }

    fn is_served(&self) -> bool {
        false
    }

    fn describe(&self, _py: Python<'_>) -> String {
        String::new()
    }
}

static FUTURE_TYPE: Once<Py<PyType>> = Once::new();
static STANDARD: Once<Py<PyType>> = Once::new();
static CANCELLED: Once<Py<PyType>> = Once::new();
static WAIT_IN_TRIO: Once<Py<PyAny>> = Once::new();

fn standard(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    STANDARD.import(py, "concurrent.futures", "Future")
}

/// Makes a `pointsman.Future` of a call.
pub(crate) fn make(py: Python<'_>, origin: Arc<dyn Origin>) -> PyResult<Bound<'_, FutureCore>> {
    made(py, Source::Elsewhere(origin))
}

/// As [`make`], hidden from the garbage collector until it holds something that could refer to it (F2).
pub(crate) fn make_hidden(py: Python<'_>, origin: Arc<dyn Origin>) -> PyResult<Bound<'_, FutureCore>> {
    let future = make(py, origin)?;
    instance::hide(&future);
    Ok(future)
}

/// Makes a `pointsman.Future` that holds a call on threads, hidden likewise.
pub(crate) fn make_holding(py: Python<'_>, call: ThreadCall) -> PyResult<Bound<'_, FutureCore>> {
    let future = made(py, Source::Threads(Box::new(call)))?;
    instance::hide(&future);
    Ok(future)
}

fn made(py: Python<'_>, source: Source) -> PyResult<Bound<'_, FutureCore>> {
    let class = FUTURE_TYPE.import(py, "pointsman._future", "Future")?;
    let future = instance::bare(class)?.cast_into::<FutureCore>()?;
    // A fresh object has none yet, so this cannot fail.
    let _ = future.get().source.set(source);
    Ok(future)
}

/// Tells a watcher of its outcome: a mirrored future, or a wait in an event loop. What a callback of the user's raises is
/// reported by the standard future itself.
pub(crate) fn tell(py: Python<'_>, watcher: &Py<PyAny>) {
    let watcher = watcher.bind(py);
    let told = match watcher.cast_exact::<Awaiting>() {
        Ok(awaiting) => Awaiting::arrive(awaiting),
        Err(_) if watcher.is_exact_instance_of::<Gathered>() => {
            watcher.cast::<Gathered>().map_err(PyErr::from).and_then(Gathered::arrive)
        }
        Err(_) => watcher.cast::<FutureCore>().map_err(PyErr::from).and_then(FutureCore::mirror),
    };
    if let Err(error) = told {
        error.write_unraisable(py, Some(watcher));
    }
}

#[pymethods]
impl FutureCore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self { source: OnceLock::new() }
    }

    /// Returns the call's value, or raises what it raised.
    #[pyo3(signature = (timeout=None))]
    fn result(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        Self::wait_settled(slf, timeout)?;
        Self::outcome(slf).map_err(|error| PyErr::from_value(error.into_bound(slf.py())))
    }

    /// Returns the exception that the call raised, or None.
    #[pyo3(signature = (timeout=None))]
    fn exception(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<Option<Py<PyAny>>> {
        Self::wait_settled(slf, timeout)?;
        match Self::outcome(slf) {
            Err(given_up) if Self::cancelled(slf) => Err(PyErr::from_value(given_up.into_bound(slf.py()))),
            outcome => Ok(outcome.err()),
        }
    }

    /// Whether the call is finished or cancelled.
    fn done(slf: &Bound<'_, Self>) -> bool {
        Self::is_settled(slf)
    }

    /// Whether the call runs now.
    fn running(slf: &Bound<'_, Self>) -> bool {
        Self::stage_now(slf) == Stage::Running as u8
    }

    /// Whether the call was cancelled.
    fn cancelled(slf: &Bound<'_, Self>) -> bool {
        Self::stage_now(slf) == Stage::Cancelled as u8
    }

    /// Cancels the call if it has not begun; with `kill`, stops it even if it runs, where that can be done.
    /// With a message, as `gather` gives one, the future is cancelled even if the call runs on.
    #[pyo3(signature = (*, kill=false, msg=Message::None), text_signature = "($self, *, kill=False)")]
    fn cancel(slf: &Bound<'_, Self>, kill: bool, msg: Message) -> PyResult<bool> {
        let py = slf.py();
        if Self::stage_now(slf) == Stage::Cancelled as u8 {
            return Ok(true);
        }
        let origin = slf.get().origin();
        let cancelled =
            if origin.is_served() { origin.cancel(py) || (kill && origin.kill(py)) } else { Self::cancel_plain(slf)? };
        if cancelled || matches!(msg, Message::None) || Self::is_settled(slf) {
            return Ok(cancelled);
        }
        let (first, watchers) = origin.cell().settle(Outcome::Cancelled);
        for watcher in watchers {
            tell(py, &watcher);
        }
        Ok(first)
    }

    // What `asyncio.gather` asks of a future of its loop.
    #[getter(_asyncio_future_blocking)]
    fn is_for_gather(slf: &Bound<'_, Self>) -> PyResult<Option<bool>> {
        Ok(gathering::asks(slf)?.then_some(false))
    }

    #[getter(_loop)]
    fn running_loop(slf: &Bound<'_, Self>) -> PyResult<Option<Py<PyAny>>> {
        Ok(gathering::running_loop(slf)?.map(Bound::unbind))
    }

    #[getter(_cancel_message)]
    fn cancel_message(_slf: &Bound<'_, Self>) {}

    fn _make_cancelled_error(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        awaiting::cancelled(slf.py())?.call0().map(Bound::unbind)
    }

    /// Calls `fn` with this future when the call is finished or cancelled; at once if it is.
    #[pyo3(name = "add_done_callback")]
    fn add_done_callback(slf: &Bound<'_, Self>, r#fn: &Bound<'_, PyAny>) -> PyResult<()> {
        if gathering::is_callback(r#fn) {
            return Gathered::watch(slf, r#fn);
        }
        Self::inflate(slf, false)?;
        standard(slf.py())?.call_method1("add_done_callback", (slf, r#fn))?;
        Ok(())
    }

    /// Marks the future as running, as executors do; False if it was cancelled.
    fn set_running_or_notify_cancel(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::inflate(slf, false)?;
        let running = standard(slf.py())?.call_method1("set_running_or_notify_cancel", (slf,))?.extract()?;
        if running {
            slf.get().cell().begin();
        }
        Ok(running)
    }

    /// Sets the value, as executors do.
    fn set_result(slf: &Bound<'_, Self>, result: Py<PyAny>) -> PyResult<()> {
        Self::set(slf, "set_result", Outcome::Value(result))
    }

    /// Sets the exception, as executors do.
    fn set_exception(slf: &Bound<'_, Self>, exception: Py<PyAny>) -> PyResult<()> {
        Self::set(slf, "set_exception", Outcome::Raised(exception))
    }

    /// Gives the future an exception though its call may run on; False if it is done already.
    fn _fail(slf: &Bound<'_, Self>, error: Py<PyAny>) -> bool {
        Self::fail(slf, error)
    }

    /// Waits for the outcome in a running loop of asyncio or trio; cancelling the waiting task cancels the call.
    fn __await__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if bridge::in_trio(py)? {
            return WAIT_IN_TRIO
                .import(py, "pointsman._trioside", "wait")?
                .call1((slf,))?
                .call_method0("__await__")
                .map(Bound::unbind);
        }
        Ok(Py::new(py, Awaiting::new(slf.clone().unbind()))?.into_any())
    }

    /// Makes the standard part, for those who read it directly.
    fn _inflate(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::inflate(slf, true)
    }

    /// Whether the call is another process's, from which this one was forked.
    fn _is_left(&self) -> bool {
        self.origin().home().is_left()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let stage = match Self::stage_now(slf) {
            0 => "pending",
            1 => "running",
            2 => "cancelled",
            _ => "finished",
        };
        let name = slf.get().origin().describe(slf.py());
        let name = if name.is_empty() { name } else { format!(" of {name}") };
        let brought = slf.get().cell().try_look(|outcome| outcome.and_then(|outcome| outcome.brought(slf.py())));
        let brought = brought.flatten().unwrap_or_default();
        Ok(format!("<{} at {:#x}{name} state={stage}{brought}>", slf.get_type().name()?, slf.as_ptr() as usize))
    }

    fn __setattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        instance::show(slf);
        instance::set_attribute(slf, name, Some(value))
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyAny>) -> PyResult<()> {
        instance::set_attribute(slf, name, None)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(origin) = self.known() else {
            return Ok(());
        };
        // The mirror is not visited: a pool that runs the call refers to the cell, too, and will tell it.
        let visited = origin.cell().try_look(|outcome| match outcome {
            Some(Outcome::Value(object) | Outcome::Raised(object)) => visit.call(object),
            _ => Ok(()),
        });
        visited.unwrap_or(Ok(()))
    }

    fn __clear__(&self) {
        let cell = self.known().map(Origin::cell);
        drop(cell.filter(|cell| cell.is_settled()).and_then(Cell::take));
    }
}

impl Source {
    fn origin(&self) -> &dyn Origin {
        match self {
            Self::Threads(call) => &**call,
            Self::Elsewhere(origin) => &**origin,
        }
    }
}

impl FutureCore {
    fn origin(&self) -> &dyn Origin {
        self.source.get_or_init(|| Source::Elsewhere(Arc::new(Orphan(Cell::new())))).origin()
    }

    /// The same, if it is known by now.
    fn known(&self) -> Option<&dyn Origin> {
        self.source.get().map(Source::origin)
    }

    /// The call, if it runs on threads.
    pub(crate) fn thread_call(&self) -> Option<&ThreadCall> {
        match self.source.get() {
            Some(Source::Threads(call)) => Some(call),
            _ => None,
        }
    }

    fn cell(&self) -> &Cell {
        self.origin().cell()
    }

    fn stage_now(slf: &Bound<'_, Self>) -> u8 {
        let origin = slf.get().origin();
        let stage = origin.cell().stage();
        if matches!(stage, Stage::Pending | Stage::Running) {
            Self::refresh(slf);
            return origin.cell().stage() as u8;
        }
        stage as u8
    }

    /// Brings in what has arrived. In a forked child nothing will: there the call of its parent ends with an error.
    fn refresh(slf: &Bound<'_, Self>) {
        let (py, origin) = (slf.py(), slf.get().origin());
        if !origin.home().is_left() {
            return origin.refresh(py);
        }
        instance::show(slf);
        let outcome = Outcome::Raised(home::left(py).into_value(py).into_any());
        for watcher in origin.cell().settle(outcome).1 {
            tell(py, &watcher);
        }
    }

    /// Ends the call of a parent, which nobody here will make, with an error, unless it is over; whether it is a parent's.
    fn forsake(slf: &Bound<'_, Self>) -> bool {
        slf.get().origin().home().is_left() && Self::is_settled(slf)
    }

    /// Gives the call an outcome though it may run on; false where that cannot be done, or it has one.
    pub(crate) fn fail(slf: &Bound<'_, Self>, error: Py<PyAny>) -> bool {
        instance::show(slf);
        slf.get().origin().fail(slf.py(), error)
    }

    /// Has `waiter` told of the outcome; false when it is there already.
    pub(crate) fn tell_waiter(slf: &Bound<'_, Self>, waiter: Py<PyAny>) -> PyResult<bool> {
        let origin = slf.get().origin();
        if Self::forsake(slf) || origin.cell().watch(waiter).is_some() {
            return Ok(false);
        }
        origin.watch(slf, true)?;
        Ok(true)
    }

    /// Whether the call is done, or is after a moment in which others run; for event loops, where waiting costs more.
    pub(crate) fn is_done_soon(slf: &Bound<'_, Self>) -> bool {
        Self::is_settled(slf) || slf.get().origin().glance(slf.py())
    }

    pub(crate) fn is_settled(slf: &Bound<'_, Self>) -> bool {
        Self::stage_now(slf) >= Stage::Cancelled as u8
    }

    /// The outcome of a settled call, as code in an event loop expects it.
    pub(crate) fn outcome_for_loop(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if slf.get().cell().stage() == Stage::Cancelled {
            // Another class than the one of `concurrent.futures`.
            return Err(PyErr::from_value(awaiting::cancelled(py)?.call0()?));
        }
        Self::outcome(slf).map_err(|error| PyErr::from_value(error.into_bound(py)))
    }

    fn wait_settled(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<()> {
        let origin = slf.get().origin();
        if origin.cell().is_settled() || Self::forsake(slf) || origin.wait(slf, deadline_after(timeout)?)? {
            Ok(())
        } else {
            Err(PyTimeoutError::new_err(()))
        }
    }

    /// The decoded outcome; decoding happens at the first call.
    fn outcome(slf: &Bound<'_, Self>) -> Result<Py<PyAny>, Py<PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let outcome = loop {
            let opened = this.cell().open(|outcome| match outcome {
                Outcome::Value(value) => Some(Ok(value.clone_ref(py))),
                Outcome::Raised(error) => Some(Err(error.clone_ref(py))),
                _ => None,
            });
            match opened {
                Opened::Found(ready) => return ready,
                Opened::Taken(outcome) => break outcome,
                Opened::Gone => py.detach(std::thread::yield_now),
            }
        };
        let cancelled = matches!(outcome, Outcome::Cancelled);
        let decoded = outcome::decode(py, outcome, &|| this.origin().describe(py), None);
        let keep = match &decoded {
            Ok(value) => {
                if instance::may_refer(value.bind(py)) {
                    instance::show(slf);
                }
                Outcome::Value(value.clone_ref(py))
            }
            Err(_) if cancelled => Outcome::Cancelled,
            Err(error) => {
                instance::show(slf);
                Outcome::Raised(error.clone_ref(py))
            }
        };
        drop(this.cell().keep(keep));
        decoded
    }

    fn inflate(slf: &Bound<'_, Self>, blocks: bool) -> PyResult<()> {
        let py = slf.py();
        Self::forsake(slf);
        let this = slf.get();
        let state = &this.cell().standard;
        loop {
            // Acquire: pairs with the Release stores below; one thread makes the standard part, others wait for it.
            match state.compare_exchange(THIN, INFLATING, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => break,
                Err(INFLATED) => return Ok(()),
                Err(_) => py.detach(std::thread::yield_now),
            }
        }
        instance::show(slf);
        let made = standard(py).and_then(|class| class.call_method1("__init__", (slf,)));
        // Release: pairs with the Acquire above.
        state.store(if made.is_ok() { INFLATED } else { THIN }, Ordering::Release);
        made?;
        match this.cell().watch(slf.clone().into_any().unbind()) {
            Some(_) => Self::mirror(slf),
            None => this.origin().watch(slf, blocks),
        }
    }

    /// Copies the outcome into the standard part (F1).
    fn mirror(slf: &Bound<'_, Self>) -> PyResult<()> {
        let py = slf.py();
        let class = standard(py)?;
        if slf.get().cell().stage() == Stage::Cancelled {
            if class.call_method1("cancel", (slf,))?.extract()? {
                class.call_method1("set_running_or_notify_cancel", (slf,))?;
            } else {
                // It had been said to run, and somebody gave up on it all the same: who waits hears of that, too.
                let given_up = CANCELLED.import(py, "concurrent.futures", "CancelledError")?.call0()?;
                class.call_method1("set_exception", (slf, given_up))?;
            }
            return Ok(());
        }
        match Self::outcome(slf) {
            Ok(value) => class.call_method1("set_result", (slf, value))?,
            Err(error) => class.call_method1("set_exception", (slf, error))?,
        };
        Ok(())
    }

    /// Sets an outcome from outside, on a future that no pool serves.
    fn set(slf: &Bound<'_, Self>, method: &str, outcome: Outcome) -> PyResult<()> {
        let py = slf.py();
        Self::inflate(slf, false)?;
        let argument = match &outcome {
            Outcome::Value(object) | Outcome::Raised(object) => object.clone_ref(py),
            _ => return Err(PyTypeError::new_err("a value or an exception is needed")),
        };
        let cell = slf.get().cell();
        let settled = cell.is_settled();
        // The mirror is told by the standard method, which also refuses a second outcome.
        let watchers = if settled { Vec::new() } else { cell.settle(outcome).1 };
        standard(py)?.call_method1(method, (slf, argument))?;
        Self::tell_others(slf, &watchers);
        Ok(())
    }

    fn tell_others(slf: &Bound<'_, Self>, watchers: &[Py<PyAny>]) {
        for watcher in watchers.iter().filter(|watcher| !watcher.is(slf)) {
            tell(slf.py(), watcher);
        }
    }

    fn cancel_plain(slf: &Bound<'_, Self>) -> PyResult<bool> {
        Self::inflate(slf, false)?;
        // The cell first (F1): callbacks, which the standard method calls, may ask.
        let Ok((watchers, _)) = slf.get().cell().cancel_pending() else {
            return Ok(false);
        };
        let cancelled = standard(slf.py())?.call_method1("cancel", (slf,))?.extract()?;
        Self::tell_others(slf, &watchers);
        Ok(cancelled)
    }
}

impl Drop for FutureCore {
    fn drop(&mut self) {
        // Nobody else looks at the outcome, but others may keep the cell for some time.
        if let Some(Source::Elsewhere(origin)) = self.source.get() {
            drop(Some(origin.cell()).filter(|cell| cell.is_settled()).and_then(Cell::take));
        }
    }
}
