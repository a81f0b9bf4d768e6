//! Shows the planner to Python: observation and machine go in, a decision with all its candidates comes out.
//!
//! # Does not know
//!
//! How to decide; it converts. It knows nothing of clocks and backends either.
//!
//! # Invariants
//!
//! - I1. Numbers are clamped by the planner's own types, so none that Python passes makes a call fail.
//! - I2. All classes are frozen, so they are shared between threads without a lock.
//! - I3. `Decision::chosen` is an index into its candidates.

use std::collections::HashMap;

use pointsman_plan::{self as plan, Backend, Backends, Bytes, Carried, Job, Provenance, Seconds};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// What was measured of one call: means over the calls measured, times in seconds.
#[pyclass(frozen, get_all, eq, module = "pointsman._native")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observation {
    calls: u64,
    held: f64,
    free: f64,
    wait: f64,
    cv: f64,
    longest: f64,
    argument_bytes: f64,
    result_bytes: f64,
    pack: Option<f64>,
    other_threads: f64,
    faulting: f64,
    flip: f64,
    partial: bool,
    recent: Option<f64>,
    together: Option<f64>,
}

#[pymethods]
impl Observation {
    #[new]
    #[pyo3(signature = (*, calls=1, held=0.0, free=0.0, wait=0.0, cv=0.0, longest=0.0, argument_bytes=0.0,
        result_bytes=0.0, pack=None, other_threads=0.0, faulting=0.0, flip=0.0, partial=false, recent=None, together=None))]
    #[allow(clippy::too_many_arguments, reason = "each is a keyword in Python")]
    fn new(
        calls: u64,
        held: f64,
        free: f64,
        wait: f64,
        cv: f64,
        longest: f64,
        argument_bytes: f64,
        result_bytes: f64,
        pack: Option<f64>,
        other_threads: f64,
        faulting: f64,
        flip: f64,
        partial: bool,
        recent: Option<f64>,
        together: Option<f64>,
    ) -> Self {
        let seconds = |value| Seconds::new(value).get();
        Self {
            calls,
            held: seconds(held),
            free: seconds(free),
            wait: seconds(wait),
            cv: seconds(cv),
            longest: seconds(longest),
            argument_bytes: Bytes::new(argument_bytes).get(),
            result_bytes: Bytes::new(result_bytes).get(),
            pack: pack.map(seconds),
            other_threads: seconds(other_threads),
            faulting: seconds(faulting),
            flip: seconds(flip),
            partial,
            recent: recent.map(seconds),
            together: together.map(seconds),
        }
    }

    /// Wall seconds of a call that runs alone.
    #[getter]
    fn wall(&self) -> f64 {
        self.plain().wall().get()
    }

    /// "cpu-bound", "io-bound", "mixed" or "gil-free".
    #[getter]
    fn workload(&self) -> &'static str {
        self.plain().workload().name()
    }

    fn __repr__(&self) -> String {
        let mut parts = vec![
            format!("calls={}", self.calls),
            format!("held={:?}", self.held),
            format!("free={:?}", self.free),
            format!("wait={:?}", self.wait),
            format!("cv={:?}", self.cv),
            format!("longest={:?}", self.longest),
            format!("argument_bytes={:?}", self.argument_bytes),
            format!("result_bytes={:?}", self.result_bytes),
            format!("other_threads={:?}", self.other_threads),
            format!("faulting={:?}", self.faulting),
            format!("flip={:?}", self.flip),
        ];
        parts.extend(self.pack.map(|pack| format!("pack={pack:?}")));
        parts.extend(self.together.map(|together| format!("together={together:?}")));
        parts.extend(self.partial.then(|| "partial=True".to_owned()));
        parts.extend(self.recent.map(|recent| format!("recent={recent:?}")));
        format!("Observation({})", parts.join(", "))
    }
}

impl Observation {
    fn plain(&self) -> plan::Observation {
        plan::Observation {
            calls: self.calls,
            held: Seconds::new(self.held),
            free: Seconds::new(self.free),
            wait: Seconds::new(self.wait),
            cv: self.cv,
            longest: Seconds::new(self.longest),
            argument_bytes: Bytes::new(self.argument_bytes),
            result_bytes: Bytes::new(self.result_bytes),
            pack: self.pack.map(Seconds::new),
            other_threads: Seconds::new(self.other_threads),
            faulting: Seconds::new(self.faulting),
            flip: self.flip,
            partial: self.partial,
            recent: self.recent,
            together: self.together,
        }
    }
}

