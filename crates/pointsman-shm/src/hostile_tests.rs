//! Protocols over a region that misbehaves: a writer that stops at any operation, bytes and words that are not what was
//! written, and bytes that nobody sane would send.
//!
//! `POINTSMAN_FUZZ_SECONDS=600 cargo test --release -p pointsman-shm hostile -- --nocapture` runs the last of these for
//! ten minutes instead of a moment, and prints how many cases that were. There is no `unsafe` in here, so that Miri can
//! run all of it.
//!
//! # Invariants
//!
//! - X1. After its death a writer changes nothing: its stores go to words that nobody reads.
//! - X2. Every case is named by its seed, which a failing assertion prints.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::frame::{Begin, End, HEADER, Header, Kind, footprint};
use crate::layout;
use crate::record::Record;
use crate::region::Region;
use crate::ring::{Consumer, Producer, RingAt};

const RING: u32 = 4096;
const SLOTS: u32 = 4;

/// Numbers that look random and are the same each time.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// What a region does to those who use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The user dies: this operation and all after it change nothing.
    DeathAt(u64),
    /// About one byte in this many that is read is another one.
    Noise(u64),
}

/// A region on the heap with a fault.
struct Faulty<'a> {
    memory: &'a Memory,
    fault: Fault,
    operations: Cell<u64>,
    nowhere32: AtomicU32,
    nowhere64: AtomicU64,
}

struct Memory {
    words32: Vec<AtomicU32>,
    words64: Vec<AtomicU64>,
    bytes: Vec<AtomicU8>,
}

impl Memory {
    fn new(len: usize) -> Self {
        Self {
            words32: (0..len / 4).map(|_| AtomicU32::new(0)).collect(),
            words64: (0..len / 8).map(|_| AtomicU64::new(0)).collect(),
            bytes: (0..len).map(|_| AtomicU8::new(0)).collect(),
        }
    }

    fn with(&self, fault: Fault) -> Faulty<'_> {
        let (nowhere32, nowhere64) = (AtomicU32::new(0), AtomicU64::new(0));
        Faulty { memory: self, fault, operations: Cell::new(0), nowhere32, nowhere64 }
    }
}

impl Faulty<'_> {
    /// Counts an operation; whether its user lives to see it done.
    fn lives(&self) -> bool {
        let number = self.operations.get();
        self.operations.set(number + 1);
        !matches!(self.fault, Fault::DeathAt(death) if number >= death)
    }
}

impl Region for Faulty<'_> {
    fn word32(&self, at: usize) -> &AtomicU32 {
        let word = &self.memory.words32[at / 4];
        if self.lives() {
            return word;
        }
        self.nowhere32.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
        &self.nowhere32
    }

    fn word64(&self, at: usize) -> &AtomicU64 {
        let word = &self.memory.words64[at / 8];
        if self.lives() {
            return word;
        }
        self.nowhere64.store(word.load(Ordering::Relaxed), Ordering::Relaxed);
        &self.nowhere64
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        for (index, byte) in into.iter_mut().enumerate() {
            *byte = self.memory.bytes[at + index].load(Ordering::Relaxed);
        }
        if let Fault::Noise(rarity) = self.fault {
            let mut draw = Draw(self.operations.get());
            self.operations.set(self.operations.get() + 1);
            for byte in into {
                if draw.next().is_multiple_of(rarity) {
                    *byte ^= draw.next().to_le_bytes()[0];
                }
            }
        }
    }

    fn write(&self, at: usize, from: &[u8]) {
        // A writer may die between any two bytes: each is an operation of its own.
        for (index, byte) in from.iter().enumerate().take_while(|_| self.lives()) {
            self.memory.bytes[at + index].store(*byte, Ordering::Relaxed);
        }
    }

    fn sleep(&self, _at: usize, _expected: u32, _limit: Option<Duration>) {}

    fn wake(&self, _at: usize) {}
}

fn ring() -> RingAt {
    layout::ring(RING)
}

fn memory() -> Memory {
    Memory::new(ring().bytes + RING as usize)
}

/// The frames of a ring, up to what is wrong with it.
fn read_all<R: Region>(consumer: &mut Consumer, region: &R) -> (Vec<(Kind, Vec<u8>)>, bool) {
    let mut frames = Vec::new();
    if consumer.look(region).is_err() {
        return (frames, true);
    }
    loop {
        let mut bytes = Vec::new();
        match consumer.next(region, &mut bytes) {
            Ok(Some(header)) => {
                assert_eq!(header.len as usize, bytes.len());
                frames.push((header.kind, bytes));
            }
            Ok(None) => return (frames, false),
            Err(_) => return (frames, true),
        }
        assert!(frames.len() <= RING as usize / HEADER, "a ring holds no more frames than this");
    }
}

const SCRIPT: [(Kind, &[u8]); 4] =
    [(Kind::Begin, &[1; Begin::LEN]), (Kind::Value(3), b"a result"), (Kind::Part, b""), (Kind::End, &[2; End::LEN])];

#[test]
fn a_producer_that_dies_at_any_operation_leaves_whole_frames_and_nothing_else() {
    // Starting near the end of the ring, so that frames wrap.
    for lead in [0, 490, 505] {
        let mut whole = 0;
        for death in 0.. {
            let memory = memory();
            let sound = memory.with(Fault::None);
            let (mut producer, mut consumer) = (Producer::new(ring()), Consumer::new(ring()));
            for _ in 0..lead {
                assert!(producer.push(&sound, Kind::Part, b""));
                read_all(&mut consumer, &sound);
                consumer.release(&sound);
            }
            let mortal = memory.with(Fault::DeathAt(death));
            for (kind, payload) in SCRIPT {
                producer.push(&mortal, kind, payload);
            }
            let (frames, wrong) = read_all(&mut consumer, &sound);

            assert!(!wrong, "death at {death} after {lead}");
            assert!(frames.len() >= whole, "a later death leaves no less");
            assert!(frames.iter().zip(SCRIPT).all(|((kind, bytes), (said, sent))| *kind == said && bytes == sent));
            whole = frames.len();
            if mortal.operations.get() <= death {
                break;
            }
        }
        assert_eq!(SCRIPT.len(), whole, "the last run lived to its end");
    }
}

