//! Linux: the processes that a process has started.
//!
//! # Does not know
//!
//! Why they are to end.
//!
//! # Invariants
//!
//! - F1. A process whose parent is stopped keeps its number: nobody reaps it.
//! - F2. The number of the process that they are counted from is its own as long as its handle says that it is alive.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::descriptors::poll;
use super::imp::{kill, open_process, stop};

/// Ends the processes that a process has started, and those that they have, but for those with a session of their own:
/// they are meant to stay. The process itself is stopped by it, and is to be killed next.
pub(crate) fn end_children(process: BorrowedFd<'_>, pid: i32) {
    // An error here and below means that it has ended.
    let (Ok(()), Some((_, session))) = (stop(process), look(pid)) else { return };
    let all: Vec<(i32, i32, i32)> = numbers().filter_map(|pid| look(pid).map(|(up, own)| (pid, up, own))).collect();
    let mut family = vec![pid];
    let mut handles = Vec::new();
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        next += 1;
        for (child, _, _) in all.iter().filter(|(_, up, own)| (*up, *own) == (parent, session)) {
            // Once more, now that the number is its own (F1, F2).
            if let Ok(handle) = open_process(*child)
                && look(*child) == Some((parent, session))
                && is_alive(process)
                && stop(handle.as_fd()).is_ok()
            {
                family.push(*child);
                handles.push(handle);
            }
        }
    }
    for handle in &handles {
        let _ = kill(handle.as_fd());
    }
}

fn is_alive(process: BorrowedFd<'_>) -> bool {
    poll(&[process], Some(Duration::ZERO)).is_ok_and(|ended| ended == [false])
}

fn numbers() -> impl Iterator<Item = i32> {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    names.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The parent and the session of a process.
fn look(pid: i32) -> Option<(i32, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let mut fields = text.rsplit_once(") ")?.1.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some((parent, session))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::os;

    #[test]
    fn a_process_is_known_by_its_parent_and_session() {
        let (parent, session) = look(os::own_pid()).unwrap();

        assert_eq!(i32::try_from(std::os::unix::process::parent_id()).unwrap(), parent);
        assert!(session >= 0);
        assert_eq!(None, look(-1));
    }

    #[test]
    fn children_and_theirs_end_with_their_parent() {
        // A shell that waits for a shell that waits.
        let mut outer = Command::new("sh");
        outer.args(["-c", "sh -c 'sleep 300; true'; true"]).stdout(Stdio::null()).process_group(0);
        let mut outer = outer.spawn().unwrap();
        let pid = outer.id().cast_signed();
        let below = |up: i32| numbers().find(|pid| look(*pid).is_some_and(|(parent, _)| parent == up));
        let leaf = loop {
            if let Some(leaf) = below(pid).and_then(below) {
                break leaf;
            }
            std::thread::yield_now();
        };
        let (handle, watched) = (open_process(pid).unwrap(), open_process(leaf).unwrap());
        end_children(handle.as_fd(), pid);
        kill(handle.as_fd()).unwrap();
        outer.wait().unwrap();

        let ended = os::poll(&[watched.as_fd()], Some(std::time::Duration::from_secs(20))).unwrap();
        assert_eq!(vec![true], ended);
    }
}
