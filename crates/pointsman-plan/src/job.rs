//! Holds what is asked for: how many calls are left, and within which limits they may run.
//!
//! # Does not know
//!
//! What a call costs.
//!
//! # Invariants
//!
//! - I1. The order of [`Backend`] is the order of simplicity: of two equal choices the lesser is taken.

use crate::observation::{Bytes, Seconds};

/// A kind of place where calls run, the simplest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// A plain loop of the caller.
    Inline,
    /// Threads of the caller's process.
    Threads,
    /// Other processes, with one thread or several in each.
    Processes,
    /// Other interpreters of the caller's process, each with a GIL of its own.
    Interpreters,
    /// Workers of a dask cluster.
    Dask,
    /// Workers of a ray cluster.
    Ray,
}

impl Backend {
    /// All backends that are priced.
    pub const ALL: [Self; 6] =
        [Self::Inline, Self::Threads, Self::Processes, Self::Interpreters, Self::Dask, Self::Ray];

    /// The name that users write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Threads => "threads",
            Self::Processes => "processes",
            Self::Interpreters => "interpreters",
            Self::Dask => "dask",
            Self::Ray => "ray",
        }
    }

    /// The backend of that name, if it is one that is priced.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }
}

/// A set of backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backends([bool; Backend::ALL.len()]);

impl Backends {
    /// All that are priced.
    pub const ALL: Self = Self([true; Backend::ALL.len()]);

    /// The set of those named.
    pub fn only(backends: &[Backend]) -> Self {
        Self(Backend::ALL.map(|backend| backends.contains(&backend)))
    }

    /// Whether the set has it.
    pub const fn contains(self, backend: Backend) -> bool {
        self.0[backend as usize]
    }
}

/// What the function has with it (arrays in a partial or a closure), which is sent once and unpacked by each worker.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Carried {
    /// Its size on the way.
    pub bytes: Bytes,
    /// Time to pickle it, or to unpickle it, beside what copying the bytes takes.
    pub pack: Seconds,
}

/// The calls that are left, and the limits within which they may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Calls left; `None` when the input has no length.
    pub calls: Option<u64>,
    /// The most calls that may run at a time, the caller's own included; at least 1 is assumed.
    pub max_workers: Option<u32>,
    /// Calls in a chunk, when that is prescribed.
    pub chunksize: Option<u64>,
    /// Pool threads that run already.
    pub threads_running: u32,
    /// Worker processes that run already.
    pub processes_running: u32,
    /// Worker interpreters that run already.
    pub interpreters_running: u32,
    /// Whether the caller's thread runs calls too.
    pub caller_shares: bool,
    /// The backends that may be chosen.
    pub allowed: Backends,
    /// Backends that are out of the question for this function, and why.
    pub struck: Vec<(Backend, String)>,
    /// What the function carries.
    pub carried: Carried,
    /// Memory that one worker process takes.
    pub worker_bytes: Bytes,
    /// The most work that one chunk may hold, in seconds.
    pub target_chunk_seconds: f64,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            calls: None,
            max_workers: None,
            chunksize: None,
            threads_running: 0,
            processes_running: 0,
            interpreters_running: 0,
            caller_shares: true,
            allowed: Backends::ALL,
            struck: Vec::new(),
            carried: Carried::default(),
            worker_bytes: Bytes::new(Self::WORKER_BYTES),
            target_chunk_seconds: Self::TARGET_CHUNK_SECONDS,
        }
    }
}

impl Job {
    /// Memory of a worker process when nothing better is known: an interpreter with the standard library takes some
    /// 15 MB, most of it shared with its zygote. Arbitrary; between 10 and 100 MB few machines decide differently.
    pub const WORKER_BYTES: f64 = 32e6;

    /// The most work that a chunk holds unless the user says otherwise, in seconds: short enough for progress that
    /// people can see. Arbitrary; the lower limit of a chunk is what bears on throughput.
    pub const TARGET_CHUNK_SECONDS: f64 = 0.2;

    /// A job of that many calls, without limits.
    pub fn of(calls: u64) -> Self {
        Self { calls: Some(calls), ..Self::default() }
    }

    /// Why a backend may not be chosen, if it may not.
    pub(crate) fn objection(&self, backend: Backend) -> Option<&str> {
        if let Some((_, reason)) = self.struck.iter().find(|(struck, _)| *struck == backend) {
            Some(reason)
        } else if self.allowed.contains(backend) {
            None
        } else {
            Some("not among the backends asked for")
        }
    }
}
