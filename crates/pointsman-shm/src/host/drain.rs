//! Reads the lanes' rings and tells the sinks.
//!
//! # Does not know
//!
//! Why somebody drains, or what happens to a lane that is at fault.
//!
//! # Invariants
//!
//! - D1. A lane's frames are believed only as far as the books agree: BEGIN for a published task at its next call, VALUEs
//!   while calls are left, END when none is; LAST is the last VALUE and END at once. Anything else is the lane's fault, and its ring is read no further.
//! - D2. A frame's bytes are copied out of the ring before they are looked at.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::core::{Core, Counts, Env, Lane};
use super::table::{Place, Table};
use crate::frame::{Begin, End, Header, Kind, Timing};
use crate::layout::LaneWords;
use crate::region::Region;
use crate::task::{Reply, Sink, TaskId};

/// What a frame has led to.
enum Step {
    Nothing,
    /// The slots' front may have moved.
    Begun,
    /// The task is over.
    Ended(TaskId),
}

impl<S: Sink + ?Sized> Core<S> {
    /// Reads what every lane has committed, and refills the slots. Returns the outcomes delivered.
    pub(super) fn drain(&mut self, env: &Env) -> usize {
        let before = self.counts.delivered;
        for index in 0..self.lanes.len() {
            self.drain_lane(env, index);
        }
        if self.counts.waiting > 0 {
            self.pump(env);
        }
        self.counts.delivered - before
    }

    /// Reads what one lane has committed so far.
    pub(super) fn drain_lane(&mut self, env: &Env, index: usize) {
        let Some(Some(lane)) = self.lanes.get_mut(index) else {
            return;
        };
        if lane.fault.is_some() {
            return;
        }
        if let Err(error) = lane.consumer.look(&*lane.memory) {
            lane.fault = Some(error.to_string());
            return;
        }
        loop {
            let Some(Some(lane)) = self.lanes.get_mut(index) else {
                return;
            };
            self.scratch.clear();
            let step = match lane.consumer.next(&*lane.memory, &mut self.scratch) {
                Ok(None) => break,
                Ok(Some(header)) => take(&mut self.table, &mut self.counts, lane, index, header, &self.scratch),
                Err(error) => Err(error.to_string()),
            };
            match step {
                Ok(Step::Nothing) => {}
                Ok(Step::Begun) => self.forget_front(),
                Ok(Step::Ended(id)) => {
                    if let Some(process) = self.lanes[index].as_ref().map(|lane| lane.process)
                        && let Some(process) = self.processes.get_mut(&process)
                    {
                        process.tasks_done += 1;
                    }
                    self.settle(env, id);
                }
                Err(fault) => {
                    lane.fault = Some(fault);
                    break;
                }
            }
        }
        if let Some(Some(lane)) = self.lanes.get_mut(index) {
            let memory = Arc::clone(&lane.memory);
            lane.consumer.release(&*memory);
        }
        // One huge reply must not keep its room for ever.
        if self.scratch.capacity() > 1 << 20 {
            self.scratch = Vec::new();
        }
    }
}

/// Acts on one frame (D1).
fn take<S: Sink + ?Sized>(
    table: &mut Table<S>,
    counts: &mut Counts,
    lane: &mut Lane,
    index: usize,
    header: Header,
    bytes: &[u8],
) -> Result<Step, String> {
    match header.kind {
        Kind::Begin => begin(table, counts, lane, index, bytes),
        Kind::Part => {
            if lane.current.is_none() {
                return Err("a piece of a reply without a task".into());
            }
            if lane.parts.try_reserve(bytes.len()).is_err() {
                return Err("a reply larger than memory".into());
            }
            lane.parts.extend_from_slice(bytes);
            Ok(Step::Nothing)
        }
        Kind::Value(tag) => value(table, counts, lane, tag, bytes).map(|_| Step::Nothing),
        Kind::Last(tag) => {
            let (wall, bytes) = bytes.split_first_chunk().ok_or("a LAST that is cut off")?;
            let id = value(table, counts, lane, tag, bytes)?;
            end(table, lane, End { task: id.0, wall_ns: u64::from_le_bytes(*wall), cpu_ns: 0 })
        }
        Kind::Timing => {
            let timing = Timing::decode(bytes).ok_or("a timing that is cut off")?;
            let entry = lane.current.and_then(|id| table.get_mut(id)).ok_or("a timing without a task")?;
            // Relaxed: written before the lane's first frame, and only ever shown to people.
            let pid = lane.memory.word32(LaneWords::PID).load(Ordering::Relaxed);
            entry.sink.timing(pid, u16::try_from(index).unwrap_or(u16::MAX), timing);
            Ok(Step::Nothing)
        }
        Kind::End => end(table, lane, End::decode(bytes).ok_or("an END that is cut off")?),
    }
}