/// A constant as Python gives it: a number, or a number and the moment it was measured (seconds since 1970).
#[derive(Debug, Clone, Copy, FromPyObject)]
enum Given {
    Number(f64),
    Measured(f64, f64),
}

impl From<Given> for plan::Constant {
    fn from(given: Given) -> Self {
        match given {
            Given::Number(value) => Self::new(value, Provenance::Given),
            Given::Measured(value, unix_seconds) => Self::new(value, Provenance::Measured { unix_seconds }),
        }
    }
}

/// A cluster as Python gives it: "dask" or "ray", workers, calls at a time in each, whether they share the cores of this
/// host, seconds per dispatch, and bytes per second.
type ClusterFacts = (String, u32, u32, bool, f64, f64);

fn cluster_of((engine, workers, threads, here, dispatch, speed): ClusterFacts) -> PyResult<plan::Cluster> {
    let engine = match engine.as_str() {
        "dask" => plan::Engine::Dask,
        "ray" => plan::Engine::Ray,
        other => return Err(PyValueError::new_err(format!("no engine of clusters is called {other:?}"))),
    };
    let given = |value| plan::Constant::new(value, Provenance::Given);
    Ok(plan::Cluster {
        engine,
        workers,
        threads,
        here,
        dispatch: given(dispatch),
        bytes_per_second: given(speed),
        // It was connected to before it became a choice.
        start_up: given(0.0),
    })
}

/// Facts about a host. A constant that is not given has its built-in value.
#[pyclass(frozen, eq, module = "pointsman._native")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Machine(plan::Machine);

