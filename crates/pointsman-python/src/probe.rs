//! Observes one call from outside: how long it computes, waits, and holds the GIL.
//!
//! [`Probe`] is what Python sees. `begin` and `end` read clocks on the calling thread; in between, once
//! the call has lasted a little, a native thread looks at the GIL and at the clock of the observed
//! thread, and never asks for the GIL. [`gil`] knows where the GIL's state lies, [`clocks`] reads time,
//! [`sampler`] owns the native thread, [`tally`] does the arithmetic.
//!
//! # Does not know
//!
//! What is called, what is decided from the figures, plans, backends, workers.
//!
//! # Invariants
//!
//! - I1. `Probe::inner` is locked only by an attached thread, and never across a detach or a call into
//!   Python; so a fork, which the interpreter makes while attached, never copies it locked.
//! - I2. An observation belongs to the process that began it. In a forked child the sampler is made anew
//!   and the lock of the parent's sampler is never touched.
//! - I3. The sampler holds no Python object and no pointer that it follows: of the observed thread it
//!   has a clock id and a number to compare with.
//! - I4. A look is added only to the observation for which it was begun (compared by its number, under
//!   the sampler's lock), so none counts after `end`.

mod clocks;
mod gil;
mod sampler;
mod tally;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

pub(crate) use clocks::ThreadClock;
use sampler::{Sampler, Target};
use tally::Tally;

/// Arbitrary: an attach that took longer than this had to wait for somebody. A free GIL is taken in
/// about 1 us, a hand-off takes 20 us or more.
const KNOCK_WAITED: Duration = Duration::from_micros(20);

/// Derived: two switch intervals of CPython's default 5 ms, so that knocking slows a call by little.
const KNOCK_INTERVAL: Duration = Duration::from_millis(10);

/// Longest time that a wait accepts; beyond it the clock arithmetic of some systems overflows.
const LONGEST_WAIT: f64 = 1e9;

/// What was seen of one call. Times are seconds.
#[pyclass(frozen, get_all, module = "pointsman._native")]
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Time on the wall clock.
    wall: f64,
    /// CPU time of the observed thread.
    cpu: f64,
    /// Share of `cpu` during which the thread held the GIL; 1.0 (the careful guess) if nobody looked.
    held_share: f64,
    /// `held_share * cpu`.
    held: f64,
    /// Looks taken; 0 if the call was too short to be looked at, or nothing can be seen here.
    samples: u32,
    /// Looks that found the thread on a CPU: those on which `held_share` rests.
    on_cpu_samples: u32,
    /// Changes of the GIL's state between looks, over those expected of a state that changes faster
    /// than the looks: near 0 for long stretches, near 1 when the GIL is passed to and fro.
    flip: f64,
    /// CPU time of all other threads of the process, less the probe's own. The kernel brings the
    /// clock of a thread that runs elsewhere up to date once per tick (1 to 4 ms).
    other_cpu: f64,
    /// CPU time of child processes that ended, and were waited for, meanwhile; 0 where nobody looked.
    children_cpu: f64,
    /// Pages of memory that the process was given meanwhile; 0 where nobody looked.
    faults: u64,
    /// Threads of the process at the beginning, less the probe's own; 0 where they cannot be counted.
    threads_before: u32,
    /// Most threads that were seen during the call, counted alike.
    threads_peak: u32,
    /// Whether the state of the GIL can be seen here. If not, `held_share` comes from knocking.
    supported: bool,
}

#[pymethods]
impl Sample {
    fn __repr__(&self) -> String {
        format!(
            "Sample(wall={:.6}, cpu={:.6}, held_share={:.3}, held={:.6}, samples={}, on_cpu_samples={}, \
             flip={:.2}, other_cpu={:.6}, children_cpu={:.6}, faults={}, threads_before={}, threads_peak={}, supported={})",
            self.wall,
            self.cpu,
            self.held_share,
            self.held,
            self.samples,
            self.on_cpu_samples,
            self.flip,
            self.other_cpu,
            self.children_cpu,
            self.faults,
            self.threads_before,
            self.threads_peak,
            if self.supported { "True" } else { "False" },
        )
    }
}

impl Sample {
    /// Whether the thread was seen on a CPU, so that the share of the GIL is more than a guess.
    pub(crate) fn was_seen(&self) -> bool {
        self.on_cpu_samples > 0
    }

    /// CPU seconds.
    pub(crate) fn cpu(&self) -> f64 {
        self.cpu
    }

    /// CPU seconds with the GIL held.
    pub(crate) fn held(&self) -> f64 {
        self.held
    }
}

/// The readings at the beginning of an observation.
#[derive(Clone, Copy)]
struct Begun {
    number: u64,
    forks: u32,
    wall: Instant,
    clock: ThreadClock,
    cpu: Duration,
    process: Duration,
    children: Duration,
    faults: u64,
    probes: Duration,
    threads: u32,
    arm_after: Option<Duration>,
}

