//! Both ends of the conversation with the zygote: the small process that forks workers on request.
//!
//! A message is one packet of 16 bytes and some descriptors; a failure carries its text. Requests are LAUNCH, REAP, JOIN
//! and QUIT; answers are HELLO (once), LAUNCHED, FAILED and EXITED. One zygote serves several hosts, each over a socket
//! of its own that a JOIN brings.
//!
//! # Does not know
//!
//! Hosts and lanes, or what the descriptors are for; forking is left to whoever serves.
//!
//! # Invariants
//!
//! - Z1. Each LAUNCH is answered by LAUNCHED (with a pidfd) or FAILED, each REAP by EXITED, unless the zygote dies.
//! - Z2. Only the zygote waits for its children, so a child's process id is not used again before EXITED.
//! - Z3. No send blocks: what finds no room in the socket waits in the outbox.
//! - Z4. The children of a host that has left are reaped, though nobody asks how they ended.
//! - Z5. When the parent has gone, a zygote that serves ends its children before it ends itself.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::frame::u32_at;
use crate::os::{self, AsFd, BorrowedFd, OwnedFd};
use crate::task::ProcessId;

/// Most lanes of one process: their descriptors travel in one message.
pub const MOST_LANES_PER_PROCESS: u32 = 60;

const LAUNCH: u8 = 1;
const REAP: u8 = 2;
const QUIT: u8 = 3;
const HELLO: u8 = 4;
const LAUNCHED: u8 = 5;
const FAILED: u8 = 6;
const EXITED: u8 = 7;
const JOIN: u8 = 8;

const LEN: usize = 16;
/// The longest text of a failure that is sent.
const TEXT: usize = 1000;
/// How often a zygote looks for ended children of hosts that have left. Arbitrary: only their entries in the process
/// table wait for it.
const REAP_EVERY: Duration = Duration::from_secs(1);

/// How long a parent that has left while children of its hosts live may take to die. Arbitrary: it takes milliseconds.
const DYING: Duration = Duration::from_secs(2);

