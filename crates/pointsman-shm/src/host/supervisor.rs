//! The thread that watches over the processes: starts them, notices deaths, replaces the dead, enforces time limits.
//!
//! # Does not know
//!
//! What becomes of a dead process's tasks (process.rs).
//!
//! # Invariants
//!
//! - V1. Hooks are called without the lock.
//! - V2. A process is buried once: when it is known to be dead and its end is known, or has been asked for too long.
//! - V3. The thread ends when the pool is closed and no process is left.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use super::core::{Core, Env, Stage};
use super::process::Launch;
use crate::death::{Cause, Death, HOPELESS};
use crate::layout::{HostWords, LANES};
use crate::os::{self, AsFd, BorrowedFd, OwnedFd};
use crate::task::{Hooks, ProcessId, Sink};
use crate::zygote::{self, Answer, Client};

/// How long a zygote may take to say how a process ended. Arbitrary: it answers in microseconds, unless it is stopped.
const OBITUARY: Duration = Duration::from_secs(2);
/// How long a process may take to show itself whose zygote died over its launch. Arbitrary: a fork takes milliseconds.
const LOST: Duration = Duration::from_secs(2);
/// How often the supervisor looks around when nothing happens, and when something may be stuck.
const TICK: Duration = Duration::from_millis(500);
const QUICK_TICK: Duration = Duration::from_millis(50);
/// Time without tasks after which memory is given back. Arbitrary: longer than any pause between calls that belong
/// together.
const TIDY_AFTER: Duration = Duration::from_secs(3);

/// What callers leave for the supervisor.
#[derive(Debug, Default)]
pub(super) struct Post {
    pub(super) zygote: Option<OwnedFd>,
    pub(super) config: Option<Arc<OwnedFd>>,
}