#[test]
fn a_lane_that_dies_at_any_operation_of_a_claim_owns_the_slot_or_has_not_touched_it() {
    let slots = layout::slots(SLOTS);
    for death in 0.. {
        let memory = Memory::new(slots.at(u64::from(SLOTS) - 1) + slots.stride);
        let sound = memory.with(Fault::None);
        slots.publish(&sound, 0);
        slots.publish(&sound, 1);
        let mortal = memory.with(Fault::DeathAt(death));
        if let Some(position) = slots.claim(&mortal, 7) {
            slots.free(&mortal, position);
        }
        let owned = slots.owner(&sound, 0) == Some(7);
        let states = [slots.is_ready(&sound, 0), owned, slots.is_free(&sound, u64::from(SLOTS))];

        assert_eq!(1, states.iter().filter(|state| **state).count(), "death at {death}: {states:?}");
        assert!(slots.is_ready(&sound, 1), "nobody has touched the other");
        if states[0] {
            // The model lets a reference that was taken before the death write after it; the hint's is taken first, and
            // written only after a claim.
            sound.word64(slots.hint).store(0, Ordering::Relaxed);
        }
        let next = slots.claim(&sound, 8);
        assert_eq!(Some(u64::from(!states[0])), next, "the next lane gets what is left: {states:?}");
        if mortal.operations.get() <= death {
            break;
        }
    }
}

#[test]
fn a_consumer_that_reads_noise_gets_frames_or_an_error() {
    for seed in 0..2000 {
        let memory = memory();
        let sound = memory.with(Fault::None);
        let mut draw = Draw(seed);
        let mut producer = Producer::new(ring());
        while producer.push(&sound, Kind::Value(1), &draw.bytes(100)) {}
        let noisy = memory.with(Fault::Noise(1 + draw.next() % 200));
        noisy.operations.set(seed);
        let (frames, _) = read_all(&mut Consumer::new(ring()), &noisy);

        assert!(frames.iter().map(|(_, bytes)| footprint(bytes.len())).sum::<usize>() <= RING as usize, "seed {seed}");
    }
}

/// Bytes and a tail, from sane with one flaw to nonsense.
fn hostile_case(draw: &mut Draw, memory: &Memory) {
    let sound = memory.with(Fault::None);
    let tail = match draw.below(4) {
        0 => draw.next(),
        1 => draw.next() % (2 * u64::from(RING)),
        _ => draw.next() % u64::from(RING) / 8 * 8,
    };
    let mut at = 0;
    while at + 64 < RING as usize {
        let kind = match draw.below(9) {
            8 => Kind::Timing,
            0 => Kind::Begin,
            1 => Kind::Part,
            2 => Kind::End,
            _ => Kind::Value(1),
        };
        let len = match kind {
            Kind::Begin => Begin::LEN,
            Kind::End => End::LEN,
            _ => draw.below(60),
        };
        sound.write(ring().bytes + at, &Header { kind, len: u32::try_from(len).unwrap_or(0) }.encode());
        at += footprint(len);
    }
    for _ in 0..draw.below(6) {
        let flaw = draw.bytes(12);
        sound.write(ring().bytes + draw.below(RING as usize - 12), &flaw);
    }
    memory.words64[ring().tail / 8].store(tail, Ordering::Relaxed);
}

/// Feeds every parser of bytes from the other side with whatever was drawn.
fn parse_everything(draw: &mut Draw) {
    let bytes = draw.bytes(96);
    let _ = (Begin::decode(&bytes), End::decode(&bytes));
    if let Some(header) = bytes.first_chunk() {
        let available = draw.next() % 4096;
        if let Ok(header) = Header::decode(*header, available) {
            assert!(footprint(header.len as usize) as u64 <= available);
        }
    }
    if let Some(bytes) = bytes.first_chunk()
        && let Some(record) = Record::decode(bytes)
        && let crate::record::Place::Inline(len) = record.payload
    {
        assert!(len <= crate::record::INLINE);
    }
    if let Some(bytes) = bytes.first_chunk() {
        let _ = layout::Header::decode(bytes, draw.next());
    }
}

#[test]
fn hostile_bytes_are_an_error_and_never_more() {
    let seconds = std::env::var("POINTSMAN_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + seconds.map_or(Duration::from_millis(300), Duration::from_secs);
    let (mut cases, mut frames, mut errors) = (0_u64, 0_u64, 0_u64);
    let memory = memory();
    // Miri runs some thousand times slower: a few cases are enough to see undefined behaviour.
    while if cfg!(miri) { cases < 20 } else { Instant::now() < until } {
        let mut draw = Draw(cases);
        hostile_case(&mut draw, &memory);
        let (read, wrong) = read_all(&mut Consumer::new(ring()), &memory.with(Fault::None));
        parse_everything(&mut draw);
        frames += read.len() as u64;
        errors += u64::from(wrong);
        cases += 1;
    }

    assert!(frames > 0 && errors > 0, "both happen: {cases} cases, {frames} frames, {errors} errors");
    if seconds.is_some() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "{cases} cases, {frames} frames, {errors} errors, 0 panics");
    }
}
