//! Worker processes in the host's books: their lanes, their deaths, and what becomes of their tasks.
//!
//! # Does not know
//!
//! Sockets, zygotes and polling: the supervisor learns of births and deaths and reports them here.
//!
//! # Invariants
//!
//! - P1. A lane's number is used by one process at a time, and again only when that process is known to be dead.
//! - P2. A process is killed only while a task that it should be killed for has begun and not ended: its lane is told to
//!   hold first, so it cannot begin another (lanes.rs).
//! - P3. A dead process's rings are read to the end before anything is decided about its tasks.
//! - P4. What a call has started is looked for without the lock, and before its process is killed: afterwards nobody could
//!   tell whose it was. The process is stopped from the decision on.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::HostConfig;
use super::core::{Core, Env, Lane, Stage};
use super::table::Place;
use crate::death::{Cause, Death, KillReason};
use crate::lanes::{ORDER_END, ORDER_HOLD};
use crate::layout::{self, Kind, LANES, LaneWords, MOST_LANES};
use crate::memory::SharedMemory;
use crate::os::{self, AsFd, OwnedFd};
use crate::region::Region;
use crate::ring::Consumer;
use crate::task::{ProcessId, Reply, Sink, TaskId};
use crate::zygote::MOST_LANES_PER_PROCESS;

/// Processes that may die one after the other before they are ready, in a pool that never had a ready one. Given by the
/// promise that an initializer which kills its process breaks the pool at the third time.
pub(super) const PATIENCE: u32 = 3;
/// The same, where others have been ready: then somebody kills them from outside, or what they need has gone. Arbitrary:
/// half a second's worth of attempts.
pub(super) const PATIENCE_PROVEN: u32 = 50;

/// How far a process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessState {
    /// Not ready yet.
    Starting,
    /// Runs tasks.
    Live,
    /// Ends after its current tasks.
    Retiring,
    /// Has ended; its tasks are being settled.
    Dying,
}

/// What can be said of a worker process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// The process.
    pub id: ProcessId,
    /// Its process id, or 0 as long as it has none.
    pub pid: i32,
    /// Lanes in it.
    pub lanes: u32,
    /// How far it has come.
    pub state: ProcessState,
    /// Tasks that it has ended.
    pub tasks_done: u64,
}

/// How far the launch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Launch {
    /// Waits for a zygote.
    Queued,
    /// A zygote has been asked.
    Asked,
    /// The zygote that was asked has died: it may be alive or not until this time.
    Lost(Instant),
    /// It is alive, or was.
    Done,
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) lanes: Vec<u16>,
    pub(super) launch: Launch,
    pub(super) pid: i32,
    pub(super) handle: Option<Arc<OwnedFd>>,
    pub(super) started: bool,
    pub(super) retiring: bool,
    pub(super) killed: Option<(KillReason, Option<TaskId>)>,
    pub(super) fault: Option<String>,
    /// Since when it is known to be dead.
    pub(super) dead: Option<Instant>,
    /// What the zygote said of its end.
    pub(super) cause: Option<Cause>,
    pub(super) tasks_done: u64,
}

/// A process that is to be killed with what it has started (P4).
#[derive(Debug)]
pub(super) struct Doomed {
    handle: Arc<OwnedFd>,
    pid: i32,
}

impl Doomed {
    /// Kills it. Walks over all processes of the system: not to be called under a lock.
    pub(super) fn end(&self) {
        os::end_children(self.handle.as_fd(), self.pid);
        // An error means that it has died already.
        drop(os::kill(self.handle.as_fd()));
    }
}

impl Process {
    pub(super) fn state(&self) -> ProcessState {
        match self {
            Self { dead: Some(_), .. } => ProcessState::Dying,
            Self { retiring: true, .. } => ProcessState::Retiring,
            Self { started: true, .. } => ProcessState::Live,
            _ => ProcessState::Starting,
        }
    }

