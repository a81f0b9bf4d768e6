//! Runs a coroutine to its end on the persistent event loop of the calling thread, its first step at once.
//!
//! The task is an ordinary `asyncio.Task`. Making one asks the loop to call its first step soon; that request is caught and
//! obeyed on the spot, so that a coroutine which never waits costs no turn of the loop.
//!
//! # Does not know
//!
//! How a loop is made or closed, what Ctrl-C means, or how a loop turns: that is `pointsman._bridge`.
//!
//! # Invariants
//!
//! - B1. While a step runs, the loop is this thread's running loop and its hooks for asynchronous generators are in place;
//!   both are as before when `run` returns, whatever the step raised.
//! - B2. The loop's own `call_soon` is covered only while the task is made, and no Python code of the user's runs then.
//! - B3. A thread's bridge is the one that it installed itself, so its loop is never entered by another thread.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBool, PyDict, PyTuple, PyType};

use crate::context::Context;
use crate::instance;
use crate::once::{Once, name};

thread_local! {
    static INSTALLED: RefCell<Option<Py<Bridge>>> = const { RefCell::new(None) };
}

static RUNNING_LOOP: Once<Py<PyAny>> = Once::new();
static MODULES: Once<Py<PyDict>> = Once::new();
static IN_TRIO: Once<Py<PyAny>> = Once::new();
static RUN_FIRST: Once<Py<PyAny>> = Once::new();

/// The asyncio loop that runs on this thread, if any.
pub(crate) fn running_loop(py: Python<'_>) -> PyResult<Option<Bound<'_, PyAny>>> {
    let found = RUNNING_LOOP.import(py, "asyncio", "_get_running_loop")?.call0()?;
    Ok((!found.is_none()).then_some(found))
}

/// Whether this thread runs a task of trio.
pub(crate) fn in_trio(py: Python<'_>) -> PyResult<bool> {
    let modules = MODULES.import(py, "sys", "modules")?;
    if !modules.contains(name!(py, "trio"))? {
        return Ok(false);
    }
    IN_TRIO.import(py, "pointsman._loopside", "in_trio")?.call0()?.is_truthy()
}

/// Calls a coroutine function: in a running loop for its coroutine, elsewhere to its end.
#[pyfunction]
pub(crate) fn call_async<'py>(
    py: Python<'py>,
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let inside = running_loop(py)?.is_some() || in_trio(py)?;
    let coroutine = if kwargs.is_empty() { function.call(args, None) } else { function.call(args, Some(kwargs)) }?;
    if inside {
        return Ok(coroutine);
    }
    let installed = INSTALLED.with_borrow(|bridge| bridge.as_ref().map(|bridge| bridge.clone_ref(py)));
    match installed {
        Some(bridge) => bridge.get().run(py, &coroutine),
        None => RUN_FIRST.import(py, "pointsman._bridge", "run")?.call1((coroutine,)),
    }
}

/// What a task asks its loop to call, and the context to call it in.
type Step = (Py<PyAny>, Option<Py<PyAny>>);

/// Stands in for `call_soon` while a task is made, and keeps what it is asked to call.
#[pyclass(module = "pointsman._native", frozen)]
struct Caught {
    step: Mutex<Option<Step>>,
}

impl Caught {
    fn replace(&self, with: Option<Step>) -> Option<Step> {
        std::mem::replace(&mut *self.step.lock().unwrap_or_else(PoisonError::into_inner), with)
    }
}

#[pymethods]
impl Caught {
    #[pyo3(signature = (callback, *, context=None))]
    fn catch(&self, callback: Py<PyAny>, context: Option<Py<PyAny>>) {
        drop(self.replace(Some((callback, context))));
    }
}

/// The way from plain code into one event loop, for the thread that owns the loop.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct Bridge {
    event_loop: Py<PyAny>,
    /// The loop's attributes: looked up by hand, they cost half.
    attributes: Py<PyDict>,
    thread: Py<PyAny>,
    /// The callbacks that the loop will call with its next turn.
    ready: Py<PyAny>,
    caught: Py<Caught>,
    catch: Py<PyAny>,
    /// Whether tasks can take their first step by themselves (CPython 3.12 and later).
    eager: bool,
    task_options: Py<PyDict>,
    task: Py<PyType>,
    initialise: Py<PyAny>,
    set_running_loop: Py<PyAny>,
    get_hooks: Py<PyAny>,
    set_hooks: Py<PyAny>,
    hooks: Py<PyTuple>,
    /// `finish(task)`: turns the loop until the task is done, and returns or raises what came of it.
    finish: Py<PyAny>,
    /// `whole(coroutine)`: runs a coroutine without taking its first step at once.
    whole: Py<PyAny>,
    /// `take_over(context)`: sets here what was set in a context that was copied from this one.
    take_over: Py<PyAny>,
}

