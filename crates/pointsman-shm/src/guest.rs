//! One lane of a worker process: claims tasks, replies, and sleeps when there is nothing to do.
//!
//! # Does not know
//!
//! The other lanes' tasks, or what the calls are for.
//!
//! # Invariants
//!
//! - U1. Between the claim of a slot and its BEGIN frame the slot is claimed; after BEGIN it is freed. So the host can
//!   always tell whether a task had begun.
//! - U2. Every call of a claimed task gets one VALUE, in order, and then the task one END; LAST is both at once.
//!   [`Guest::end`] without all replies is a worker's mistake, which the host treats as such.
//! - U3. After END and its fence, the lane looks at its order before it claims again (lanes.rs).
//! - U4. A forked child of a worker has a copy of this struct and no right to use it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::arena::{Arena, LaneBlock};
use crate::frame::{Begin, End, Kind as Frame, Timing, footprint};
use crate::lanes::{self, Parked};
use crate::layout::{self, HostWords, Kind, LANES, LaneWords};
use crate::memory::{SharedMemory, View};
use crate::os::{self, OwnedFd};
use crate::record::{self, Place, Record, SmallBuf};
use crate::region::Region;
use crate::ring::Producer;
use crate::slots::Slots;
use crate::spin::spin;
use crate::task::{BlockRef, TaskId};

/// How long a lane sleeps before it gives unused memory back. Arbitrary: longer than any pause between calls that
/// belong together.
const TIDY_AFTER: Duration = Duration::from_secs(3);

/// The arguments of a claimed task.
#[derive(Debug)]
pub enum ClaimedPayload {
    /// They came in the slot.
    Inline(SmallBuf),
    /// They lie in the host's arena.
    Block(View),
}

/// A task that this lane has begun.
#[derive(Debug)]
pub struct Claim {
    /// The task.
    pub task: TaskId,
    /// The binding's number of the function.
    pub function: u64,
    /// The function's bytes; look at them with [`Guest::view_shared`].
    pub function_block: BlockRef,
    /// The arguments of all calls of the task.
    pub payload: ClaimedPayload,
    /// The first call to run: another process has run those before it.
    pub first: u32,
    /// Calls in the task; those from `first` on are this lane's.
    pub calls: u32,
    /// Whether the host wants a [`Timing`] of each call.
    pub timed: bool,
}

/// What came of waiting for a task.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once, and an allocation per task would cost more")]
#[derive(Debug)]
pub enum ClaimOutcome {
    /// A task to run.
    Task(Claim),
    /// Nothing came in time.
    Idle,
    /// The lane should end.
    Closed,
}

/// One lane of a worker process.
#[derive(Debug)]
pub struct Guest {
    host: Arc<SharedMemory>,
    lane: Arc<SharedMemory>,
    index: u16,
    slots: Slots,
    ring: Producer,
    arena: Arc<Arena>,
    spin: Duration,
    /// The task that was claimed last, until its END.
    current: Option<TaskId>,
    /// Coarse time of the last ring of the bell.
    announced: u64,
    /// Where the frame of a last reply is put together.
    last: Vec<u8>,
    /// Whether the host has been told that the slots are empty since the last claim.
    complained: bool,
}

impl Guest {
    /// Maps the segments that the zygote was sent, one guest for each lane.
    ///
    /// # Errors
    ///
    /// When a segment cannot be mapped, or is not what it should be.
    pub fn open(host: OwnedFd, lanes: Vec<OwnedFd>) -> io::Result<Vec<Self>> {
        let host = Arc::new(SharedMemory::open(host)?);
        let Kind::Host { slots, spin_ns } = host.kind() else {
            return Err(wrong("the first segment is not a host's"));
        };
        lanes
            .into_iter()
            .map(|file| {
                let lane = Arc::new(SharedMemory::open(file)?);
                let Kind::Lane { ring, lane: index, .. } = lane.kind() else {
                    return Err(wrong("a segment is not a lane's"));
                };
                // Relaxed: the host only needs to see it some time.
                lane.word32(LaneWords::PID).store(os::own_pid().cast_unsigned(), Ordering::Relaxed);
                Ok(Self {
                    arena: Arc::new(Arena::new(lane.clone(), true)),
                    host: host.clone(),
                    lane,
                    index,
                    slots: layout::slots(slots),
                    ring: Producer::new(layout::ring(ring)),
                    spin: Duration::from_nanos(spin_ns),
                    current: None,
                    announced: 0,
                    last: Vec::new(),
                    complained: false,
                })
            })
            .collect()
    }

    /// Says that this process has started.
    pub fn ready(&self) {
        // Relaxed: the bell's fence orders it.
        self.lane.word32(LaneWords::STARTED).store(1, Ordering::Relaxed);
        self.press();
    }

    /// The next task, after waiting for one if need be. `None`: the lane should end.
    pub fn claim(&mut self) -> Option<Claim> {
        match self.wait(None) {
            ClaimOutcome::Task(claim) => Some(claim),
            ClaimOutcome::Idle | ClaimOutcome::Closed => None,
        }
    }

