//! The zygote's side of starting workers, for `pointsman._worker`, and the descriptors that its parent gives it.
//!
//! # Does not know
//!
//! What a configuration says, or what a worker does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pointsman_shm::ProcessId;
use pointsman_shm::zygote::{Asker, Descriptors, Next, Registrar, Request, Server};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::descriptor;

/// The descriptors that a parent opens before it spawns a zygote: its own end of the socket, the zygote's end, and one
/// that tells the zygote of the parent's death.
#[pyfunction]
pub(crate) fn zygote_descriptors() -> PyResult<(i32, i32, i32)> {
    let Descriptors { ours, theirs, parent } = Descriptors::open()?;
    Ok((descriptor::give(ours), descriptor::give(theirs), descriptor::give(parent)))
}

/// Ends this process as soon as the process behind the descriptor has gone.
#[pyfunction]
pub(crate) fn watch_parent(parent: i32) -> PyResult<()> {
    Ok(pointsman_shm::watch_parent(descriptor::own(parent)?)?)
}

/// A request to fork one worker process.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct LaunchRequest {
    request: Mutex<Option<Request>>,
}

impl LaunchRequest {
    fn lock(&self) -> MutexGuard<'_, Option<Request>> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self) -> PyResult<(Asker, ProcessId)> {
        let request = self.lock().take().ok_or_else(adopted)?;
        Ok((request.asker, request.process))
    }
}

fn adopted() -> PyErr {
    PyValueError::new_err("the request was adopted")
}

#[pymethods]
impl LaunchRequest {
    /// What the worker must know, as the pool packed it.
    #[getter]
    fn config(&self) -> PyResult<Vec<u8>> {
        Ok(self.lock().as_ref().ok_or_else(adopted)?.config.clone())
    }

    /// Takes over the descriptors, in the child: the host's memory, the lanes' memory, and the parent's descriptor.
    fn adopt(&self) -> PyResult<(i32, Vec<i32>, i32)> {
        let request = self.lock().take().ok_or_else(adopted)?;
        let lanes = request.lanes.into_iter().map(descriptor::give).collect();
        Ok((descriptor::give(request.host), lanes, descriptor::give(request.parent)))
    }
}

/// The zygote's end of the socket.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct ZygoteServer {
    server: Mutex<Server>,
}

impl ZygoteServer {
    fn lock(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl ZygoteServer {
    #[new]
    fn new(socket: i32, parent: i32) -> PyResult<Self> {
        // Here, where this process has a single thread.
        pointsman_shm::keep_freed();
        let server = Server::new(descriptor::own(socket)?, descriptor::own(parent)?)?;
        Ok(Self { server: Mutex::new(server) })
    }

    /// Waits for the next request; None when the parent has gone or wants no more workers.
    fn next(&self, py: Python<'_>) -> PyResult<Option<LaunchRequest>> {
        let next = py.detach(|| self.lock().next())?;
        Ok(match next {
            Next::Launch(request) => Some(LaunchRequest { request: Mutex::new(Some(request)) }),
            Next::Closed => None,
        })
    }

    /// Tells the parent which process was forked for a request.
    fn launched(&self, request: &LaunchRequest, pid: i32) -> PyResult<()> {
        let (asker, process) = request.sender()?;
        Ok(self.lock().reply_launched(&asker, process, pid)?)
    }

    /// Tells the parent that no process could be forked for a request.
    fn failed(&self, request: &LaunchRequest, why: &str) -> PyResult<()> {
        let (asker, process) = request.sender()?;
        Ok(self.lock().reply_failed(&asker, process, why)?)
    }
}

/// The parent's hold on a zygote that its pools share.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct ZygoteRegistrar {
    registrar: Registrar,
}

#[pymethods]
impl ZygoteRegistrar {
    /// Takes the parent's end of the zygote's socket over.
    #[new]
    fn new(socket: i32) -> PyResult<Self> {
        Ok(Self { registrar: Registrar::new(descriptor::own(socket)?) })
    }

    /// A socket for one more pool. Raises `OSError` when the zygote has gone.
    fn join(&self) -> PyResult<i32> {
        Ok(descriptor::give(self.registrar.join()?))
    }
}