    /// Kills it now, or as soon as it turns out to be alive.
    pub(super) fn kill(&mut self, reason: KillReason) {
        if self.killed.is_none() {
            self.killed = Some((reason, None));
        }
        self.strike();
    }

    /// Kills it amid a call, with what that has started; what is left to be done without the lock for it (P4). `target` is
    /// the call that it is killed for, if it is for one.
    fn doom(&mut self, reason: KillReason, target: Option<TaskId>) -> Option<Doomed> {
        if self.killed.is_some() {
            // Somebody is at it, or it will be struck when it turns out to be alive.
            return None;
        }
        self.killed = Some((reason, target));
        let Some(handle) = &self.handle else {
            self.strike();
            return None;
        };
        // An error means that it has died already.
        drop(os::stop(handle.as_fd()));
        Some(Doomed { handle: handle.clone(), pid: self.pid })
    }

    /// Sends the signal, if there is somebody to receive it.
    pub(super) fn strike(&mut self) {
        match &self.handle {
            // An error means that it has died already.
            Some(handle) => drop(os::kill(handle.as_fd())),
            None if self.launch == Launch::Queued => self.dead = Some(Instant::now()),
            None => {}
        }
    }

    /// It is alive, or was.
    pub(super) fn live(&mut self, pid: i32, handle: OwnedFd) {
        self.pid = pid;
        self.handle = Some(Arc::new(handle));
        self.launch = Launch::Done;
        if self.killed.is_some() || self.fault.is_some() {
            self.strike();
        }
    }

    fn cause(&mut self) -> Cause {
        if let Some(fault) = self.fault.take() {
            return Cause::Corrupt(fault);
        }
        match (self.killed, self.cause.take()) {
            (Some((reason, _)), _) => Cause::Killed(reason),
            (None, Some(cause)) => cause,
            (None, None) if self.launch == Launch::Queued => Cause::NeverStarted("it was not needed any more".into()),
            (None, None) if self.launch != Launch::Done => Cause::NeverStarted("the zygote died first".into()),
            (None, None) => Cause::Unknown,
        }
    }
}

