//! The parent's side of a pool of worker processes.
//!
//! # Does not know
//!
//! What calls are, or who decides how many processes there should be.
//!
//! # Invariants
//!
//! - H1. One lock guards the books ([`core::Core`]); sinks are called under it and dropped outside of it.
//! - H2. Whoever changes the books goes through [`Shared::act`], which afterwards wakes lanes for what was published and
//!   waiters for what was delivered.
//! - H3. A forked child has a copy of all this and changes nothing that is shared: every method looks first whether the
//!   memory is this process's own.

mod core;
mod drain;
mod overflow;
mod process;
mod supervisor;
mod table;
mod wait;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use self::core::{Core, Env, Stage};
pub use self::process::{ProcessInfo, ProcessState};
use self::table::{Entry, Place, Rare, Stored};
use crate::arena::{Arena, HostBlock};
use crate::death::{Death, KillReason};
use crate::lanes::RUNNING;
use crate::layout::{self, HostWords, Kind, LANES};
use crate::memory::SharedMemory;
use crate::os::{self, OwnedFd};
use crate::record::INLINE;
use crate::region::Region;
use crate::task::{BlockRef, Hooks, Payload, ProcessId, Reply, Sink, TaskId, TaskSpec, Usage};

/// How long a kill waits for a claim that is under way. A claim takes less than a microsecond, unless its lane has been
/// put off the CPU: with ten processes for each core that is a tenth of a second. Arbitrary beyond that.
const CLAIM_TAKES: Duration = Duration::from_secs(2);
/// How long such a wait only yields, and then between two looks.
const CLAIM_LOOKS: Duration = Duration::from_millis(1);

/// Submits between two looks at what has arrived. Arbitrary: few enough that what has arrived is still in a near cache.
const DRAIN_EVERY: u32 = 64;

/// Sizes of a pool's memory, and how long its lanes spin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Slots for tasks; rounded up to a power of two. Tasks beyond them wait in the host's own memory.
    pub slots: u32,
    /// Most tasks that wait in slots at one time.
    pub window: u32,
    /// Bytes of each lane's result ring; rounded up to a power of two.
    pub ring_bytes: u32,
    /// Bytes for arguments. Address space: memory is taken only as far as it is used.
    pub host_arena_bytes: u64,
    /// Bytes for the results of each lane, likewise.
    pub lane_arena_bytes: u64,
    /// How long a lane that finds no work spins before it sleeps.
    pub spin: Duration,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            slots: 512,
            window: 512,
            ring_bytes: 1 << 20,
            host_arena_bytes: 1 << 36,
            lane_arena_bytes: 1 << 34,
            spin: Duration::from_micros(50),
        }
    }
}

impl HostConfig {
    /// The nearest sizes that work.
    fn sane(mut self) -> Self {
        self.slots = self.slots.clamp(2, 1 << 24).next_power_of_two();
        self.window = self.window.clamp(1, self.slots);
        self.ring_bytes = self.ring_bytes.clamp(4096, 1 << 30).next_power_of_two();
        self
    }
}

/// What the host, its supervisor and its waiters share.
struct Shared<S: Sink + ?Sized> {
    env: Env,
    config: HostConfig,
    core: Mutex<Core<S>>,
    hooks: Arc<dyn Hooks>,
    /// Waiters in this process that sleep on the bell, or are about to.
    sleepers: AtomicU32,
    collectors: AtomicBool,
    feeding: AtomicBool,
    disowned: AtomicBool,
    /// Tells `join` that a process has gone. Used with `core`.
    gone: Condvar,
    /// Wakes the supervisor.
    request: os::Event,
    post: Mutex<supervisor::Post>,
}

impl<S: Sink + ?Sized> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, Core<S>> {
        // A panic under the lock can only come from a sink, between two whole changes of the books.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process is a fork of the one that made the pool (H3).
    fn is_foreign(&self) -> bool {
        // Relaxed: set by the only thread of a forked child.
        self.disowned.load(Ordering::Relaxed) || !self.env.memory.is_ours()
    }