#[pymethods]
impl Machine {
    #[new]
    #[pyo3(signature = (*, cores, memory=0.0, gil=true, interpreters=false, cluster=None, inline_dispatch=None, thread_start=None, thread_dispatch=None,
        process_first=None, process_next=None, process_dispatch=None, process_dispatch_alone=None,
        interpreter_start=None, interpreter_dispatch=None, interpreter_dispatch_alone=None, bytes_per_second=None, event_loop_dispatch=None, least_chunk=None, least_gain=None))]
    #[allow(clippy::too_many_arguments, reason = "each is a keyword in Python")]
    fn new(
        cores: f64,
        memory: f64,
        gil: bool,
        interpreters: bool,
        cluster: Option<ClusterFacts>,
        inline_dispatch: Option<Given>,
        thread_start: Option<Given>,
        thread_dispatch: Option<Given>,
        process_first: Option<Given>,
        process_next: Option<Given>,
        process_dispatch: Option<Given>,
        process_dispatch_alone: Option<Given>,
        interpreter_start: Option<Given>,
        interpreter_dispatch: Option<Given>,
        interpreter_dispatch_alone: Option<Given>,
        bytes_per_second: Option<Given>,
        event_loop_dispatch: Option<Given>,
        least_chunk: Option<Given>,
        least_gain: Option<Given>,
    ) -> PyResult<Self> {
        let cluster = cluster.map(cluster_of).transpose()?;
        let built_in = plan::Machine::new(cores, Bytes::new(memory), gil);
        let or = |given: Option<Given>, constant| given.map_or(constant, plan::Constant::from);
        Ok(Self(plan::Machine {
            inline_dispatch: or(inline_dispatch, built_in.inline_dispatch),
            thread_start: or(thread_start, built_in.thread_start),
            thread_dispatch: or(thread_dispatch, built_in.thread_dispatch),
            process_first: or(process_first, built_in.process_first),
            process_next: or(process_next, built_in.process_next),
            process_dispatch: or(process_dispatch, built_in.process_dispatch),
            process_dispatch_alone: or(process_dispatch_alone, built_in.process_dispatch_alone),
            interpreter_start: or(interpreter_start, built_in.interpreter_start),
            interpreter_dispatch: or(interpreter_dispatch, built_in.interpreter_dispatch),
            interpreter_dispatch_alone: or(interpreter_dispatch_alone, built_in.interpreter_dispatch_alone),
            bytes_per_second: or(bytes_per_second, built_in.bytes_per_second),
            event_loop_dispatch: or(event_loop_dispatch, built_in.event_loop_dispatch),
            least_chunk: or(least_chunk, built_in.least_chunk),
            least_gain: or(least_gain, built_in.least_gain),
            interpreters,
            cluster,
            ..built_in
        }))
    }

    /// Usable cores, perhaps not whole.
    #[getter]
    fn cores(&self) -> f64 {
        self.0.usable_cores()
    }

    /// Usable memory in bytes; 0 when unknown.
    #[getter]
    fn memory(&self) -> f64 {
        self.0.memory.get()
    }

    /// Whether the interpreter has a GIL.
    #[getter]
    fn gil(&self) -> bool {
        self.0.gil
    }

    /// Whether worker interpreters are among the choices.
    #[getter]
    fn interpreters(&self) -> bool {
        self.0.interpreters
    }

    /// The cluster among the choices, as it was given, or None.
    #[getter]
    fn cluster(&self) -> Option<ClusterFacts> {
        self.0.cluster.map(|cluster| {
            let engine = cluster.engine.backend().name().to_owned();
            let (dispatch, speed) = (cluster.dispatch.value(), cluster.bytes_per_second.value());
            (engine, cluster.workers, cluster.threads, cluster.here, dispatch, speed)
        })
    }

    /// Every constant by name: its value, and "built-in", "given" or "measured:<seconds since 1970>".
    #[getter]
    fn constants(&self) -> HashMap<&'static str, (f64, String)> {
        let entry = |(name, constant): (&'static str, plan::Constant)| {
            let provenance = match constant.provenance() {
                Provenance::BuiltIn => "built-in".to_owned(),
                Provenance::Given => "given".to_owned(),
                Provenance::Measured { unix_seconds } => format!("measured:{unix_seconds}"),
            };
            (name, (constant.value(), provenance))
        };
        self.0.constants().into_iter().map(entry).collect()
    }

    fn __repr__(&self) -> String {
        let gil = if self.0.gil { "True" } else { "False" };
        let mut parts =
            vec![format!("cores={:?}", self.cores()), format!("memory={:?}", self.memory()), format!("gil={gil}")];
        parts.extend(self.0.interpreters.then(|| "interpreters=True".to_owned()));
        parts.extend(self.cluster().map(|(engine, workers, threads, here, dispatch, speed)| {
            let here = if here { "True" } else { "False" };
            format!("cluster=('{engine}', {workers}, {threads}, {here}, {dispatch:?}, {speed:?})")
        }));
        for (name, constant) in self.0.constants() {
            match constant.provenance() {
                Provenance::BuiltIn => {}
                Provenance::Given => parts.push(format!("{name}={:?}", constant.value())),
                Provenance::Measured { unix_seconds } => {
                    parts.push(format!("{name}=({:?}, {unix_seconds:?})", constant.value()));
                }
            }
        }
        format!("Machine({})", parts.join(", "))
    }
}

/// One possible choice with its predicted cost.
#[pyclass(frozen, get_all, module = "pointsman._native")]
#[derive(Debug)]
pub(crate) struct Candidate {
    backend: &'static str,
    workers: u32,
    processes: u32,
    threads_per_worker: u32,
    chunksize: u64,
    seconds: f64,
    start_up: f64,
    rate: f64,
    limit: &'static str,
    struck_out: Option<String>,
}

