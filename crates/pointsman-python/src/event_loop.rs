//! Wakes an asyncio event loop for the outcomes that its tasks wait for: one wake for as many as arrive meanwhile.
//!
//! # Does not know
//!
//! Where calls run, or what asyncio is: it calls the loop's `call_soon_threadsafe`, and `set_result` of what it was given.
//!
//! # Invariants
//!
//! - B1. While waiters are pending, one call of `flush` is scheduled in the loop, and no more than one.
//! - B2. No Python code runs, and no Python object is dropped, while the lock is held.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::future::FutureCore;
use crate::once::name;

#[derive(Default)]
struct Pending {
    waiters: Vec<Py<PyAny>>,
    scheduled: bool,
}

/// What one event loop has yet to hear of.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct LoopBridge {
    call_soon_threadsafe: Py<PyAny>,
    pending: Mutex<Pending>,
}

/// A loop's future that stands for one of ours.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct LoopWaiter {
    bridge: Py<LoopBridge>,
    waiter: Py<PyAny>,
}

impl LoopBridge {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LoopWaiter {
    /// Says that the outcome is there.
    pub(crate) fn tell(&self, py: Python<'_>) -> PyResult<()> {
        let bridge = self.bridge.get();
        let mut pending = bridge.lock();
        pending.waiters.push(self.waiter.clone_ref(py));
        let first = !std::mem::replace(&mut pending.scheduled, true);
        drop(pending);
        if !first {
            return Ok(());
        }
        let flush = self.bridge.bind(py).getattr(name!(py, "flush"))?;
        match bridge.call_soon_threadsafe.call1(py, (flush,)) {
            Ok(_) => Ok(()),
            Err(error) => {
                let mut pending = bridge.lock();
                pending.scheduled = false;
                let waiters = std::mem::take(&mut pending.waiters);
                drop(pending);
                drop(waiters);
                // The loop is closed: nobody waits there any more.
                if error.is_instance_of::<PyRuntimeError>(py) { Ok(()) } else { Err(error) }
            }
        }
    }
}

#[pymethods]
impl LoopBridge {
    #[new]
    fn new(call_soon_threadsafe: Py<PyAny>) -> Self {
        Self { call_soon_threadsafe, pending: Mutex::default() }
    }

    /// Has the loop's future `waiter` set to None when `future` is done; False when that is done already.
    fn watch(slf: Py<Self>, py: Python<'_>, future: &Bound<'_, FutureCore>, waiter: Py<PyAny>) -> PyResult<bool> {
        let waiter = Py::new(py, LoopWaiter { bridge: slf, waiter })?;
        FutureCore::tell_waiter(future, waiter.into_any())
    }

    /// Sets the waiters whose outcomes have arrived; runs in the loop.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        let mut pending = self.lock();
        pending.scheduled = false;
        let waiters = std::mem::take(&mut pending.waiters);
        drop(pending);
        for waiter in waiters {
            let waiter = waiter.bind(py);
            // A waiter whose task was cancelled is done already.
            if !waiter.call_method0(name!(py, "done"))?.is_truthy()? {
                waiter.call_method1(name!(py, "set_result"), (py.None(),))?;
            }
        }
        Ok(())
    }
}