fn packet(kind: u8, a: u32, b: u32, c: u32) -> Vec<u8> {
    let mut bytes = vec![kind, 0, 0, 0];
    for number in [a, b, c] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// A packet's kind and its three numbers.
fn parse(bytes: &[u8]) -> Option<(u8, [u32; 3])> {
    Some((*bytes.first()?, [u32_at(bytes, 4)?, u32_at(bytes, 8)?, u32_at(bytes, 12)?]))
}

/// What a zygote's parent opens before it spawns the zygote.
#[derive(Debug)]
pub struct Descriptors {
    /// For [`Host::set_zygote`](crate::Host::set_zygote).
    pub ours: OwnedFd,
    /// For the zygote: the socket.
    pub theirs: OwnedFd,
    /// For the zygote: readable when this process has ended.
    pub parent: OwnedFd,
}

impl Descriptors {
    /// Opens them. All are closed on exec and numbered 10 or higher, so that they can be duplicated to any low numbers
    /// in any order.
    ///
    /// # Errors
    ///
    /// When the system gives no descriptors.
    pub fn open() -> io::Result<Self> {
        let (ours, theirs) = os::seqpacket()?;
        Ok(Self { ours, theirs, parent: os::high(&os::open_process(os::own_pid())?)? })
    }
}

/// A worker process that the zygote should fork.
#[derive(Debug)]
pub struct Request {
    /// The host's number of it.
    pub process: ProcessId,
    /// The host's launch configuration, meant for the program that forks.
    pub config: Vec<u8>,
    /// The host segment, for [`Guest::open`](crate::Guest::open).
    pub host: OwnedFd,
    /// The lane segments, for [`Guest::open`](crate::Guest::open).
    pub lanes: Vec<OwnedFd>,
    /// The host's process, for [`watch_parent`](crate::watch_parent).
    pub parent: OwnedFd,
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
    /// Children of members that have left.
    orphans: Vec<i32>,
}

impl Server {
    /// Serves this socket, and those that join over it, for as long as the process behind `parent` lives.
    ///
    /// # Errors
    ///
    /// When the greeting cannot be sent.
    pub fn new(socket: OwnedFd, parent: OwnedFd) -> io::Result<Self> {
        let mut server = Self { members: Vec::new(), parent, orphans: Vec::new() };
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
            self.orphans.retain(|pid| matches!(os::try_reap(*pid), Ok(false)));
            if self.members.is_empty() {
                // The sockets of a process that dies close a moment before it counts as dead.
                if !self.orphans.is_empty() && os::poll(&[self.parent.as_fd()], Some(DYING))? == [true] {
                    self.strike();
                }
                return Ok(Next::Closed);
            }
            let mut descriptors = vec![self.parent.as_fd()];
            descriptors.extend(self.members.iter().map(|member| member.socket.as_fd()));
            let limit = (!self.orphans.is_empty()).then_some(REAP_EVERY);
            let ready = os::poll(&descriptors, limit)?;
            if ready.first() == Some(&true) {
                self.strike();
                return Ok(Next::Closed);
            }
            // One at a time: what is handled may change the list.
            if let Some(member) = ready[1..].iter().position(|ready| *ready)
                && let Some(request) = self.hear(member)
            {
                return Ok(Next::Launch(request));
            }
        }
    }

    /// Ends the children of a parent that has gone (Z5). They do so by themselves, unless they have been stopped.
    fn strike(&self) {
        let children = self.members.iter().flat_map(|member| &member.children);
        for pid in children.chain(&self.orphans) {
            // An error means that it has ended. Its number is still its own, since nobody else reaps it (Z2).
            let _ = os::open_process(*pid).and_then(|handle| os::kill(handle.as_fd()));
        }
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
                Ok(request) => return Some(request),
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

/// Keeps a zygote alive that hosts share, and brings them together with it.
#[derive(Debug)]
pub struct Registrar {
    socket: OwnedFd,
    owner: i32,
}

impl Registrar {
    /// `socket`: [`Descriptors::ours`] of the zygote.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, owner: os::own_pid() }
    }

    /// A socket for one more host. An error means that the zygote has gone, or that there are no descriptors.
    ///
    /// # Errors
    ///
    /// As said.
    pub fn join(&self) -> io::Result<OwnedFd> {
        let (ours, theirs) = os::seqpacket()?;
        os::send(self.socket.as_fd(), &packet(JOIN, 0, 0, 0), &[theirs.as_fd()])?;
        Ok(ours)
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        // A forked child has a copy and no say.
        if os::own_pid() == self.owner {
            let _ = os::send(self.socket.as_fd(), &packet(QUIT, 0, 0, 0), &[]);
        }
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
    Ok(Request { process, config: contents(config)?, host, lanes: descriptors.collect(), parent, asker })
}

fn contents(file: OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(file);
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    os::read_front(&file, &mut bytes)?;
    Ok(bytes)
}

/// A memory file with these bytes, to send along with launches.
pub(crate) fn config_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = File::from(os::create_memory("pointsman-launch", bytes.len() as u64)?);
    os::write_front(&file, bytes)?;
    Ok(file.into())
}

/// Whether a failure only means "not now".
fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A descriptor that a queued message keeps open.
pub(crate) type Shared = Arc<dyn AsFd + Send + Sync>;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_arrives_with_its_descriptors_and_configuration() {
        let pair = Descriptors::open().unwrap();
        let mut server = Server::new(pair.theirs, pair.parent).unwrap();
        let mut client = Client::new(pair.ours);
        let file = |text: &[u8]| -> Shared { Arc::new(config_file(text).unwrap()) };
        client.launch(ProcessId(7), vec![file(b"host"), file(b"config"), file(b""), file(b"lane")]);
        client.flush().unwrap();

        let Next::Launch(request) = server.next().unwrap() else { panic!("closed") };
        assert_eq!((ProcessId(7), b"config".to_vec(), 1), (request.process, request.config, request.lanes.len()));
        assert_eq!(b"host".to_vec(), contents(request.host).unwrap());
        server.reply_failed(&request.asker, ProcessId(7), "no").unwrap();
        let answers = client.answers().unwrap();
        assert!(matches!(&answers[..], [Answer::Failed { process: ProcessId(7), why }] if why == "no"));
        assert!(client.zygote().is_some(), "it said hello");
    }

    #[test]
    fn a_server_closes_when_its_client_has_gone() {
        let pair = Descriptors::open().unwrap();
        let mut server = Server::new(pair.theirs, pair.parent).unwrap();
        drop(Client::new(pair.ours));

        assert!(matches!(server.next().unwrap(), Next::Closed));
    }

    #[test]
    fn hosts_that_join_are_answered_apart_and_the_server_closes_after_the_last() {
        let pair = Descriptors::open().unwrap();
        let registrar = Registrar::new(pair.ours);
        let mut server = Server::new(pair.theirs, pair.parent).unwrap();
        let mut clients = [Client::new(registrar.join().unwrap()), Client::new(registrar.join().unwrap())];
        for (number, client) in (1..).zip(&mut clients) {
            let file = || -> Shared { Arc::new(config_file(b"").unwrap()) };
            client.launch(ProcessId(number), vec![file(), file(), file()]);
            client.flush().unwrap();
        }
        for _ in 0..2 {
            let Next::Launch(request) = server.next().unwrap() else { panic!("closed") };
            server.reply_failed(&request.asker, request.process, "no").unwrap();
        }

        for (number, client) in (1..).zip(&mut clients) {
            let answers = client.answers().unwrap();
            assert!(matches!(&answers[..], [Answer::Failed { process, .. }] if *process == ProcessId(number)));
        }
        drop((clients, registrar));
        assert!(matches!(server.next().unwrap(), Next::Closed));
    }

    #[test]
    fn a_client_sees_that_its_server_has_gone() {
        let pair = Descriptors::open().unwrap();
        drop(Server::new(pair.theirs, pair.parent).unwrap());
        let mut client = Client::new(pair.ours);
        // The hello arrives first, and then the end.
        let _ = client.answers();

        assert!(client.answers().is_err());
    }

    #[test]
    fn packets_of_nonsense_are_ignored_or_close() {
        let pair = Descriptors::open().unwrap();
        let mut server = Server::new(pair.theirs, pair.parent).unwrap();
        os::send(pair.ours.as_fd(), &packet(200, 1, 2, 3), &[]).unwrap();
        os::send(pair.ours.as_fd(), &packet(LAUNCH, 5, 0, 0), &[]).unwrap();
        os::send(pair.ours.as_fd(), &[1, 2], &[]).unwrap();

        assert!(matches!(server.next().unwrap(), Next::Closed));
    }
}
