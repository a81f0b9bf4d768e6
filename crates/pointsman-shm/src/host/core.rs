//! What the host's lock guards: tasks, slots, lanes and processes, and the moves of a task between queue and slots.
//!
//! # Does not know
//!
//! Threads and waiting: it is called by whoever holds the lock.
//!
//! # Invariants
//!
//! - C1. `ready + running + waiting` is the number of tasks; each counts the tasks of one [`Place`].
//! - C2. `published[i]` is the task that was published at `base + i`; its place says whether it is still there.
//! - C3. A sink is never dropped under the lock: it goes to `grave`, which is emptied after the lock is. So are `doomed`
//!   processes, since what they have started takes long to find.
//! - C4. Ring tasks are no less urgent than `worst`, and tasks in the overflow queue are not more urgent than those.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::overflow::Overflow;
use super::process::{Doomed, PATIENCE, PATIENCE_PROVEN, Process};
use super::table::{Entry, Place, Stored, Table};
use crate::arena::Arena;
use crate::death::{Cause, Death};
use crate::lanes::{ORDER_END, ORDER_RUN};
use crate::layout::{HostWords, LANES};
use crate::memory::{LaneMemory, SharedMemory};
use crate::record::{self, INLINE, Record};
use crate::region::Region;
use crate::ring::Consumer;
use crate::slots::Slots;
use crate::task::{ProcessId, Reply, Sink, TaskId};

/// Tasks in the slots once priorities have been mixed, so that an urgent one displaces few. Arbitrary: enough to keep
/// lanes busy while the host refills.
const MIXED_WINDOW: usize = 64;

/// What needs no lock.
#[derive(Debug)]
pub(super) struct Env {
    pub(super) memory: Arc<SharedMemory>,
    pub(super) arena: Arc<Arena>,
    pub(super) slots: Slots,
    pub(super) window: usize,
}

/// A lane as the host sees it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) memory: Arc<LaneMemory>,
    pub(super) consumer: Consumer,
    pub(super) process: ProcessId,
    pub(super) current: Option<TaskId>,
    /// Where the current task, or the last one, was published.
    pub(super) position: Option<u64>,
    /// Pieces of a reply that is not complete.
    pub(super) parts: Vec<u8>,
    /// When the current call was seen to have begun, if its time is limited.
    pub(super) since: Option<Instant>,
    /// What the lane did that no lane does.
    pub(super) fault: Option<String>,
}

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// Lanes end when the last task is over.
    Draining,
    /// Lanes have been told to end; nothing more is begun.
    Closed,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) ready: usize,
    pub(super) running: usize,
    pub(super) waiting: usize,
    pub(super) delivered: usize,
    /// Tasks with a time limit.
    pub(super) limited: usize,
}

/// See the module's header.
#[derive(Debug)]
pub(super) struct Core<S: ?Sized> {
    pub(super) table: Table<S>,
    pub(super) overflow: Overflow,
    pub(super) published: VecDeque<TaskId>,
    pub(super) base: u64,
    pub(super) counts: Counts,
    /// How many tasks have been submitted, roughly: it wraps.
    pub(super) submits: u32,
    worst: u8,
    mixed: bool,
    more: bool,
    pub(super) lanes: Vec<Option<Lane>>,
    pub(super) processes: BTreeMap<ProcessId, Process>,
    pub(super) next_process: u32,
    pub(super) stage: Stage,
    /// What tasks get that cannot run any more.
    pub(super) refusal: Option<Death>,
    pub(super) respawn: bool,
    /// Deaths before readiness, one after the other.
    pub(super) stillborn: u32,
    /// How many of those end the attempts.
    pub(super) patience: u32,
    /// The same, from the moment on at which a process has been ready.
    pub(super) proven: u32,
    /// The shortest time limit of late.
    pub(super) shortest_limit: Duration,
    pub(super) grave: Vec<Arc<S>>,
    /// Processes that are to be killed once the lock is let go of.
    pub(super) doomed: Vec<Doomed>,
    pub(super) scratch: Vec<u8>,
}

