//! Holds what was measured of a call.
//!
//! # Does not know
//!
//! How it was measured, and what will be decided from it.
//!
//! # Invariants
//!
//! - I1. A [`Seconds`] is finite, and between 0 and [`Seconds::MAX`].
//! - I2. A [`Bytes`] is finite, and between 0 and [`Bytes::MAX`].

use crate::number::within;

/// A length of time in seconds: finite and not negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct Seconds(f64);

impl Seconds {
    /// No time at all.
    pub const ZERO: Self = Self(0.0);
    /// The longest time there is here, some 30 000 years.
    pub const MAX: Self = Self(1e12);

    /// Makes a length of time. NaN and negative values become 0, values above [`Seconds::MAX`] become that.
    pub fn new(value: f64) -> Self {
        Self(within(value, 0.0, Self::MAX.0))
    }

    /// The value in seconds.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// An amount of memory in bytes, perhaps a mean and so not whole: finite and not negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct Bytes(f64);

impl Bytes {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// The largest amount there is here, an exabyte.
    pub const MAX: Self = Self(1e18);

    /// Makes an amount. NaN and negative values become 0, values above [`Bytes::MAX`] become that.
    pub fn new(value: f64) -> Self {
        Self(within(value, 0.0, Self::MAX.0))
    }

    /// The value in bytes.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// What a call does with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// At least 70 % of its time on the CPU.
    CpuBound,
    /// Less than 30 % of its time on the CPU.
    IoBound,
    /// Between the two.
    Mixed,
    /// On the CPU, and at most 30 % of that with the GIL.
    GilFree,
}

impl Workload {
    /// The name that a plan shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuBound => "cpu-bound",
            Self::IoBound => "io-bound",
            Self::Mixed => "mixed",
            Self::GilFree => "gil-free",
        }
    }
}

/// What was measured of one call, as means over the calls measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Observation {
    /// How many calls were measured.
    pub calls: u64,
    /// CPU time with the GIL, per call.
    pub held: Seconds,
    /// CPU time of the calling thread without the GIL, per call.
    pub free: Seconds,
    /// Time off the CPU, per call.
    pub wait: Seconds,
    /// Coefficient of variation of the time of a call: standard deviation over mean.
    pub cv: f64,
    /// The longest call seen; zero when unknown.
    pub longest: Seconds,
    /// Pickled size of the arguments, per call.
    pub argument_bytes: Bytes,
    /// Pickled size of the result, per call.
    pub result_bytes: Bytes,
    /// Measured time to pickle and to unpickle, argument and result together, per call. Without it the time is
    /// estimated from the bytes.
    pub pack: Option<Seconds>,
    /// CPU time that a call spends in threads other than its own (BLAS, `OpenMP`), per call.
    pub other_threads: Seconds,
    /// The part of its CPU time in which the system gave it pages of memory; a worker process keeps those of one call for
    /// the next.
    pub faulting: Seconds,
    /// How often the GIL changed hands between two samples of the probe, relative to what chance gives: 0 for long
    /// stretches, about 1 when it is released faster than the probe looks.
    pub flip: f64,
    /// The first call is still running: the figures are what it has used until now.
    pub partial: bool,
    /// Share of the time since the last look for which such a call computed, if it was looked at before.
    pub recent: Option<f64>,
    /// Measured speed-up of two calls that really ran together on threads (2 is perfect, 1 is no gain).
    pub together: Option<f64>,
}

/// A call that is still running is taken to last this many times what it has lasted: without knowledge of its
/// length, the expected remainder of a running call is as long as its past (Lindy's rule). Arbitrary; for calls
/// measured from 1 ms on, decisions change little between 1.5 and 4: a running job corrects them.
const PARTIAL_FACTOR: f64 = 2.0;

impl Observation {
    /// CPU time of the calling thread per call.
    pub fn cpu(&self) -> Seconds {
        Seconds::new(self.held.get() + self.free.get())
    }

    /// Wall time of a call that runs alone.
    pub fn wall(&self) -> Seconds {
        Seconds::new(self.cpu().get() + self.wait.get())
    }

    /// What the call does with its time.
    pub fn workload(&self) -> Workload {
        let (cpu, wall) = (self.cpu().get(), self.wall().get());
        if wall <= 0.0 {
            Workload::CpuBound
        } else if cpu < 0.3 * wall {
            Workload::IoBound
        } else if cpu < 0.7 * wall {
            Workload::Mixed
        } else if self.held.get() <= 0.3 * cpu {
            Workload::GilFree
        } else {
            Workload::CpuBound
        }
    }

    /// The same call with all its times `factor` times as long; bytes and their packing stay.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let scale = |time: Seconds| Seconds::new(time.get() * factor);
        Self {
            held: scale(self.held),
            free: scale(self.free),
            wait: scale(self.wait),
            longest: scale(self.longest),
            other_threads: scale(self.other_threads),
            faulting: scale(self.faulting),
            ..*self
        }
    }

    /// What the whole call is expected to be: itself, or, when only partly seen, twice what was seen. What it did last
    /// it is expected to go on with: a call that imports and connects first, and then waits, will wait. Of one that was
    /// looked at once, and has mostly waited, the same is expected: it computes at its ends.
    #[must_use]
    pub fn completed(&self) -> Self {
        if !self.partial {
            *self
        } else if let Some(recent) = self.recent.filter(|share| !share.is_nan()) {
            let (wall, cpu) = (self.wall().get(), self.cpu().get());
            let rest = wall * (PARTIAL_FACTOR - 1.0);
            let computing = rest * recent.clamp(0.0, 1.0);
            let held = if cpu > 0.0 { self.held.get() / cpu } else { 1.0 };
            Self {
                partial: false,
                held: Seconds::new(self.held.get() + computing * held),
                free: Seconds::new(self.free.get() + computing * (1.0 - held)),
                wait: Seconds::new(self.wait.get() + rest - computing),
                longest: Seconds::new(self.longest.get() * PARTIAL_FACTOR),
                other_threads: Seconds::new(self.other_threads.get() * PARTIAL_FACTOR),
                faulting: Seconds::new(self.faulting.get() * PARTIAL_FACTOR),
                ..*self
            }
        } else if self.wait > self.cpu() {
            let wait = Seconds::new(self.wall().get() * PARTIAL_FACTOR - self.cpu().get());
            let longest = Seconds::new(self.longest.get() * PARTIAL_FACTOR);
            Self { partial: false, wait, longest, ..*self }
        } else {
            Self { partial: false, ..self.scaled(PARTIAL_FACTOR) }
        }
    }
}