#[pymethods]
impl Candidate {
    #[new]
    #[pyo3(signature = (*, backend, workers, processes, threads_per_worker, chunksize, seconds, start_up, rate, limit,
        struck_out=None))]
    #[allow(clippy::too_many_arguments, reason = "each is a keyword in Python")]
    fn new(
        backend: &str,
        workers: u32,
        processes: u32,
        threads_per_worker: u32,
        chunksize: u64,
        seconds: f64,
        start_up: f64,
        rate: f64,
        limit: &str,
        struck_out: Option<String>,
    ) -> PyResult<Self> {
        let limits =
            [plan::Limit::Gil, plan::Limit::Cores, plan::Limit::Workers, plan::Limit::Dispatch, plan::Limit::StartUp];
        let limit = limits
            .into_iter()
            .map(plan::Limit::name)
            .find(|name| *name == limit)
            .ok_or_else(|| PyValueError::new_err(format!("no limit is called {limit:?}")))?;
        Ok(Self {
            backend: backend_of(backend)?.name(),
            workers,
            processes,
            threads_per_worker,
            chunksize,
            seconds,
            start_up,
            rate,
            limit,
            struck_out,
        })
    }

    fn __repr__(&self) -> String {
        let mut parts = vec![
            format!("backend='{}'", self.backend),
            format!("workers={}", self.workers),
            format!("processes={}", self.processes),
            format!("threads_per_worker={}", self.threads_per_worker),
            format!("chunksize={}", self.chunksize),
            format!("seconds={:?}", self.seconds),
            format!("start_up={:?}", self.start_up),
            format!("rate={:?}", self.rate),
            format!("limit='{}'", self.limit),
        ];
        parts.extend(self.struck_out.as_ref().map(|reason| format!("struck_out={reason:?}")));
        format!("Candidate({})", parts.join(", "))
    }
}

impl From<plan::Candidate> for Candidate {
    fn from(candidate: plan::Candidate) -> Self {
        Self {
            backend: candidate.backend.name(),
            workers: candidate.workers,
            processes: candidate.processes,
            threads_per_worker: candidate.threads_per_worker,
            chunksize: candidate.chunksize,
            seconds: candidate.seconds,
            start_up: candidate.start_up,
            rate: candidate.rate,
            limit: candidate.limit.name(),
            struck_out: candidate.struck_out,
        }
    }
}

/// Where the turning points of a decision come from.
#[derive(Debug)]
enum Turning {
    /// They are looked for when asked for.
    Of(Box<(plan::Observation, plan::Machine, Job)>),
    /// They were given, with a decision made elsewhere.
    Known(Vec<String>),
}

/// What was decided, with every candidate worth knowing, the fastest first.
#[pyclass(frozen, module = "pointsman._native")]
#[derive(Debug)]
pub(crate) struct Decision {
    /// Index of the candidate chosen.
    #[pyo3(get)]
    chosen: usize,
    #[pyo3(get)]
    candidates: Vec<Py<Candidate>>,
    #[pyo3(get)]
    reasons: Vec<String>,
    #[pyo3(get)]
    warnings: Vec<String>,
    #[pyo3(get)]
    workload: String,
    #[pyo3(get)]
    speedup: f64,
    #[pyo3(get)]
    seconds: f64,
    turning: Turning,
}

#[pymethods]
impl Decision {
    #[new]
    #[pyo3(signature = (*, chosen, candidates, reasons, warnings, workload, speedup, seconds, turning_points))]
    #[allow(clippy::too_many_arguments, reason = "each is a keyword in Python")]
    fn new(
        chosen: usize,
        candidates: Vec<Py<Candidate>>,
        reasons: Vec<String>,
        warnings: Vec<String>,
        workload: String,
        speedup: f64,
        seconds: f64,
        turning_points: Vec<String>,
    ) -> PyResult<Self> {
        if chosen >= candidates.len() {
            return Err(PyValueError::new_err(format!(
                "chosen is {chosen}, but there are {} candidates",
                candidates.len()
            )));
        }
        Ok(Self {
            chosen,
            candidates,
            reasons,
            warnings,
            workload,
            speedup,
            seconds,
            turning: Turning::Known(turning_points),
        })
    }

    /// The candidate chosen.
    #[getter]
    fn candidate(&self, py: Python<'_>) -> Py<Candidate> {
        self.candidates[self.chosen].clone_ref(py)
    }

    /// Where the decision would turn. Found when asked for: it takes some hundred decisions, 0.2 ms.
    #[getter]
    fn turning_points(&self, py: Python<'_>) -> Vec<String> {
        match &self.turning {
            Turning::Known(points) => points.clone(),
            Turning::Of(question) => {
                let (observation, machine, job) = &**question;
                py.detach(|| plan::turning_points(observation, machine, job))
            }
        }
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let candidate = self.candidates[self.chosen].bind(py).get();
        format!(
            "Decision(backend='{}', workers={}, seconds={:?}, speedup={:?})",
            candidate.backend, candidate.workers, self.seconds, self.speedup
        )
    }
}

