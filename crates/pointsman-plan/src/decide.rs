//! Chooses the cheapest placement.
//!
//! # Does not know
//!
//! What a placement costs (the cost model does), and how a choice is put into words.
//!
//! # Invariants
//!
//! - I1. The plain loop is always the first placement tried.
//! - I2. A placement replaces the plain loop only if it is faster by its margin ([`MARGIN`], [`MARGIN_OF_NESTED`],
//!   [`MARGIN_OF_TINY`], [`MARGIN_OF_TINY_ON_THREADS`]), and by the machine's least gain and [`UNCERTAIN`] of its start-up.
//! - I3. Of placements within [`TIE`] of the fastest the simplest is taken; threads are within it up to [`UNSURE`] or
//!   [`UNSURE_OF_ONE`] where processes would have to be started.
//! - I4. After one call that mostly waited, more threads than that are taken, up to [`GENEROUS`] times as many, unless
//!   they are predicted to cost more.

use crate::cost_model::{Cost, MEMORY_SHARE, MOST_LANES, MOST_THREADS, Model};
use crate::explain;
use crate::job::{Backend, Job};
use crate::machine::Machine;
use crate::number::{whole, whole32};
use crate::observation::Observation;
use crate::plan::{Candidate, Plan};

/// The share of the plain loop's time that must be gained to leave it. DESIGN 5.3: an automatic choice is never slower
/// than 1.05 of the plain loop, so a predicted gain below that is not worth being wrong.
const MARGIN: f64 = 0.05;

/// The same for calls that keep others busy for [`NESTED`] of their time, with threads of their own or with programs:
/// how they get on with more of their kind beside them is a guess. Arbitrary between 0.1 and 0.3.
const MARGIN_OF_NESTED: f64 = 0.25;

/// See [`MARGIN_OF_NESTED`]. Arbitrary between 0.1 and 0.5.
const NESTED: f64 = 0.25;

/// The same for worker processes and calls that are [`TINY`]: what it takes to carry one is as much as the
/// call, and was seen to be up to twice what is predicted, with arguments of some kilobytes. Arbitrary between 0.15 and 0.4.
const MARGIN_OF_TINY: f64 = 0.25;

/// The same for threads that share a GIL, if such calls compute: to hand it over takes as long as they do, and whether they
/// meet at it is seen by chance. Arbitrary between 0.4 and 0.6.
const MARGIN_OF_TINY_ON_THREADS: f64 = 0.5;

/// See [`MARGIN_OF_TINY`]: the share of the least chunk's work that a call is, 10 us as a rule. Arbitrary between half and
/// double of that. A share, so that a slower clock changes no choice.
const TINY: f64 = 0.05;

/// The share of the start-up that must be gained besides: what a start costs is the least certain of all that is
/// predicted. Arbitrary between 0.1 and 0.5. Not beside a call that still runs: others start on another core meanwhile,
/// and nobody knows how long it will last.
const UNCERTAIN: f64 = 0.3;

/// Placements this close to the fastest count as equally fast. Arbitrary; the model is no more exact than that.
const TIE: f64 = 0.03;
/// The same for threads against processes that have to be started first: what a start costs varies more than anything
/// else that is predicted (18 to 80 ms on one machine, with its load and with what the workers import). Arbitrary
/// between 0.1 and 0.3.
const UNSURE: f64 = 0.2;
/// The same after one call that mostly waited: what it computed is what processes would help with, and most of that is
/// done once (imports, connections, caches). Arbitrary between 0.5 and 2.
const UNSURE_OF_ONE: f64 = 1.0;

/// How many times the threads that one observed call asks for: what the first call computes is largely what later ones
/// find done (imports, connections, caches), and a thread too few costs more than one too many. Arbitrary between 2
/// and 16.
const GENEROUS: u32 = 8;

/// How many times the threads that keep the GIL busy, by what they hold it for, are of any use: more only wait for it, and
/// each time that it is handed over costs. Arbitrary between 3 and 6, for what [`GENEROUS`] says.
const IN_TURN: f64 = 4.0;

/// How many of each backend's placements a plan shows, besides the fixed ones.
const SHOWN: usize = 3;

/// The thread counts that are tried, besides those computed.
const THREADS: [u32; 15] = [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256];

