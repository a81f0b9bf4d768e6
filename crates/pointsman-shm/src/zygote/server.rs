//! The zygote's end: hears what hosts ask for, and answers.
//!
//! # Does not know
//!
//! How a process is forked; whoever serves does that between two requests.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::spares::{Seat, Spares, Work};
use super::{
    EXITED, EXPECT, FAILED, HELLO, JOIN, LAUNCH, LAUNCHED, QUIT, REAP, TEXT, contents, is_pause, packet, parse,
};
use crate::os::{self, AsFd, BorrowedFd, OwnedFd};
use crate::task::ProcessId;

/// How often a zygote looks for ended children of hosts that have left. Arbitrary: only their entries in the process
/// table wait for it.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// How long a parent that has left while children of its hosts live may take to die. Arbitrary: it takes milliseconds.
const DYING: Duration = Duration::from_secs(2);

/// A worker process that the zygote should fork.
#[derive(Debug)]
pub struct Request {
    /// The host's number of it.
    pub process: ProcessId,
    /// The host's launch configuration, meant for the program that forks.
    pub config: Vec<u8>,
    /// What it is to serve.
    pub work: Work,
    /// Whom to answer.
    pub asker: Asker,
}

/// The host that sent a request.
#[derive(Clone, Debug)]
pub struct Asker(Arc<OwnedFd>);

/// What a server got.
#[derive(Debug)]
pub enum Next {
    /// Fork a process, then answer with [`Server::reply_launched`] or [`Server::reply_failed`].
    Launch(Request),
    /// Fork a process that waits for a launch, then answer with [`Server::reply_seated`] or [`Server::expect_none`].
    Spare(Seat),
    /// The parent has gone or needs no more processes: end.
    Closed,
}

struct Member {
    socket: Arc<OwnedFd>,
    /// Children that have not been reaped.
    children: Vec<i32>,
}

/// The zygote's end. A forked child must drop it at once.
pub struct Server {
    members: Vec<Member>,
    parent: OwnedFd,
    /// Children that serve no member: its own has left, or it was a spare for nobody.
    orphans: Vec<i32>,
    spares: Spares,
}

impl Server {
    /// Serves this socket, and those that join over it, for as long as the process behind `parent` lives.
    ///
    /// # Errors
    ///
    /// When the greeting cannot be sent.
    pub fn new(socket: OwnedFd, parent: OwnedFd) -> io::Result<Self> {
        let mut server = Self { members: Vec::new(), parent, orphans: Vec::new(), spares: Spares::default() };
        server.admit(socket)?;
        Ok(server)
    }

    fn admit(&mut self, socket: OwnedFd) -> io::Result<()> {
        let own = os::open_process(os::own_pid())?;
        let socket = Arc::new(socket);
        self.answer(&socket, &packet(HELLO, 0, 0, 0), &[own.as_fd()])?;
        self.members.push(Member { socket, children: Vec::new() });
        Ok(())
    }

    /// The next process to fork. Waits for it, and reaps on request meanwhile.
    ///
    /// Named like an iterator's method, and not one: the caller answers between two calls.
    ///
    /// # Errors
    ///
    /// When polling fails; the zygote can only end then.
    #[expect(clippy::should_implement_trait, reason = "the server must be free for the answer between two requests")]
    pub fn next(&mut self) -> io::Result<Next> {
        loop {
            self.spares.expire(Instant::now(), &mut self.orphans);
            self.orphans.retain(|pid| matches!(os::try_reap(*pid), Ok(false)));
            if self.members.is_empty() {
                // Nobody will need them; and one that is stopped would not end when its socket closes.
                kill(self.spares.pids());
                // The sockets of a process that dies close a moment before it counts as dead.
                if !self.orphans.is_empty() && os::poll(&[self.parent.as_fd()], Some(DYING))? == [true] {
                    self.strike();
                }
                return Ok(Next::Closed);
            }
            let mut descriptors = vec![self.parent.as_fd()];
            descriptors.extend(self.members.iter().map(|member| member.socket.as_fd()));
            let reap = (!self.orphans.is_empty()).then_some(REAP_EVERY);
            let limit = [reap, self.spares.limit(Instant::now())].into_iter().flatten().min();
            let ready = os::poll(&descriptors, limit)?;
            if ready.first() == Some(&true) {
                self.strike();
                return Ok(Next::Closed);
            }
            // One at a time: what is handled may change the list.
            if let Some(member) = ready[1..].iter().position(|ready| *ready) {
                if let Some(request) = self.hear(member) {
                    return Ok(Next::Launch(request));
                }
            } else if let Some(seat) = self.spares.missing() {
                // Those that are asked for come first.
                return Ok(Next::Spare(seat));
            }
        }
    }

    /// Ends the children of a parent that has gone (Z5). They do so by themselves, unless they have been stopped.
    fn strike(&self) {
        let children = self.members.iter().flat_map(|member| &member.children);
        kill(children.chain(&self.orphans).copied().chain(self.spares.pids()));
    }