    /// Changes the books, and tells whom it concerns afterwards (H2). `own` is the number of sleepers that the caller is.
    fn act<R>(&self, own: u32, change: impl FnOnce(&mut Core<S>) -> R) -> R {
        let mut core = self.lock();
        let (published, delivered) = (core.overflow.left(), core.counts.delivered);
        let result = change(&mut core);
        let (published, delivered) = (core.overflow.left() != published, core.counts.delivered != delivered);
        let (grave, doomed) = (std::mem::take(&mut core.grave), std::mem::take(&mut core.doomed));
        drop(core);
        drop(grave);
        if published {
            LANES.wake_one(&*self.env.memory);
        }
        // Relaxed: the lock orders it. A sleeper that was not counted yet takes the lock later, and sees what we did.
        if delivered && self.sleepers.load(Ordering::Relaxed) > own {
            HostWords::BELL.announce(&*self.env.memory);
        }
        for process in doomed {
            process.end();
        }
        result
    }

    fn drain(&self, own: u32) -> usize {
        self.act(own, |core| core.drain(&self.env))
    }
}

/// A pool of worker processes, and the tasks that they run.
///
/// Dropping it kills the workers; the calls that are left fail.
pub struct Host<S: Sink + ?Sized> {
    shared: Arc<Shared<S>>,
    threads: Mutex<bool>,
}