impl<S: Sink + ?Sized> Shared<S> {
    pub(super) fn post(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Post {
    /// What launches carry; nothing, unless something was set.
    fn config(&mut self) -> io::Result<Arc<OwnedFd>> {
        if self.config.is_none() {
            self.config = Some(Arc::new(zygote::config_file(&[])?));
        }
        self.config.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

enum News {
    Died(Death, bool),
    ZygoteDied,
}

struct Supervisor {
    client: Option<Client>,
    /// This process, for workers to watch.
    own: Option<Arc<OwnedFd>>,
    idle_since: Option<Instant>,
    news: Vec<News>,
}

/// The body of the thread.
pub(super) fn run<S: Sink + ?Sized>(shared: &Shared<S>) {
    let own = os::open_process(os::own_pid()).ok().map(Arc::new);
    let mut supervisor = Supervisor { client: None, own, idle_since: None, news: Vec::new() };
    loop {
        let limit = supervisor.limit(shared);
        supervisor.sleep(shared, limit);
        if let Some(socket) = shared.post().zygote.take() {
            supervisor.client = Some(Client::new(socket));
        }
        supervisor.hear(shared);
        let (delivered, over) = shared.act(0, |core| {
            let delivered = core.drain(&shared.env) > 0;
            core.strike_the_faulty();
            core.kill_the_late(&shared.env);
            supervisor.bury_the_dead(core, shared);
            supervisor.launch(core, shared);
            nudge(core, &shared.env);
            (delivered, core.stage == Stage::Closed && core.processes.is_empty())
        });
        if delivered {
            shared.hooks.drained();
        }
        supervisor.flush(shared);
        supervisor.tidy(shared);
        supervisor.tell(&*shared.hooks);
        shared.gone.notify_all();
        if over {
            shared.env.arena.trim();
            shared.wake_drainer();
            return;
        }
    }
}

/// A lane that was stopped while it searched keeps others asleep: wakes one if tasks are ready.
fn nudge<S: Sink + ?Sized>(core: &Core<S>, env: &Env) {
    if core.counts.ready > 0 && env.slots.has_work(&*env.memory) {
        LANES.wake_any(&*env.memory);
    }
}

impl Supervisor {
    /// How long to sleep at most.
    fn limit<S: Sink + ?Sized>(&self, shared: &Shared<S>) -> Duration {
        let core = shared.lock();
        let mut limit = if core.counts.ready > 0 { QUICK_TICK } else { TICK };
        if core.counts.limited > 0 {
            limit = limit.min((core.shortest_limit / 8).clamp(Duration::from_millis(1), Duration::from_millis(20)));
        }
        if self.client.as_ref().is_some_and(Client::is_held_up) {
            limit = Duration::from_millis(5);
        }
        limit
    }

    /// Sleeps until something happens; marks the processes that have died.
    fn sleep<S: Sink + ?Sized>(&mut self, shared: &Shared<S>, limit: Duration) {
        let handles: BTreeMap<ProcessId, Arc<OwnedFd>> = {
            let core = shared.lock();
            let alive = core.processes.iter().filter(|(_, process)| process.dead.is_none());
            alive.filter_map(|(id, process)| Some((*id, process.handle.clone()?))).collect()
        };
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![shared.request.descriptor()];
        descriptors.extend(handles.values().map(|handle| handle.as_fd()));
        let processes = descriptors.len();
        if let Some(client) = &self.client {
            descriptors.push(client.socket());
            descriptors.extend(client.zygote());
        }
        let Ok(ready) = os::poll(&descriptors, Some(limit)) else {
            // Too many descriptors for this process's limits, or no memory: try again, slower.
            std::thread::sleep(QUICK_TICK);
            return;
        };
        if ready.first() == Some(&true) {
            shared.request.clear();
        }
        let zygote_died = ready.get(processes + 1) == Some(&true);
        let mut core = shared.lock();
        for (id, _) in handles.keys().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            if let Some(process) = core.processes.get_mut(id) {
                process.dead = Some(Instant::now());
                match &mut self.client {
                    Some(client) if !zygote_died => client.reap(*id, process.pid),
                    _ => process.cause = Some(Cause::Unknown),
                }
            }
        }
        drop(core);
        if zygote_died {
            self.lose_zygote(shared);
        }
    }

    /// Sends what waits, then takes in what the zygote has to say.
    fn hear<S: Sink + ?Sized>(&mut self, shared: &Shared<S>) {
        self.flush(shared);
        let Some(client) = &mut self.client else {
            return;
        };
        match client.answers() {
            Ok(answers) => take_in(&mut shared.lock(), answers),
            Err(_) => self.lose_zygote(shared),
        }
    }

    fn flush<S: Sink + ?Sized>(&mut self, shared: &Shared<S>) {
        if self.client.as_mut().is_some_and(|client| client.flush().is_err()) {
            self.lose_zygote(shared);
        }
    }

    fn lose_zygote<S: Sink + ?Sized>(&mut self, shared: &Shared<S>) {
        let Some(mut client) = self.client.take() else {
            return;
        };
        let mut core = shared.lock();
        // Its last words may still be there.
        take_in(&mut core, client.answers().unwrap_or_default());
        for process in core.processes.values_mut() {
            if process.launch == Launch::Asked {
                process.launch = Launch::Lost(Instant::now() + LOST);
            }
            if process.dead.is_some() && process.cause.is_none() {
                process.cause = Some(Cause::Unknown);
            }
        }
        self.news.push(News::ZygoteDied);
    }

    /// Settles the tasks of dead processes, and books others in their place.
    fn bury_the_dead<S: Sink + ?Sized>(&mut self, core: &mut Core<S>, shared: &Shared<S>) {
        find_the_lost(core);
        let now = Instant::now();
        let dead: Vec<(ProcessId, bool)> = core
            .processes
            .iter()
            .filter_map(|(id, process)| {
                if let Launch::Lost(until) = process.launch {
                    return (now >= until).then_some((*id, true));
                }
                let known = process.cause.is_some() || process.launch == Launch::Queued;
                let due = process.dead.is_some_and(|dead| known || now.duration_since(dead) >= OBITUARY);
                // A launch that was said to fail may have got half-way.
                due.then_some((*id, process.launch == Launch::Asked))
            })
            .collect();
        for (id, lost) in &dead {
            let wanted = core.processes.get(id).is_some_and(|process| !process.retiring);
            let ready = core.processes.get(id).is_some_and(|process| process.started || core.says_started(process));
            let Some((death, lanes)) = core.bury(&shared.env, *id, *lost) else {
                continue;
            };
            let hopeless = !ready && death.cause == Cause::Exit(HOPELESS);
            if (core.stillborn >= core.patience || hopeless) && core.stage != Stage::Closed {
                let why = if hopeless {
                    death.to_string()
                } else {
                    format!("{death}, and so did those before it: {} in a row", core.stillborn)
                };
                core.abandon(&shared.env, Death { cause: Cause::NeverStarted(why), ..death.clone() });
            }
            let needed = core.stage == Stage::Open || core.stage == Stage::Draining && core.table.len() > 0;
            let mut respawn = wanted && needed && core.respawn;
            if respawn && let Err(error) = core.add_process(&shared.env, &shared.config, lanes) {
                respawn = false;
                if core.processes.is_empty() {
                    core.abandon(&shared.env, Death::never_started(error.to_string()));
                }
            }
            self.news.push(News::Died(death, respawn));
        }
        if !dead.is_empty() {
            // A lane may have died between changing a word and waking those who sleep on it.
            LANES.rouse_all(&*shared.env.memory);
            HostWords::BELL.rouse(&*shared.env.memory);
            HostWords::PRESSURE.rouse(&*shared.env.memory);
        }
    }

    /// Asks the zygote for the processes that are booked.
    fn launch<S: Sink + ?Sized>(&mut self, core: &mut Core<S>, shared: &Shared<S>) {
        if core.stage == Stage::Closed {
            for process in core.processes.values_mut().filter(|process| process.launch == Launch::Queued) {
                process.dead = Some(Instant::now());
                process.cause = Some(Cause::NeverStarted("the pool closed first".into()));
                shared.request.signal();
            }
            return;
        }
        let (Some(client), Some(own)) = (&mut self.client, &self.own) else {
            return;
        };
        let Core { processes, lanes, .. } = core;
        for (id, process) in
            processes.iter_mut().filter(|(_, process)| process.launch == Launch::Queued && process.dead.is_none())
        {
            let config = match shared.post().config() {
                Ok(config) => config,
                Err(error) => {
                    process.dead = Some(Instant::now());
                    process.cause = Some(Cause::NeverStarted(error.to_string()));
                    continue;
                }
            };
            let mut descriptors: Vec<zygote::Shared> = vec![shared.env.memory.clone(), config, own.clone()];
            let its_lanes = process.lanes.iter().filter_map(|lane| lanes[usize::from(*lane)].as_ref());
            descriptors.extend(its_lanes.map(|lane| -> zygote::Shared { lane.memory.clone() }));
            client.launch(*id, descriptors);
            process.launch = Launch::Asked;
        }
    }

    /// Gives memory back when nothing has happened for a while.
    fn tidy<S: Sink + ?Sized>(&mut self, shared: &Shared<S>) {
        if shared.lock().table.len() > 0 {
            self.idle_since = None;
        } else if self.idle_since.get_or_insert_with(Instant::now).elapsed() >= TIDY_AFTER {
            shared.env.arena.trim();
            self.idle_since = None;
        }
    }

    /// Tells the hooks (V1).
    fn tell(&mut self, hooks: &dyn Hooks) {
        for news in self.news.drain(..) {
            match news {
                News::Died(death, respawn) => hooks.process_died(&death, respawn),
                News::ZygoteDied => hooks.zygote_died(),
            }
        }
    }
}

/// Books what the zygote has answered.
fn take_in<S: Sink + ?Sized>(core: &mut Core<S>, answers: Vec<Answer>) {
    for answer in answers {
        match answer {
            Answer::Launched { process, pid, handle } => {
                if let Some(process) = core.processes.get_mut(&process) {
                    process.live(pid, handle);
                }
            }
            Answer::Failed { process, why } => {
                if let Some(process) = core.processes.get_mut(&process) {
                    process.dead = Some(Instant::now());
                    process.cause = Some(Cause::NeverStarted(why));
                }
            }
            Answer::Exited { process, status } => {
                if let Some(process) = core.processes.get_mut(&process) {
                    process.cause = Some(status.map_or(Cause::Unknown, Cause::of));
                }
            }
        }
    }
}

/// Looks whether processes whose zygote died over their launch are alive after all.
fn find_the_lost<S: Sink + ?Sized>(core: &mut Core<S>) {
    let lost = core.processes.iter().filter(|(_, process)| matches!(process.launch, Launch::Lost(_)));
    let found: Vec<_> = lost.filter_map(|(id, process)| Some((*id, core.pid_by_itself(process)?))).collect();
    for (id, pid) in found {
        if let Some(process) = core.processes.get_mut(&id)
            && let Ok(handle) = os::open_process(pid)
        {
            process.live(pid, handle);
        }
    }
}
