//! Carries calls of plain functions from an event loop to threads, and their outcomes back: one wake of a thread and one
//! wake of the loop for all that gather meanwhile.
//!
//! A thread serves a port for as long as it holds calls. While more are left it asks for one more thread, and that one for
//! the next: calls that block are spread over threads, calls that do not are all run by the first.
//!
//! # Does not know
//!
//! Which loop it is, or how many threads there may be. Asking for a thread, and waking the loop where that has no
//! descriptor to watch, are functions that it was given.
//!
//! # Invariants
//!
//! - P1. Every outcome that is put in is handed to its future by exactly one `drain`, on the loop's thread.
//! - P2. Whoever puts something into an empty list of arrivals wakes the loop after that, and the wake is taken back only
//!   with the last of them: while something has arrived, a drain will follow. Also one of a loop that is turned inside a
//!   drain, by a task that it goes on with.
//! - P3. No Python code runs, and no Python object is dropped, while a lock is held.
//! - P4. A call is begun by the one who takes its body out, and so is run once or cancelled, never both.
//! - P5. While calls wait, a thread that serves is running or has been asked for.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::awaiting::Awaiting;
use crate::bridge;
use crate::calling;
use crate::context::Context;
use crate::ending::detached;
use crate::gathering::Gathered;
use crate::once::{Once, name};

/// How long a thread that has run out of calls looks for the next before it goes to sleep, if the last came that soon.
/// A sleeping thread takes about 20 us to wake (FEASIBILITY A); what comes later than twice that gains little.
const LINGER: Duration = Duration::from_micros(50);

/// What has come back to the loop.
enum Arrival {
    Outcome(Arrived),
    /// A future that somebody in the loop waits for is done.
    Wake(Sleeper),
}

/// Who waits for one of our futures in the loop.
pub(crate) enum Sleeper {
    Task(Py<Awaiting>),
    Gathered(Py<Gathered>),
}

static PORT_OF: Once<Py<PyAny>> = Once::new();

struct Arrived {
    future: Py<PyAny>,
    /// None for a call that was cancelled elsewhere.
    outcome: Option<PyResult<Py<PyAny>>>,
    /// The variables before and after the call, if it changed any.
    changed: Option<(Context, Context)>,
}

#[derive(Default)]
struct Waiting {
    calls: VecDeque<Py<LoopCall>>,
    /// Whether a thread has been asked for that has not begun to serve.
    asked: bool,
    /// Threads that look for calls without being asked.
    lingering: usize,
}

/// Where the calls of one event loop leave, and their outcomes arrive.
#[pyclass(module = "pointsman._native", frozen, weakref)]
pub(crate) struct Port {
    waiting: Mutex<Waiting>,
    arrived: Mutex<VecDeque<Arrival>>,
    bell: Bell,
    /// `ask(serve)` sees to it that a thread calls `serve`.
    ask: Py<PyAny>,
    future: Py<PyAny>,
    future_options: Py<PyDict>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Port {
    /// `future` makes a future when called with `options`. Without `wake` the loop is to watch the descriptor `fileno`.
    #[new]
    fn new(future: Py<PyAny>, options: Py<PyDict>, ask: Py<PyAny>, wake: Option<Py<PyAny>>) -> PyResult<Self> {
        let bell = match wake {
            Some(wake) => Bell::Function(wake),
            None => Bell::descriptor()?,
        };
        Ok(Self { waiting: Mutex::default(), arrived: Mutex::default(), bell, ask, future, future_options: options })
    }

    /// The descriptor that can be read when something has arrived.
    fn fileno(&self) -> PyResult<i32> {
        self.bell.fileno()
    }

    /// Lets a thread call `function`, and returns the future of its outcome.
    fn submit<'py>(
        slf: &Bound<'py, Self>,
        function: Py<PyAny>,
        args: Py<PyTuple>,
        kwargs: Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let future = this.future.bind(py).call((), Some(this.future_options.bind(py)))?;
        let body = Body {
            function,
            args,
            kwargs: (!kwargs.is_empty()).then(|| kwargs.unbind()),
            context: Context::copy_whole(py)?,
            future: future.clone().unbind(),
        };
        let call = Py::new(py, LoopCall { body: Mutex::new(Some(body)) })?;
        future.setattr(name!(py, "call"), &call)?;
        let ask = {
            let mut waiting = lock(&this.waiting);
            waiting.calls.push_back(call);
            let ask = !waiting.asked && waiting.lingering == 0;
            waiting.asked |= ask;
            ask
        };
        if ask {
            Self::ask(slf)?;
        }
        Ok(future)
    }