    /// The next task, waiting for at most `limit`.
    pub fn claim_timeout(&mut self, limit: Duration) -> ClaimOutcome {
        self.wait(Some(limit))
    }

    fn wait(&mut self, limit: Option<Duration>) -> ClaimOutcome {
        if let Some(outcome) = self.try_claim() {
            return outcome;
        }
        if limit == Some(Duration::ZERO) {
            return ClaimOutcome::Idle;
        }
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut tidy = true;
        loop {
            LANES.leave(&*self.host, self.index, lanes::SEARCHING);
            let budget = limit.map_or(self.spin, |limit| limit.min(self.spin));
            let mut outcome = None;
            spin(budget, || {
                outcome = self.try_claim();
                outcome.is_some()
            });
            if let Some(outcome) = outcome {
                return self.found(outcome);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return self.found(ClaimOutcome::Idle);
            }
            tidy = self.park(deadline, tidy);
        }
    }

    /// Sleeps until woken; tidies up meanwhile. Returns whether to do so again next time.
    fn park(&self, deadline: Option<Instant>, tidy: bool) -> bool {
        let mut limit = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if tidy {
            limit = Some(limit.map_or(TIDY_AFTER, |limit| limit.min(TIDY_AFTER)));
        }
        let (host, slots) = (&*self.host, &self.slots);
        let reason = || slots.has_work(host) || LANES.order_of(host, self.index) != lanes::ORDER_RUN;
        match LANES.park(host, self.index, reason, limit) {
            Parked::Woken => true,
            Parked::TimedOut if tidy && limit == Some(TIDY_AFTER) => self.arena.trim(),
            Parked::TimedOut => tidy,
        }
    }

    /// Stops searching, with whatever was found.
    fn found(&self, outcome: ClaimOutcome) -> ClaimOutcome {
        LANES.enter(&*self.host, self.index, lanes::RUNNING);
        if self.slots.has_work(&*self.host) {
            LANES.wake_one(&*self.host);
        }
        outcome
    }

    /// A task if one is ready, or the news that the lane should end.
    fn try_claim(&mut self) -> Option<ClaimOutcome> {
        loop {
            if !self.lane.is_ours() {
                return Some(ClaimOutcome::Closed);
            }
            match LANES.order_of(&*self.host, self.index) {
                lanes::ORDER_RUN => break,
                lanes::ORDER_HOLD => LANES.hold(&*self.host, self.index),
                _ => return Some(ClaimOutcome::Closed),
            }
        }
        let Some(position) = self.slots.claim(&*self.host, self.index) else {
            // Relaxed: a hint, and the host looks by itself as well.
            if !self.complained && self.host.word32(HostWords::MORE).load(Ordering::Relaxed) != 0 {
                self.complained = true;
                self.press();
            }
            return None;
        };
        self.complained = false;
        Some(self.begin(position))
    }

    /// Takes a claimed slot's task over (U1).
    fn begin(&mut self, position: u64) -> ClaimOutcome {
        let at = self.slots.at(position);
        let mut bytes = [0; Record::LEN];
        self.host.read(at + record::AT, &mut bytes);
        let Some(record) = Record::decode(&bytes) else {
            // The host never writes such a record; keeping the slot claimed lets it see who met it.
            return ClaimOutcome::Closed;
        };
        let inline = match record.payload {
            Place::Inline(len) => {
                let mut buffer = SmallBuf::zeros(len);
                self.host.read(at + record::INLINE_AT, buffer.as_mut_slice());
                Some(buffer)
            }
            Place::Block(_) => None,
        };
        self.push(Frame::Begin, &Begin { task: record.task, first: record.first }.encode());
        self.current = Some(TaskId(record.task));
        self.slots.free(&*self.host, position);
        if record.refill {
            self.press();
        }
        let payload = match (inline, record.payload) {
            (Some(buffer), _) => ClaimedPayload::Inline(buffer),
            (None, Place::Block(block)) => match self.host.view(block) {
                Some(view) => ClaimedPayload::Block(view),
                None => return ClaimOutcome::Closed,
            },
            (None, Place::Inline(_)) => ClaimedPayload::Inline(SmallBuf::zeros(0)),
        };
        ClaimOutcome::Task(Claim {
            task: TaskId(record.task),
            function: record.function,
            function_block: record.function_block,
            payload,
            first: record.first,
            calls: record.calls,
            // Relaxed: pairs with the store in `Host::time_calls`; a wish, which nothing depends on.
            timed: self.host.word32(HostWords::TRACE).load(Ordering::Relaxed) != 0,
        })
    }

    /// A view of a block that came with a task: dropping its last view gives it back to the host. Only while the task
    /// runs; views made then may live on.
    pub fn view(&self, block: BlockRef) -> Option<View> {
        self.host.view(block)
    }

    /// The memory that the host shares with all of its workers.
    pub fn host_memory(&self) -> Arc<SharedMemory> {
        self.host.clone()
    }

    /// A view of a block that stays the host's, such as a function's.
    pub fn view_shared(&self, block: BlockRef) -> Option<View> {
        self.host.view_shared(block)
    }

