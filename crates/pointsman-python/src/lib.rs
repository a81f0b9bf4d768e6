//! Binds the Rust core to Python as `pointsman._native`: converts, translates errors, and runs Python's side of the
//! worker loops. It decides nothing.

#![deny(unsafe_code)]
#![allow(clippy::needless_pass_by_value, reason = "PyO3's signatures take extracted arguments by value")]

mod alarm;
mod attached;
mod awaiting;
mod batch;
mod bridge;
mod buffer;
mod calling;
mod cell;
mod chunk;
mod classes;
mod clock;
mod codec;
mod context;
mod counters;
mod courtesy;
mod death;
mod dependency;
mod descriptor;
mod digest;
mod ending;
mod executor;
mod future;
mod gathering;
mod groups;
mod growth;
mod heap;
mod home;
mod host_store;
mod inputs;
mod instance;
mod joining;
mod known;
mod lookout;
mod map_job;
mod naming;
mod once;
mod outcome;

mod packing;
mod patience;
mod places;
mod planner;
mod port;
mod pressure;
#[allow(unsafe_code, reason = "reads clocks and the interpreter's GIL from outside; each file states its invariants")]
mod probe;
mod process_call;
mod process_common;
mod process_job;
mod process_map;
mod process_pool;
mod process_results;
mod sealed;
mod segment;
mod serving;
mod shared_job;
mod sizes;
mod terms;
mod thread_call;
mod thread_pool;
mod trace;
mod turning;
mod waiting;
mod worker;
mod zygote;

/// The native half of pointsman.
// Every class is frozen, and what changes in it is atomic or behind a lock that no Python code runs under: nothing here
// counts on the GIL.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    const CHUNK_BYTES: usize = pointsman_plan::CHUNK_BYTES;
    #[pymodule_export]
    const CHUNK_CALLS: usize = pointsman_plan::CHUNK_CALLS;
    #[pymodule_export]
    const FAIR: usize = pointsman_plan::FAIR;

    #[pymodule_export]
    use crate::alarm::Alarm;
    #[pymodule_export]
    use crate::batch::{cut, cut_before};
    #[pymodule_export]
    use crate::bridge::{Bridge, call_async};
    #[pymodule_export]
    use crate::buffer::SharedBuffer;
    #[pymodule_export]
    use crate::dependency::{Watch, class_sent};
    #[pymodule_export]
    use crate::digest::digest;
    #[pymodule_export]
    use crate::ending::interpreter_ends;
    #[pymodule_export]
    use crate::executor::ExecutorCore;
    #[pymodule_export]
    use crate::future::FutureCore;
    #[pymodule_export]
    use crate::gathering::forget_gather;
    #[pymodule_export]
    use crate::heap::keep_some_freed;
    #[pymodule_export]
    use crate::joining::{move_over, roomy};
    #[pymodule_export]
    use crate::map_job::{MapJob, MapResults};
    #[pymodule_export]
    use crate::naming::{Maker, begin_pickle};
    #[pymodule_export]
    use crate::planner::{Candidate, Decision, Machine, Observation, chunk_size, decide, human_bytes, human_seconds};
    #[pymodule_export]
    use crate::port::{LoopCall, Port, WayOut};
    #[pymodule_export]
    use crate::probe::{Probe, Sample, probe_method, queued_seconds};
    #[pymodule_export]
    use crate::process_call::Spent;
    #[pymodule_export]
    use crate::process_job::ProcessJob;
    #[pymodule_export]
    use crate::process_map::ProcessMap;
    #[pymodule_export]
    use crate::process_pool::ProcessPool;
    #[pymodule_export]
    use crate::process_results::ProcessResults;
    #[pymodule_export]
    use crate::serving::{worker_resumes, worker_waits};
    #[pymodule_export]
    use crate::shared_job::SharedJob;
    #[pymodule_export]
    use crate::terms::Terms;
    #[pymodule_export]
    use crate::thread_pool::ThreadPool;
    #[pymodule_export]
    use crate::trace::{Timed, Trace, trace_call, trace_forget, trace_now, trace_share, tracing};
    #[pymodule_export]
    use crate::worker::{Lane, forget_classes, open_lanes, shared_bytes};
    #[pymodule_export]
    use crate::zygote::{LaunchRequest, ZygoteRegistrar, ZygoteServer, watch_parent, zygote_descriptors};

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        use pyo3::types::PyModuleMethods;
        crate::attached::quicken(module.py())?;
        crate::executor::complete(module.py())?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
