//! Reads the lanes' rings and tells the sinks.
//!
//! # Does not know
//!
//! Why somebody drains, or what happens to a lane that is at fault.
//!
//! # Invariants
//!
//! - D1. A lane's frames are believed only as far as the books agree: BEGIN for a published task at its next call, VALUEs
//!   while calls are left, END when none is. Anything else is the lane's fault, and its ring is read no further.
//! - D2. A frame's bytes are copied out of the ring before they are looked at.

use std::sync::Arc;
use std::time::Instant;

use super::core::{Core, Counts, Env, Lane};
use super::table::{Place, Table};
use crate::frame::{Begin, End, Header, Kind};
use crate::task::{Reply, Sink, TaskId};

/// What a frame has led to.
enum Step {
    Nothing,
    /// The slots' front may have moved.
    Begun,
    /// The task is over.
    Ended(TaskId),
}

impl<S: Sink> Core<S> {
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
        let Some(Some(lane)) = self.lanes.get_mut(index) else { return };
        if lane.fault.is_some() {
            return;
        }
        if let Err(error) = lane.consumer.look(&*lane.memory) {
            lane.fault = Some(error.to_string());
            return;
        }
        loop {
            let Some(Some(lane)) = self.lanes.get_mut(index) else { return };
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
fn take<S: Sink>(table: &mut Table<S>, counts: &mut Counts, lane: &mut Lane, index: usize, header: Header, bytes: &[u8]) -> Result<Step, String> {
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
        Kind::Value(tag) => {
            let entry = lane.current.and_then(|id| table.get_mut(id)).ok_or("a reply without a task")?;
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
            counts.delivered += 1;
            Ok(Step::Nothing)
        }
        Kind::End => {
            let end = End::decode(bytes).ok_or("an END that is cut off")?;
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
    }
}

fn begin<S: Sink>(table: &mut Table<S>, counts: &mut Counts, lane: &mut Lane, index: usize, bytes: &[u8]) -> Result<Step, String> {
    let begin = Begin::decode(bytes).ok_or("a BEGIN that is cut off")?;
    if lane.current.is_some() {
        return Err("a BEGIN within a task".into());
    }
    let id = TaskId(begin.task);
    let entry = table.get_mut(id).ok_or("a BEGIN of no task")?;
    let Place::Ring(position) = entry.place else { return Err("a BEGIN of a task that was not offered".into()) };
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
    lane.since = entry.limit.map(|_| Instant::now());
    Ok(Step::Begun)
}
