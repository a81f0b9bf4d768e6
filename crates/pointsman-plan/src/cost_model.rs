//! Predicts what one placement of the calls left would cost.
//!
//! A call is a customer of a closed queueing network: it needs the GIL for `held` seconds (one server per
//! interpreter), computes for `free` seconds and is away for `wait` seconds. Exact mean value analysis (Reiser and
//! Lavenberg 1980) gives the throughput of T such calls at a time under one GIL; it lies below the bounds
//! `min(1/h, T/(h+f+w))` by the time that calls queue for the GIL. It predicted 1.48 for two threads that hold the
//! GIL 59 % of the time, the bounds 1.71, and 1.49 was measured (FEASIBILITY F, "mixed 50/50, 14 ms"). What the calls
//! get of the cores ([`cores`]) is an upper bound on that, and so is what the caller can feed.
//!
//! The seconds of a job are start-up, plus full rounds of calls at that rate, plus a last round in which only some
//! lanes have work, plus what the spread of the calls leaves at the end.
//!
//! # Does not know
//!
//! Which placements are tried, which is taken, and how it is explained.
//!
//! # Invariants
//!
//! - I1. Every time that divides is at least [`TINY`], so no rate is infinite or NaN.
//! - I2. All figures are in seconds, calls, or calls per second, so that scaling every time by one factor scales every
//!   prediction by it.

use crate::chunk::{Least, chunk_within};
use crate::cores;
use crate::job::Job;
use crate::machine::Machine;
use crate::number::{real, whole, whole32, within};
use crate::observation::Observation;
use crate::plan::Limit;

/// The most threads that are ever priced. Arbitrary: 256 of them start in 15 ms, and each has a stack; calls that wait
/// for so long that more would help belong on an event loop.
pub(crate) const MOST_THREADS: u32 = 256;

/// The most threads that are priced inside one worker process. Arbitrary; P x 32 reaches `MOST_THREADS` on 8 cores.
pub(crate) const MOST_LANES: u32 = 32;

/// No time that divides is shorter (in seconds).
pub(crate) const TINY: f64 = 1e-18;

/// An input without a length is priced as this much work in a plain loop (seconds), and at least as
/// [`ENDLESS_CALLS`] calls. Arbitrary: between 0.3 s and 30 s the choice differs only where the gain does not repay
/// the 20 ms of a first process pool within the one but does within the other.
const ENDLESS_SECONDS: f64 = 1.0;

/// See [`ENDLESS_SECONDS`]. Arbitrary: any number above the lanes there are decides alike.
const ENDLESS_CALLS: f64 = 1000.0;

/// What running without a GIL costs in calls that would hold one: contended reference counts and locks.
/// Arbitrary, and not measured here, so it stays below the differences that decide: it prefers no other process to a
/// thread. What two calls together really gained replaces it.
const FREE_THREADING_LOSS: f64 = 0.02;

/// Strength and steepness of the convoy that forms when the GIL is released faster than it can be handed over.
/// Derived from FEASIBILITY F: `flip` 0.88 with the GIL held 44 % of the time, two threads ran 0.29 times as fast
/// (model: 0.30); `flip` 0.40 with 58 %, 1.64 times (model: 1.4); `flip` 0.01, no loss. Nor was there any at `flip` 1.2 for
/// calls that wait for a server 87 % of their time and compute for 3 ms.
const CONVOY: (f64, i32) = (10.0, 6);

/// The most of a call's CPU time that a worker is taken to spare it. Arbitrary: the best of ten needed 0.37 of it.
const MOST_SPARED: f64 = 0.6;

/// The share of memory that plans may fill. Arbitrary: room for what the program itself still allocates.
pub(crate) const MEMORY_SHARE: f64 = 0.8;

/// The share of a call spent without the GIL below which a second thread in its process is not worth trying. Arbitrary
/// from 0.02 to 0.1: the probe is no truer than that after some milliseconds, and the gain is less than the share.
const LONE: f64 = 0.05;

/// What one placement would cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) seconds: f64,
    pub(crate) start_up: f64,
    pub(crate) rate: f64,
    pub(crate) limit: Limit,
}

/// The throughput of 1, 2, ... calls at a time under one GIL.
#[derive(Debug)]
struct Lanes {
    rates: [f64; MOST_THREADS as usize + 1],
}