struct Inner {
    sampler: Arc<Sampler>,
    forks: u32,
    number: u64,
    begun: Option<Begun>,
}

/// Observes one call at a time; reusable, and safe to keep across forks.
#[pyclass(frozen, module = "pointsman._native")]
pub(crate) struct Probe {
    inner: Mutex<Inner>,
    gil: &'static gil::View,
}

#[pymethods]
impl Probe {
    #[new]
    pub(crate) fn new(py: Python<'_>) -> Self {
        let gil = gil::view(py);
        let forks = clocks::forks();
        let inner = Inner { sampler: Sampler::start(gil), forks, number: 0, begun: None };
        Self { inner: Mutex::new(inner), gil }
    }

    /// Whether the GIL's state can be seen from outside here.
    #[getter]
    fn supported(&self) -> bool {
        self.lock().sampler.is_looking()
    }

    /// Starts to observe the calling thread; looks begin once `arm_after` seconds have passed.
    ///
    /// A begin after a pause of 1 ms or more wakes the native thread, which takes some 7 us; soon after
    /// another observation, and with an infinite `arm_after`, it takes 2 us.
    // Arbitrary: below 100 us a call is too short for a distant look to pay. A wake of a halted core takes
    // some 20 us, a look some 10; between 50 and 300 us nothing changes but the share of unseen calls.
    // Written out, not as a constant, so that Python's `help` shows it.
    #[pyo3(signature = (arm_after = 100e-6))]
    pub(crate) fn begin(&self, py: Python<'_>, arm_after: f64) -> PyResult<()> {
        let arm_after = seconds("arm_after", arm_after)?;
        let tstate = gil::current_thread_state(py);
        let forks = self.renew_after_fork();
        let threads = clocks::threads();
        let process = clocks::process_cpu(py);
        let children = clocks::children_cpu();
        let faults = clocks::faults();
        let probes = sampler::cpu_of_all();
        let clock = ThreadClock::here();
        let cpu = clock.read(py).unwrap_or_default();
        let mut inner = self.lock();
        if inner.begun.is_some_and(|begun| begun.forks == forks) {
            return Err(PyRuntimeError::new_err(
                "this probe already observes a call: end() it first, or use another Probe",
            ));
        }
        inner.number += 1;
        let number = inner.number;
        let wall = Instant::now();
        inner.begun =
            Some(Begun { number, forks, wall, clock, cpu, process, children, faults, probes, threads, arm_after });
        inner.sampler.begin(Target { number, begun: wall, arm_after, clock, tstate });
        Ok(())
    }

    /// Stops observing, and returns what was seen.
    pub(crate) fn end(&self, py: Python<'_>) -> PyResult<Sample> {
        let wall = Instant::now();
        let forks = self.renew_after_fork();
        let mut inner = self.lock();
        let Some(begun) = inner.begun.take() else {
            return Err(PyRuntimeError::new_err("this probe observes nothing: begin() comes first"));
        };
        let tally = inner.sampler.end();
        drop(inner);
        if begun.forks != forks {
            return Ok(self.sample_in_child(py, &begun, wall));
        }
        let cpu = begun.clock.read(py);
        Ok(self.sample(py, &begun, &tally, wall, cpu))
    }

    /// The figures so far, from any thread; None if nothing is being observed.
    fn peek(&self, py: Python<'_>) -> Option<Sample> {
        let (begun, sampler) = self.observed()?;
        self.so_far(py, &begun, &sampler)
    }

    /// Waits until the observed call has lasted `seconds` (its figures so far) or has ended (None).
    ///
    /// For a thread other than the observed one. Where the GIL cannot be seen, this thread asks for it
    /// now and then, and the figures rest on how often it had to wait.
    fn wait_checkpoint(&self, py: Python<'_>, seconds: f64) -> PyResult<Option<Sample>> {
        let lasting = self::seconds("seconds", seconds)?;
        let Some((begun, sampler)) = self.observed() else {
            return Ok(None);
        };
        let deadline = lasting.map(|lasting| begun.wall + lasting);
        let still_running = if sampler.is_looking() {
            py.detach(|| sampler.wait(begun.number, deadline))
        } else {
            knock_until(py, &sampler, &begun, deadline)
        };
        Ok(if still_running { self.so_far(py, &begun, &sampler) } else { None })
    }

    fn __repr__(&self) -> String {
        let state = if self.lock().begun.is_some() { "observing" } else { "idle" };
        format!("<Probe {state}: {}>", self.gil.method())
    }
}

impl Probe {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a forked child a sampler of its own; tells how often this process was forked.
    fn renew_after_fork(&self) -> u32 {
        let forks = clocks::forks();
        let mut inner = self.lock();
        if inner.forks != forks {
            inner.forks = forks;
            inner.sampler = Sampler::start(self.gil);
        }
        forks
    }

    /// The observation under way in this process, with the sampler that serves it.
    fn observed(&self) -> Option<(Begun, Arc<Sampler>)> {
        let inner = self.lock();
        let begun = inner.begun.filter(|begun| begun.forks == clocks::forks())?;
        Some((begun, Arc::clone(&inner.sampler)))
    }

