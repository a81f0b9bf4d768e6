//! Spares: processes that a zygote has forked before anybody asked for them, and that wait for work.
//!
//! A fork takes longer than all else that a process needs to begin (`README.md`, "Threads and processes"), and the moment
//! at which a host has ended is one at which the cores are free.
//!
//! # Does not know
//!
//! Hosts, or how a process is forked.

use std::time::{Duration, Instant};

use super::Request;
use crate::os::{self, AsFd, OwnedFd};

/// Most spares at a time. Arbitrary: what a host has more of is forked while the first begin.
const MOST: u32 = 4;
/// How long a spare waits to be needed. Arbitrary: a program that opens hosts in turn opens the next one soon.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a process serves.
#[derive(Debug)]
pub struct Work {
    /// The host segment, for [`Guest::open`](crate::Guest::open).
    pub host: OwnedFd,
    /// The host's process, for [`watch_parent`](crate::watch_parent).
    pub parent: OwnedFd,
    /// The lane segments, for [`Guest::open`](crate::Guest::open).
    pub lanes: Vec<OwnedFd>,
}

/// Where a spare waits.
#[derive(Debug)]
pub struct Seat {
    /// What the process should be configured as.
    pub config: Vec<u8>,
    ours: OwnedFd,
    theirs: OwnedFd,
}

impl Seat {
    /// In the forked process: waits for work. None when there is none for it, and it should end.
    #[must_use]
    pub fn wait(self) -> Option<Work> {
        let Self { ours, theirs, .. } = self;
        // By Z7 the zygote alone has it.
        drop(ours);
        while !os::poll(&[theirs.as_fd()], None).ok()?.contains(&true) {}
        let (_, descriptors) = os::receive(theirs.as_fd()).ok()?;
        let mut descriptors = descriptors.into_iter();
        Some(Work { host: descriptors.next()?, parent: descriptors.next()?, lanes: descriptors.collect() })
    }
}

struct Spare {
    socket: OwnedFd,
    pid: i32,
}

/// The spares of one configuration.
#[derive(Default)]
pub(super) struct Spares {
    config: Vec<u8>,
    missing: u32,
    waiting: Vec<Spare>,
    until: Option<Instant>,
}

impl Spares {
    /// Wants so many of this configuration. Those of another join the `leaving`.
    pub(super) fn expect(&mut self, config: Vec<u8>, processes: u32, now: Instant, leaving: &mut Vec<i32>) {
        if config != self.config {
            self.dismiss(leaving);
            self.config = config;
        }
        self.missing = processes.min(MOST).saturating_sub(self.waiting.len().try_into().unwrap_or(MOST));
        self.until = Some(now + PATIENCE);
    }

    /// Wants no more than there are.
    pub(super) fn expect_none(&mut self) {
        self.missing = 0;
    }

    /// A seat for a spare that is wanted. Without descriptors for one it stays at those that there are.
    pub(super) fn missing(&mut self) -> Option<Seat> {
        self.missing = self.missing.checked_sub(1)?;
        let Ok((ours, theirs)) = os::seqpacket() else {
            self.missing = 0;
            return None;
        };
        Some(Seat { config: self.config.clone(), ours, theirs })
    }

    /// A process waits in the seat.
    pub(super) fn seat(&mut self, seat: Seat, pid: i32) {
        self.waiting.push(Spare { socket: seat.ours, pid });
    }

    /// Gives what was asked for to a spare, and says to which. Those that are found dead join the `leaving`.
    pub(super) fn give(&mut self, request: &Request, leaving: &mut Vec<i32>) -> Option<i32> {
        // The host that they are meant for has come.
        self.missing = self.missing.saturating_sub(1);
        if request.config != self.config {
            return None;
        }
        let Work { host, parent, lanes } = &request.work;
        let descriptors: Vec<_> = [host, parent].into_iter().chain(lanes).map(AsFd::as_fd).collect();
        while let Some(spare) = self.waiting.pop() {
            // Not empty, since that is what the end of a socket looks like.
            if os::send(spare.socket.as_fd(), &[1], &descriptors).is_ok() {
                return Some(spare.pid);
            }
            leaving.push(spare.pid);
        }
        None
    }

    /// Lets those go that have waited for too long: they join the `leaving`.
    pub(super) fn expire(&mut self, now: Instant, leaving: &mut Vec<i32>) {
        if self.until.is_some_and(|until| until <= now) {
            self.dismiss(leaving);
        }
    }

    /// How long a zygote may sleep: until one is missing, or has waited for too long.
    pub(super) fn limit(&self, now: Instant) -> Option<Duration> {
        if self.missing > 0 {
            Some(Duration::ZERO)
        } else {
            self.until.map(|until| until.saturating_duration_since(now))
        }
    }

    pub(super) fn pids(&self) -> impl Iterator<Item = i32> {
        self.waiting.iter().map(|spare| spare.pid)
    }

