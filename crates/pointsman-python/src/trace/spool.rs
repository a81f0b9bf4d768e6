//! The events of a recorder: the latest in memory, those before them in a file without a name once they are many.
//!
//! # Does not know
//!
//! What events mean.
//!
//! # Invariants
//!
//! - P1. Event number `i` is the `i`th that was pushed; the file holds the first ones, in order, in records of one length.
//! - P2. When the file cannot be written, the events stay in memory: a trace is never cut.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{Ending, Event, Kind};

/// Events in memory: some 24 MB. Arbitrary.
const MOST: usize = 1 << 18;
/// Bytes of an event in the file.
const RECORD: usize = 88;

#[derive(Default)]
pub(super) struct Spool {
    events: Vec<Event>,
    file: Option<File>,
    /// Events in the file.
    filed: u64,
    /// Whether no file can be had (P2).
    refused: bool,
}

impl Spool {
    /// Events so far.
    pub(super) fn len(&self) -> u64 {
        self.filed + self.events.len() as u64
    }

    pub(super) fn push(&mut self, event: Event) {
        if self.events.len() >= MOST && !self.refused {
            match self.file_all() {
                Ok(()) => {
                    self.filed += self.events.len() as u64;
                    self.events.clear();
                }
                Err(_) => self.refused = true,
            }
        }
        self.events.push(event);
    }

    fn file_all(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(nameless()?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut bytes = Vec::with_capacity(self.events.len() * RECORD);
        for event in &self.events {
            bytes.extend_from_slice(&encode(event));
        }
        // Where the last whole record ends, whatever an earlier write left behind.
        file.seek(SeekFrom::Start(self.filed * RECORD as u64))?;
        file.write_all(&bytes)
    }

    /// The events from number `first` on; with `last` nobody asks again.
    pub(super) fn from(&mut self, first: u64, last: bool) -> io::Result<Vec<Event>> {
        let mut found = Vec::new();
        if first < self.filed
            && let Some(file) = &mut self.file
        {
            file.seek(SeekFrom::Start(first * RECORD as u64))?;
            let mut record = [0; RECORD];
            let mut reader = io::BufReader::with_capacity(1 << 20, file);
            for _ in first..self.filed {
                reader.read_exact(&mut record)?;
                found.push(decode(&record));
            }
        }
        let skipped = usize::try_from(first.saturating_sub(self.filed)).unwrap_or(usize::MAX);
        if last && found.is_empty() && skipped == 0 {
            return Ok(std::mem::take(&mut self.events));
        }
        found.extend(self.events.iter().skip(skipped));
        Ok(found)
    }
}

/// A file that goes with its descriptor.
fn nameless() -> io::Result<File> {
    let mut path = std::env::temp_dir();
    path.push(format!("pointsman-trace-{}-{}", std::process::id(), super::now()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    // Elsewhere than on Unix an open file keeps its name until the system clears its directory.
    let _ = std::fs::remove_file(&path);
    Ok(file)
}

fn encode(event: &Event) -> [u8; RECORD] {
    let kind = match event.kind {
        Kind::Call => 0,
        Kind::Send => 1,
        Kind::Receive => 2,
    };
    let ending = match event.ending {
        Ending::Value => 0,
        Ending::Raised => 1,
        Ending::Died => 2,
        Ending::Cancelled => 3,
    };
    let words = [
        u64::from(event.track) << 32 | u64::from(event.name),
        u64::from(event.job) << 32 | kind << 8 | ending,
        event.index,
        event.posted,
        event.ready,
        event.began,
        event.ended,
        event.sent,
        event.cpu,
        event.held,
        event.bytes,
    ];
    let mut bytes = [0; RECORD];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[expect(clippy::cast_possible_truncation, reason = "takes the lower half of a word on purpose")]
fn decode(bytes: &[u8; RECORD]) -> Event {
    let mut words = [0; RECORD / 8];
    for (place, word) in bytes.as_chunks::<8>().0.iter().zip(&mut words) {
        *word = u64::from_le_bytes(*place);
    }
    let [who, what, index, posted, ready, began, ended, sent, cpu, held, bytes] = words;
    Event {
        kind: match what >> 8 & 0xff {
            0 => Kind::Call,
            1 => Kind::Send,
            _ => Kind::Receive,
        },
        ending: match what & 0xff {
            0 => Ending::Value,
            1 => Ending::Raised,
            2 => Ending::Died,
            _ => Ending::Cancelled,
        },
        track: (who >> 32) as u32,
        name: who as u32,
        job: (what >> 32) as u32,
        index,
        posted,
        ready,
        began,
        ended,
        sent,
        cpu,
        held,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Span;

    fn event(number: u64) -> Event {
        let span = Span { ready: number, began: number + 1, ended: number + 2, cpu: 1, held: super::super::UNKNOWN };
        Event { ending: Ending::Died, job: 7, index: number, bytes: 9, ..Event::call(3, 5, span) }
    }

    #[test]
    fn events_come_back_in_order_from_file_and_memory() {
        let mut spool = Spool::default();
        let count = 2 * MOST as u64 + 5;
        for number in 0..count {
            spool.push(event(number));
        }
        let back = spool.from(3, true).unwrap();

        assert_eq!((3..count).collect::<Vec<_>>(), back.iter().map(|event| event.index).collect::<Vec<_>>());
        assert!(spool.filed > 0, "some were in the file");
    }

    #[test]
    fn an_event_survives_the_file() {
        let before = event(1 << 40);

        assert_eq!(format!("{before:?}"), format!("{:?}", decode(&encode(&before))));
    }
}
