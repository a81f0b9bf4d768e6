//! Holds a decision: the candidate that was chosen, all others worth knowing, and why.
//!
//! # Does not know
//!
//! How the decision was made.
//!
//! # Invariants
//!
//! - I1. `candidates[chosen]` exists; there is always an inline candidate.
//! - I2. Candidates are sorted by their predicted seconds.

use crate::job::Backend;
use crate::observation::Workload;

/// What keeps a candidate from being faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// One thread at a time holds the GIL.
    Gil,
    /// All usable cores are busy.
    Cores,
    /// All workers are busy or waiting.
    Workers,
    /// Handing calls out, or moving their bytes, costs more than running them.
    Dispatch,
    /// Most of the time goes into starting workers.
    StartUp,
}

impl Limit {
    /// The name that a plan shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gil => "GIL",
            Self::Cores => "cores",
            Self::Workers => "workers",
            Self::Dispatch => "dispatch",
            Self::StartUp => "start-up",
        }
    }
}

/// One possible choice with its predicted cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Where the calls would run.
    pub backend: Backend,
    /// Calls that would run at a time, the caller's own included when it takes part.
    pub workers: u32,
    /// Worker processes or worker interpreters, the caller's not counted.
    pub processes: u32,
    /// Threads that run calls in each of those processes, or in the caller's when there are none.
    pub threads_per_worker: u32,
    /// Calls in the first chunk.
    pub chunksize: u64,
    /// Predicted seconds for the calls left, start-up included.
    pub seconds: f64,
    /// Seconds until all workers run.
    pub start_up: f64,
    /// Calls per second once they run.
    pub rate: f64,
    /// What keeps it from being faster.
    pub limit: Limit,
    /// Why it may not be chosen, if it may not.
    pub struck_out: Option<String>,
}

/// A decision that explains itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Index of the candidate chosen.
    pub chosen: usize,
    /// The candidates worth knowing, the fastest first; struck-out ones included.
    pub candidates: Vec<Candidate>,
    /// Why, in short sentences with figures.
    pub reasons: Vec<String>,
    /// What the user should know besides.
    pub warnings: Vec<String>,
    /// What a call does with its time.
    pub workload: Workload,
    /// Predicted seconds of the plain loop over those of the choice.
    pub speedup: f64,
    /// Predicted seconds of the choice.
    pub seconds: f64,
}

impl Plan {
    /// The candidate chosen.
    pub fn choice(&self) -> &Candidate {
        &self.candidates[self.chosen]
    }
}