/// The thread counts that every plan shows.
const SHOWN_THREADS: [u32; 3] = [2, 8, 32];

/// The numbers of threads in a worker process that are tried.
const LANES: [u32; 6] = [1, 2, 4, 8, 16, MOST_LANES];

/// All numbers of processes up to this one are tried; of larger ones those that [`process_counts`] picks, so that
/// deciding stays short on a large machine.
const EVERY_PROCESS: u32 = 8;

/// One placement with its price.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placement {
    pub(crate) backend: Backend,
    pub(crate) workers: u32,
    pub(crate) processes: u32,
    pub(crate) lanes: u32,
    pub(crate) cost: Cost,
    /// Whether it stays within memory.
    pub(crate) fits: bool,
    /// Whether every plan shows it.
    fixed: bool,
}

impl Placement {
    /// The lesser is the simpler.
    fn complexity(&self) -> (Backend, u32, u32) {
        (self.backend, self.workers, self.processes)
    }
}

/// Decides where the calls that are left should run.
pub fn decide(observation: &Observation, machine: &Machine, job: &Job) -> Plan {
    let model = Model::new(observation, machine, job);
    let placements = placements(&model, machine, job);
    let chosen = generous(&placements, choose(&placements, machine, job, observation), machine, observation);
    let taken = placements[chosen];
    let shown = shown(&placements, &taken, job);
    let position = shown.iter().position(|placement| placement.complexity() == taken.complexity()).unwrap_or(0);
    let told = explain::Told { observation, machine, job, model: &model, placements: &placements, taken: &taken };
    Plan {
        chosen: position,
        reasons: told.reasons(),
        warnings: told.warnings(),
        workload: observation.workload(),
        speedup: if taken.cost.seconds > 0.0 { placements[0].cost.seconds / taken.cost.seconds } else { 1.0 },
        seconds: taken.cost.seconds,
        candidates: shown.iter().map(|placement| candidate(placement, &model, machine, job)).collect(),
    }
}

/// The backend that [`decide()`] would choose, and nothing else.
pub(crate) fn backend_for(observation: &Observation, machine: &Machine, job: &Job) -> Backend {
    let model = Model::new(observation, machine, job);
    let placements = placements(&model, machine, job);
    placements[choose(&placements, machine, job, observation)].backend
}

/// All placements that are tried, the plain loop first.
fn placements(model: &Model<'_>, machine: &Machine, job: &Job) -> Vec<Placement> {
    let most = job.max_workers.unwrap_or(u32::MAX).max(1);
    let chunks = whole(model.chunks());
    let useful = whole32(model.chunks()).clamp(1, most);
    let mut all = Vec::with_capacity(64);
    all.push(Placement {
        backend: Backend::Inline,
        workers: 1,
        processes: 0,
        lanes: 1,
        cost: model.inline(),
        fits: true,
        fixed: true,
    });
    for lanes in thread_counts(model, useful, most, job.objection(Backend::Inline).is_none()) {
        all.push(Placement {
            backend: Backend::Threads,
            workers: lanes,
            processes: 0,
            lanes,
            cost: model.threads(lanes),
            fits: true,
            fixed: SHOWN_THREADS.contains(&lanes),
        });
    }
    let shares = job.caller_shares && most > 1;
    let memory = machine.memory.get() * MEMORY_SHARE;
    let cores = whole32(model.cores.ceil()).max(1);
    // What must not run beside other calls in threads must not in those of a worker either.
    let single = model.lone_lanes() || job.struck.iter().any(|(backend, _)| *backend == Backend::Threads);
    for processes in process_counts(cores) {
        for lanes in lane_counts(chunks, processes, shares) {
            let workers = processes * lanes + u32::from(shares);
            let fixed = processes == cores && lanes == 1;
            let least = processes == 1 && lanes == 1;
            let wanted = workers < useful.saturating_add(processes) && (lanes == 1 || !single);
            if workers > most || !(wanted || fixed || least) {
                continue;
            }
            all.push(Placement {
                backend: Backend::Processes,
                workers,
                processes,
                lanes,
                cost: model.processes(processes, lanes, shares),
                fits: memory <= 0.0 || model.memory(processes, lanes) <= memory,
                fixed,
            });
        }
    }
    for count in machine.interpreters.then(|| process_counts(cores)).into_iter().flatten() {
        let workers = count + u32::from(shares);
        if workers > most || !(workers < useful.saturating_add(count) || count == cores || count == 1) {
            continue;
        }
        all.push(Placement {
            backend: Backend::Interpreters,
            workers,
            processes: count,
            lanes: 1,
            cost: model.interpreters(count, shares),
            fits: memory <= 0.0 || model.memory(count, 1) <= memory,
            fixed: count == cores,
        });
    }
    all.extend(machine.cluster.iter().map(|cluster| {
        let (processes, lanes) = cluster.lanes(most);
        Placement {
            backend: cluster.engine.backend(),
            workers: processes.saturating_mul(lanes),
            processes,
            lanes,
            cost: model.cluster(cluster, processes, lanes),
            fits: true,
            fixed: true,
        }
    }));
    all
}

