//! Holds facts about a host: its size, and what starting and feeding workers costs there.
//!
//! # Does not know
//!
//! How a constant is measured, or where it is kept.
//!
//! # Invariants
//!
//! - I1. The value of a [`Constant`] is finite and not negative.
//! - I2. Every constant says where it comes from.

use crate::cluster::Cluster;
use crate::number::within;
use crate::observation::Bytes;

/// Where a constant comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Provenance {
    /// Shipped with the library, measured on the machine of `FEASIBILITY.md` (2 cores, Linux, CPython 3.11).
    BuiltIn,
    /// Set by the user of the library.
    Given,
    /// Measured on this machine at that moment.
    Measured {
        /// Seconds since 1970.
        unix_seconds: f64,
    },
}

/// One number about the machine. Seconds, unless its name says otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constant {
    value: f64,
    provenance: Provenance,
}

impl Constant {
    /// Makes a constant. NaN and negative values become 0, values above 1e15 become that.
    pub fn new(value: f64, provenance: Provenance) -> Self {
        Self { value: within(value, 0.0, 1e15), provenance }
    }

    /// The number itself.
    pub const fn value(self) -> f64 {
        self.value
    }

    /// Where it comes from.
    pub const fn provenance(self) -> Provenance {
        self.provenance
    }
}

/// Facts about a host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Usable cores: affinity and quota counted, so perhaps not whole.
    pub cores: f64,
    /// Memory that may be used; zero means unknown, and then nothing is limited by it.
    pub memory: Bytes,
    /// Whether the interpreter has a GIL (and it is on).
    pub gil: bool,
    /// Whether the interpreter can run others beside itself, each with a GIL of its own.
    pub interpreters: bool,
    /// The cluster that the program is connected to, if it is one of the choices.
    pub cluster: Option<Cluster>,
    /// Cost of one turn of a plain loop over calls. Built-in 0.03 us: 0.034 us (B, "plain in-process loop").
    pub inline_dispatch: Constant,
    /// Start of one pool thread. Built-in 60 us, with the wake of a halted core (A: 20-48 us) in it.
    pub thread_start: Constant,
    /// Hand-out of one call to a thread, with the GIL held. Built-in 0.3 us: D, "prototype, no spin", 0.34 us.
    pub thread_dispatch: Constant,
    /// Start of the zygote and of the first worker process. Built-in 18 ms: G, 14.7 + 3.2 ms.
    pub process_first: Constant,
    /// Start of each further worker process. Built-in 2 ms: G, a warm zygote needs 3.2 ms for the first of two and
    /// 3.6 ms for both; imports of the user's modules come on top.
    pub process_next: Constant,
    /// The caller's work for one call in a batch, less the bytes. Built-in 0.15 us: B, 100k chunk=1, 0.16-0.21 us.
    pub process_dispatch: Constant,
    /// What one frame costs the caller beyond that, whatever is in it. Built-in 3 us: B, `submit().result()`,
    /// 1.6 us alone, 5.9 us in company.
    pub process_dispatch_alone: Constant,
    /// Start of each worker interpreter, one after the other. Built-in 36 ms: twice a first worker process when both were
    /// started in turn on one machine (`benches/interpreters.py`, CPython 3.14.10).
    pub interpreter_start: Constant,
    /// The caller's work for one call in a batch that goes to an interpreter, less the bytes. Built-in 1 us:
    /// 0.5 to 2.4 us, the same bench.
    pub interpreter_dispatch: Constant,
    /// What one batch costs beyond that, whatever is in it. Built-in 45 us: a thousand batches under way together, the
    /// same bench; 60 us when each waits for the one before.
    pub interpreter_dispatch_alone: Constant,
    /// Speed of pickling, and of unpickling, in bytes per second. Built-in 1.2e9: C, 80 MB in 66 ms into a cold
    /// arena; nine times that when warm, a tenth for many small objects, hence `Observation::pack`.
    pub bytes_per_second: Constant,
    /// Hand-over of one call to an event loop in a batch: E, "eventfd + `add_reader`", 2.3 us. For the backend that
    /// awaits; nothing in this crate prices an event loop.
    pub event_loop_dispatch: Constant,
    /// Work that one chunk must hold at least. Built-in 200 us: B, "Granularity", from 200 us per task on the hand-out
    /// costs no more than 2 %.
    pub least_chunk: Constant,
    /// What must be gained at least to leave the plain loop. Built-in 2 ms, by which an automatic choice may be slower
    /// than the plain loop (DESIGN 5.3): smaller gains are lost again in what deciding costs.
    pub least_gain: Constant,
}

impl Machine {
    /// A host with the built-in constants.
    pub fn new(cores: f64, memory: Bytes, gil: bool) -> Self {
        let built_in = |value| Constant::new(value, Provenance::BuiltIn);
        Self {
            cores,
            memory,
            gil,
            interpreters: false,
            cluster: None,
            inline_dispatch: built_in(0.03e-6),
            thread_start: built_in(60e-6),
            thread_dispatch: built_in(0.3e-6),
            process_first: built_in(18e-3),
            process_next: built_in(2e-3),
            process_dispatch: built_in(0.15e-6),
            process_dispatch_alone: built_in(3e-6),
            interpreter_start: built_in(36e-3),
            interpreter_dispatch: built_in(1e-6),
            interpreter_dispatch_alone: built_in(45e-6),
            bytes_per_second: built_in(1.2e9),
            event_loop_dispatch: built_in(2.3e-6),
            least_chunk: built_in(200e-6),
            least_gain: built_in(2e-3),
        }
    }

    /// The cores to reckon with: at least a hundredth, at most 4096; one when the figure is NaN.
    pub fn usable_cores(&self) -> f64 {
        if self.cores.is_nan() { 1.0 } else { self.cores.clamp(0.01, 4096.0) }
    }

    /// Every constant with its name.
    pub fn constants(&self) -> [(&'static str, Constant); 14] {
        [
            ("inline_dispatch", self.inline_dispatch),
            ("thread_start", self.thread_start),
            ("thread_dispatch", self.thread_dispatch),
            ("process_first", self.process_first),
            ("process_next", self.process_next),
            ("process_dispatch", self.process_dispatch),
            ("process_dispatch_alone", self.process_dispatch_alone),
            ("interpreter_start", self.interpreter_start),
            ("interpreter_dispatch", self.interpreter_dispatch),
            ("interpreter_dispatch_alone", self.interpreter_dispatch_alone),
            ("bytes_per_second", self.bytes_per_second),
            ("event_loop_dispatch", self.event_loop_dispatch),
            ("least_chunk", self.least_chunk),
            ("least_gain", self.least_gain),
        ]
    }
}

impl Default for Machine {
    /// The 2-core Linux machine on which the built-in constants were measured; memory unknown, with a GIL.
    fn default() -> Self {
        Self::new(2.0, Bytes::ZERO, true)
    }
}