    /// Room in this lane's arena for a large part of a reply. `None`: it is full, so put the bytes into the reply.
    pub fn alloc(&mut self, len: usize) -> Option<LaneBlock> {
        self.arena.alloc(len)
    }

    /// Frees a block that no reply mentions after all.
    pub fn free(&mut self, block: BlockRef) {
        self.arena.take_back(block);
    }

    /// Replies to the next call. Waits while the ring is full; a reply may be longer than the ring.
    ///
    /// # Errors
    ///
    /// Without a task, and in a forked child of the worker.
    pub fn reply(&mut self, tag: u8, bytes: &[u8]) -> io::Result<()> {
        let rest = self.push_parts(bytes, 0)?;
        self.push(Frame::Value(tag), rest);
        // A bell for every short call would cost more than the calls: one for each tick of the coarse clock.
        if HostWords::BELL.is_armed(&*self.host) {
            let now = os::coarse_now();
            if now != self.announced {
                self.announced = now;
                HostWords::BELL.announce(&*self.host);
            }
        }
        if self.ring.is_half_full() {
            self.press_once();
        }
        Ok(())
    }

    /// As [`Guest::reply`] to the last call of a task and [`Guest::end`] after it, of which no CPU time is known.
    ///
    /// # Errors
    ///
    /// As `reply`.
    pub fn reply_last(&mut self, tag: u8, bytes: &[u8], wall_ns: u64) -> io::Result<()> {
        let rest = self.push_parts(bytes, size_of::<u64>())?;
        self.last.clear();
        self.last.extend_from_slice(&wall_ns.to_le_bytes());
        self.last.extend_from_slice(rest);
        let last = std::mem::take(&mut self.last);
        self.push(Frame::Last(tag), &last);
        self.last = last;
        self.current = None;
        self.ended();
        Ok(())
    }

    /// Commits all of a reply but what a frame has room for beside `besides` bytes, and returns that.
    fn push_parts<'a>(&mut self, bytes: &'a [u8], besides: usize) -> io::Result<&'a [u8]> {
        if self.current.is_none() {
            return Err(wrong("a reply without a task"));
        }
        if !self.lane.is_ours() {
            return Err(wrong("a forked child of a worker cannot reply for it: end it with os._exit"));
        }
        let longest = self.ring.longest() - besides;
        let mut rest = bytes;
        while rest.len() > longest {
            let (piece, more) = rest.split_at(longest);
            self.push(Frame::Part, piece);
            rest = more;
        }
        Ok(rest)
    }

    /// Tells when a call began and ended, before its reply. To be used only for claims that are `timed`.
    pub fn tell_timing(&mut self, timing: Timing) {
        if self.current.is_some() && self.lane.is_ours() {
            self.push(Frame::Timing, &timing.encode());
        }
    }

    /// Ends the task. Nanoseconds by the clock and of CPU time.
    pub fn end(&mut self, wall_ns: u64, cpu_ns: u64) {
        if !self.lane.is_ours() {
            return;
        }
        let Some(task) = self.current.take() else {
            return;
        };
        self.push(Frame::End, &End { task: task.0, wall_ns, cpu_ns }.encode());
        self.ended();
    }

    fn ended(&mut self) {
        // Its fence also orders END before the look at the order word (U3).
        HostWords::BELL.announce(&*self.host);
        if self.ring.is_half_full() {
            self.press_once();
        }
    }

    /// Commits a frame, waiting for room if need be.
    fn push(&mut self, kind: Frame, payload: &[u8]) {
        let size = footprint(payload.len()) as u64;
        while !self.ring.push(&*self.lane, kind, payload) {
            let room = self.ring.room();
            let armed = room.arm(&*self.lane);
            if self.ring.has_room(&*self.lane, size) {
                continue;
            }
            self.press();
            room.sleep(&*self.lane, armed, None);
        }
    }

    /// Asks the host's own threads to drain, whether or not anybody waits.
    fn press(&self) {
        HostWords::PRESSURE.announce(&*self.host);
        HostWords::BELL.ring_if_armed(&*self.host);
    }

    /// As `press`, unless the host has drained since the head was last seen.
    fn press_once(&mut self) {
        // Asking for more than there is makes the producer look at the shared head.
        self.ring.has_room(&*self.lane, u64::from(u32::MAX));
        if self.ring.is_half_full() && HostWords::PRESSURE.is_armed(&*self.host) {
            self.press();
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Nobody should rely on a lane that has gone.
        if self.lane.is_ours() {
            LANES.leave(&*self.host, self.index, lanes::RUNNING);
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}

/// Ends this process at once when the process behind the descriptor has gone. The watcher is a thread of its own that
/// never runs anything else.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn watch_parent(parent: OwnedFd) -> io::Result<()> {
    use crate::os::AsFd;
    thread::Builder::new().name("pointsman-watch".into()).stack_size(64 << 10).spawn(move || {
        loop {
            match os::poll(&[parent.as_fd()], None) {
                Ok(ready) if ready == [true] => os::exit_now(1),
                Ok(_) => {}
                // Without a watch the process might stay for ever.
                Err(_) => os::exit_now(1),
            }
        }
    })?;
    Ok(())
}
