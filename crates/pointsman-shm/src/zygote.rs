//! Both ends of the conversation with the zygote: the small process that forks workers on request.
//!
//! A message is one packet of 16 bytes and some descriptors; a failure carries its text. Requests are LAUNCH, REAP, JOIN,
//! EXPECT and QUIT; answers are HELLO (once), LAUNCHED, FAILED and EXITED. One zygote serves several hosts, each over a
//! socket of its own that a JOIN brings. After an EXPECT it forks spares: processes that wait to be given to a LAUNCH.
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
//! - Z6. A spare serves one launch at most, of the very configuration that it was forked with.
//! - Z7. Only the zygote has the end of a spare's socket that gives it work: without the zygote a spare ends.

mod client;
mod server;
mod spares;

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::frame::u32_at;
use crate::os::{self, AsFd, OwnedFd};

pub(crate) use self::client::{Answer, Client};
pub use self::server::{Asker, Next, Request, Server};
pub use self::spares::{Seat, Work};

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
const EXPECT: u8 = 9;

const LEN: usize = 16;
/// The longest text of a failure that is sent.
const TEXT: usize = 1000;
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

    /// Says what the next host's launches will most likely be configured as, and for how many processes: they can be
    /// forked meanwhile. An error means that they will not be.
    ///
    /// # Errors
    ///
    /// When the zygote has gone, has much to do, or when there are no descriptors.
    pub fn expect(&self, config: &[u8], processes: u32) -> io::Result<()> {
        os::send(self.socket.as_fd(), &packet(EXPECT, processes, 0, 0), &[config_file(config)?.as_fd()])
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::ProcessId;

    #[test]
    fn a_launch_arrives_with_its_descriptors_and_configuration() {
        let pair = Descriptors::open().unwrap();
        let mut server = Server::new(pair.theirs, pair.parent).unwrap();
        let mut client = Client::new(pair.ours);
        let file = |text: &[u8]| -> Shared { Arc::new(config_file(text).unwrap()) };
        client.launch(ProcessId(7), vec![file(b"host"), file(b"config"), file(b""), file(b"lane")]);
        client.flush().unwrap();

        let Next::Launch(request) = server.next().unwrap() else { panic!("closed") };
        assert_eq!((ProcessId(7), b"config".to_vec(), 1), (request.process, request.config, request.work.lanes.len()));
        assert_eq!(b"host".to_vec(), contents(request.work.host).unwrap());
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