    /// None if this observation has ended meanwhile.
    fn so_far(&self, py: Python<'_>, begun: &Begun, sampler: &Sampler) -> Option<Sample> {
        let tally = sampler.tally(begun.number)?;
        let wall = Instant::now();
        let cpu = begun.clock.read(py);
        Some(self.sample(py, begun, &tally, wall, cpu))
    }

    fn sample(&self, py: Python<'_>, begun: &Begun, tally: &Tally, now: Instant, cpu: Option<Duration>) -> Sample {
        let wall = now.saturating_duration_since(begun.wall);
        // A thread that has died, or a system that shows no clock of another thread: as if it computed.
        let cpu = cpu.map_or(wall, |cpu| cpu.saturating_sub(begun.cpu).min(wall));
        // A short call gets its own two clocks and nothing else: each further one costs half a
        // microsecond.
        let short = tally.samples == 0 && begun.arm_after.is_none_or(|arm_after| wall < arm_after);
        let (other, children, faults, peak) = if short {
            (Duration::ZERO, Duration::ZERO, 0, begun.threads)
        } else {
            let process = clocks::process_cpu(py).saturating_sub(begun.process);
            let probes = sampler::cpu_of_all().saturating_sub(begun.probes);
            let peak = clocks::threads().max(tally.threads_peak).max(begun.threads);
            let children = clocks::children_cpu().saturating_sub(begun.children);
            let faults = clocks::faults().saturating_sub(begun.faults);
            (process.saturating_sub(cpu).saturating_sub(probes), children, faults, peak)
        };
        let cpu = cpu.as_secs_f64();
        let held_share = tally.held_share().unwrap_or(1.0);
        Sample {
            wall: wall.as_secs_f64(),
            cpu,
            held_share,
            held: held_share * cpu,
            samples: tally.samples,
            on_cpu_samples: tally.on_cpu(),
            flip: tally.flip(),
            other_cpu: other.as_secs_f64(),
            children_cpu: children.as_secs_f64(),
            faults,
            threads_before: begun.threads,
            threads_peak: peak,
            supported: self.supported(),
        }
    }

    /// What a forked child can say of a call that its parent began: the clocks of the child start at
    /// the fork, and nobody looked (I2).
    fn sample_in_child(&self, py: Python<'_>, begun: &Begun, now: Instant) -> Sample {
        let child = Begun {
            cpu: Duration::ZERO,
            children: Duration::ZERO,
            faults: clocks::faults(),
            arm_after: None,
            ..*begun
        };
        self.sample(py, &child, &Tally::default(), now, ThreadClock::here().read(py))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let inner = self.inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        let here = inner.forks == clocks::forks();
        if here {
            inner.sampler.stop();
        }
    }
}

/// Where the GIL cannot be seen, asks for it now and then from this thread, which is a Python thread
/// anyway, and counts how often it had to wait. It reads too low for calls that let go of the GIL often.
fn knock_until(py: Python<'_>, sampler: &Sampler, begun: &Begun, deadline: Option<Instant>) -> bool {
    let (mut cpu_before, mut wall_before) = (begun.cpu, begun.wall);
    loop {
        let soon = Instant::now() + KNOCK_INTERVAL;
        let next = deadline.map_or(soon, |deadline| deadline.min(soon));
        let (running, asked) = py.detach(|| (sampler.wait(begun.number, Some(next)), Instant::now()));
        let waited = asked.elapsed() > KNOCK_WAITED;
        if !running {
            return false;
        }
        let clock = begun.clock.read(py);
        let (cpu, wall) = (clock.unwrap_or(cpu_before), Instant::now());
        let spent = cpu.saturating_sub(cpu_before);
        // Without the clock of another thread every knock counts: one at a waiting call goes unheard.
        if clock.is_none() || spent * 2 > wall.saturating_duration_since(wall_before) {
            sampler.knocked(begun.number, waited);
        }
        (cpu_before, wall_before) = (cpu, wall);
        if deadline.is_some_and(|deadline| wall >= deadline) {
            return true;
        }
    }
}

/// Checks a number of seconds from Python; None stands for "never".
fn seconds(name: &str, value: f64) -> PyResult<Option<Duration>> {
    if value.is_nan() || value < 0.0 {
        let message = format!("{name} must be a number of seconds, 0 or more, not {value}");
        return Err(PyValueError::new_err(message));
    }
    Ok((value <= LONGEST_WAIT).then(|| Duration::from_secs_f64(value)))
}

/// How the GIL's state is seen here, in words, for `doctor`.
#[pyfunction]
pub(crate) fn probe_method(py: Python<'_>) -> &'static str {
    gil::view(py).method()
}

/// Seconds for which a thread of this process, by its number in the system, has been ready to run while others had the
/// cores; 0 where the system does not say.
#[pyfunction]
pub(crate) fn queued_seconds(thread: u32) -> f64 {
    clocks::queued(thread)
}
