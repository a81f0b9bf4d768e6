//! A zygote and workers written in Rust: workers do what the first byte of a task's payload says.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failure of a test's own tools fails the test")]
#![allow(missing_debug_implementations, missing_docs, reason = "nothing here is for others")]
#![allow(unreachable_pub, reason = "a module of tests is compiled into each of them")]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use pointsman_shm::zygote::{Descriptors, Next, Request, Server};
use pointsman_shm::{
    BlockRef, Cause, Claim, ClaimedPayload, Death, Guest, Hooks, Host, HostConfig, Payload, ProcessId, ProcessState,
    Reply, Sink, TaskId, TaskSpec, Terms, Usage, watch_parent,
};

/// Replies with the payload after the first byte, and the call's index.
pub const ECHO: u8 = 0;
/// Sleeps for as many milliseconds as the next byte says, then replies like `ECHO`.
pub const SLEEP: u8 = 1;
/// Replies with as many bytes as the next four say.
pub const LARGE: u8 = 2;
/// As `LARGE`, through a block of the lane's arena.
pub const BLOCK: u8 = 3;
/// Dies of SIGKILL at the call whose index the next byte says, else like `ECHO`.
pub const DIE_AT: u8 = 4;
/// Exits with the code that the next byte says.
pub const EXIT: u8 = 5;
/// Replies twice to one call.
pub const TWICE: u8 = 6;
/// Replies with the sum of the bytes of the block that the next 16 bytes refer to, and drops the view.
pub const SUM: u8 = 7;
/// As `SUM`, and keeps the view for as long as the process lives.
pub const KEEP: u8 = 8;

fn payload_of(claim: &Claim) -> Vec<u8> {
    match &claim.payload {
        ClaimedPayload::Inline(bytes) => bytes.as_slice().to_vec(),
        ClaimedPayload::Block(view) => view.as_slice().to_vec(),
    }
}

pub fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}

fn sum_of(guest: &Guest, payload: &[u8], keep: bool) -> u64 {
    let block = BlockRef { offset: number(&payload[1..]), len: number(&payload[9..]) };
    let view = guest.view(block).expect("a view of an attached block");
    let sum = view.as_slice().iter().map(|byte| u64::from(*byte)).sum();
    if keep {
        std::mem::forget(view);
    }
    sum
}

fn reply(guest: &mut Guest, payload: &[u8], index: u32) {
    let echo = || [&payload[1..], &index.to_le_bytes()].concat();
    let size = || u32::from_le_bytes(payload[1..5].try_into().unwrap()) as usize;
    match payload[0] {
        SLEEP => {
            thread::sleep(Duration::from_millis(payload[1].into()));
            guest.reply(0, &echo()).unwrap();
        }
        LARGE => {
            let bytes: Vec<u8> = (0..size()).map(|at| u8::try_from(at % 251).unwrap()).collect();
            guest.reply(1, &bytes).unwrap();
        }
        BLOCK => {
            let mut block = guest.alloc(size()).expect("room in the lane's arena");
            block.as_mut_slice().fill(u8::try_from(index % 251).unwrap());
            let block = block.into_ref();
            guest.reply(2, &[block.offset.to_le_bytes(), block.len.to_le_bytes()].concat()).unwrap();
        }
        DIE_AT if u32::from(payload[1]) == index => {
            // SAFETY: a signal to this process itself.
            unsafe { libc::raise(libc::SIGKILL) };
        }
        EXIT => std::process::exit(payload[1].into()),
        TWICE => {
            guest.reply(0, &echo()).unwrap();
            guest.reply(0, &echo()).unwrap();
        }
        SUM | KEEP => {
            let sum = sum_of(guest, payload, payload[0] == KEEP);
            guest.reply(0, &sum.to_le_bytes()).unwrap();
        }
        _ => guest.reply(0, &echo()).unwrap(),
    }
}