    /// Runs calls until none is left. The body of a thread that was asked for.
    fn serve(slf: &Bound<'_, Self>) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        lock(&this.waiting).asked = false;
        loop {
            let (call, ask) = {
                let mut waiting = lock(&this.waiting);
                let call = waiting.calls.pop_front();
                let ask = !waiting.calls.is_empty() && !waiting.asked && waiting.lingering == 0;
                waiting.asked |= ask;
                (call, ask)
            };
            if ask {
                Self::ask(slf)?;
            }
            match call {
                Some(call) => this.run(py, call.get())?,
                None => {
                    if !this.linger(py) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Sends the outcome of a finished `concurrent.futures.Future` to `future`.
    fn forward(&self, py: Python<'_>, future: Py<PyAny>, finished: &Bound<'_, PyAny>) -> PyResult<()> {
        let cancelled = finished.call_method0(name!(py, "cancelled"))?.is_truthy()?;
        let outcome = (!cancelled).then(|| finished.call_method0(name!(py, "result")).map(Bound::unbind));
        self.put(py, Arrival::Outcome(Arrived { future, outcome, changed: None }))
    }

    /// Gives every future its outcome that has arrived, and goes on with every task. Called on the loop's thread.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let gathered = lock(&self.arrived).len();
        if gathered > 1 {
            self.bell.ring_on(py)?;
        }
        for _ in 0..gathered {
            match self.next_arrival() {
                Some(Arrival::Outcome(arrived)) => arrived.hand_over(py)?,
                Some(Arrival::Wake(Sleeper::Task(awaiting))) => Awaiting::wake(awaiting.bind(py))?,
                Some(Arrival::Wake(Sleeper::Gathered(gathered))) => gathered.get().wake(py)?,
                None => break,
            }
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.future_options)
    }
}

impl Arrived {
    fn hand_over(self, py: Python<'_>) -> PyResult<()> {
        let future = self.future.bind(py);
        if let Some((before, after)) = self.changed {
            future.setattr(name!(py, "changed"), (before.object(py)?, after.object(py)?))?;
        }
        let told = match self.outcome {
            None => future.call_method0(name!(py, "cancel")),
            Some(Ok(value)) => future.call_method1(name!(py, "set_result"), (value,)),
            Some(Err(error)) => {
                let error = presentable(py, error).into_value(py);
                future.call_method1(name!(py, "set_exception"), (error,))
            }
        };
        // Otherwise it was cancelled meanwhile, and nobody waits for it.
        match told {
            Err(error) if !future.call_method0(name!(py, "done"))?.is_truthy()? => Err(error),
            _ => Ok(()),
        }
    }
}

/// The port of a loop, made when it is first asked for.
pub(crate) fn of<'py>(event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Port>> {
    let py = event_loop.py();
    let port = match event_loop.getattr_opt(name!(py, "_pointsman_port"))? {
        Some(port) => port,
        None => PORT_OF.import(py, "pointsman._loopside", "port_of")?.call1((event_loop,))?,
    };
    Ok(port.cast_into()?)
}

/// An exception that a future of asyncio takes: a `StopIteration` would end whoever awaits it without a word.
pub(crate) fn presentable(py: Python<'_>, error: PyErr) -> PyErr {
    if !error.is_instance_of::<PyStopIteration>(py) {
        return error;
    }
    let standing_for = PyRuntimeError::new_err("the function raised StopIteration");
    standing_for.set_cause(py, Some(error));
    standing_for
}

impl Port {
    fn ask(slf: &Bound<'_, Self>) -> PyResult<()> {
        let asked = slf.get().ask.bind(slf.py()).call1((slf.getattr(name!(slf.py(), "serve"))?,));
        if asked.is_err() {
            lock(&slf.get().waiting).asked = false;
        }
        asked.map(|_| ())
    }

    /// Waits a moment for the next call; false if none came, or another thread waits for it already.
    fn linger(&self, py: Python<'_>) -> bool {
        {
            let mut waiting = lock(&self.waiting);
            if waiting.lingering > 0 || waiting.asked {
                return false;
            }
            waiting.lingering = 1;
        }
        detached(py, || {
            let until = Instant::now() + LINGER;
            loop {
                let mut waiting = lock(&self.waiting);
                let found = !waiting.calls.is_empty();
                if found || Instant::now() >= until {
                    waiting.lingering = 0;
                    return found;
                }
                drop(waiting);
                std::thread::yield_now();
            }
        })
    }

    fn run(&self, py: Python<'_>, call: &LoopCall) -> PyResult<()> {
        let Some(Body { function, args, kwargs, context, future }) = call.take() else {
            return Ok(());
        };
        let before = context.copy(py)?;
        let outcome = context.run(py, || {
            function.bind(py).call(args.bind(py), kwargs.as_ref().map(|kwargs| kwargs.bind(py))).map(Bound::unbind)
        });
        let changed = if context.equals(py, &before)? { None } else { Some((before, context)) };
        self.put(py, Arrival::Outcome(Arrived { future, outcome: Some(outcome), changed }))
    }

    fn put(&self, py: Python<'_>, arrival: Arrival) -> PyResult<()> {
        let first = {
            let mut arrived = lock(&self.arrived);
            arrived.push_back(arrival);
            arrived.len() == 1
        };
        if first { self.bell.ring(py) } else { Ok(()) }
    }

    /// Has the loop go on with whoever waits for a future that is done.
    pub(crate) fn wake(&self, py: Python<'_>, sleeper: Sleeper) -> PyResult<()> {
        self.put(py, Arrival::Wake(sleeper))
    }

    fn next_arrival(&self) -> Option<Arrival> {
        let mut arrived = lock(&self.arrived);
        if arrived.len() <= 1 {
            self.bell.silence();
        }
        arrived.pop_front()
    }
}

/// The way of one plain function's calls out of event loops: straight to the loop's port once nothing more is to be
/// learnt of the function's code, and until then through `slow(loop, args, kwargs)`.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct WayOut {
    function: Py<PyAny>,
    slow: Py<PyAny>,
    settled: Mutex<Option<Py<PyAny>>>,
}

#[pymethods]
impl WayOut {
    #[new]
    fn new(function: Py<PyAny>, slow: Py<PyAny>) -> Self {
        Self { function, slow, settled: Mutex::new(None) }
    }

