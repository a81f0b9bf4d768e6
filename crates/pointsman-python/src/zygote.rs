//! The zygote's side of starting workers, for `pointsman._worker`, and the descriptors that its parent gives it.
//!
//! # Does not know
//!
//! What a configuration says, or what a worker does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pointsman_shm::zygote::{Descriptors, Next, Registrar, Request, Seat, Server, Work};
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

/// What a process is to be forked for.
enum Purpose {
    Launch(Request),
    Spare(Seat),
}

/// A request to fork one worker process, which may have to wait for its work.
#[pyclass(module = "pointsman._native", frozen)]
pub(crate) struct LaunchRequest {
    purpose: Mutex<Option<Purpose>>,
}

impl LaunchRequest {
    fn lock(&self) -> MutexGuard<'_, Option<Purpose>> {
        self.purpose.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> PyResult<Purpose> {
        self.lock().take().ok_or_else(taken)
    }
}

fn taken() -> PyErr {
    PyValueError::new_err("the request has been adopted or answered")
}

#[pymethods]
impl LaunchRequest {
    /// What the worker must know, as the pool packed it.
    #[getter]
    fn config(&self) -> PyResult<Vec<u8>> {
        match self.lock().as_ref().ok_or_else(taken)? {
            Purpose::Launch(request) => Ok(request.config.clone()),
            Purpose::Spare(seat) => Ok(seat.config.clone()),
        }
    }

    /// Whether the worker has to wait for its work.
    #[getter]
    fn is_spare(&self) -> PyResult<bool> {
        Ok(matches!(self.lock().as_ref().ok_or_else(taken)?, Purpose::Spare(_)))
    }

    /// Takes over the descriptors, in the child: the host's memory, the lanes' memory, and the parent's descriptor. A
    /// spare waits for them here; None when there is no work for it.
    fn adopt(&self, py: Python<'_>) -> PyResult<Option<(i32, Vec<i32>, i32)>> {
        let work = match self.take()? {
            Purpose::Launch(request) => Some(request.work),
            Purpose::Spare(seat) => py.detach(|| seat.wait()),
        };
        Ok(work.map(|Work { host, parent, lanes }| {
            let lanes = lanes.into_iter().map(descriptor::give).collect();
            (descriptor::give(host), lanes, descriptor::give(parent))
        }))
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
            Next::Launch(request) => Some(Purpose::Launch(request)),
            Next::Spare(seat) => Some(Purpose::Spare(seat)),
            Next::Closed => None,
        }
        .map(|purpose| LaunchRequest { purpose: Mutex::new(Some(purpose)) }))
    }

    /// Tells the parent which process was forked for a request.
    fn launched(&self, request: &LaunchRequest, pid: i32) -> PyResult<()> {
        match request.take()? {
            Purpose::Launch(request) => self.lock().reply_launched(&request.asker, request.process, pid)?,
            Purpose::Spare(seat) => self.lock().reply_seated(seat, pid),
        }
        Ok(())
    }

    /// Tells the parent that no process could be forked for a request.
    fn failed(&self, request: &LaunchRequest, why: &str) -> PyResult<()> {
        match request.take()? {
            Purpose::Launch(request) => self.lock().reply_failed(&request.asker, request.process, why)?,
            Purpose::Spare(_) => self.lock().expect_none(),
        }
        Ok(())
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

    /// Says what the next pool's workers will most likely be configured as, and how many there will be, so that some are
    /// forked beforehand. Raises `OSError` when they will not be.
    fn expect(&self, config: &[u8], processes: u32) -> PyResult<()> {
        Ok(self.registrar.expect(config, processes)?)
    }
}