    /// Takes in one message of a member; one whose socket has failed has left.
    fn hear(&mut self, index: usize) -> Option<Request> {
        let socket = self.members[index].socket.clone();
        let (bytes, descriptors) = match os::receive(socket.as_fd()) {
            Ok(message) => message,
            Err(error) if is_pause(&error) => return None,
            Err(_) => {
                self.dismiss(index);
                return None;
            }
        };
        let heard = match parse(&bytes) {
            None | Some((QUIT, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some((LAUNCH, [process, ..])) => match request(ProcessId(process), descriptors, &socket) {
                Ok(request) => match self.spares.give(&request, &mut self.orphans) {
                    Some(pid) => self.reply_launched(&request.asker, request.process, pid),
                    None => return Some(request),
                },
                Err(error) => self.fail(&socket, ProcessId(process), &error.to_string()),
            },
            Some((REAP, [pid, process, _])) => {
                let status = os::reap(pid.cast_signed());
                self.members[index].children.retain(|child| *child != pid.cast_signed());
                let (known, status) = (u32::from(status.is_ok()), status.unwrap_or(0));
                self.answer(&socket, &packet(EXITED, process, known, status.cast_unsigned()), &[])
            }
            // Who joins learns from its own socket whether it worked.
            Some((JOIN, _)) => {
                for joining in descriptors {
                    let _ = self.admit(joining);
                }
                Ok(())
            }
            Some((EXPECT, [processes, ..])) => {
                let config = descriptors.into_iter().next().map(contents);
                if let Some(Ok(config)) = config {
                    self.spares.expect(config, processes, Instant::now(), &mut self.orphans);
                }
                Ok(())
            }
            Some(_) => Ok(()),
        };
        if heard.is_err() {
            self.dismiss(index);
        }
        None
    }

    fn dismiss(&mut self, index: usize) {
        let gone = self.members.swap_remove(index);
        self.orphans.extend(gone.children);
    }

    /// Says that the process was forked.
    ///
    /// # Errors
    ///
    /// When the host cannot be told; [`Server::next`] forgets it then.
    pub fn reply_launched(&mut self, asker: &Asker, process: ProcessId, pid: i32) -> io::Result<()> {
        match self.members.iter_mut().find(|member| Arc::ptr_eq(&member.socket, &asker.0)) {
            Some(member) => member.children.push(pid),
            None => self.orphans.push(pid),
        }
        match os::open_process(pid) {
            Ok(handle) => {
                self.answer(&asker.0, &packet(LAUNCHED, process.0, pid.cast_unsigned(), 0), &[handle.as_fd()])
            }
            Err(error) => self.fail(&asker.0, process, &error.to_string()),
        }
    }

    /// Says that the process could not be forked.
    ///
    /// # Errors
    ///
    /// When the host cannot be told; [`Server::next`] forgets it then.
    pub fn reply_failed(&mut self, asker: &Asker, process: ProcessId, why: &str) -> io::Result<()> {
        self.fail(&asker.0, process, why)
    }

    /// Says that the spare was forked.
    pub fn reply_seated(&mut self, seat: Seat, pid: i32) {
        self.spares.seat(seat, pid);
    }

    /// Says that no spare can be forked now.
    pub fn expect_none(&mut self) {
        self.spares.expect_none();
    }

    fn fail(&self, socket: &OwnedFd, process: ProcessId, why: &str) -> io::Result<()> {
        let mut bytes = packet(FAILED, process.0, 0, 0);
        bytes.extend(why.bytes().take(TEXT));
        self.answer(socket, &bytes, &[])
    }

    /// Sends an answer. The parent reads all the time, so a full socket soon has room.
    fn answer(&self, socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            match os::send(socket.as_fd(), bytes, descriptors) {
                Err(error) if is_pause(&error) => {
                    if os::poll(&[self.parent.as_fd()], Some(Duration::from_millis(1)))? == [true] {
                        return Ok(());
                    }
                }
                // The parent has closed its end; `next` will say so.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                result => return result,
            }
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Server").field("members", &self.members.len()).finish_non_exhaustive()
    }
}

/// Ends children of this process.
fn kill(children: impl Iterator<Item = i32>) {
    for pid in children {
        // An error means that it has ended. Its number is still its own, since nobody else reaps it (Z2).
        let _ = os::open_process(pid).and_then(|handle| os::kill(handle.as_fd()));
    }
}

fn request(process: ProcessId, descriptors: Vec<OwnedFd>, socket: &Arc<OwnedFd>) -> io::Result<Request> {
    let mut descriptors = descriptors.into_iter();
    let (Some(host), Some(config), Some(parent)) = (descriptors.next(), descriptors.next(), descriptors.next()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "descriptors are missing from a launch: raise the limit on open files",
        ));
    };
    let asker = Asker(socket.clone());
    let config = contents(config)?;
    Ok(Request { process, config, work: Work { host, parent, lanes: descriptors.collect() }, asker })
}
