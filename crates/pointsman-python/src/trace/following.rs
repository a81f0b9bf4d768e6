//! Follows the calls of one task in a worker process: puts together what its lane tells and what comes of each call.
//!
//! # Does not know
//!
//! Rings, or how results are read.
//!
//! # Invariants
//!
//! - F1. A lane tells of a call before its outcome; a call is recorded before anybody hears of its outcome.
//! - F2. Its methods run under the host's lock: they copy figures, and take the recorder's lock and no other.

use pointsman_shm::Timing;

use super::{Ending, Event, Span, UNKNOWN, now, record, track};

/// The calls of one task.
#[derive(Debug)]
pub(crate) struct Following {
    name: u32,
    job: u32,
    /// The place in the job of the task's first call.
    first: u64,
    posted: u64,
    track: Option<u32>,
    /// The lane that was heard last, and its track: mostly it is the same.
    lane: Option<(u32, u16, u32)>,
    /// When the lane turned to the call that comes next.
    ready: u64,
    /// The call that has ended, until its outcome comes.
    ended: Option<Event>,
    done: u64,
}

impl Following {
    /// Of a task that is handed over now, if anybody traces.
    pub(crate) fn new(name: &str, job: u32, first: Option<usize>) -> Option<Self> {
        super::on().then(|| Self {
            name: super::name(name),
            job,
            first: first.map_or(UNKNOWN, |first| first as u64),
            posted: now(),
            track: None,
            lane: None,
            ready: 0,
            ended: None,
            done: 0,
        })
    }

    /// A lane has begun the task. One that had begun it before died in a call that is begun again.
    pub(crate) fn begun(&mut self) {
        self.lost();
    }

    /// A lane has told of the call that comes next.
    pub(crate) fn timing(&mut self, pid: u32, lane: u16, timing: Timing) {
        self.ready = timing.ready;
        let track = match self.lane {
            Some((known, number, track)) if (known, number) == (pid, lane) => track,
            _ => track(pid, u32::from(lane) + 1, || format!("lane {lane}")),
        };
        self.lane = Some((pid, lane, track));
        self.track = Some(track);
        if timing.ended != 0 {
            let Timing { ready, began, ended, packed, cpu, held } = timing;
            let event = self.event(track, Span { ready, began, ended, cpu, held });
            self.ended = Some(Event { sent: packed.max(ended), ..event });
            self.ready = packed;
        }
    }

    fn event(&self, track: u32, span: Span) -> Event {
        let index = if self.first == UNKNOWN { UNKNOWN } else { self.first + self.done };
        Event { job: self.job, index, posted: self.posted, ..Event::call(self.name, track, span) }
    }

    /// The outcome of a call has come.
    pub(crate) fn delivered(&mut self, raised: bool) {
        self.done += 1;
        if let Some(event) = self.ended.take() {
            record(Event { ending: Ending::of(!raised), ..event });
        }
    }

    /// The process died in the call that came next, for good.
    pub(crate) fn died(&mut self) {
        self.lost();
        self.done += 1;
    }

    fn lost(&mut self) {
        // What it told of that call it told in vain: the outcome is lost.
        let told = self.ended.take();
        if let Some(track) = self.track.take() {
            let at = now();
            let began = told.map_or(self.ready, |event| event.began);
            let span = Span { ready: began, began, ended: at, cpu: UNKNOWN, held: UNKNOWN };
            record(Event { ending: Ending::Died, ..self.event(track, span) });
            // The rest is handed over anew.
            self.posted = at;
        }
    }

    /// All outcomes have come: a lane that begins the task no more has not died in it.
    pub(crate) fn finish(&mut self) {
        self.track = None;
    }
}