/// Delivers the next outcome of the lane's task.
fn value<S: Sink + ?Sized>(
    table: &mut Table<S>,
    counts: &mut Counts,
    lane: &mut Lane,
    tag: u8,
    bytes: &[u8],
) -> Result<TaskId, String> {
    let id = lane.current.ok_or("a reply without a task")?;
    let entry = table.get_mut(id).ok_or("a reply without a task")?;
    if entry.next >= entry.calls {
        return Err("more replies than calls".into());
    }
    if lane.since.is_some() {
        lane.since = Some(Instant::now());
    }
    if lane.parts.is_empty() {
        entry.sink.deliver(entry.next, Reply::Value { tag, bytes, lane: &lane.memory });
    } else {
        let mut whole = std::mem::take(&mut lane.parts);
        whole.extend_from_slice(bytes);
        entry.sink.deliver(entry.next, Reply::Value { tag, bytes: &whole, lane: &lane.memory });
    }
    entry.next += 1;
    entry.forget_retries();
    counts.delivered += 1;
    Ok(id)
}

/// Ends the lane's task.
fn end<S: Sink + ?Sized>(table: &mut Table<S>, lane: &mut Lane, end: End) -> Result<Step, String> {
    let id = lane.current.filter(|id| id.0 == end.task).ok_or("an END without its BEGIN")?;
    let entry = table.get_mut(id).ok_or("an END of no task")?;
    if entry.next != entry.calls || !lane.parts.is_empty() {
        return Err(format!("a task ended after {} of {} replies", entry.next, entry.calls));
    }
    entry.usage.wall_ns = entry.usage.wall_ns.saturating_add(end.wall_ns);
    entry.usage.cpu_ns = entry.usage.cpu_ns.saturating_add(end.cpu_ns);
    lane.current = None;
    lane.since = None;
    Ok(Step::Ended(id))
}