/// All that is derived once from the observation, the machine and the job.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    machine: &'a Machine,
    pub(crate) job: &'a Job,
    pub(crate) cores: f64,
    /// Calls to price, and whether that is only assumed.
    pub(crate) calls: f64,
    /// GIL-held, GIL-free, waiting; without a GIL all computing is free.
    held: f64,
    free: f64,
    wait: f64,
    /// CPU seconds that a call takes from the cores, its other threads included.
    pub(crate) cpu: f64,
    /// Seconds of a call that runs alone, and of one turn of the plain loop.
    pub(crate) wall: f64,
    pub(crate) turn: f64,
    /// Seconds of a call that one in a worker process does not need.
    spared: f64,
    cv: f64,
    longest: f64,
    pub(crate) bytes: f64,
    /// Seconds that moving one call costs the feeding caller, and as many again the worker.
    pub(crate) feed: f64,
    /// The same for a worker interpreter.
    pub(crate) feed_interpreter: f64,
    /// Calls in the smallest chunk, when a chunk size is prescribed.
    pub(crate) grain: Option<f64>,
    /// Seconds of pickling or unpickling one call's bytes.
    pub(crate) codec: f64,
    /// What the threads of one interpreter reach of the modelled rate.
    pub(crate) harmony: f64,
    threads: Lanes,
    lanes: Lanes,
}

impl Lanes {
    /// Mean value analysis of one queue with that demand and a delay.
    fn new(demand: f64, delay: f64, most: u32) -> Self {
        let mut rates = [0.0; MOST_THREADS as usize + 1];
        let mut queue = 0.0;
        for (number, rate) in (0..=most.min(MOST_THREADS)).zip(&mut rates).skip(1) {
            let response = demand * (1.0 + queue);
            *rate = f64::from(number) / (response + delay).max(TINY);
            queue = *rate * response;
        }
        Self { rates }
    }

    fn of(&self, lanes: u32) -> f64 {
        self.rates[lanes.min(MOST_THREADS) as usize]
    }
}

impl<'a> Model<'a> {
    /// Prepares to price placements of that job.
    pub(crate) fn new(observation: &Observation, machine: &'a Machine, job: &'a Job) -> Self {
        let seen = observation.completed();
        let cores = machine.usable_cores();
        let wall = seen.wall().get().max(TINY);
        let turn = (wall + machine.inline_dispatch.value()).max(seen.cpu().get() / cores.min(1.0));
        let (held, free) = if machine.gil { (seen.held.get(), seen.free.get()) } else { (0.0, seen.cpu().get()) };
        let wait = seen.wait.get();
        // A call cannot have used more than all cores for as long as it lasted; the rest is noise of the clock.
        let others = seen.other_threads.get().min((cores * wall - held - free).max(0.0));
        let calls = job.calls.map_or_else(|| (ENDLESS_SECONDS / turn).ceil().max(ENDLESS_CALLS), real);
        let grain = job.chunksize.map(|chunk| real(chunk.max(1)));
        let bytes = seen.argument_bytes.get() + seen.result_bytes.get();
        let codec =
            seen.pack.map_or_else(|| bytes / machine.bytes_per_second.value().max(1.0), |pack| pack.get() / 2.0);
        let per_frame = grain.unwrap_or_else(|| (machine.least_chunk.value() / turn).max(1.0));
        let feed = codec + machine.process_dispatch.value() + machine.process_dispatch_alone.value() / per_frame;
        let feed_interpreter =
            codec + machine.interpreter_dispatch.value() + machine.interpreter_dispatch_alone.value() / per_frame;
        let call = (held, free, wait);
        let spared = seen.faulting.get().min(MOST_SPARED * (held + free));
        // Which part of the call they fall into is not known.
        let share = 1.0 - spared / (held + free).max(TINY);
        let kept = (held * share, free * share, wait);
        let dispatch = machine.thread_dispatch.value();
        let mut model = Self {
            machine,
            job,
            cores,
            calls,
            held,
            free,
            wait,
            cpu: (held + free + others).max(TINY),
            wall,
            turn: turn.max(TINY),
            spared,
            cv: within(seen.cv, 0.0, 1e3),
            longest: seen.longest.get(),
            bytes,
            feed: feed.max(TINY),
            feed_interpreter: feed_interpreter.max(TINY),
            grain,
            codec,
            harmony: 1.0,
            threads: lanes_under(machine.gil, call, dispatch, MOST_THREADS),
            lanes: lanes_under(machine.gil, kept, feed, MOST_LANES),
        };
        model.harmony = model.harmony_of(&seen);
        model
    }

