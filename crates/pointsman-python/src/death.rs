//! Names the ways in which a worker process dies.

use pointsman_shm::{Cause, Death, KillReason};

/// A word for the cause and the number that goes with it (signal or exit code), for `pointsman._outcome`.
pub(crate) fn cause(death: &Death) -> (String, i32) {
    match &death.cause {
        // What had no part in the reason for the kill, and ran on another thread of the process.
        Cause::Killed(KillReason::Timeout(_) | KillReason::Cancelled) if death.target.is_none() => {
            ("neighbour".into(), 0)
        }
        Cause::Signal(signal) => ("signal".into(), *signal),
        Cause::Exit(code) => ("exit".into(), *code),
        Cause::Killed(KillReason::Timeout(limit)) => (format!("timeout: {}", limit.as_secs_f64()), 0),
        Cause::Killed(KillReason::Cancelled) => ("cancelled".into(), 0),
        Cause::Killed(KillReason::Shutdown) => ("shutdown".into(), 0),
        Cause::Killed(KillReason::Memory) => ("memory".into(), 0),
        Cause::Corrupt(what) => (format!("corrupt: {what}"), 0),
        Cause::NoRoom(why) => (format!("no room: {why}"), 0),
        Cause::NeverStarted(why) => (format!("never started: {why}"), 0),
        // A cause that is not known here yet is an unknown one.
        _ => ("unknown".into(), 0),
    }
}