impl<S: Sink + ?Sized> fmt::Debug for Host<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Host").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl<S: Sink + ?Sized> Host<S> {
    /// A pool without processes.
    ///
    /// # Errors
    ///
    /// When the system gives no shared memory; off Linux, always.
    pub fn new(config: HostConfig, hooks: Arc<dyn Hooks>) -> io::Result<Self> {
        let config = config.sane();
        let spin_ns = u64::try_from(config.spin.as_nanos()).unwrap_or(u64::MAX);
        let kind = Kind::Host { slots: config.slots, spin_ns };
        let memory = Arc::new(SharedMemory::create(kind, config.host_arena_bytes)?);
        let slots = layout::slots(config.slots);
        let arena = Arc::new(Arena::new(memory.clone(), false));
        let shared = Shared {
            env: Env { memory, arena, slots, window: config.window as usize },
            config,
            core: Mutex::new(Core::new()),
            hooks,
            sleepers: AtomicU32::new(0),
            collectors: AtomicBool::new(false),
            feeding: AtomicBool::new(false),
            disowned: AtomicBool::new(false),
            gone: Condvar::new(),
            request: os::Event::new()?,
            post: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), threads: Mutex::new(false) })
    }

    /// Queues a task. Its outcomes go to the sink, also those that it cannot have any more: a pool that is shut down
    /// cancels it, one that was abandoned fails it, before this method returns.
    pub fn submit(&self, spec: TaskSpec<'_>, sink: Arc<S>) -> TaskId {
        let shared = &*self.shared;
        if shared.is_foreign() {
            let death = Death::never_started("the pool belongs to the process that this one was forked from");
            for index in 0..spec.calls {
                sink.deliver(index, Reply::Died(&death));
            }
            sink.finish(Usage::default());
            return TaskId(0);
        }
        let env = &shared.env;
        let mut inline: &[u8] = &[];
        let stored = match spec.payload {
            Payload::Block(block) => Stored::Block(block.into_ref()),
            Payload::Bytes(bytes) if bytes.len() <= INLINE && spec.calls == 1 && spec.terms.retries == 0 => {
                inline = bytes;
                Stored::InSlot
            }
            Payload::Bytes(bytes) if bytes.len() <= INLINE => Stored::Bytes(bytes.into()),
            Payload::Bytes(bytes) => match env.arena.alloc(bytes.len()) {
                Some(mut block) => {
                    block.as_mut_slice().copy_from_slice(bytes);
                    Stored::Block(block.into_ref())
                }
                // There will be room when other tasks are over.
                None => Stored::Bytes(bytes.into()),
            },
        };
        let mut entry = Entry {
            sink,
            place: Place::Waiting,
            stored,
            rare: Rare::of(spec.attached, spec.terms),
            function: spec.function,
            function_block: spec.function_block,
            calls: spec.calls,
            next: 0,
            rank: spec.priority,
            stamp: 0,
            usage: Usage::default(),
        };
        if entry.has_blocks() {
            env.arena.hold(entry.blocks());
        }
        let limited = spec.terms.limit.is_some();
        let id = shared.act(0, |core| {
            entry.stamp = core.overflow.left();
            if core.stage == Stage::Closed {
                core.refuse(env, entry)
            } else {
                // What has been done meanwhile is worth reading while its memory is warm, and frees the places of the next.
                core.submits = core.submits.wrapping_add(1);
                if core.submits.is_multiple_of(DRAIN_EVERY) {
                    core.drain(env);
                }
                core.submit(env, entry, inline)
            }
        });
        if limited {
            // The supervisor looks more often from now on.
            shared.request.signal();
        }
        id
    }

    /// Memory for a large part of a task's arguments. `None`: there is no room now, so put the bytes into the payload.
    pub fn alloc(&self, len: usize) -> Option<HostBlock> {
        if self.shared.is_foreign() { None } else { self.shared.env.arena.alloc(len) }
    }

    /// Frees a block that belongs to no task, such as a function's when no task mentions it any more.
    pub fn free(&self, block: BlockRef) {
        if !self.shared.is_foreign() {
            self.shared.env.arena.free(block);
        }
    }

    /// Whether the arguments on their way take more than this many bytes, so that whoever sends more had better wait for
    /// outcomes first. Not without tasks: then nothing would come to wait for.
    pub fn is_crowded(&self, bytes: u64) -> bool {
        let shared = &*self.shared;
        !shared.is_foreign() && shared.env.arena.has_more_than(bytes) && self.look(false, |core| core.table.len() > 0)
    }

    /// Delivers what has arrived. Returns the number of outcomes.
    pub fn drain(&self) -> usize {
        if self.shared.is_foreign() { 0 } else { self.shared.drain(0) }
    }

    /// Takes a task back that no lane has begun. Its calls are delivered as cancelled, before this method returns.
    pub fn cancel(&self, task: TaskId) -> bool {
        let shared = &*self.shared;
        !shared.is_foreign()
            && shared.act(0, |core| {
                let withdrawn = core.withdraw(&shared.env, task);
                if withdrawn {
                    core.give_up(&shared.env, task, None);
                }
                withdrawn
            })
    }

    /// Takes back every task that no lane has begun, as [`Host::cancel`] does. Returns how many there were.
    pub fn cancel_all(&self) -> usize {
        let shared = &*self.shared;
        if shared.is_foreign() {
            return 0;
        }
        shared.act(0, |core| {
            let mut withdrawn = 0;
            for task in core.table.ids() {
                if core.withdraw(&shared.env, task) {
                    core.give_up(&shared.env, task, None);
                    withdrawn += 1;
                }
            }
            withdrawn
        })
    }

    /// Kills the process that runs this task now. False if none does; then nothing is killed. A call that ends while the
    /// signal is on its way has its own outcome all the same. Tasks that run on other lanes of the same process die with
    /// it. Waits for a claim that is under way, a moment as a rule, two seconds at most.
    pub fn kill(&self, task: TaskId, reason: KillReason) -> bool {
        let shared = &*self.shared;
        if shared.is_foreign() {
            return false;
        }
        let began = Instant::now();
        loop {
            match shared.act(0, |core| core.kill_task(&shared.env, task, reason)) {
                Some(killed) => return killed,
                None if began.elapsed() >= CLAIM_TAKES => return false,
                None if began.elapsed() < CLAIM_LOOKS => thread::yield_now(),
                None => thread::sleep(CLAIM_LOOKS),
            }
        }
    }

    /// Limits how long each call of a task may run, from when it begins: a call that runs longer has its process killed
    /// with [`KillReason::Timeout`]. Never early; late by an eighth, or 20 ms at most.
    pub fn set_timeout(&self, task: TaskId, limit: Duration) {
        let shared = &*self.shared;
        if shared.is_foreign() {
            return;
        }
        shared.act(0, |core| core.set_limit(task, limit));
        shared.request.signal();
    }

    /// Has lanes tell when each call began and ended, from the next tasks that they claim on.
    pub fn time_calls(&self, wanted: bool) {
        let shared = &*self.shared;
        if shared.is_foreign() {
            return;
        }
        let word = shared.env.memory.word32(HostWords::TRACE);
        // Relaxed: pairs with the load in `Guest::begin`; a wish, which nothing depends on. Stored only when it changes,
        // so that the lanes' caches keep the line.
        if word.load(Ordering::Relaxed) != u32::from(wanted) {
            word.store(u32::from(wanted), Ordering::Relaxed);
        }
    }

    /// Tasks that no lane is known to have begun.
    pub fn queued(&self) -> usize {
        self.look(0, |core| core.counts.ready + core.counts.waiting)
    }

    /// Tasks that lanes have begun and not ended, as far as results have been drained.
    pub fn running(&self) -> usize {
        self.look(0, |core| core.counts.running)
    }

    /// Lanes of live processes that have nothing to do at the moment.
    pub fn idle_lanes(&self) -> usize {
        self.look(0, |core| {
            let live = core.processes.values().filter(|process| process.state() == ProcessState::Live);
            let lanes = live.flat_map(|process| &process.lanes);
            lanes.filter(|lane| LANES.state_of(&*self.shared.env.memory, **lane) != RUNNING).count()
        })
    }

    /// The processes that have not ended.
    pub fn processes(&self) -> Vec<ProcessInfo> {
        self.look(Vec::new(), |core| {
            let infos = core.processes.iter().map(|(id, process)| ProcessInfo {
                id: *id,
                pid: process.pid,
                lanes: u32::try_from(process.lanes.len()).unwrap_or(u32::MAX),
                state: process.state(),
                tasks_done: process.tasks_done,
            });
            infos.collect()
        })
    }

    fn look<R>(&self, foreign: R, look: impl FnOnce(&Core<S>) -> R) -> R {
        if self.shared.is_foreign() { foreign } else { look(&self.shared.lock()) }
    }

    /// Starts one more process with this many lanes (1 to 60), as soon as there is a zygote. Returns at once.
    ///
    /// # Errors
    ///
    /// When the pool is shut down, the number is out of range, or there is no memory for a lane.
    pub fn add_process(&self, lanes: u32) -> io::Result<ProcessId> {
        let shared = &self.shared;
        if shared.is_foreign() {
            return Err(io::Error::other("the pool belongs to the process that this one was forked from"));
        }
        self.start_threads()?;
        let id = shared.act(0, |core| core.add_process(&shared.env, &shared.config, lanes))?;
        shared.request.signal();
        Ok(id)
    }

    fn start_threads(&self) -> io::Result<()> {
        let mut started = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if !*started {
            let (shared, drainer) = (self.shared.clone(), self.shared.clone());
            thread::Builder::new().name("pointsman-drain".into()).spawn(move || wait::keep_drained(&drainer))?;
            thread::Builder::new().name("pointsman-supervise".into()).spawn(move || supervisor::run(&shared))?;
            *started = true;
        }
        Ok(())
    }

    /// Lets a process end after its current tasks. None takes its place.
    pub fn retire(&self, process: ProcessId) {
        let shared = &*self.shared;
        if !shared.is_foreign() {
            shared.act(0, |core| core.retire(&shared.env, process));
            shared.request.signal();
        }
    }

    /// Whether a process that dies is replaced (it is, unless told otherwise).
    pub fn set_respawn(&self, respawn: bool) {
        if !self.shared.is_foreign() {
            self.shared.lock().respawn = respawn;
        }
    }

    /// Says that each process runs code of the user's before it is ready: three in a row that die of it fail the pool, also
    /// when others have been ready.
    pub fn set_initialized(&self) {
        if !self.shared.is_foreign() {
            self.shared.lock().proven = process::PATIENCE;
        }
    }

    /// Hands over the socket of a zygote ([`crate::zygote`]). The earlier, the sooner the first process starts: what asks
    /// for it has started by then.
    ///
    /// # Errors
    ///
    /// When the system starts no more threads.
    pub fn set_zygote(&self, socket: OwnedFd) -> io::Result<()> {
        if !self.shared.is_foreign() {
            self.shared.post().zygote = Some(socket);
            self.start_threads()?;
            self.shared.request.signal();
        }
        Ok(())
    }

    /// Sets the bytes that every launch carries from now on.
    ///
    /// # Errors
    ///
    /// When the system gives no memory for them.
    pub fn set_launch_config(&self, config: &[u8]) -> io::Result<()> {
        if !self.shared.is_foreign() {
            self.shared.post().config = Some(Arc::new(crate::zygote::config_file(config)?));
        }
        Ok(())
    }

    /// Has the host's own thread deliver outcomes as they come, whether or not anybody waits.
    pub fn set_collectors(&self, collectors: bool) {
        let shared = &*self.shared;
        if !shared.is_foreign() {
            // Release: pairs with the Acquire in `wait::keep_drained`.
            shared.collectors.store(collectors, Ordering::Release);
            shared.wake_drainer();
        }
    }

    /// Has the host's own thread drain whenever a task is over, and call [`Hooks::looked`], which may submit the next.
    pub fn set_feeding(&self, feeding: bool) {
        let shared = &*self.shared;
        // Release: pairs with the Acquire in `wait::keep_drained`; Acquire: with another caller's store.
        if !shared.is_foreign() && shared.feeding.swap(feeding, Ordering::AcqRel) != feeding {
            shared.wake_drainer();
        }
    }

    /// Ends the lanes: when the last task is over, or at once. With `kill`, queued calls are cancelled and running ones
    /// die with their processes.
    pub fn shutdown(&self, kill: bool) {
        let shared = &*self.shared;
        if shared.is_foreign() {
            return;
        }
        shared.act(0, |core| core.shut_down(&shared.env, kill));
        shared.request.signal();
        shared.wake_drainer();
    }

    /// Waits until no process is left; false when the deadline came first. For a pool that is shut down.
    pub fn join(&self, deadline: Option<Instant>) -> bool {
        let shared = &*self.shared;
        if shared.is_foreign() {
            return true;
        }
        let mut core = shared.lock();
        while !core.processes.is_empty() {
            let limit = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if limit == Some(Duration::ZERO) {
                return false;
            }
            let limit = limit.unwrap_or(Duration::from_secs(3600));
            core = shared.gone.wait_timeout(core, limit).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Fails every call that no lane has begun, and all that are submitted later: no process will come to run them.
    /// What runs may end.
    pub fn abandon(&self, death: Death) {
        let shared = &*self.shared;
        if !shared.is_foreign() {
            shared.act(0, |core| core.abandon(&shared.env, death));
            shared.request.signal();
            shared.wake_drainer();
        }
    }

    /// In a forked child: forgets the pool, which is the parent's.
    pub fn disown(&self) {
        self.shared.disowned.store(true, Ordering::Relaxed);
    }
}

impl<S: Sink + ?Sized> Drop for Host<S> {
    fn drop(&mut self) {
        self.shutdown(true);
    }
}