fn serve_lane(mut guest: Guest) {
    while let Some(claim) = guest.claim() {
        let payload = payload_of(&claim);
        let (first, calls) = (claim.first, claim.calls);
        drop(claim);
        for index in first..calls {
            reply(&mut guest, &payload, index);
        }
        guest.end(u64::from(calls), 1);
    }
}

fn serve(request: Request) -> ! {
    if request.config == b"stillborn" {
        std::process::exit(3);
    }
    watch_parent(request.work.parent).unwrap();
    let guests = Guest::open(request.work.host, request.work.lanes).unwrap();
    guests[0].ready();
    let lanes: Vec<_> = guests.into_iter().map(|guest| thread::spawn(move || serve_lane(guest))).collect();
    for lane in lanes {
        let _ = lane.join();
    }
    std::process::exit(0)
}

/// Forks. In the child, runs `child` and ends without returning.
pub fn fork(child: impl FnOnce()) -> i32 {
    // SAFETY: the child uses only what the C library keeps usable after a fork: memory, threads and descriptors.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "cannot fork");
    if pid == 0 {
        child();
        // SAFETY: ends the process; nothing of the parent's is cleaned up twice.
        unsafe { libc::_exit(0) };
    }
    pid
}

pub struct Zygote {
    pub pid: i32,
    pub socket: OwnedFd,
}

pub fn start_zygote() -> Zygote {
    let Descriptors { ours, theirs, parent } = Descriptors::open().unwrap();
    let mut both = Some((ours, theirs, parent));
    let pid = fork(|| {
        let (ours, theirs, parent) = both.take().unwrap();
        drop(ours);
        let mut server = Server::new(theirs, parent).unwrap();
        while let Ok(Next::Launch(request)) = server.next() {
            let (process, asker) = (request.process, request.asker.clone());
            let mut request = Some(request);
            // SAFETY: the zygote has one thread.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                drop(server);
                serve(request.take().unwrap());
            }
            server.reply_launched(&asker, process, pid).unwrap();
        }
    });
    let (ours, theirs, parent) = both.take().unwrap();
    drop((theirs, parent));
    Zygote { pid, socket: ours }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Value(u8, Vec<u8>),
    Died(Cause),
    Cancelled,
}

/// Keeps what was delivered.
#[derive(Debug, Default)]
pub struct Kept {
    pub outcomes: Mutex<Vec<(u32, Outcome)>>,
    pub begun: AtomicU32,
    pub finished: AtomicU32,
    pub usage: Mutex<Option<Usage>>,
}

impl Sink for Kept {
    fn begin(&self, _process: ProcessId) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    fn deliver(&self, index: u32, reply: Reply<'_>) {
        let outcome = match reply {
            Reply::Value { tag: 2, bytes, lane } => {
                let view = lane
                    .view(BlockRef { offset: number(bytes), len: number(&bytes[8..]) })
                    .expect("a view of a reply's block");
                Outcome::Value(2, view.as_slice().to_vec())
            }
            Reply::Value { tag, bytes, .. } => Outcome::Value(tag, bytes.to_vec()),
            Reply::Died(death) => Outcome::Died(death.cause.clone()),
            Reply::Cancelled => Outcome::Cancelled,
        };
        self.outcomes.lock().unwrap().push((index, outcome));
    }

    fn finish(&self, usage: Usage) {
        *self.usage.lock().unwrap() = Some(usage);
        self.finished.fetch_add(1, Ordering::SeqCst);
    }
}

impl Kept {
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::SeqCst) > 0
    }

    /// The outcomes, having checked that each call has one, in order, and that the task finished once.
    pub fn all(&self) -> Vec<Outcome> {
        assert_eq!(1, self.finished.load(Ordering::SeqCst), "finished once");
        let outcomes = self.outcomes.lock().unwrap();
        for (expected, (index, _)) in (0..).zip(outcomes.iter()) {
            assert_eq!(expected, *index, "in order, each once");
        }
        outcomes.iter().map(|(_, outcome)| outcome.clone()).collect()
    }
}

