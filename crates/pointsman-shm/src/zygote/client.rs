//! The host's end of the conversation with the zygote.
//!
//! # Does not know
//!
//! What becomes of the processes that it asks for.

use std::collections::VecDeque;
use std::io;

use super::{EXITED, FAILED, HELLO, LAUNCH, LAUNCHED, LEN, QUIT, REAP, Shared, is_pause, packet, parse};
use crate::os::{self, AsFd, BorrowedFd, OwnedFd};
use crate::task::ProcessId;

/// What the zygote says.
#[derive(Debug)]
pub(crate) enum Answer {
    Launched {
        process: ProcessId,
        pid: i32,
        handle: OwnedFd,
    },
    Failed {
        process: ProcessId,
        why: String,
    },
    /// The wait status, if it could be had.
    Exited {
        process: ProcessId,
        status: Option<i32>,
    },
}

struct Message {
    bytes: Vec<u8>,
    descriptors: Vec<Shared>,
}

/// The host's end.
pub(crate) struct Client {
    socket: OwnedFd,
    /// The zygote itself, once it has said hello: a socket that its children keep open does not tell of its death.
    zygote: Option<OwnedFd>,
    outbox: VecDeque<Message>,
}

impl Client {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, zygote: None, outbox: VecDeque::new() }
    }

    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn zygote(&self) -> Option<BorrowedFd<'_>> {
        self.zygote.as_ref().map(AsFd::as_fd)
    }

    /// Asks for a process. `descriptors`: host segment, configuration, own process, lanes.
    pub(crate) fn launch(&mut self, process: ProcessId, descriptors: Vec<Shared>) {
        self.outbox.push_back(Message { bytes: packet(LAUNCH, process.0, 0, 0), descriptors });
    }

    /// Asks how a process ended that has ended.
    pub(crate) fn reap(&mut self, process: ProcessId, pid: i32) {
        let bytes = packet(REAP, pid.cast_unsigned(), process.0, 0);
        self.outbox.push_back(Message { bytes, descriptors: Vec::new() });
    }

    /// Sends what can be sent now.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some(message) = self.outbox.front() {
            let descriptors: Vec<_> = message.descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
            match os::send(self.socket.as_fd(), &message.bytes, &descriptors) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(error) if is_pause(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether something waits to be sent.
    pub(crate) fn is_held_up(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// What has been answered. An error means that the zygote has gone.
    pub(crate) fn answers(&mut self) -> io::Result<Vec<Answer>> {
        let mut answers = Vec::new();
        loop {
            let (bytes, descriptors) = match os::receive(self.socket.as_fd()) {
                Ok(message) => message,
                Err(error) if is_pause(&error) => return Ok(answers),
                Err(error) if answers.is_empty() => return Err(error),
                Err(_) => return Ok(answers),
            };
            let mut descriptors = descriptors.into_iter();
            match parse(&bytes) {
                None if answers.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => return Ok(answers),
                Some((HELLO, _)) => self.zygote = descriptors.next(),
                Some((LAUNCHED, [process, pid, _])) => {
                    let (process, pid) = (ProcessId(process), pid.cast_signed());
                    answers.push(match descriptors.next() {
                        Some(handle) => Answer::Launched { process, pid, handle },
                        None => Answer::Failed {
                            process,
                            why: "no descriptor left for it: raise the limit on open files".into(),
                        },
                    });
                }
                Some((FAILED, [process, ..])) => {
                    let why = String::from_utf8_lossy(bytes.get(LEN..).unwrap_or_default()).into_owned();
                    answers.push(Answer::Failed { process: ProcessId(process), why });
                }
                Some((EXITED, [process, known, status])) => {
                    let status = (known != 0).then_some(status.cast_signed());
                    answers.push(Answer::Exited { process: ProcessId(process), status });
                }
                Some(_) => {}
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A forked copy of this process may keep the socket open, so closing it is not enough. A failure means that
        // nobody listens.
        let _ = os::send(self.socket.as_fd(), &packet(QUIT, 0, 0, 0), &[]);
    }
}