    /// What was seen of two calls together, else what the probe saw of the GIL changing hands, over what the model
    /// says without either.
    fn harmony_of(&self, seen: &Observation) -> f64 {
        if let Some(together) = seen.together.filter(|speedup| !speedup.is_nan()) {
            let expected = self.thread_rate(2) * self.turn;
            return (together.clamp(0.05, 2.0) / expected.max(TINY)).min(2.0);
        }
        if !self.machine.gil {
            return 1.0 / (1.0 + FREE_THREADING_LOSS * (seen.held.get() / self.wall).min(1.0));
        }
        // Only where the GIL is really contended: a call that hardly holds it flips by chance alone.
        let share = (self.held / self.wall).min(1.0);
        let flip = within(seen.flip, 0.0, 1.0);
        // Those that mostly wait meet each other seldom.
        let meet = ((self.held + self.free) / self.wall).min(1.0).powi(2);
        1.0 / (1.0 + CONVOY.0 * flip.powi(CONVOY.1) * meet * 4.0 * share * (1.0 - share))
    }

    /// The plain loop.
    pub(crate) fn inline(&self) -> Cost {
        Cost { seconds: self.calls * self.turn, start_up: 0.0, rate: 1.0 / self.turn, limit: Limit::Workers }
    }

    /// That many threads under one GIL, the caller's among them if it shares.
    pub(crate) fn threads(&self, lanes: u32) -> Cost {
        let own = u32::from(self.job.caller_shares) + self.job.threads_running;
        let start_up = f64::from(lanes.saturating_sub(own)) * self.machine.thread_start.value();
        let seconds = start_up + self.work(self.calls, lanes, |busy| self.thread_rate(busy));
        let dispatch = self.machine.thread_dispatch.value();
        let gil = if self.machine.gil { self.held + dispatch } else { 0.0 };
        let limit = self.binding(gil, 1.0, f64::from(lanes), dispatch, 0.0);
        Cost {
            seconds,
            start_up,
            rate: self.thread_rate(lanes),
            limit: if start_up > seconds / 2.0 { Limit::StartUp } else { limit },
        }
    }

    /// That many worker processes with that many threads in each; the caller feeds them, and shares the work if it may.
    pub(crate) fn processes(&self, processes: u32, lanes: u32, shares: bool) -> Cost {
        // Those that run have one thread each: more threads need processes of their own.
        let running = if lanes > 1 { 0 } else { self.job.processes_running };
        let fresh = f64::from(processes.saturating_sub(running));
        let first = if fresh > 0.0 && running == 0 {
            self.machine.process_first.value() + (fresh - 1.0) * self.machine.process_next.value()
        } else {
            fresh * self.machine.process_next.value()
        };
        let threads = f64::from(lanes - 1) * self.machine.thread_start.value();
        let start_up = first + fresh * threads / self.cores.max(1.0) + self.unpacking(processes);
        let total = processes * lanes + u32::from(shares);
        let rate = |busy| self.process_rate(processes, busy, shares);
        let seconds = self.carry() + self.elsewhere(start_up, total, shares, rate);
        let gil = if self.machine.gil && lanes > 1 { self.held + self.feed } else { 0.0 };
        let limit = self.binding(gil, f64::from(processes + u32::from(shares)), f64::from(total), self.feed, self.feed);
        Cost {
            seconds,
            start_up: self.carry() + start_up,
            rate: rate(total),
            limit: if self.carry() + start_up > seconds / 2.0 { Limit::StartUp } else { limit },
        }
    }

    /// That many worker interpreters of the caller's process; the caller feeds them, and shares the work if it may.
    pub(crate) fn interpreters(&self, count: u32, shares: bool) -> Cost {
        let fresh = f64::from(count.saturating_sub(self.job.interpreters_running));
        let start_up = fresh * self.machine.interpreter_start.value() + self.unpacking(count);
        let total = count + u32::from(shares);
        let rate = |busy| {
            let remote = f64::from(busy - u32::from(shares));
            let away = (remote / (self.wall + self.feed_interpreter)).min(1.0 / self.feed_interpreter);
            self.with_caller(away, self.feed_interpreter, 0.0, busy, shares)
        };
        let seconds = self.carry() + self.elsewhere(start_up, total, shares, rate);
        let limit = self.binding(0.0, 1.0, f64::from(total), self.feed_interpreter, self.feed_interpreter);
        Cost {
            seconds,
            start_up: self.carry() + start_up,
            rate: rate(total),
            limit: if self.carry() + start_up > seconds / 2.0 { Limit::StartUp } else { limit },
        }
    }