/// Keeps what the hooks were told.
#[derive(Debug, Default)]
pub struct Told {
    pub deaths: Mutex<Vec<(Death, bool)>>,
    pub started: AtomicU32,
    pub drained: AtomicU32,
    pub zygotes: AtomicU32,
}

impl Hooks for Told {
    fn drained(&self) {
        self.drained.fetch_add(1, Ordering::SeqCst);
    }

    fn process_died(&self, death: &Death, respawn: bool) {
        self.deaths.lock().unwrap().push((death.clone(), respawn));
    }

    fn zygote_died(&self) {
        self.zygotes.fetch_add(1, Ordering::SeqCst);
    }

    fn process_started(&self, _process: ProcessId) {
        self.started.fetch_add(1, Ordering::SeqCst);
    }
}

pub struct Pool {
    pub host: Arc<Host<Kept>>,
    pub told: Arc<Told>,
    zygote: i32,
}

pub const NO_FUNCTION: BlockRef = BlockRef { offset: 0, len: 0 };
const PATIENCE: Duration = Duration::from_secs(60);

pub fn small() -> HostConfig {
    HostConfig { host_arena_bytes: 256 << 20, lane_arena_bytes: 256 << 20, ..HostConfig::default() }
}

impl Pool {
    /// A pool of this many processes with this many lanes each.
    pub fn new(config: HostConfig, processes: u32, lanes: u32) -> Self {
        let pool = Self::empty(config);
        for _ in 0..processes {
            pool.host.add_process(lanes).unwrap();
        }
        pool
    }

    pub fn empty(config: HostConfig) -> Self {
        let zygote = start_zygote();
        let told = Arc::new(Told::default());
        let host = Arc::new(Host::new(config, told.clone()).unwrap());
        host.set_zygote(zygote.socket).unwrap();
        Self { host, told, zygote: zygote.pid }
    }

    pub fn submit(&self, payload: &[u8], calls: u32, priority: u8, attached: Vec<BlockRef>) -> (TaskId, Arc<Kept>) {
        let sink = Arc::new(Kept::default());
        let payload = Payload::Bytes(payload);
        let terms = Terms::default();
        let spec = TaskSpec { function: 1, function_block: NO_FUNCTION, payload, calls, priority, attached, terms };
        (self.host.submit(spec, sink.clone()), sink)
    }

    pub fn call(&self, payload: &[u8]) -> Arc<Kept> {
        self.submit(payload, 1, 1, Vec::new()).1
    }

    pub fn wait(&self, what: &dyn Fn() -> bool) {
        assert!(
            self.host.wait(what, Some(Instant::now() + PATIENCE), Duration::from_micros(50)),
            "nothing came for a minute"
        );
    }

    pub fn finish(&self, sink: &Kept) -> Vec<Outcome> {
        self.wait(&|| sink.is_finished());
        sink.all()
    }

    pub fn pids(&self) -> Vec<i32> {
        let live = self.host.processes().into_iter().filter(|process| process.state == ProcessState::Live);
        live.map(|process| process.pid).filter(|pid| *pid > 0).collect()
    }

    /// Waits until this many processes are ready.
    pub fn settled(&self, processes: usize) {
        eventually(|| self.pids().len() == processes);
    }

    pub fn zygote(&self) -> i32 {
        self.zygote
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        self.host.shutdown(true);
        assert!(self.host.join(Some(Instant::now() + PATIENCE)), "all processes end");
        reap(self.zygote);
    }
}

/// Waits for a child to end.
pub fn reap(pid: i32) {
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
}

pub fn kill(pid: i32, signal: i32) {
    // SAFETY: takes two integers.
    unsafe { libc::kill(pid, signal) };
}

pub fn is_alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

pub fn eventually(what: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < until, "it did not happen for a minute");
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn echoed(payload: &[u8], index: u32) -> Outcome {
    Outcome::Value(0, [&payload[1..], &index.to_le_bytes()].concat())
}

/// Numbers that look random and are the same in each run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
    pub fn index(&mut self, below: usize) -> usize {
        usize::try_from(self.roll(below as u64)).unwrap()
    }
}
