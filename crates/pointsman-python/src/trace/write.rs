//! Writes a trace as the JSON that Perfetto and Chrome's own viewer read ("Trace Event Format").
//!
//! Each call is a complete event (`"ph":"X"`) on the row of the thread or worker that ran it; `args` has the rest, in
//! microseconds: `queue` (handed over, no worker turned to it), `dispatch` (a worker had turned to it, the function had
//! not begun), `cpu`, `gil` (computed holding the GIL), `transfer` (packing and sending its outcome). Dispatch and transfer
//! are slices of their own, too, where they last [`SLICE`].
//!
//! # Does not know
//!
//! Plans: they come as finished JSON.
//!
//! Threads format pieces while the caller's writes them in their order: neither waits for the other.
//!
//! # Invariants
//!
//! - W1. What is written is valid JSON whatever names and times are; no figure is negative.
//! - W2. Each thread that formats is at most [`AHEAD`] pieces and one ahead of the file: memory stays bounded.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use super::{Ending, Event, Kind, Name, Snapshot, UNKNOWN};

/// Nanoseconds from which on dispatch and transfer are slices of their own.
const SLICE: u64 = 10_000;
/// Events that one thread formats at a time: some 400 kB, which stay in the core's cache until they are written.
const PIECE: usize = 2048;
/// Threads that format at most. Arbitrary: one thread writes what they make.
const MOST_FORMATTERS: usize = 4;
/// Pieces of each of them that may wait to be written.
const AHEAD: usize = 2;

/// Writes a file; returns the events in it.
pub(super) fn write(
    path: &Path,
    snapshot: &Snapshot,
    origin: u64,
    own: u32,
    head: &str,
    more: &str,
) -> io::Result<u64> {
    let mut file = File::create(path)?;
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(b"{\"displayTimeUnit\":\"ms\",\"otherData\":");
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(b",\"traceEvents\":[\n");
    describe(&mut out, snapshot, own);
    let labels = Labels {
        names: snapshot.names.iter().map(|name| quoted(&name.text)).collect(),
        rows: snapshot.tracks.iter().map(|track| format!("\"pid\":{},\"tid\":{}", track.pid, track.tid)).collect(),
        measured: &snapshot.names,
        origin,
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let formatters = cores.min(MOST_FORMATTERS).min(snapshot.events.len().div_ceil(PIECE));
    // The last piece waits: what comes after it decides whether it ends with a comma.
    let mut last = thread::scope(|scope| {
        let lines: Vec<_> = (0..formatters)
            .map(|first| {
                let (made, arriving) = sync_channel(AHEAD);
                let (back, used) = channel();
                let labels = &labels;
                scope.spawn(move || labels.format_all(&snapshot.events, (first, formatters), &made, &used));
                (arriving, back)
            })
            .collect();
        write_in_order(&mut file, out, &lines)
    })?;
    last.extend_from_slice(more.as_bytes());
    // Each event ends with a comma, and the last one must not.
    while last.last().is_some_and(|byte| matches!(byte, b',' | b'\n')) {
        last.pop();
    }
    last.extend_from_slice(b"\n]}\n");
    file.write_all(&last)?;
    Ok(snapshot.events.len() as u64)
}

/// Where the pieces of one thread come from, and where it takes used buffers from.
type Line = (Receiver<Vec<u8>>, Sender<Vec<u8>>);

/// Writes pieces that come from each line in turn, after `begun`; returns the last, which is not written.
fn write_in_order(file: &mut File, begun: Vec<u8>, lines: &[Line]) -> io::Result<Vec<u8>> {
    let (mut last, mut whose) = (begun, None::<&Sender<Vec<u8>>>);
    for (arriving, back) in lines.iter().cycle() {
        // A line that has ended was the next: there are no more. If a write fails, its end lets the others end, too.
        let Ok(bytes) = arriving.recv() else { break };
        file.write_all(&last)?;
        let written = std::mem::replace(&mut last, bytes);
        if let Some(back) = whose.replace(back) {
            // Who formats no more needs no buffer.
            let _ = back.send(written);
        }
    }
    Ok(last)
}

/// What events refer to by number.
struct Labels<'a> {
    names: Vec<String>,
    rows: Vec<String>,
    measured: &'a [Name],
    origin: u64,
}

