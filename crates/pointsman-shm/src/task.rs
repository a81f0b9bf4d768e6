//! The words that host and binding share: tasks, replies, and who is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::arena::HostBlock;
use crate::death::{Cause, Death, KillReason};
use crate::frame::Timing;
use crate::memory::LaneMemory;

/// A worker process of one host. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u32);

impl fmt::Display for ProcessId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A submitted task. One that is over is never mistaken for another, and none is nought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskId(pub u64);

/// Bytes in an arena: the host's or a lane's, which the context says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockRef {
    /// From the start of the segment.
    pub offset: u64,
    /// In bytes.
    pub len: u64,
}

/// What a task's calls are made of, for the binding to read on the other side.
#[derive(Debug)]
pub enum Payload<'a> {
    /// Copied: into the slot if it is short, else into the arena.
    Bytes(&'a [u8]),
    /// In the arena already.
    Block(HostBlock),
}

/// A task: some calls of one function that travel together and run one after the other.
#[derive(Debug)]
pub struct TaskSpec<'a> {
    /// The binding's number of the function.
    pub function: u64,
    /// The function's bytes. It stays the caller's, who keeps it until the task is finished.
    pub function_block: BlockRef,
    /// The arguments.
    pub payload: Payload<'a>,
    /// Calls in the task.
    pub calls: u32,
    /// 0 is most urgent.
    pub priority: u8,
    /// Blocks that the payload refers to. They are the task's from now on.
    pub attached: Vec<BlockRef>,
    /// How long its calls may run, and which are begun again.
    pub terms: Terms,
}

/// How long a task's calls may run, and which of those whose process died are begun again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How long each call may run, from when it begins; see [`Host::set_timeout`](crate::Host::set_timeout).
    pub limit: Option<Duration>,
    /// How often each call is begun again when its process has died.
    pub retries: u32,
    /// Whether a call that ran too long is begun again, too.
    pub retry_late: bool,
}

impl Terms {
    /// Whether a call whose process died so is one to begin again, if it has retries left. What was killed because it
    /// should not run any more is not.
    pub(crate) fn covers(&self, death: &Death) -> bool {
        match death.cause {
            Cause::Killed(KillReason::Timeout(_)) if death.target.is_some() => self.retry_late,
            Cause::Killed(KillReason::Cancelled) if death.target.is_some() => false,
            Cause::Killed(KillReason::Shutdown) | Cause::NeverStarted(_) | Cause::NoRoom(_) => false,
            _ => true,
        }
    }
}

/// What a task used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds by the clock, as the worker measured them.
    pub wall_ns: u64,
    /// Nanoseconds of CPU time, as the worker measured them.
    pub cpu_ns: u64,
    /// The process that ran it last, if any did.
    pub process: Option<ProcessId>,
}

/// The outcome of one call.
#[derive(Debug)]
pub enum Reply<'a> {
    /// The worker's bytes. `lane` gives views of the blocks that they refer to.
    Value {
        /// The binding's own.
        tag: u8,
        /// The binding's own; gone after the delivery.
        bytes: &'a [u8],
        /// The lane that sent them.
        lane: &'a Arc<LaneMemory>,
    },
    /// The process died while it ran the call, or no process will ever come to run it.
    Died(&'a Death),
    /// The call was cancelled before any process began its task.
    Cancelled,
}

/// Receives the outcomes of one task.
///
/// Its methods run under the host's lock: they must be quick, must not panic, and must not call the host, [`Host::free`]
/// excepted. A sink is dropped outside of the lock.
///
/// [`Host::free`]: crate::Host::free
pub trait Sink: Send + Sync + 'static {
    /// A process has begun the task. Called again when another takes over the calls that are left.
    fn begin(&self, process: ProcessId) {
        let _ = process;
    }

    /// When the call whose outcome comes next began and ended, in the process `pid` on the host's lane of that number.
    fn timing(&self, pid: u32, lane: u16, timing: Timing) {
        let _ = (pid, lane, timing);
    }

    /// The outcome of call `index`, which counts from 0. In order, each once.
    fn deliver(&self, index: u32, reply: Reply<'_>);

    /// All outcomes have been delivered.
    fn finish(&self, usage: Usage);
}

/// Is told of what the host's own threads do. No lock is held.
pub trait Hooks: Send + Sync {
    /// Outcomes were delivered although nobody waited.
    fn drained(&self) {}

    /// The thread that drains has drained, whether or not anything had arrived.
    fn looked(&self) {}

    /// A process has died. With `respawn`, another is being started in its place.
    fn process_died(&self, death: &Death, respawn: bool) {
        let _ = (death, respawn);
    }

    /// The zygote has died: no process can be started until the host gets another.
    fn zygote_died(&self) {}

    /// A process is ready to run tasks.
    fn process_started(&self, process: ProcessId) {
        let _ = process;
    }
}

/// Hooks that do nothing.
impl Hooks for () {}