    /// Says that calls of this code stay on threads.
    fn settle(&self, code: Py<PyAny>) {
        drop(lock(&self.settled).replace(code));
    }

    /// Calls the function: here in plain code, else elsewhere, for something that can be awaited.
    fn call<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let function = self.function.bind(py);
        let Some(event_loop) = bridge::running_loop(py)? else {
            if bridge::in_trio(py)? {
                return self.slow.bind(py).call1((py.None(), args, kwargs));
            }
            return if kwargs.is_empty() { function.call(args, None) } else { function.call(args, Some(kwargs)) };
        };
        let code = function.getattr_opt(name!(py, "__code__"))?;
        let known = code.is_some_and(|code| lock(&self.settled).as_ref().is_some_and(|settled| settled.is(&code)));
        if known
            && let Some(port) = event_loop.getattr_opt(name!(py, "_pointsman_port"))?
            && let Ok(port) = port.cast::<Port>()
        {
            return Port::submit(port, self.function.clone_ref(py), args.clone().unbind(), kwargs.clone());
        }
        self.slow.bind(py).call1((event_loop, args, kwargs))
    }
}

struct Body {
    function: Py<PyAny>,
    args: Py<PyTuple>,
    kwargs: Option<Py<PyDict>>,
    context: Context,
    future: Py<PyAny>,
}

/// A call that waits for a thread.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct LoopCall {
    body: Mutex<Option<Body>>,
}

impl LoopCall {
    fn take(&self) -> Option<Body> {
        lock(&self.body).take()
    }
}

#[pymethods]
impl LoopCall {
    /// Cancels the call, if it has not begun.
    fn cancel(&self) -> bool {
        self.take().is_some()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let waiting = lock(&self.body).as_ref().map(|body| body.function.clone_ref(py));
        match waiting {
            Some(function) => format!("<call of {}, not begun>", calling::name_of(function.bind(py))),
            None => "<call, begun or cancelled>".into(),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Whoever holds the lock holds a reference, too.
        let Ok(body) = self.body.try_lock() else { return Ok(()) };
        let Some(body) = &*body else { return Ok(()) };
        visit.call(&body.function)?;
        visit.call(&body.args)?;
        visit.call(&body.kwargs)?;
        visit.call(&body.future)
    }

    fn __clear__(&self) {
        drop(self.take());
    }
}

/// What wakes the loop.
enum Bell {
    Function(Py<PyAny>),
    #[cfg(target_os = "linux")]
    Descriptor(std::os::fd::OwnedFd),
}

impl Bell {
    #[cfg(target_os = "linux")]
    fn descriptor() -> PyResult<Self> {
        use rustix::event::{EventfdFlags, eventfd};

        let made = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(Self::Descriptor(made.map_err(std::io::Error::from)?))
    }

    #[cfg(not(target_os = "linux"))]
    fn descriptor() -> PyResult<Self> {
        Err(PyRuntimeError::new_err("this system has no event descriptors: pass a function to wake the loop"))
    }

    fn fileno(&self) -> PyResult<i32> {
        match self {
            Self::Function(_) => Err(PyRuntimeError::new_err("the port wakes its loop with a function")),
            #[cfg(target_os = "linux")]
            Self::Descriptor(descriptor) => Ok(std::os::fd::AsRawFd::as_raw_fd(descriptor)),
        }
    }

    fn ring(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Function(wake) => wake.bind(py).call0().map(|_| ()),
            #[cfg(target_os = "linux")]
            Self::Descriptor(descriptor) => {
                // Full is as good as rung.
                let _ = rustix::io::write(descriptor, &1_u64.to_ne_bytes());
                Ok(())
            }
        }
    }

    /// Sees to it that the loop comes again for what it has not taken. A descriptor stays rung until it is silenced.
    fn ring_on(&self, py: Python<'_>) -> PyResult<()> {
        if matches!(self, Self::Function(_)) { self.ring(py) } else { Ok(()) }
    }

    fn silence(&self) {
        #[cfg(target_os = "linux")]
        if let Self::Descriptor(descriptor) = self {
            // Empty is as good as read.
            let _ = rustix::io::read(descriptor, &mut [0; 8]);
        }
    }
}