#[pymethods]
impl Bridge {
    #[new]
    fn new(
        py: Python<'_>,
        event_loop: Bound<'_, PyAny>,
        thread: Py<PyAny>,
        finish: Py<PyAny>,
        whole: Py<PyAny>,
        take_over: Py<PyAny>,
    ) -> PyResult<Self> {
        // After asyncio: imported before it, `_asyncio` has tables of its own.
        py.import("asyncio")?;
        let asyncio = py.import("_asyncio")?;
        let sys = py.import("sys")?;
        let hooks = (event_loop.getattr("_asyncgen_firstiter_hook")?, event_loop.getattr("_asyncgen_finalizer_hook")?);
        let task = asyncio.getattr("Task")?.cast_into::<PyType>()?;
        let caught = Bound::new(py, Caught { step: Mutex::new(None) })?;
        let eager = py.version_info() >= (3, 12);
        let task_options = [("loop", &event_loop)].into_py_dict(py)?;
        // Making up a name costs as much as a step.
        task_options.set_item("name", "pointsman")?;
        if eager {
            task_options.set_item("eager_start", PyBool::new(py, true))?;
        }
        Ok(Self {
            attributes: event_loop.getattr("__dict__")?.cast_into()?.unbind(),
            thread,
            catch: caught.getattr("catch")?.unbind(),
            caught: caught.unbind(),
            eager,
            ready: event_loop.getattr("_ready")?.unbind(),
            task_options: task_options.unbind(),
            initialise: task.getattr("__init__")?.unbind(),
            task: task.unbind(),
            set_running_loop: asyncio.getattr("_set_running_loop")?.unbind(),
            get_hooks: sys.getattr("get_asyncgen_hooks")?.unbind(),
            set_hooks: sys.getattr("set_asyncgen_hooks")?.unbind(),
            hooks: hooks.into_pyobject(py)?.unbind(),
            event_loop: event_loop.unbind(),
            finish,
            whole,
            take_over,
        })
    }

    /// Makes this the way into coroutines of the calling thread.
    fn install(slf: Py<Self>) {
        drop(INSTALLED.replace(Some(slf)));
    }

    /// Leaves the calling thread without a way into coroutines.
    #[staticmethod]
    fn uninstall() {
        drop(INSTALLED.take());
    }

    /// Runs the coroutine to its end and returns its value, or raises what it raised.
    fn run<'py>(&self, py: Python<'py>, coroutine: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let event_loop = self.event_loop.bind(py);
        let attributes = self.attributes.bind(py);
        let plain = |name, value: &Bound<'py, PyAny>| {
            Ok::<_, PyErr>(attributes.get_item(name)?.is_none_or(|found| found.is(value)))
        };
        if !plain(name!(py, "_debug"), &PyBool::new(py, false))?
            || !plain(name!(py, "_task_factory"), &py.None().into_bound(py))?
        {
            // A debugging loop wants to see every step, and a factory of the user's makes tasks of its own kind.
            return self.whole.bind(py).call1((coroutine,));
        }
        let hooks_before = self.get_hooks.bind(py).call0()?;
        self.set_running_loop.bind(py).call1((event_loop,))?;
        let result = self.run_entered(py, coroutine);
        // B1; none of these fails for anything but a lack of memory.
        let put_back = self
            .set_hooks
            .bind(py)
            .call1(hooks_before.cast_into::<PyTuple>()?)
            .and_then(|_| attributes.set_item(name!(py, "_thread_id"), py.None()))
            .and_then(|()| self.set_running_loop.bind(py).call1((py.None(),)));
        let (result, context) = result?;
        put_back?;
        if let Some(context) = context
            && !context.is_current(py)?
        {
            self.take_over.bind(py).call1((context.object(py)?,))?;
        }
        result
    }
}

type Ended<'py> = (PyResult<Bound<'py, PyAny>>, Option<Context>);

impl Bridge {
    fn run_entered<'py>(&self, py: Python<'py>, coroutine: &Bound<'py, PyAny>) -> PyResult<Ended<'py>> {
        self.attributes.bind(py).set_item(name!(py, "_thread_id"), &self.thread)?;
        self.set_hooks.bind(py).call1(self.hooks.bind(py))?;
        let (task, context) = match self.begin(py, coroutine)? {
            Begun::Task(task, context) => (task, context),
            Begun::Raised(error, context) => return Ok((Err(error), context)),
        };
        let result = task.call_method0(name!(py, "result"));
        let done = result.is_ok() || task.call_method0(name!(py, "done"))?.is_truthy()?;
        if done && !self.ready.bind(py).is_truthy()? {
            return Ok((result, context));
        }
        // What it started has its turn, too, as it would after a task that waited.
        Ok((self.finish.bind(py).call1((&task,)), context))
    }

    /// Makes the task and takes its first step.
    fn begin<'py>(&self, py: Python<'py>, coroutine: &Bound<'py, PyAny>) -> PyResult<Begun<'py>> {
        let options = Some(self.task_options.bind(py));
        if self.eager {
            let task = instance::bare(self.task.bind(py))?;
            if let Err(error) = self.initialise.bind(py).call((&task, coroutine), options) {
                consume(&task);
                return Ok(Begun::Raised(error, None));
            }
            let context = Context::adopt(task.call_method0(name!(py, "get_context"))?.unbind());
            return Ok(Begun::Task(task, Some(context)));
        }
        let call_soon = name!(py, "call_soon");
        let attributes = self.attributes.bind(py);
        attributes.set_item(call_soon, &self.catch)?;
        let task = self.task.bind(py).call((coroutine,), options);
        attributes.del_item(call_soon)?;
        let caught = self.caught.get().replace(None);
        let task = task?;
        let Some((step, Some(context))) = caught else {
            // Scheduled the ordinary way: it is run with the loop's next turn.
            return Ok(Begun::Task(task, None));
        };
        let context = Context::adopt(context);
        if let Err(error) = context.run(py, || step.call0(py)) {
            consume(&task);
            return Ok(Begun::Raised(error, Some(context)));
        }
        Ok(Begun::Task(task, Some(context)))
    }
}

enum Begun<'py> {
    Task(Bound<'py, PyAny>, Option<Context>),
    /// What ends more than a task, such as a Ctrl-C.
    Raised(PyErr, Option<Context>),
}

/// Keeps a task from reporting that nobody asked for its exception, which is on its way to the caller.
fn consume(task: &Bound<'_, PyAny>) {
    drop(task.call_method0(name!(task.py(), "exception")));
}