    fn dismiss(&mut self, leaving: &mut Vec<i32>) {
        self.missing = 0;
        self.until = None;
        // Each ends when its socket closes.
        leaving.extend(self.waiting.drain(..).map(|spare| spare.pid));
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::{Answer, Client, Descriptors, Next, Registrar, Server, Shared, config_file};
    use super::*;
    use crate::task::ProcessId;

    /// Stands for a process that waits in the seat: says whether work came.
    fn occupied(seat: Seat, spares: &mut impl FnMut(Seat)) -> thread::JoinHandle<bool> {
        let theirs = Seat {
            config: Vec::new(),
            ours: seat.theirs.try_clone().unwrap(),
            theirs: seat.theirs.try_clone().unwrap(),
        };
        spares(seat);
        thread::spawn(move || theirs.wait().is_some_and(|work| work.lanes.len() == 1))
    }

    fn wanted(spares: &mut Spares, config: &[u8], count: u32, now: Instant) -> Vec<thread::JoinHandle<bool>> {
        spares.expect(config.to_vec(), count, now, &mut Vec::new());
        let mut waiting = Vec::new();
        while let Some(seat) = spares.missing() {
            let pid = i32::try_from(waiting.len()).unwrap();
            waiting.push(occupied(seat, &mut |seat| spares.seat(seat, pid)));
        }
        waiting
    }

    #[test]
    fn there_are_as_many_spares_as_are_expected_and_four_at_most() {
        let now = Instant::now();
        for (count, made) in [(0, 0), (1, 1), (4, 4), (1000, 4)] {
            let mut spares = Spares::default();
            assert_eq!(made, wanted(&mut spares, b"one", count, now).len());
            assert_eq!(0, wanted(&mut spares, b"one", count, now).len(), "they are there");
        }
    }

    #[test]
    fn spares_go_when_nobody_has_needed_them_for_long() {
        let mut spares = Spares::default();
        let now = Instant::now();
        let waiting = wanted(&mut spares, b"one", 2, now);
        let mut leaving = Vec::new();

        spares.expire(now + PATIENCE / 2, &mut leaving);
        assert_eq!(Vec::<i32>::new(), leaving);
        assert_eq!(Some(PATIENCE / 2), spares.limit(now + PATIENCE / 2), "the zygote wakes for it");
        spares.expire(now + PATIENCE, &mut leaving);
        assert_eq!(vec![0, 1], leaving);
        assert!(waiting.into_iter().all(|spare| !spare.join().unwrap()));
        assert_eq!(None, spares.limit(now + PATIENCE));
    }

    #[test]
    fn spares_of_another_configuration_go() {
        let mut spares = Spares::default();
        let now = Instant::now();
        let waiting = wanted(&mut spares, b"one", 1, now);
        let mut leaving = Vec::new();
        spares.expect(b"two".to_vec(), 1, now, &mut leaving);

        assert_eq!(vec![0], leaving);
        assert!(waiting.into_iter().all(|spare| !spare.join().unwrap()));
    }

    /// A server with one host, and a spare configured as `one` in which a thread stands for the process.
    fn with_a_spare(pid: i32) -> (Server, Client, Registrar, thread::JoinHandle<bool>) {
        let pair = Descriptors::open().unwrap();
        let registrar = Registrar::new(pair.ours);
        let mut server = Server::new(pair.theirs, pair.parent).unwrap();
        let client = Client::new(registrar.join().unwrap());
        registrar.expect(b"one", 1).unwrap();
        let Next::Spare(seat) = server.next().unwrap() else { panic!("no spare") };
        assert_eq!(b"one", &seat.config[..]);
        let waits = occupied(seat, &mut |seat| server.reply_seated(seat, pid));
        (server, client, registrar, waits)
    }

    fn launch(client: &mut Client, config: &[u8]) {
        let file = |text: &[u8]| -> Shared { std::sync::Arc::new(config_file(text).unwrap()) };
        client.launch(ProcessId(7), vec![file(b"host"), file(config), file(b""), file(b"lane")]);
        client.flush().unwrap();
    }

    #[test]
    fn a_launch_goes_to_a_spare_that_is_configured_like_it() {
        let own = os::own_pid();
        let (mut server, mut client, registrar, waits) = with_a_spare(own);
        launch(&mut client, b"one");
        drop(registrar);
        let server = thread::spawn(move || server.next());

        assert!(waits.join().unwrap(), "it got its work");
        let mut answers = Vec::new();
        while answers.is_empty() {
            os::poll(&[client.socket()], None).unwrap();
            answers = client.answers().unwrap();
        }
        let right = matches!(&answers[..], [Answer::Launched { process: ProcessId(7), pid, .. }] if *pid == own);
        assert!(right, "{answers:?}");
        drop(client);
        assert!(matches!(server.join().unwrap().unwrap(), Next::Closed));
    }

    #[test]
    fn a_launch_of_another_configuration_is_forked_and_the_spare_waits_on() {
        let (mut server, mut client, _registrar, waits) = with_a_spare(os::own_pid());
        launch(&mut client, b"two");

        let Next::Launch(request) = server.next().unwrap() else { panic!("no launch") };
        assert_eq!(b"two", &request.config[..]);
        assert!(!waits.is_finished());
        drop(server);
        assert!(!waits.join().unwrap(), "without the zygote it ends");
    }

    #[test]
    fn a_launch_that_finds_its_spare_dead_is_forked() {
        let mut spares = Spares::default();
        spares.expect(b"one".to_vec(), 1, Instant::now(), &mut Vec::new());
        let seat = spares.missing().unwrap();
        spares.seat(seat, 5);
        let pair = Descriptors::open().unwrap();
        let mut server = Server::new(pair.theirs, pair.parent).unwrap();
        let mut client = Client::new(pair.ours);
        launch(&mut client, b"one");
        let Next::Launch(request) = server.next().unwrap() else { panic!("no launch") };
        let mut leaving = Vec::new();

        assert_eq!(None, spares.give(&request, &mut leaving));
        assert_eq!(vec![5], leaving);
    }
}