/// The thread counts to try, ascending.
fn thread_counts(model: &Model<'_>, useful: u32, most: u32, inline: bool) -> Vec<u32> {
    let useful = useful.min(MOST_THREADS);
    let mut counts: Vec<u32> = THREADS.iter().copied().filter(|count| *count <= useful).collect();
    counts.extend(SHOWN_THREADS.iter().filter(|count| **count <= most));
    // One thread only where the plain loop may not be taken in its stead.
    let least = if inline { 2 } else { 1 };
    let knee = model.knee().clamp(1, useful);
    let rounds = whole(model.chunks()).div_ceil(u64::from(knee)).max(1);
    let even = u32::try_from(whole(model.chunks()).div_ceil(rounds)).unwrap_or(MOST_THREADS);
    counts.extend([1, knee, useful, even.min(useful)].iter().filter(|count| **count >= least));
    counts.sort_unstable();
    counts.dedup();
    counts
}

/// The numbers of threads to try in each of that many processes: the usual ones, and the one that spreads the chunks
/// evenly over as few rounds as possible.
fn lane_counts(chunks: u64, processes: u32, shares: bool) -> impl Iterator<Item = u32> {
    let caller = u64::from(shares);
    let most = u64::from(processes) * u64::from(MOST_LANES) + caller;
    let round = chunks.div_ceil(chunks.div_ceil(most).max(1));
    let even = round.saturating_sub(caller).div_ceil(u64::from(processes));
    let even = u32::try_from(even).unwrap_or(MOST_LANES).clamp(1, MOST_LANES);
    LANES.into_iter().chain((!LANES.contains(&even)).then_some(even))
}

/// The numbers of worker processes to try on that many cores.
fn process_counts(cores: u32) -> impl Iterator<Item = u32> {
    (1..=cores).filter(move |count| {
        *count <= EVERY_PROCESS
            || *count + 1 >= cores
            || (count.is_power_of_two() || (count / 3).is_power_of_two() && count % 3 == 0)
    })
}

/// The index of the placement to take.
fn choose(placements: &[Placement], machine: &Machine, job: &Job, observation: &Observation) -> usize {
    let inline = placements[0].cost.seconds;
    let loops = job.objection(Backend::Inline).is_none();
    let open = Backend::ALL.map(|backend| job.objection(backend).is_none());
    let margin = margins(machine, observation);
    let uncertain = if observation.partial { 0.0 } else { UNCERTAIN };
    let better = |placement: &Placement| {
        let seconds = placement.cost.seconds;
        placement.backend != Backend::Inline
            && open[placement.backend as usize]
            && placement.fits
            && (!loops
                || (seconds <= inline * (1.0 - margin(placement.backend))
                    && inline - seconds >= machine.least_gain.value() + uncertain * placement.cost.start_up))
    };
    let fastest = placements
        .iter()
        .filter(|placement| better(placement))
        .map(|placement| placement.cost.seconds)
        .fold(f64::INFINITY, f64::min);
    let must_start = job.processes_running == 0;
    let by_processes = placements.iter().any(|placement| {
        better(placement) && placement.cost.seconds <= fastest && placement.backend >= Backend::Processes
    });
    let by_cluster = placements
        .iter()
        .any(|placement| better(placement) && placement.cost.seconds <= fastest && placement.backend >= Backend::Dask);
    let tie = |placement: &Placement| {
        if by_cluster {
            // What a network takes varies, too, and others may use it.
            return if placement.backend >= Backend::Dask { TIE } else { UNSURE };
        }
        if placement.backend != Backend::Threads || !must_start || !by_processes {
            TIE
        } else if is_one_that_waited(observation) {
            UNSURE_OF_ONE
        } else {
            UNSURE
        }
    };
    placements
        .iter()
        .enumerate()
        .filter(|(_, placement)| better(placement) && placement.cost.seconds <= fastest * (1.0 + tie(placement)))
        .min_by_key(|(_, placement)| placement.complexity())
        .map_or(0, |(index, _)| index)
}