fn begin<S: Sink + ?Sized>(
    table: &mut Table<S>,
    counts: &mut Counts,
    lane: &mut Lane,
    index: usize,
    bytes: &[u8],
) -> Result<Step, String> {
    let begin = Begin::decode(bytes).ok_or("a BEGIN that is cut off")?;
    if lane.current.is_some() {
        return Err("a BEGIN within a task".into());
    }
    let id = TaskId(begin.task);
    let entry = table.get_mut(id).ok_or("a BEGIN of no task")?;
    let Place::Ring(position) = entry.place else {
        return Err("a BEGIN of a task that was not offered".into());
    };
    if begin.first != entry.next {
        return Err("a BEGIN at another call than was offered".into());
    }
    entry.place = Place::Running(u16::try_from(index).map_err(|_| "no such lane")?);
    entry.usage.process = Some(lane.process);
    entry.sink.begin(lane.process);
    counts.ready -= 1;
    counts.running += 1;
    lane.current = Some(id);
    lane.position = Some(position);
    lane.since = entry.terms().limit.map(|_| Instant::now());
    Ok(Step::Begun)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;
    use crate::arena::Arena;
    use crate::host::HostConfig;
    use crate::host::table::{Entry, Stored};
    use crate::layout::{self, Kind as Segment};
    use crate::memory::SharedMemory;
    use crate::ring::Producer;
    use crate::task::{BlockRef, ProcessId, Usage};

    /// Counts deliveries and checks their order.
    #[derive(Debug, Default)]
    struct Counted(Mutex<(u32, u32)>);

    impl Sink for Counted {
        fn deliver(&self, index: u32, reply: Reply<'_>) {
            if let Reply::Value { bytes, lane, .. } = reply {
                let word = |at: usize| crate::frame::u64_at(bytes, at).unwrap_or(u64::MAX);
                drop(lane.view(BlockRef { offset: word(0), len: word(8) }));
            }
            let mut counts = self.0.lock().unwrap();
            assert_eq!(counts.0, index, "in order, each once");
            counts.0 += 1;
        }

        fn finish(&self, _usage: Usage) {
            self.0.lock().unwrap().1 += 1;
        }
    }

    const RING: u32 = 4096;
    const CALLS: u32 = 3;

    /// A host with one lane that nobody serves, and one task of three calls in its slots.
    fn stage() -> (Env, Core<Counted>, TaskId, Arc<Counted>) {
        let kind = Segment::Host { slots: 16, spin_ns: 0 };
        let memory = Arc::new(SharedMemory::create(kind, 1 << 20).unwrap());
        let slots = layout::slots(16);
        let arena = Arc::new(Arena::new(memory.clone(), false));
        let env = Env { memory, arena, slots, window: 16 };
        let mut core = Core::new();
        let config = HostConfig { ring_bytes: RING, lane_arena_bytes: 1 << 16, ..HostConfig::default() };
        core.add_process(&env, &config, 1).unwrap();
        let sink = Arc::new(Counted::default());
        let entry = Entry {
            sink: sink.clone(),
            place: Place::Waiting,
            stored: Stored::Bytes(Box::default()),
            rare: None,
            function: 0,
            function_block: BlockRef { offset: 0, len: 0 },
            calls: CALLS,
            next: 0,
            rank: 0,
            stamp: 0,
            usage: Usage::default(),
        };
        let task = core.submit(&env, entry, &[]);
        (env, core, task, sink)
    }

    /// Something that a lane could commit.
    #[derive(Clone, Debug)]
    enum Said {
        Begin { right: bool, first: u32 },
        Timing(u64),
        Value(Vec<u8>),
        Last(Vec<u8>),
        Part(Vec<u8>),
        End { right: bool },
        Bytes(u16, Vec<u8>),
        Tail(u64),
    }

    fn said() -> impl Strategy<Value = Said> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            (prop::bool::weighted(0.9), prop_oneof![9 => Just(0), 1 => any::<u32>()])
                .prop_map(|(right, first)| Said::Begin { right, first }),
            bytes().prop_map(Said::Value),
            bytes().prop_map(Said::Value),
            bytes().prop_map(Said::Last),
            any::<u64>().prop_map(Said::Timing),
            bytes().prop_map(Said::Part),
            prop::bool::weighted(0.9).prop_map(|right| Said::End { right }),
            (0..4096_u16, bytes()).prop_map(|(at, bytes)| Said::Bytes(at, bytes)),
            prop_oneof![(0..20_u64).prop_map(|n| n * 8), any::<u64>()].prop_map(Said::Tail),
        ]
    }

    fn say(lane: &SharedMemory, producer: &mut Producer, task: TaskId, said: &Said) {
        let id = |right: bool| if right { task.0 } else { task.0 ^ 1 };
        // A frame that finds no room is not committed, which is a case like any other.
        match said {
            Said::Begin { right, first } => {
                let begin = Begin { task: id(*right), first: *first };
                producer.push(lane, Kind::Begin, &begin.encode())
            }
            Said::Timing(ready) => {
                producer.push(lane, Kind::Timing, &Timing { ready: *ready, ..Timing::default() }.encode())
            }
            Said::Value(bytes) => producer.push(lane, Kind::Value(0), bytes),
            Said::Last(bytes) => producer.push(lane, Kind::Last(0), bytes),
            Said::Part(bytes) => producer.push(lane, Kind::Part, bytes),
            Said::End { right } => {
                let end = End { task: id(*right), wall_ns: u64::MAX, cpu_ns: 1 };
                producer.push(lane, Kind::End, &end.encode())
            }
            Said::Bytes(at, bytes) => {
                let at = usize::from(*at).min(RING as usize - bytes.len());
                lane.write(layout::ring(RING).bytes + at, bytes);
                true
            }
            Said::Tail(tail) => {
                // Release, as a producer stores it: pairs with the consumer's Acquire.
                lane.word64(layout::ring(RING).tail).store(*tail, Ordering::Release);
                true
            }
        };
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn whatever_a_lane_writes_each_call_settles_once(sayings in prop::collection::vec((said(), any::<bool>()), 0..30)) {
            let (env, mut core, task, sink) = stage();
            let lane = core.lanes[0].as_ref().unwrap().memory.clone();
            let mut producer = Producer::new(layout::ring(RING));
            prop_assert_eq!(Some(0), env.slots.claim(&*env.memory, 0));
            for (said, look) in sayings {
                say(&lane, &mut producer, task, &said);
                if look {
                    core.drain(&env);
                }
            }
            core.bury(&env, ProcessId(1), false);
            core.shut_down(&env, true);

            prop_assert_eq!((CALLS, 1), *sink.0.lock().unwrap());
            prop_assert_eq!(0, core.counts.ready + core.counts.running + core.counts.waiting);
        }
    }

    #[test]
    fn a_death_between_claim_and_begin_costs_nothing() {
        let (env, mut core, _, sink) = stage();
        assert_eq!(Some(0), env.slots.claim(&*env.memory, 0));
        core.bury(&env, ProcessId(1), false);

        assert_eq!((0, 0), *sink.0.lock().unwrap());
        assert_eq!(Some(1), env.slots.claim(&*env.memory, 0), "published again");
    }

    #[test]
    fn a_death_between_begin_and_free_costs_one_call_and_no_slot() {
        let (env, mut core, task, sink) = stage();
        assert_eq!(Some(0), env.slots.claim(&*env.memory, 0));
        let lane = core.lanes[0].as_ref().unwrap().memory.clone();
        let mut producer = Producer::new(layout::ring(RING));
        say(&lane, &mut producer, task, &Said::Begin { right: true, first: 0 });
        say(&lane, &mut producer, task, &Said::Value(Vec::new()));
        core.bury(&env, ProcessId(1), false);

        assert_eq!((2, 0), *sink.0.lock().unwrap(), "a value and a death");
        assert!(env.slots.is_free(&*env.memory, 16));
        assert_eq!(Some(1), env.slots.claim(&*env.memory, 0), "the third call");
    }
}