    /// Seconds that it takes to send what the function carries, into memory that is fresh.
    pub(crate) fn carry(&self) -> f64 {
        let carried = self.job.carried;
        carried.pack.get() + carried.bytes.get() / self.machine.bytes_per_second.value().max(1.0)
    }

    /// Seconds until that many workers have unpacked it, each its own.
    fn unpacking(&self, workers: u32) -> f64 {
        self.carry() * (f64::from(workers) / self.cores.max(1.0)).max(1.0)
    }

    /// Seconds of all calls on workers outside the caller's interpreter that take so long to start.
    fn elsewhere(&self, start_up: f64, total: u32, shares: bool, rate: impl Fn(u32) -> f64) -> f64 {
        // The workers' start takes a core, so with less than two the caller's calls wait for it.
        let pace = if shares { (self.cores - 1.0).clamp(0.0, 1.0) } else { 0.0 };
        let meanwhile = start_up * pace / self.turn;
        if meanwhile >= self.calls {
            self.calls * self.turn / pace.max(TINY)
        } else {
            start_up + self.work(self.calls - meanwhile, total, rate)
        }
    }

    /// Bytes that worker processes and the calls under way to them would take: two chunks per lane, one that runs and
    /// one that waits in the ring.
    pub(crate) fn memory(&self, processes: u32, lanes: u32) -> f64 {
        let processes = f64::from(processes);
        let chunk = self
            .grain
            .unwrap_or_else(|| (self.machine.least_chunk.value() / self.turn).max(1.0))
            .min(self.calls.max(1.0));
        let carried = (processes + 1.0) * self.job.carried.bytes.get();
        processes * self.job.worker_bytes.get() + carried + 2.0 * chunk * processes * f64::from(lanes) * self.bytes
    }

    /// Calls in the first chunk for that many lanes.
    pub(crate) fn chunk(&self, lanes: u32) -> u64 {
        self.job.chunksize.map_or_else(
            || {
                let least =
                    Least { chunk: self.machine.least_chunk.value(), call: self.machine.inline_dispatch.value() };
                let target = self.job.target_chunk_seconds;
                chunk_within(whole(self.calls), lanes, self.wall, self.cv, target, least)
            },
            |chunk| chunk.max(1),
        )
    }

    /// Threads beyond which more of them cannot help: the GIL or the cores are busy then.
    pub(crate) fn knee(&self) -> u32 {
        let dispatch = self.machine.thread_dispatch.value();
        let gil = if self.machine.gil { self.held + dispatch } else { 0.0 };
        let busy = gil.max((self.cpu + dispatch) / self.cores).max(TINY);
        whole32(((self.wall + dispatch) / busy).ceil())
    }

    /// The most chunks that the calls can be cut into: more lanes than that have nothing to do.
    pub(crate) fn chunks(&self) -> f64 {
        let chunk = self.grain.unwrap_or_else(|| (self.machine.least_chunk.value() / self.wall).max(1.0));
        (self.calls / chunk).ceil()
    }

    /// Whether a second thread in a worker process would find hardly anything to do.
    pub(crate) fn lone_lanes(&self) -> bool {
        self.free + self.wait < LONE * self.wall
    }

    /// Calls per second that one interpreter can run at most, whatever the number of its threads.
    pub(crate) fn gil_rate(&self, moving: f64) -> f64 {
        if self.held + moving > 0.0 { 1.0 / (self.held + moving) } else { f64::INFINITY }
    }

    fn thread_rate(&self, lanes: u32) -> f64 {
        let dispatch = self.machine.thread_dispatch.value();
        let alone = f64::from(lanes) / (self.wall + dispatch).max(self.turn);
        let cores = self.on_cores(lanes, dispatch);
        let rate = self.threads.of(lanes).min(alone).min(cores);
        if lanes > 1 { (rate * self.harmony).min(alone).min(cores) } else { rate }
    }

    /// The rate of `lanes` threads of one worker process.
    fn worker_rate(&self, lanes: u32) -> f64 {
        let rate = self.lanes.of(lanes);
        if lanes > 1 {
            (rate * self.harmony).min(f64::from(lanes) / (self.wall - self.spared + self.feed))
        } else {
            rate
        }
    }

    /// The rate of `busy` lanes spread over worker processes, one of them the caller's if it shares.
    fn process_rate(&self, processes: u32, busy: u32, shares: bool) -> f64 {
        let remote = busy - u32::from(shares);
        if remote == 0 {
            return 1.0 / self.turn;
        }
        let used = processes.min(remote);
        let (each, over) = (remote / used, remote % used);
        let away = (f64::from(used - over) * self.worker_rate(each)
            + f64::from(over) * if over > 0 { self.worker_rate(each + 1) } else { 0.0 })
        .min(1.0 / self.feed);
        self.with_caller(away, self.feed, self.spared, busy, shares)
    }