impl<S: Sink + ?Sized> Core<S> {
    /// Books a new process with its lanes. Launching it is the supervisor's.
    pub(super) fn add_process(&mut self, env: &Env, config: &HostConfig, lanes: u32) -> io::Result<ProcessId> {
        if self.stage == Stage::Closed {
            return Err(io::Error::other("the pool is shut down"));
        }
        if lanes == 0 || lanes > MOST_LANES_PER_PROCESS {
            let why = format!("a process has 1 to {MOST_LANES_PER_PROCESS} lanes, not {lanes}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let id = ProcessId(self.next_process);
        let mut numbers = Vec::new();
        for _ in 0..lanes {
            match self.add_lane(env, config, id) {
                Ok(number) => numbers.push(number),
                Err(error) => {
                    for number in numbers {
                        self.lanes[usize::from(number)] = None;
                    }
                    return Err(error);
                }
            }
        }
        self.next_process += 1;
        let process = Process {
            lanes: numbers,
            launch: Launch::Queued,
            pid: 0,
            handle: None,
            started: false,
            retiring: false,
            killed: None,
            fault: None,
            dead: None,
            cause: None,
            tasks_done: 0,
        };
        self.processes.insert(id, process);
        Ok(id)
    }

    fn add_lane(&mut self, env: &Env, config: &HostConfig, process: ProcessId) -> io::Result<u16> {
        let index = self.lanes.iter().position(Option::is_none).unwrap_or(self.lanes.len());
        if index >= MOST_LANES {
            return Err(io::Error::other(format!("a pool has at most {MOST_LANES} lanes")));
        }
        let number = u16::try_from(index).map_err(io::Error::other)?;
        let ring = config.ring_bytes;
        let kind = Kind::Lane { ring, lane: number, process: process.0 };
        let memory = Arc::new(SharedMemory::create(kind, config.lane_arena_bytes)?);
        let consumer = Consumer::new(layout::ring(ring));
        let parts = Vec::new();
        let lane = Lane { memory, consumer, process, current: None, position: None, parts, since: None, fault: None };
        if index == self.lanes.len() {
            self.lanes.push(None);
        }
        LANES.admit(&*env.memory, number);
        self.lanes[index] = Some(lane);
        Ok(number)
    }

    /// Processes whose first lane says that they have started, and did not before.
    pub(super) fn newly_started(&mut self) -> Vec<ProcessId> {
        let unknown = self.processes.iter().filter(|(_, process)| !process.started);
        let started: Vec<_> = unknown.filter(|(_, process)| self.says_started(process)).map(|(id, _)| *id).collect();
        for id in &started {
            if let Some(process) = self.processes.get_mut(id) {
                process.started = true;
                self.stillborn = 0;
                self.patience = self.proven;
            }
        }
        started
    }

    /// Whether a process itself has said that it has started.
    pub(super) fn says_started(&self, process: &Process) -> bool {
        let lanes = process.lanes.iter().filter_map(|lane| self.lanes[usize::from(*lane)].as_ref());
        // Relaxed: a flag without data.
        let says_so =
            |memory: &SharedMemory| memory.word32(LaneWords::STARTED).load(std::sync::atomic::Ordering::Relaxed) != 0;
        lanes.into_iter().any(|lane| says_so(&lane.memory))
    }

    /// The process id that a process itself has written into its memory.
    pub(super) fn pid_by_itself(&self, process: &Process) -> Option<i32> {
        let lane = self.lanes.get(usize::from(*process.lanes.first()?))?.as_ref()?;
        // Relaxed: a number without data behind it.
        let pid = lane.memory.word32(LaneWords::PID).load(std::sync::atomic::Ordering::Relaxed);
        i32::try_from(pid).ok().filter(|pid| *pid > 0)
    }

    /// Lets a process end after its current tasks.
    pub(super) fn retire(&mut self, env: &Env, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        process.retiring = true;
        if process.launch == Launch::Queued {
            process.dead = Some(Instant::now());
        }
        let order = self.order_for(id);
        for lane in &self.processes[&id].lanes {
            LANES.command(&*env.memory, *lane, order);
        }
    }

    /// Kills processes whose rings are at fault.
    pub(super) fn strike_the_faulty(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            if let Some(fault) = &lane.fault
                && let Some(process) = self.processes.get_mut(&lane.process)
                && process.fault.is_none()
            {
                process.fault = Some(fault.clone());
                process.strike();
            }
        }
    }

    /// Dooms the process that runs a task, if it still does (P2). `None`: it is being claimed, so ask again.
    pub(super) fn kill_task(&mut self, env: &Env, id: TaskId, reason: KillReason) -> Option<bool> {
        self.drain(env);
        if self.is_being_claimed(env, id) {
            return None;
        }
        let Some(Place::Running(lane)) = self.table.get(id).map(|entry| entry.place) else {
            return Some(false);
        };
        LANES.command(&*env.memory, lane, ORDER_HOLD);
        self.drain_lane(env, usize::from(lane));
        let process = self.lanes[usize::from(lane)].as_ref().map(|lane| lane.process);
        let runs =
            self.table.get(id).is_some_and(|entry| entry.place == Place::Running(lane) && entry.next < entry.calls);
        if let Some(process) = process {
            if !runs {
                LANES.command(&*env.memory, lane, self.order_for(process));
            } else if let Some(process) = self.processes.get_mut(&process) {
                self.doomed.extend(process.doom(reason, Some(id)));
            }
        }
        Some(runs)
    }

    /// Kills all processes, and what calls have started that run now.
    pub(super) fn kill_all(&mut self, env: &Env) {
        self.drain(env);
        let busy: Vec<ProcessId> =
            self.lanes.iter().flatten().filter_map(|lane| lane.current.map(|_| lane.process)).collect();
        for (id, process) in &mut self.processes {
            if busy.contains(id) {
                self.doomed.extend(process.doom(KillReason::Shutdown, None));
            } else {
                process.kill(KillReason::Shutdown);
            }
        }
    }

    /// Dooms processes with a call that has run longer than it may.
    pub(super) fn kill_the_late(&mut self, env: &Env) {
        let late: Vec<(TaskId, Duration)> = self
            .lanes
            .iter()
            .flatten()
            .filter_map(|lane| {
                let id = lane.current?;
                let limit = self.table.get(id)?.terms().limit?;
                (lane.since?.elapsed() >= limit).then_some((id, limit))
            })
            .collect();
        for (id, limit) in late {
            // One that is being claimed now is met the next time.
            let _ = self.kill_task(env, id, KillReason::Timeout(limit));
        }
    }

    /// Settles everything that a dead process leaves behind, and removes it. `lost`: it may live, so its lanes' numbers
    /// are never used again (P1).
    pub(super) fn bury(&mut self, env: &Env, id: ProcessId, lost: bool) -> Option<(Death, u32)> {
        let lanes = self.processes.get(&id)?.lanes.clone();
        for lane in &lanes {
            self.drain_lane(env, usize::from(*lane));
        }
        let ready = self.processes.get(&id).is_some_and(|process| process.started || self.says_started(process));
        let mut process = self.processes.remove(&id)?;
        let fault = lanes.iter().find_map(|lane| self.lanes[usize::from(*lane)].as_ref()?.fault.clone());
        process.fault = process.fault.take().or(fault);
        let death = Death {
            process: id,
            pid: process.pid,
            target: process.killed.and_then(|(_, target)| target),
            cause: process.cause(),
        };
        for lane in &lanes {
            self.bury_lane(env, *lane, &death, lost);
        }
        env.arena.forget(id.0);
        if ready {
            self.stillborn = 0;
            self.patience = self.proven;
        } else if !process.retiring && process.killed.is_none() {
            self.stillborn += 1;
        }
        self.pump(env);
        Some((death, u32::try_from(lanes.len()).unwrap_or(u32::MAX)))
    }

    fn bury_lane(&mut self, env: &Env, number: u16, death: &Death, lost: bool) {
        let place = &mut self.lanes[usize::from(number)];
        if lost {
            if let Some(lane) = place {
                lane.fault = Some("its process was lost".into());
            }
            LANES.command(&*env.memory, number, ORDER_END);
        } else if let Some(lane) = place.take() {
            LANES.reset(&*env.memory, number);
            self.bury_tasks(env, number, &lane, death);
        }
    }

    fn bury_tasks(&mut self, env: &Env, number: u16, lane: &Lane, death: &Death) {
        // Claimed and not begun: they run elsewhere.
        let claimed: Vec<(TaskId, u64)> = (self.base..)
            .zip(&self.published)
            .filter(|(position, id)| {
                let there = self.table.get(**id).is_some_and(|entry| entry.place == Place::Ring(*position));
                there && env.slots.owner(&*env.memory, *position) == Some(number)
            })
            .map(|(position, id)| (*id, position))
            .collect();
        for (id, position) in claimed {
            self.unpublish(env, id, position);
            self.requeue(env, id);
        }
        // Begun, and killed before the slot was freed.
        if let Some(position) = lane.position
            && env.slots.owner(&*env.memory, position) == Some(number)
        {
            env.slots.free(&*env.memory, position);
        }
        if let Some(id) = lane.current {
            self.fail_current_call(env, id, death);
        }
    }

    /// The call that was running fails, unless it has retries left; those after it run elsewhere, unless the task was
    /// killed because it was cancelled.
    fn fail_current_call(&mut self, env: &Env, id: TaskId, death: &Death) {
        let Some(entry) = self.table.get_mut(id) else {
            return;
        };
        if entry.next < entry.calls {
            let death = Death { target: death.target.filter(|target| *target == id), ..death.clone() };
            let open = self.stage != Stage::Closed;
            if let Some(rare) = &mut entry.rare
                && rare.retried < rare.terms.retries
                && rare.terms.covers(&death)
                && open
            {
                rare.retried += 1;
            } else {
                entry.sink.deliver(entry.next, Reply::Died(&death));
                entry.next += 1;
                entry.forget_retries();
                self.counts.delivered += 1;
            }
        }
        if entry.next == entry.calls {
            return self.settle(env, id);
        }
        if death.target == Some(id) && death.cause == Cause::Killed(KillReason::Cancelled) {
            return self.give_up(env, id, None);
        }
        entry.place = Place::Waiting;
        if entry.has_blocks() {
            env.arena.hold(entry.blocks());
        }
        self.counts.running -= 1;
        self.counts.waiting += 1;
        self.requeue(env, id);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use crate::death::KillReason;
    use crate::frame::{Begin, Kind};
    use crate::host::{Host, HostConfig};
    use crate::layout;
    use crate::os;
    use crate::ring::Producer;
    use crate::task::{BlockRef, Payload, Reply, Sink, TaskId, TaskSpec, Terms, Usage};

    struct Nobody;

    impl Sink for Nobody {
        fn deliver(&self, _index: u32, _reply: Reply<'_>) {}
        fn finish(&self, _usage: Usage) {}
    }

    #[test]
    fn a_process_is_killed_for_a_call_after_what_the_call_has_started_and_without_the_lock() {
        // A shell that waits for another process, which has said that it is there.
        let mut shell = Command::new("sh");
        shell.args(["-c", "(echo; exec sleep 300); true"]).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut said = shell.stdout.take().unwrap();
        said.read_exact(&mut [0]).unwrap();
        let config = HostConfig { slots: 16, ring_bytes: 4096, ..HostConfig::default() };
        let host: Host<Nobody> = Host::new(config, Arc::new(())).unwrap();
        let env = &host.shared.env;
        let id = host.shared.act(0, |core| core.add_process(env, &config, 1)).unwrap();
        let pid = shell.id().cast_signed();
        let handle = os::open_process(pid).unwrap();
        let doomed = {
            let mut core = host.shared.lock();
            let process = core.processes.get_mut(&id).unwrap();
            process.live(pid, handle);
            let doomed = process.doom(KillReason::Timeout(Duration::ZERO), Some(TaskId(1))).unwrap();
            assert!(process.doom(KillReason::Timeout(Duration::ZERO), Some(TaskId(1))).is_none(), "once is enough");
            doomed
        };
        assert!(shell.try_wait().unwrap().is_none(), "it is only stopped");
        host.shared.act(0, |core| core.doomed.push(doomed));

        assert_eq!(Some(libc::SIGKILL), shell.wait().unwrap().signal());
        // The other process held the other end.
        assert_eq!(0, said.read_to_end(&mut Vec::new()).unwrap());
    }

    #[test]
    fn a_kill_waits_for_a_lane_that_is_put_off_the_cpu_between_claim_and_begin() {
        let config = HostConfig { slots: 16, ring_bytes: 4096, ..HostConfig::default() };
        let host: Host<Nobody> = Host::new(config, Arc::new(())).unwrap();
        let env = &host.shared.env;
        host.shared.act(0, |core| core.add_process(env, &config, 1)).unwrap();
        let spec = TaskSpec {
            function: 0,
            function_block: BlockRef { offset: 0, len: 0 },
            payload: Payload::Bytes(&[]),
            calls: 1,
            priority: 2,
            attached: Vec::new(),
            terms: Terms::default(),
        };
        let task = host.submit(spec, Arc::new(Nobody));
        assert_eq!(Some(0), env.slots.claim(&*env.memory, 0));
        let killed = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(150));
                let lane = host.shared.lock().lanes[0].as_ref().map(|lane| lane.memory.clone()).unwrap();
                let mut producer = Producer::new(layout::ring(config.ring_bytes));
                assert!(producer.push(&*lane, Kind::Begin, &Begin { task: task.0, first: 0 }.encode()));
                env.slots.free(&*env.memory, 0);
            });
            host.kill(task, KillReason::Cancelled)
        });

        assert!(killed);
    }
}