impl<S: Sink + ?Sized> Core<S> {
    pub(super) fn new() -> Self {
        Self {
            table: Table::new(),
            overflow: Overflow::default(),
            published: VecDeque::new(),
            base: 0,
            counts: Counts::default(),
            submits: 0,
            worst: 0,
            mixed: false,
            more: false,
            lanes: Vec::new(),
            processes: BTreeMap::new(),
            next_process: 1,
            stage: Stage::Open,
            refusal: None,
            respawn: true,
            stillborn: 0,
            patience: PATIENCE,
            proven: PATIENCE_PROVEN,
            shortest_limit: Duration::MAX,
            grave: Vec::new(),
            doomed: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Takes a task in, and publishes it if there is room and nothing goes before it. `inline` is the payload of an
    /// entry that says it is in the slot: most go there straight, without an allocation.
    pub(super) fn submit(&mut self, env: &Env, entry: Entry<S>, inline: &[u8]) -> TaskId {
        let rank = entry.rank;
        let stamp = entry.stamp;
        let limit = entry.terms().limit;
        let id = self.table.insert(entry);
        self.counts.waiting += 1;
        if let Some(limit) = limit {
            self.count_limit(limit);
        }
        if self.counts.ready == 0 {
            self.worst = 0;
        }
        if self.counts.waiting == 1
            && self.counts.ready < self.window(env)
            && (self.counts.ready == 0 || rank >= self.worst)
        {
            match self.publish(env, id, rank, false, inline) {
                Published::Done => return id,
                Published::NoRoom | Published::NoMemory => {}
            }
        }
        if let Some(entry) = self.table.get_mut(id)
            && matches!(entry.stored, Stored::InSlot)
        {
            entry.stored = Stored::Bytes(inline.into());
        }
        if rank < self.worst {
            self.recall(env, rank);
        }
        self.overflow.push_back(rank, id, stamp);
        self.pump(env);
        id
    }

    fn window(&self, env: &Env) -> usize {
        if self.mixed { env.window.min(MIXED_WINDOW.max(2 * self.lanes.len())) } else { env.window }
    }

    /// Fills slots from the overflow queue.
    pub(super) fn pump(&mut self, env: &Env) {
        let window = self.window(env);
        // Refilling a half at a time keeps the claimers' calls for more rare.
        if self.counts.waiting > 0 && (window <= 4 || self.counts.ready <= window / 2) {
            let room = window.saturating_sub(self.counts.ready);
            let ask_at = if self.counts.waiting > room { room / 2 } else { usize::MAX };
            let mut done = 0;
            while done < room
                && let Some((id, rank)) = self.overflow.pop()
            {
                let Some(entry) = self.table.get(id).filter(|entry| entry.place == Place::Waiting) else {
                    continue;
                };
                let stamp = entry.stamp;
                match self.publish(env, id, rank, done == ask_at, &[]) {
                    Published::Done => done += 1,
                    Published::NoMemory if self.counts.ready + self.counts.running == 0 => {
                        self.refuse_for_memory(env, id);
                    }
                    Published::NoRoom | Published::NoMemory => {
                        self.overflow.push_front(rank, id, stamp);
                        break;
                    }
                }
            }
        }
        if self.counts.waiting == 0 {
            self.mixed = false;
            self.overflow.clear();
        }
        let more = self.counts.waiting > 0;
        if more != self.more {
            self.more = more;
            // Relaxed: a hint to lanes that find nothing.
            env.memory.word32(HostWords::MORE).store(more.into(), Ordering::Relaxed);
        }
    }

    /// Nothing runs that could free memory, and the task does not fit: it never will.
    fn refuse_for_memory(&mut self, env: &Env, id: TaskId) {
        let bytes = self.table.get(id).map_or(0, |entry| match &entry.stored {
            Stored::Bytes(bytes) => bytes.len(),
            _ => 0,
        });
        let why =
            format!("arguments of {bytes} bytes find no room in the {} bytes of shared memory", env.arena.capacity());
        self.give_up(env, id, Some(&Death { cause: Cause::NoRoom(why), ..Death::never_started("") }));
    }

    fn publish(&mut self, env: &Env, id: TaskId, rank: u8, refill: bool, inline: &[u8]) -> Published {
        let position = self.base + self.published.len() as u64;
        if !env.slots.is_free(&*env.memory, position) {
            return Published::NoRoom;
        }
        let Some(entry) = self.table.get_mut(id) else {
            return Published::Done;
        };
        if let Stored::Bytes(bytes) = &entry.stored
            && bytes.len() > INLINE
        {
            let Some(mut block) = env.arena.alloc(bytes.len()) else {
                return Published::NoMemory;
            };
            block.as_mut_slice().copy_from_slice(bytes);
            let block = block.into_ref();
            env.arena.hold([block]);
            entry.stored = Stored::Block(block);
        }
        let payload = match &entry.stored {
            Stored::Block(block) => record::Place::Block(*block),
            Stored::Bytes(bytes) => record::Place::Inline(bytes.len()),
            Stored::InSlot => record::Place::Inline(inline.len()),
        };
        let record = Record {
            task: id.0,
            function: entry.function,
            function_block: entry.function_block,
            payload,
            first: entry.next,
            calls: entry.calls,
            refill,
        };
        let at = env.slots.at(position);
        env.memory.write(at + record::AT, &record.encode());
        match &entry.stored {
            Stored::InSlot => env.memory.write(at + record::INLINE_AT, inline),
            Stored::Bytes(bytes) => {
                env.memory.write(at + record::INLINE_AT, bytes);
                if entry.calls == 1 && entry.terms().retries == 0 {
                    entry.stored = Stored::InSlot;
                }
            }
            Stored::Block(_) => {}
        }
        env.slots.publish(&*env.memory, position);
        entry.place = Place::Ring(position);
        self.published.push_back(id);
        self.counts.waiting -= 1;
        self.counts.ready += 1;
        self.worst = self.worst.max(rank);
        self.overflow.count();
        Published::Done
    }

    /// Takes ring tasks that are less urgent than `rank` back into the overflow queue (C4).
    fn recall(&mut self, env: &Env, rank: u8) {
        for index in (0..self.published.len()).rev() {
            let (id, position) = (self.published[index], self.base + index as u64);
            let Some(entry) =
                self.table.get(id).filter(|entry| entry.place == Place::Ring(position) && entry.rank > rank)
            else {
                continue;
            };
            let (its_rank, stamp) = (entry.rank, entry.stamp);
            if env.slots.take_back(&*env.memory, position) {
                self.unpublish(env, id, position);
                self.overflow.push_front(its_rank, id, stamp);
            }
        }
        self.mixed = true;
        self.worst = rank;
    }

    /// Makes a ring task wait again. Its slot is the host's or a dead lane's.
    pub(super) fn unpublish(&mut self, env: &Env, id: TaskId, position: u64) {
        self.keep_payload(env, id, position);
        env.slots.free(&*env.memory, position);
        if let Some(entry) = self.table.get_mut(id) {
            entry.place = Place::Waiting;
            self.counts.ready -= 1;
            self.counts.waiting += 1;
        }
        self.forget_front();
    }

    /// Copies a payload that is only in the slot.
    fn keep_payload(&mut self, env: &Env, id: TaskId, position: u64) {
        let Some(entry) = self.table.get_mut(id).filter(|entry| matches!(entry.stored, Stored::InSlot)) else {
            return;
        };
        let mut bytes = [0; Record::LEN];
        let at = env.slots.at(position);
        env.memory.read(at + record::AT, &mut bytes);
        let len = match Record::decode(&bytes).map(|record| record.payload) {
            Some(record::Place::Inline(len)) => len,
            _ => 0,
        };
        let mut payload = vec![0; len].into_boxed_slice();
        env.memory.read(at + record::INLINE_AT, &mut payload);
        entry.stored = Stored::Bytes(payload);
    }

    /// Drops the front of `published` as far as its tasks are no longer there (C2).
    pub(super) fn forget_front(&mut self) {
        while let Some(id) = self.published.front() {
            if self.table.get(*id).is_some_and(|entry| entry.place == Place::Ring(self.base)) {
                return;
            }
            self.published.pop_front();
            self.base += 1;
        }
    }

    /// Removes a task whose calls have all been delivered.
    pub(super) fn settle(&mut self, env: &Env, id: TaskId) {
        let Some(entry) = self.table.remove(id) else {
            return;
        };
        let count = match entry.place {
            Place::Waiting => &mut self.counts.waiting,
            Place::Ring(_) => &mut self.counts.ready,
            Place::Running(_) => &mut self.counts.running,
        };
        *count -= 1;
        self.counts.limited -= usize::from(entry.terms().limit.is_some());
        entry.sink.finish(entry.usage);
        if entry.has_blocks() {
            let receiver = matches!(entry.place, Place::Running(_)).then_some(entry.usage.process).flatten();
            env.arena.settle(entry.blocks(), receiver.map(|process| process.0));
        }
        self.grave.push(entry.sink);
        if matches!(entry.place, Place::Ring(_)) {
            self.forget_front();
        }
        if self.stage == Stage::Draining && self.table.len() == 0 {
            self.close(env);
        }
    }

    /// Fails the calls that are left, or cancels them if there is no death to blame, and removes the task.
    pub(super) fn give_up(&mut self, env: &Env, id: TaskId, death: Option<&Death>) {
        let Some(entry) = self.table.get_mut(id) else {
            return;
        };
        for index in entry.next..entry.calls {
            entry.sink.deliver(index, death.map_or(Reply::Cancelled, Reply::Died));
            self.counts.delivered += 1;
        }
        entry.next = entry.calls;
        self.settle(env, id);
    }

    /// Takes a task out of queue or slots, if no lane has claimed it.
    pub(super) fn withdraw(&mut self, env: &Env, id: TaskId) -> bool {
        match self.table.get(id).map(|entry| entry.place) {
            Some(Place::Waiting) => true,
            Some(Place::Ring(position)) => {
                let taken = env.slots.take_back(&*env.memory, position);
                if taken {
                    env.slots.free(&*env.memory, position);
                }
                taken
            }
            Some(Place::Running(_)) | None => false,
        }
    }

    /// Puts a task that must run (again) before all others of its rank.
    pub(super) fn requeue(&mut self, env: &Env, id: TaskId) {
        if self.stage == Stage::Closed {
            let refusal = self.refusal.clone();
            self.give_up(env, id, refusal.as_ref());
        } else if let Some(entry) = self.table.get(id) {
            self.overflow.push_front(entry.rank, id, entry.stamp);
        }
    }

    /// Whether a ring task has been claimed by a lane that has not been seen to begin it.
    pub(super) fn is_being_claimed(&self, env: &Env, id: TaskId) -> bool {
        match self.table.get(id).map(|entry| entry.place) {
            // Free for the next lap means that BEGIN is in a ring already.
            Some(Place::Ring(position)) => !env.slots.is_ready(&*env.memory, position),
            _ => false,
        }
    }

    /// Settles a task that comes too late.
    pub(super) fn refuse(&mut self, env: &Env, entry: Entry<S>) -> TaskId {
        let limited = usize::from(entry.terms().limit.is_some());
        let id = self.table.insert(entry);
        self.counts.waiting += 1;
        self.counts.limited += limited;
        let refusal = self.refusal.clone();
        self.give_up(env, id, refusal.as_ref());
        id
    }

    /// Limits the time of each call of a task.
    pub(super) fn set_limit(&mut self, id: TaskId, limit: Duration) {
        let Some(entry) = self.table.get_mut(id) else {
            return;
        };
        let (place, before) = (entry.place, entry.rare.get_or_insert_default().terms.limit.replace(limit));
        self.count_limit(limit);
        self.counts.limited -= usize::from(before.is_some());
        if let Place::Running(lane) = place
            && let Some(lane) = &mut self.lanes[usize::from(lane)]
        {
            lane.since.get_or_insert_with(Instant::now);
        }
    }

    /// Counts one more task with a limit.
    fn count_limit(&mut self, limit: Duration) {
        if self.counts.limited == 0 {
            self.shortest_limit = Duration::MAX;
        }
        self.shortest_limit = self.shortest_limit.min(limit);
        self.counts.limited += 1;
    }

    /// Gives up all tasks that no lane has claimed.
    fn give_up_unbegun(&mut self, env: &Env, death: Option<&Death>) {
        for id in self.table.ids() {
            if self.withdraw(env, id) {
                self.give_up(env, id, death);
            }
        }
        self.pump(env);
    }

    /// See [`super::Host::abandon`].
    pub(super) fn abandon(&mut self, env: &Env, death: Death) {
        self.close(env);
        self.give_up_unbegun(env, Some(&death));
        self.refusal = Some(death);
    }

    /// See [`super::Host::shutdown`].
    pub(super) fn shut_down(&mut self, env: &Env, kill: bool) {
        if kill {
            self.close(env);
            self.give_up_unbegun(env, None);
            self.kill_all(env);
        } else if self.table.len() == 0 {
            self.close(env);
        } else if self.stage == Stage::Open {
            self.stage = Stage::Draining;
        }
    }

    /// Tells every lane to end.
    pub(super) fn close(&mut self, env: &Env) {
        self.stage = Stage::Closed;
        for (index, lane) in (0_u16..).zip(&self.lanes) {
            if lane.is_some() {
                LANES.command(&*env.memory, index, ORDER_END);
            }
        }
    }

    /// What a lane should be doing, holds aside.
    pub(super) fn order_for(&self, process: ProcessId) -> u32 {
        let retiring = self.processes.get(&process).is_none_or(|process| process.retiring);
        if retiring || self.stage == Stage::Closed { ORDER_END } else { ORDER_RUN }
    }
}

enum Published {
    Done,
    NoRoom,
    NoMemory,
}