impl Labels<'_> {
    /// Formats every `step`th piece from number `first` on, while somebody wants them; buffers that come back are used again.
    fn format_all(
        &self,
        events: &[Event],
        (first, step): (usize, usize),
        made: &SyncSender<Vec<u8>>,
        used: &Receiver<Vec<u8>>,
    ) {
        for piece in events.chunks(PIECE).skip(first).step_by(step) {
            let mut bytes = used.try_recv().unwrap_or_default();
            bytes.clear();
            self.format(piece, &mut bytes);
            if made.send(bytes).is_err() {
                return;
            }
        }
    }

    fn format(&self, events: &[Event], out: &mut Vec<u8>) {
        out.reserve(events.len() * 208);
        for event in events {
            let Some(row) = self.rows.get(event.track as usize) else { continue };
            let number = event.name as usize;
            let label = self.names.get(number).map_or("\"?\"", String::as_str);
            match event.kind {
                Kind::Call => call(out, event, self.origin, row, label, self.measured.get(number)),
                Kind::Send | Kind::Receive => moved(out, event, self.origin, row, label),
            }
        }
    }
}

/// The names of processes and rows.
fn describe(out: &mut Vec<u8>, snapshot: &Snapshot, own: u32) {
    let mut used = vec![false; snapshot.tracks.len()];
    for event in &snapshot.events {
        if let Some(used) = used.get_mut(event.track as usize) {
            *used = true;
        }
    }
    let tracks = || snapshot.tracks.iter().zip(&used).filter(|(_, used)| **used).map(|(track, _)| track);
    let mut pids: Vec<u32> = tracks().map(|track| track.pid).chain([own]).collect();
    pids.sort_unstable();
    pids.dedup();
    for pid in pids {
        let (label, place) = if pid == own { ("program", 0) } else { ("worker", pid) };
        let named = format!(
            "{{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":{pid},\"tid\":0,\"args\":{{\"name\":\"{label}\"}}}},\n\
             {{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":{pid},\"tid\":0,\"args\":{{\"sort_index\":{place}}}}},\n"
        );
        out.extend_from_slice(named.as_bytes());
    }
    for track in tracks() {
        let (pid, tid, label) = (track.pid, track.tid, quoted(&track.label));
        let named = format!(
            "{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":{pid},\"tid\":{tid},\"args\":{{\"name\":{label}}}}},\n"
        );
        out.extend_from_slice(named.as_bytes());
    }
}

fn call(out: &mut Vec<u8>, event: &Event, origin: u64, row: &str, label: &str, name: Option<&Name>) {
    let run = event.ended.saturating_sub(event.began);
    let dispatch = event.began.saturating_sub(event.ready);
    let transfer = event.sent.saturating_sub(event.ended);
    if dispatch >= SLICE {
        slice(out, row, "dispatch", event.ready.saturating_sub(origin), dispatch);
    }
    out.extend_from_slice(b"{\"ph\":\"X\",\"cat\":\"call\",\"name\":");
    out.extend_from_slice(label.as_bytes());
    out.push(b',');
    out.extend_from_slice(row.as_bytes());
    figure(out, b",\"ts\":", event.began.saturating_sub(origin));
    figure(out, b",\"dur\":", run);
    out.extend_from_slice(b",\"args\":{\"job\":");
    number(out, u64::from(event.job));
    if event.index != UNKNOWN {
        out.extend_from_slice(b",\"index\":");
        number(out, event.index);
    }
    if event.posted != 0 {
        figure(out, b",\"queue\":", event.ready.saturating_sub(event.posted));
    }
    if dispatch > 0 {
        figure(out, b",\"dispatch\":", dispatch);
    }
    if let Some(cpu) = cpu_of(event, run, name) {
        figure(out, b",\"cpu\":", cpu);
        if let Some(held) = held_of(event, cpu, name) {
            figure(out, b",\"gil\":", held);
        }
    }
    if transfer > 0 {
        figure(out, b",\"transfer\":", transfer);
    }
    out.extend_from_slice(match event.ending {
        Ending::Value => b"}},\n".as_slice(),
        Ending::Raised => b",\"ending\":\"raised\"}},\n",
        Ending::Died => b",\"ending\":\"died\"},\"cname\":\"terrible\"},\n",
        Ending::Cancelled => b",\"ending\":\"cancelled\"}},\n",
    });
    if transfer >= SLICE {
        slice(out, row, "transfer", event.ended.saturating_sub(origin), transfer);
    }
}

