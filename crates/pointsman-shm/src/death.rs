//! How worker processes die.

use std::fmt;
use std::time::Duration;

use crate::os;
use crate::task::{ProcessId, TaskId};

/// Why this side killed a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    /// A call ran longer than this, which is what it may.
    Timeout(Duration),
    /// A running call was cancelled.
    Cancelled,
    /// The pool is shut down.
    Shutdown,
    /// It took too much memory.
    Memory,
}

/// What ended a process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// A signal that this side did not send.
    Signal(i32),
    /// It exited by itself, with this code.
    Exit(i32),
    /// This side killed it.
    Killed(KillReason),
    /// It wrote what no worker writes, and was killed for it.
    Corrupt(String),
    /// It never came to life.
    NeverStarted(String),
    /// None was asked: the task's arguments find no room in shared memory, and never will.
    NoRoom(String),
    /// Nobody could say.
    Unknown,
}

/// A process's death.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// The process.
    pub process: ProcessId,
    /// Its process id, or 0 if it never had one.
    pub pid: i32,
    /// What ended it.
    pub cause: Cause,
    /// The task that it was killed for, if it was. Other tasks that ran in the process died with it; what they are told
    /// has no target.
    pub target: Option<TaskId>,
}

impl Death {
    /// The death of a process that could not be started.
    pub fn never_started(why: impl Into<String>) -> Self {
        Self { process: ProcessId(0), pid: 0, cause: Cause::NeverStarted(why.into()), target: None }
    }
}

/// The exit code of a process by which it says that no other in its place will do better: the pool is given up.
pub const HOPELESS: i32 = 81;

impl Cause {
    /// The cause that a wait status speaks of.
    pub(crate) fn of(status: i32) -> Self {
        match os::exit_of(status) {
            Ok(code) => Self::Exit(code),
            Err(signal) => Self::Signal(signal),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => write!(out, "was ended by signal {signal}"),
            Self::Exit(code) => write!(out, "exited with code {code}"),
            Self::Killed(KillReason::Timeout(limit)) => {
                write!(out, "was killed because a call took longer than {limit:?}")
            }
            Self::Killed(KillReason::Cancelled) => {
                write!(out, "was killed because its call was cancelled")
            }
            Self::Killed(KillReason::Shutdown) => {
                write!(out, "was killed because the pool shut down")
            }
            Self::Killed(KillReason::Memory) => {
                write!(out, "was killed because it took too much memory")
            }
            Self::Corrupt(what) => write!(out, "was killed because it damaged its shared memory: {what}"),
            Self::NeverStarted(why) => write!(out, "could not be started: {why}"),
            Self::NoRoom(why) => write!(out, "was not asked: {why}"),
            Self::Unknown => write!(out, "ended, nobody knows how"),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            write!(out, "a worker process {}", self.cause)
        } else {
            write!(out, "worker process {} {}", self.pid, self.cause)
        }
    }
}