    /// The rate of workers that reach `away` calls per second, each of which is `spared` seconds, together with the caller, who
    /// feeds them; `busy` lanes.
    fn with_caller(&self, away: f64, feed: f64, spared: f64, busy: u32, shares: bool) -> f64 {
        if away <= 0.0 {
            return 1.0 / self.turn;
        }
        let at_home = if shares { (1.0 - away * feed).max(0.0) / self.turn } else { 0.0 };
        let total = away + at_home;
        let moving = away / total * (2.0 * feed - spared);
        total.min(self.on_cores(busy, moving))
    }

    /// The rate that the cores allow that many lanes, when moving a call costs so many seconds of one.
    fn on_cores(&self, lanes: u32, moving: f64) -> f64 {
        // Other threads of a call compute while it waits for them.
        cores::rate(lanes, self.cores, self.cpu + moving, self.wall - self.cpu)
    }

    /// Seconds for that many calls (perhaps a part of one) on lanes that reach `rate(k)` while `k` of them are busy.
    fn work(&self, calls: f64, lanes: u32, rate: impl Fn(u32) -> f64) -> f64 {
        let least = self.machine.least_chunk.value();
        let (even, used, group) = if self.grain.is_none() && self.wall < least {
            // Chunks are cut to even the lanes out; what is left uneven is half a chunk. None is shorter than one.
            let chunk = least / self.wall;
            let shortest = calls.min(chunk) / rate(1);
            let idle = 0.5 * least * (1.0 - 1.0 / f64::from(lanes));
            ((calls / rate(lanes)).max(shortest) + idle, lanes, chunk)
        } else {
            let chunk = self.grain.unwrap_or(1.0);
            let chunks = calls / chunk;
            let rounds = (chunks / f64::from(lanes)).floor();
            let rest = (chunks - rounds * f64::from(lanes)).max(0.0);
            // The lanes of the last round are no faster than those of a smaller one, whole or in part;
            // if they get in each other's way one of them does it alone.
            let whole_ones = rest.floor().max(rest.min(1.0));
            let final_round = [rest, whole_ones, rest.min(1.0)]
                .map(|rest| rest / rate(whole32(rest.ceil()).clamp(1, lanes)))
                .into_iter()
                .fold(0.0, f64::max)
                .min(rest / rate(1))
                // Nor longer than a whole round, in which the quicker lanes do more.
                .min(f64::from(lanes) / rate(lanes))
                * chunk;
            let full = rounds * f64::from(lanes) * chunk / rate(lanes);
            (full + final_round, lanes.min(whole32(chunks.ceil())), chunk)
        };
        let loops = calls * self.turn;
        (even + self.spread(used, group)).min(loops.max(even))
    }

    /// What the last lane is expected to work longer than the mean of them: the mean of the maximum of as many normal
    /// variables, but no more than the longest call exceeds the mean one.
    pub(crate) fn spread(&self, lanes: u32, group: f64) -> f64 {
        let late = self.cv * self.wall * (2.0 * f64::from(lanes.max(1)).ln()).sqrt();
        let most = if self.longest > self.wall { self.longest - self.wall } else { f64::INFINITY };
        late.min(most) * group.max(1.0).sqrt()
    }

    /// What takes longest per call: `gil` seconds of one of the `interpreters`, the cores, the lanes, or feeding.
    fn binding(&self, gil: f64, interpreters: f64, lanes: f64, dispatch: f64, feed: f64) -> Limit {
        let cores = (self.cpu + dispatch) / self.cores;
        let workers = (self.wall + dispatch) / lanes;
        let held = gil / interpreters;
        let moving = feed.max(if dispatch > self.wall { dispatch } else { 0.0 });
        // A tie within 2 % goes to what more workers cannot mend.
        if moving >= held.max(cores).max(workers) {
            Limit::Dispatch
        } else if cores * 1.02 >= held.max(workers) {
            Limit::Cores
        } else if held * 1.02 >= workers {
            Limit::Gil
        } else {
            Limit::Workers
        }
    }
}

/// The lanes of one interpreter, when moving a call costs that many seconds of it.
fn lanes_under(gil: bool, (held, free, wait): (f64, f64, f64), moving: f64, most: u32) -> Lanes {
    if gil { Lanes::new(held + moving, free + wait, most) } else { Lanes::new(0.0, held + free + wait + moving, most) }
}