/// CPU nanoseconds of a call: measured, else its share of the time as in the function's other calls.
fn cpu_of(event: &Event, run: u64, name: Option<&Name>) -> Option<u64> {
    if event.cpu != UNKNOWN {
        return Some(event.cpu);
    }
    if event.ending == Ending::Died {
        return None;
    }
    name.filter(|name| name.wall > 0.0).map(|name| part(run, name.cpu / name.wall))
}

fn held_of(event: &Event, cpu: u64, name: Option<&Name>) -> Option<u64> {
    if event.held != UNKNOWN {
        return Some(event.held);
    }
    name.filter(|name| name.held_of > 0.0).map(|name| part(cpu, name.held / name.held_of))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an estimate, clamped"
)]
fn part(whole: u64, share: f64) -> u64 {
    (whole as f64 * share.clamp(0.0, 1.0)) as u64
}

fn moved(out: &mut Vec<u8>, event: &Event, origin: u64, row: &str, label: &str) {
    let what = if event.kind == Kind::Send { "send" } else { "receive" };
    let (began, run) = (event.began.saturating_sub(origin), event.ended.saturating_sub(event.began));
    out.extend_from_slice(format!("{{\"ph\":\"X\",\"cat\":\"transfer\",\"name\":\"{what}\",{row}").as_bytes());
    figure(out, b",\"ts\":", began);
    figure(out, b",\"dur\":", run);
    let (job, bytes) = (event.job, event.bytes);
    out.extend_from_slice(
        format!(",\"args\":{{\"job\":{job},\"function\":{label},\"bytes\":{bytes}}}}},\n").as_bytes(),
    );
}

fn slice(out: &mut Vec<u8>, row: &str, what: &str, began: u64, lasted: u64) {
    out.extend_from_slice(format!("{{\"ph\":\"X\",\"cat\":\"{what}\",\"name\":\"{what}\",{row}").as_bytes());
    figure(out, b",\"ts\":", began);
    figure(out, b",\"dur\":", lasted);
    out.extend_from_slice(b"},\n");
}

/// Nanoseconds as microseconds with three digits behind the point.
fn figure(out: &mut Vec<u8>, key: &[u8], nanoseconds: u64) {
    out.extend_from_slice(key);
    number(out, nanoseconds / 1000);
    let rest = nanoseconds % 1000;
    if rest > 0 {
        let [_, tens, ones] = digits_of(rest % 100);
        out.extend_from_slice(&[b'.', b'0' + (rest / 100) as u8, tens, ones]);
    }
}

/// A blank, and the two digits of a number below 100.
fn digits_of(number: u64) -> [u8; 3] {
    #[expect(clippy::cast_possible_truncation, reason = "digits")]
    let (tens, ones) = ((number / 10) as u8, (number % 10) as u8);
    [b' ', b'0' + tens, b'0' + ones]
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    if value < 10 {
        #[expect(clippy::cast_possible_truncation, reason = "a digit")]
        out.push(b'0' + value as u8);
        return;
    }
    let mut digits = [0; 20];
    let mut at = digits.len();
    while value >= 10 {
        at -= 2;
        let [_, tens, ones] = digits_of(value % 100);
        (digits[at], digits[at + 1]) = (tens, ones);
        value /= 100;
    }
    if value > 0 {
        at -= 1;
        #[expect(clippy::cast_possible_truncation, reason = "a digit")]
        let digit = b'0' + value as u8;
        digits[at] = digit;
    }
    out.extend_from_slice(&digits[at..]);
}

/// A JSON string.
fn quoted(text: &str) -> String {
    use std::fmt::Write as _;

    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_three_digits_behind_the_point() {
        let mut out = Vec::new();
        for nanoseconds in [0, 5, 1000, 12_345, 123_450, 1_000_050] {
            figure(&mut out, b" ", nanoseconds);
        }

        assert_eq!(" 0 0.005 1 12.345 123.450 1000.050", String::from_utf8(out).unwrap());
    }

    #[test]
    fn a_name_is_a_json_string_whatever_is_in_it() {
        assert_eq!("\"a\\\"b\\\\c\\u000a\"", quoted("a\"b\\c\n"));
    }
}