fn backend_of(name: &str) -> PyResult<Backend> {
    Backend::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Backend::ALL.iter().map(|backend| backend.name()).collect();
        PyValueError::new_err(format!("the planner prices no backend called {name:?}; it knows {}", names.join(", ")))
    })
}

/// Decides where the calls that are left should run.
#[pyfunction]
#[pyo3(signature = (observation, machine, *, calls=None, max_workers=None, chunksize=None, threads_running=0,
    processes_running=0, interpreters_running=0, caller_shares=true, struck=None, backends=None,
    worker_bytes=Job::WORKER_BYTES, carried=(0.0, 0.0),
    target_chunk_seconds=Job::TARGET_CHUNK_SECONDS))]
#[allow(clippy::too_many_arguments, reason = "each is a keyword in Python")]
pub(crate) fn decide(
    py: Python<'_>,
    observation: &Observation,
    machine: &Machine,
    calls: Option<u64>,
    max_workers: Option<u32>,
    chunksize: Option<u64>,
    threads_running: u32,
    processes_running: u32,
    interpreters_running: u32,
    caller_shares: bool,
    struck: Option<HashMap<String, String>>,
    backends: Option<Vec<String>>,
    worker_bytes: f64,
    carried: (f64, f64),
    target_chunk_seconds: f64,
) -> PyResult<Decision> {
    if max_workers == Some(0) || chunksize == Some(0) {
        return Err(PyValueError::new_err("max_workers and chunksize must be at least 1, or None"));
    }
    let allowed = match backends {
        None => Backends::ALL,
        Some(names) if names.is_empty() => {
            return Err(PyTypeError::new_err("backends must name at least one, or be None"));
        }
        Some(names) => {
            let known: Vec<Backend> = names.iter().map(|name| backend_of(name)).collect::<PyResult<_>>()?;
            Backends::only(&known)
        }
    };
    let struck = struck
        .unwrap_or_default()
        .into_iter()
        .map(|(name, reason)| Ok((backend_of(&name)?, reason)))
        .collect::<PyResult<Vec<_>>>()?;
    let job = Job {
        calls,
        max_workers,
        chunksize,
        threads_running,
        processes_running,
        interpreters_running,
        caller_shares,
        allowed,
        struck,
        carried: Carried { bytes: Bytes::new(carried.0), pack: Seconds::new(carried.1) },
        worker_bytes: Bytes::new(worker_bytes),
        target_chunk_seconds,
    };
    let (observation, machine) = (observation.plain(), machine.0);
    let plan = plan::decide(&observation, &machine, &job);
    let candidates = plan
        .candidates
        .into_iter()
        .map(|candidate| Py::new(py, Candidate::from(candidate)))
        .collect::<PyResult<Vec<_>>>()?;
    Ok(Decision {
        chosen: plan.chosen,
        candidates,
        reasons: plan.reasons,
        warnings: plan.warnings,
        workload: plan.workload.name().to_owned(),
        speedup: plan.speedup,
        seconds: plan.seconds,
        turning: Turning::Of(Box::new((observation, machine, job))),
    })
}

/// The number of calls in the next chunk; times in seconds.
#[pyfunction]
#[pyo3(signature = (remaining, lanes, mean_seconds, cv=0.0, target_seconds=Job::TARGET_CHUNK_SECONDS))]
pub(crate) fn chunk_size(remaining: u64, lanes: u32, mean_seconds: f64, cv: f64, target_seconds: f64) -> usize {
    plan::chunk_size(remaining, lanes, mean_seconds, cv, target_seconds)
}

/// A time in the unit that suits it: "1.2 us", "34 ms", "5.1 s".
#[pyfunction]
pub(crate) fn human_seconds(seconds: f64) -> String {
    plan::human_seconds(seconds)
}

/// An amount of memory in the unit that suits it, in powers of 1000: "512 B", "34 MB".
#[pyfunction]
pub(crate) fn human_bytes(bytes: f64) -> String {
    plan::human_bytes(bytes)
}
