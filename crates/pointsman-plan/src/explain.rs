//! Puts a decision into short sentences with figures.
//!
//! # Does not know
//!
//! How the decision was made; it reads the prices and names what decided.
//!
//! # Invariants
//!
//! - I1. Every sentence states a figure, a name, or a limit that the user set.

use crate::cost_model::{MEMORY_SHARE, Model};
use crate::decide::{Placement, margins};
use crate::human::{human_bytes, human_seconds};
use crate::job::{Backend, Job};
use crate::machine::Machine;
use crate::number::whole;
use crate::observation::Observation;
use crate::plan::Limit;

/// The share of a call's time from which on it is said what the memory takes that it is given. Arbitrary from 0.05 to 0.2.
const NOTABLE: f64 = 0.1;

/// Below this share of a call a part of it is not worth a word.
const WORTH_A_WORD: f64 = 0.005;

/// All that the sentences are about.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub(crate) observation: &'a Observation,
    pub(crate) machine: &'a Machine,
    pub(crate) job: &'a Job,
    pub(crate) model: &'a Model<'a>,
    pub(crate) placements: &'a [Placement],
    pub(crate) taken: &'a Placement,
}

impl Told<'_> {
    /// Why this placement was taken and the others were not.
    pub(crate) fn reasons(&self) -> Vec<String> {
        let mut reasons = vec![self.one_call(), self.calls_left()];
        reasons.extend(self.carried());
        for backend in [Backend::Threads, Backend::Processes, Backend::Interpreters] {
            if backend != self.taken.backend && (self.machine.interpreters || backend != Backend::Interpreters) {
                reasons.push(self.against(backend));
            }
        }
        let cluster = self.machine.cluster.map(|cluster| cluster.engine.backend());
        reasons.extend(cluster.filter(|backend| *backend != self.taken.backend).map(|backend| self.against(backend)));
        reasons.push(self.for_the_taken());
        reasons
    }

    /// What the user should know besides.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let seen = self.observation;
        let mut warnings = Vec::new();
        let forced = self.job.objection(Backend::Inline).filter(|_| self.taken.backend == Backend::Inline);
        if let Some(objection) = forced {
            warnings.push(format!("nothing else can be chosen, so the plain loop is: {objection}"));
        }
        if seen.partial {
            let past = human_seconds(seen.wall().get());
            warnings.push(format!("the first call still runs after {past}; it is taken to last twice as long"));
        }
        let others = seen.other_threads.get();
        if others > 0.1 * seen.wall().get() {
            warnings.push(format!(
                "nested parallelism: one call uses {} of CPU in threads or processes of its own (BLAS, OpenMP, programs); \
                 workers share the cores with them",
                human_seconds(others)
            ));
        }
        warnings.extend(self.memory_warning());
        warnings
    }

    fn one_call(&self) -> String {
        let seen = self.observation.completed();
        let least = WORTH_A_WORD * seen.wall().get();
        let parts: Vec<String> = [
            (seen.held, if self.machine.gil { "GIL-held" } else { "computing (no GIL)" }),
            (seen.free, "GIL-free"),
            (seen.wait, "waiting"),
        ]
        .into_iter()
        .filter(|(time, _)| time.get() > least)
        .map(|(time, name)| format!("{} {name}", human_seconds(time.get())))
        .collect();
        let faulting = seen.faulting.get();
        let given = if faulting > NOTABLE * seen.wall().get() {
            format!(", {} of it to be given memory, which a worker keeps", human_seconds(faulting))
        } else {
            String::new()
        };
        let figures = if parts.is_empty() { "no time that could be measured".to_owned() } else { parts.join(", ") };
        let basis = match seen.calls {
            0 => String::new(),
            1 => " (1 measured)".to_owned(),
            calls => format!(" (mean of {calls})"),
        };
        format!("one call: {figures}{given}{basis}")
    }

    fn calls_left(&self) -> String {
        let seconds = human_seconds(self.placements[0].cost.seconds);
        let cores = self.model.cores;
        self.job.calls.map_or_else(
            || {
                let calls = whole(self.model.calls);
                format!("the number of calls is unknown; priced for {calls}: {seconds} in a plain loop; cores: {cores}")
            },
            |calls| format!("calls left: {calls}, {seconds} in a plain loop; cores: {cores}"),
        )
    }

    fn carried(&self) -> Option<String> {
        let (bytes, seconds) = (self.job.carried.bytes.get(), self.model.carry());
        (seconds > WORTH_A_WORD * self.placements[0].cost.seconds).then(|| {
            format!(
                "the function carries {}: to send it takes {}, and as long for each worker to unpack it",
                human_bytes(bytes),
                human_seconds(seconds)
            )
        })
    }

    /// The fastest placement of a backend that fits into memory, else the fastest.
    fn best(&self, backend: Backend) -> Option<&Placement> {
        self.placements
            .iter()
            .filter(|placement| placement.backend == backend)
            .min_by(|one, other| (!one.fits).cmp(&!other.fits).then(one.cost.seconds.total_cmp(&other.cost.seconds)))
    }

    fn against(&self, backend: Backend) -> String {
        let name = backend.name();
        if let Some(objection) = self.job.objection(backend) {
            let are = if backend >= Backend::Dask { "is" } else { "are" };
            return format!("{name} {are} struck out: {objection}");
        }
        let Some(best) = self.best(backend) else {
            return format!("{name} need more than the {} worker allowed", self.job.max_workers.unwrap_or(1).max(1));
        };
        if !best.fits {
            return format!(
                "{name} are struck out: {}",
                too_large(self.model, self.machine, best.processes, best.lanes)
            );
        }
        let seconds = human_seconds(best.cost.seconds);
        let why = match backend {
            Backend::Processes => self.against_workers(best, self.model.feed),
            Backend::Interpreters => self.against_workers(best, self.model.feed_interpreter),
            Backend::Dask | Backend::Ray => self.against_cluster(best),
            _ => self.against_threads(best),
        };
        format!("{why}; the best of them would take {seconds}")
    }

    fn against_threads(&self, best: &Placement) -> String {
        let seen = self.observation;
        let share = 100.0 * seen.held.get() / seen.wall().get().max(f64::MIN_POSITIVE);
        if let Some(together) = seen.together.filter(|speedup| *speedup < 1.1) {
            format!("threads cannot help: two calls together ran {together:.2} times as fast as one after the other")
        } else if self.machine.gil && share >= 85.0 {
            format!("threads cannot help: the GIL is held {share:.0} % of the time")
        } else if self.model.harmony < 0.8 && seen.together.is_none() {
            format!("threads would pass the GIL to and fro: {:.0} % of the rate is left", 100.0 * self.model.harmony)
        } else {
            format!("threads are limited by {}", limit_words(best.cost.limit))
        }
    }

    fn against_workers(&self, best: &Placement, moved: f64) -> String {
        let name = best.backend.name();
        if moved > 0.5 * self.model.wall {
            format!(
                "{name}: moving {} costs {} per call, the call itself {}",
                human_bytes(self.model.bytes),
                human_seconds(2.0 * moved),
                human_seconds(self.model.wall)
            )
        } else if best.cost.start_up > 0.2 * best.cost.seconds {
            format!("{name} need {} to start", human_seconds(best.cost.start_up))
        } else {
            format!("{name} are limited by {}", limit_words(best.cost.limit))
        }
    }

    fn against_cluster(&self, best: &Placement) -> String {
        let name = best.backend.name();
        let Some(cluster) = self.machine.cluster else { return name.to_owned() };
        let moved = self.model.bytes / cluster.bytes_per_second.value().max(1.0);
        if moved > 0.5 * self.model.wall {
            let (bytes, call) = (human_bytes(self.model.bytes), human_seconds(self.model.wall));
            format!("{name}: sending {bytes} takes {} per call, the call itself {call}", human_seconds(moved))
        } else {
            let dispatch = human_seconds(cluster.dispatch.value());
            format!("{name} (a dispatch takes {dispatch}) is limited by {}", limit_words(best.cost.limit))
        }
    }

    fn for_the_taken(&self) -> String {
        let taken = self.taken;
        let inline = self.placements[0].cost.seconds;
        let seconds = human_seconds(taken.cost.seconds);
        let times = inline / taken.cost.seconds.max(f64::MIN_POSITIVE);
        let limit = limit_words(taken.cost.limit);
        match taken.backend {
            Backend::Inline => {
                let gain = human_seconds(self.machine.least_gain.value());
                let others = self.placements.iter().filter(|placement| placement.backend != Backend::Inline);
                let next = others.min_by(|one, other| one.cost.seconds.total_cmp(&other.cost.seconds));
                let margin =
                    100.0 * margins(self.machine, self.observation)(next.map_or(Backend::Inline, |next| next.backend));
                format!("inline: nothing that may be chosen is faster than {seconds} by {margin:.0} % and {gain}")
            }
            Backend::Threads => {
                format!(
                    "{} threads: {seconds}, {times:.1} times as fast as the plain loop; limited by {limit}",
                    taken.workers
                )
            }
            Backend::Dask | Backend::Ray => {
                let (name, lanes) = (taken.backend.name(), taken.workers);
                format!(
                    "{name} cluster, {lanes} calls at a time: {seconds}, {times:.1} times as fast as the plain loop; \
                     limited by {limit}"
                )
            }
            Backend::Processes | Backend::Interpreters => {
                let shape = if taken.backend == Backend::Interpreters {
                    format!("{} interpreters", taken.processes)
                } else if taken.lanes > 1 {
                    format!("{} processes of {} threads", taken.processes, taken.lanes)
                } else if taken.processes == 1 {
                    "1 process".to_owned()
                } else {
                    format!("{} processes", taken.processes)
                };
                let caller = if taken.workers > taken.processes * taken.lanes { " and the caller" } else { "" };
                format!("{shape}{caller}: {seconds}, {times:.1} times as fast as the plain loop; limited by {limit}")
            }
        }
    }

    /// Says that memory lowered the number of workers, when more of them would have been faster.
    fn memory_warning(&self) -> Option<String> {
        self.job.objection(Backend::Processes).is_none().then_some(())?;
        let missed = self
            .placements
            .iter()
            .filter(|placement| !placement.fits && placement.cost.seconds < 0.99 * self.taken.cost.seconds)
            .min_by(|one, other| one.cost.seconds.total_cmp(&other.cost.seconds))?;
        Some(format!(
            "memory allows fewer workers: {}",
            too_large(self.model, self.machine, missed.processes, missed.lanes)
        ))
    }
}

/// Says how much memory those processes would need, and how much there is.
pub(crate) fn too_large(model: &Model<'_>, machine: &Machine, processes: u32, lanes: u32) -> String {
    format!(
        "{processes} x {lanes} workers need {}, and {:.0} % of the memory is {}",
        human_bytes(model.memory(processes, lanes)),
        100.0 * MEMORY_SHARE,
        human_bytes(machine.memory.get() * MEMORY_SHARE)
    )
}

/// A limit inside a sentence.
fn limit_words(limit: Limit) -> &'static str {
    match limit {
        Limit::Gil => "the GIL",
        Limit::Cores => "the cores",
        Limit::Workers => "the number of workers",
        Limit::Dispatch => "dispatch",
        Limit::StartUp => "start-up",
    }
}
