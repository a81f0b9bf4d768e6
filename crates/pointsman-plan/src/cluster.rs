//! Prices a cluster of another engine: chunks of calls go there over a connection, and come back.
//!
//! A chunk lasts some times what its dispatch costs, as the run on a cluster sizes them. Each chunk takes its lane for
//! one dispatch longer than its calls last, and the caller for the time that its bytes need on the connection.
//!
//! # Does not know
//!
//! Which engine it is beyond its name, how it is reached, and what a placement on this host costs.
//!
//! # Invariants
//!
//! - I1. Every time that divides is positive, so no rate is infinite or NaN.
//! - I2. More bytes, or a dearer dispatch, never make a prediction shorter.

use crate::cost_model::{Cost, Model, TINY};
use crate::job::Backend;
use crate::machine::Constant;
use crate::number::whole32;
use crate::plan::Limit;

/// A chunk lasts this many times what its dispatch costs: 5 % is lost. The run on a cluster uses the same figure.
const WORTH: f64 = 20.0;

/// The share of a dispatch that the scheduler and the caller need for each chunk, whatever the number of lanes. Derived:
/// a dispatch alone takes dask 2 to 5 ms, of which its documentation gives 1 ms to the scheduler.
const SERIAL: f64 = 0.5;

/// The most workers, and threads in each, that are reckoned with.
const MOST: u32 = 4096;

/// An engine whose clusters are priced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// dask.distributed.
    Dask,
    /// ray.
    Ray,
}

impl Engine {
    /// The backend that runs calls there.
    pub const fn backend(self) -> Backend {
        match self {
            Self::Dask => Backend::Dask,
            Self::Ray => Backend::Ray,
        }
    }
}

/// Facts about a cluster that this program is connected to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cluster {
    /// What runs it.
    pub engine: Engine,
    /// Worker processes.
    pub workers: u32,
    /// Calls that each of them runs at a time, under one GIL.
    pub threads: u32,
    /// Whether its workers share the cores of this host.
    pub here: bool,
    /// Seconds that an empty chunk takes there and back.
    pub dispatch: Constant,
    /// Bytes per second on the way, there or back.
    pub bytes_per_second: Constant,
    /// Seconds until it can take calls: none once it is connected.
    pub start_up: Constant,
}

impl Cluster {
    /// Its worker processes, at least one.
    pub(crate) fn processes(&self) -> u32 {
        self.workers.clamp(1, MOST)
    }

    /// The threads of each that may be used when no more calls than `most` run at a time.
    pub(crate) fn lanes(&self, most: u32) -> (u32, u32) {
        let threads = self.threads.clamp(1, MOST);
        if most < self.processes() {
            (most.max(1), 1)
        } else {
            (self.processes(), threads.min(most / self.processes()))
        }
    }
}

impl Model<'_> {
    /// That many worker processes of a cluster with that many threads in each. The caller only feeds them.
    pub(crate) fn cluster(&self, cluster: &Cluster, processes: u32, threads: u32) -> Cost {
        let total = f64::from(processes) * f64::from(threads);
        let dispatch = cluster.dispatch.value();
        let chunk = self.cluster_chunk(dispatch, total);
        let moving = self.bytes / cluster.bytes_per_second.value().max(1.0);
        let each = dispatch / chunk;
        let feed = (self.codec + moving + SERIAL * each).max(TINY);
        // What one call takes of its lane.
        let lane = self.wall + self.codec + each;
        let cores = if cluster.here { self.cores / (self.cpu + 2.0 * self.codec) } else { f64::INFINITY };
        let busy = |lanes: f64| {
            (lanes / lane).min(f64::from(processes) * self.gil_rate(self.codec)).min(cores).min(1.0 / feed)
        };
        let rate = if threads > 1 { busy(total) } else { (total / lane).min(cores).min(1.0 / feed) };
        let carried = self.job.carried;
        let carry =
            carried.pack.get() + f64::from(processes) * carried.bytes.get() / cluster.bytes_per_second.value().max(1.0);
        let start_up = cluster.start_up.value() + carry;
        let full = self.calls / rate;
        let even = if chunk <= 1.0 {
            full.max((self.calls / total).ceil() * lane)
        } else {
            let one = self.calls.min(chunk) * lane;
            full.max(one) + 0.5 * one * (1.0 - 1.0 / total)
        };
        let seconds = start_up + dispatch + even + self.spread(whole32(total), chunk);
        let limit = if feed >= lane / total {
            Limit::Dispatch
        } else if cores <= rate {
            Limit::Cores
        } else {
            Limit::Workers
        };
        Cost { seconds, start_up, rate, limit: if start_up > seconds / 2.0 { Limit::StartUp } else { limit } }
    }

    /// Calls in a chunk: long against a dispatch, but some for each lane.
    pub(crate) fn cluster_chunk(&self, dispatch: f64, lanes: f64) -> f64 {
        self.grain.unwrap_or_else(|| {
            let aim = (WORTH * dispatch).min(self.job.target_chunk_seconds).max(0.0);
            (aim / self.turn).min(self.calls / (2.0 * lanes)).max(1.0)
        })
    }
}