/// The share of the plain loop's time that a backend must gain (I2).
pub(crate) fn margins(machine: &Machine, observation: &Observation) -> impl Fn(Backend) -> f64 + use<> {
    let seen = observation.completed();
    let nested = seen.other_threads.get() > NESTED * seen.wall().get();
    let tiny = seen.wall().get() < TINY * machine.least_chunk.value();
    let hands_over = machine.gil && seen.wait.get() < seen.cpu().get();
    move |backend| {
        if nested {
            MARGIN_OF_NESTED
        } else if tiny && matches!(backend, Backend::Processes | Backend::Interpreters) {
            MARGIN_OF_TINY
        } else if tiny && hands_over && backend == Backend::Threads {
            MARGIN_OF_TINY_ON_THREADS
        } else {
            MARGIN
        }
    }
}

fn is_one_that_waited(observation: &Observation) -> bool {
    observation.calls <= 1 && observation.wait > observation.cpu()
}

/// More threads than the chosen placement has, if all that is known is one call that mostly waited (I4).
fn generous(placements: &[Placement], chosen: usize, machine: &Machine, observation: &Observation) -> usize {
    let taken = placements[chosen];
    if taken.backend != Backend::Threads || !is_one_that_waited(observation) {
        return chosen;
    }
    let seen = observation.completed();
    let of_use = if machine.gil { IN_TURN * seen.wall().get() / seen.held.get() } else { f64::INFINITY };
    placements
        .iter()
        .enumerate()
        .filter(|(_, placement)| {
            placement.backend == Backend::Threads
                && placement.workers >= taken.workers
                && placement.workers <= taken.workers.saturating_mul(GENEROUS)
                && f64::from(placement.workers) <= of_use.max(f64::from(taken.workers))
                && placement.cost.seconds <= taken.cost.seconds * (1.0 + TIE)
        })
        .max_by_key(|(_, placement)| placement.workers)
        .map_or(chosen, |(index, _)| index)
}

/// The placements worth showing, the fastest first.
fn shown(placements: &[Placement], taken: &Placement, job: &Job) -> Vec<Placement> {
    let mut sorted = placements.to_vec();
    sorted.sort_by(|one, other| {
        one.cost.seconds.total_cmp(&other.cost.seconds).then_with(|| one.complexity().cmp(&other.complexity()))
    });
    let mut room = [SHOWN; Backend::ALL.len()];
    let possible = |backend| placements.iter().any(|placement| placement.fits && placement.backend == backend);
    sorted.retain(|placement| {
        let left = &mut room[placement.backend as usize];
        let counts =
            *left > 0 && (placement.fits || !possible(placement.backend) && job.objection(placement.backend).is_none());
        *left -= usize::from(counts);
        counts || placement.fixed || placement.complexity() == taken.complexity()
    });
    sorted
}

/// A placement as a plan shows it.
fn candidate(placement: &Placement, model: &Model<'_>, machine: &Machine, job: &Job) -> Candidate {
    let struck_out = job.objection(placement.backend).map(str::to_owned).or_else(|| {
        (!placement.fits).then(|| explain::too_large(model, machine, placement.processes, placement.lanes))
    });
    Candidate {
        backend: placement.backend,
        workers: placement.workers,
        processes: placement.processes,
        threads_per_worker: placement.lanes,
        chunksize: match machine.cluster.filter(|cluster| cluster.engine.backend() == placement.backend) {
            Some(cluster) => whole(model.cluster_chunk(cluster.dispatch.value(), f64::from(placement.workers))).max(1),
            None => model.chunk(placement.workers),
        },
        seconds: placement.cost.seconds,
        start_up: placement.cost.start_up,
        rate: placement.cost.rate,
        limit: placement.cost.limit,
        struck_out,
    }
}
