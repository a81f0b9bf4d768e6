//! Every interleaving of the protocols on small models. The numbers are those of README.md's claims.

use loom::sync::Arc;
use loom::thread;

use crate::bell::Bell;
use crate::frame::Kind;
use crate::lanes::{Lanes, ORDER_END, ORDER_HOLD, ORDER_RUN, RUNNING, SEARCHING};
use crate::region::Region;
use crate::region::heap::Heap;
use crate::ring::{Consumer, Producer, RingAt};
use crate::slots::{HOST_LANE, Slots};

const SLOTS: Slots = Slots { hint: 0, base: 8, stride: 16, count: 2 };
const LANES: Lanes = Lanes { base: 48, stride: 8, used: 40 };
const BELL: Bell = Bell(72);
const RING: RingAt = RingAt { tail: 80, head: 88, room: Bell(96), bytes: 104, capacity: 32 };
const LEN: usize = 136;

fn region() -> Arc<Heap> {
    let region = Heap::new(LEN);
    Arc::new(region)
}

fn publish(region: &Heap, position: u64) {
    region.write(SLOTS.at(position) + 8, &position.to_le_bytes());
    SLOTS.publish(region, position);
}

/// Claims, reads and frees; returns position and bytes.
fn run_one(region: &Heap, lane: u16) -> Option<u64> {
    let position = SLOTS.claim(region, lane)?;
    let mut bytes = [0; 8];
    region.read(SLOTS.at(position) + 8, &mut bytes);
    assert_eq!(position, u64::from_le_bytes(bytes), "the owner sees what was published there");
    SLOTS.free(region, position);
    Some(position)
}

#[test]
fn loom_claim_1_two_claimers_and_a_cancel_take_each_task_once() {
    loom::model(|| {
        let region = region();
        publish(&region, 0);
        let claimers: Vec<_> = (0..2)
            .map(|lane| {
                let region = region.clone();
                thread::spawn(move || run_one(&region, lane))
            })
            .collect();
        let cancelled = SLOTS.take_back(&*region, 0);
        if cancelled {
            assert_eq!(Some(HOST_LANE), SLOTS.owner(&*region, 0));
            SLOTS.free(&*region, 0);
        }
        let taken = claimers.into_iter().filter_map(|claimer| claimer.join().unwrap()).count();

        assert_eq!(1, taken + usize::from(cancelled));
        assert!(SLOTS.is_free(&*region, 2));
    });
}

#[test]
fn loom_claim_1_slots_are_used_again_without_a_mix_up() {
    loom::model(|| {
        let region = region();
        publish(&region, 0);
        publish(&region, 1);
        let claimers: Vec<_> = (0..2)
            .map(|lane| {
                let region = region.clone();
                thread::spawn(move || run_one(&region, lane))
            })
            .collect();
        while !SLOTS.is_free(&*region, 2) {
            thread::yield_now();
        }
        publish(&region, 2);
        let mut taken: Vec<_> = claimers.into_iter().filter_map(|claimer| claimer.join().unwrap()).collect();
        taken.extend(std::iter::from_fn(|| run_one(&region, 0)));
        taken.sort_unstable();

        assert_eq!(vec![0, 1, 2], taken);
    });
}

/// A lane's way from running to a task, as in guest.rs, without the spin.
fn find(region: &Heap, lane: u16) -> u64 {
    loop {
        LANES.leave(region, lane, SEARCHING);
        if let Some(position) = run_one(region, lane) {
            LANES.enter(region, lane, RUNNING);
            if SLOTS.has_work(region) {
                LANES.wake_one(region);
            }
            return position;
        }
        LANES.park(region, lane, || SLOTS.has_work(region), None);
    }
}

#[test]
fn loom_claim_2_a_lane_that_parks_never_misses_a_task() {
    loom::model(|| {
        let region = region();
        LANES.admit(&*region, 0);
        let lane = thread::spawn({
            let region = region.clone();
            move || find(&region, 0)
        });
        publish(&region, 0);
        LANES.wake_one(&*region);

        assert_eq!(0, lane.join().unwrap());
    });
}

#[test]
fn loom_claim_3_two_tasks_reach_two_lanes_although_one_wake_may_do() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(2);
    model.check(|| {
        let region = region();
        LANES.admit(&*region, 0);
        LANES.admit(&*region, 1);
        let lanes: Vec<_> = (0..2)
            .map(|lane| {
                let region = region.clone();
                thread::spawn(move || find(&region, lane))
            })
            .collect();
        for position in 0..2 {
            publish(&region, position);
            LANES.wake_one(&*region);
        }
        let mut taken: Vec<_> = lanes.into_iter().map(|lane| lane.join().unwrap()).collect();
        taken.sort_unstable();

        // A lane that finds nothing never ends, so a lost wake is a deadlock, which loom reports.
        assert_eq!(vec![0, 1], taken);
    });
}

#[test]
fn loom_claim_4_a_waiter_never_misses_the_bell() {
    loom::model(|| {
        let region = region();
        let lane = thread::spawn({
            let region = region.clone();
            move || {
                let mut producer = Producer::new(RING);
                assert!(producer.push(&*region, Kind::Value(7), b"news"));
                BELL.announce(&*region);
            }
        });
        let mut consumer = Consumer::new(RING);
        let mut bytes = Vec::new();
        loop {
            let armed = BELL.arm(&*region);
            consumer.look(&*region).unwrap();
            if consumer.next(&*region, &mut bytes).unwrap().is_some() {
                break;
            }
            BELL.sleep(&*region, armed, None);
        }
        lane.join().unwrap();

        assert_eq!(b"news", &bytes[..]);
    });
}

#[test]
fn loom_claim_5_frames_arrive_whole_in_order_and_a_full_ring_waits_for_room() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(3);
    model.check(|| {
        let region = region();
        let lane = thread::spawn({
            let region = region.clone();
            move || {
                let mut producer = Producer::new(RING);
                for value in 0..3_u8 {
                    while !producer.push(&*region, Kind::Value(value), &[value; 8]) {
                        let room = producer.room();
                        let armed = room.arm(&*region);
                        if !producer.has_room(&*region, 16) {
                            room.sleep(&*region, armed, None);
                        }
                    }
                    BELL.announce(&*region);
                }
            }
        });
        let mut consumer = Consumer::new(RING);
        let mut seen = 0_u8;
        while seen < 3 {
            let armed = BELL.arm(&*region);
            consumer.look(&*region).unwrap();
            let mut bytes = Vec::new();
            let before = seen;
            while let Some(header) = consumer.next(&*region, &mut bytes).unwrap() {
                assert_eq!((Kind::Value(seen), vec![seen; 8]), (header.kind, std::mem::take(&mut bytes)));
                seen += 1;
            }
            consumer.release(&*region);
            if seen == before {
                BELL.sleep(&*region, armed, None);
            }
        }
        lane.join().unwrap();
    });
}

#[test]
fn loom_claim_6_a_lane_that_is_held_begins_nothing_or_had_ended_before() {
    loom::model(|| {
        let region = region();
        LANES.admit(&*region, 0);
        let lane = thread::spawn({
            let region = region.clone();
            move || {
                // END of the task that the host wants to kill, and its fence.
                let mut producer = Producer::new(RING);
                assert!(producer.push(&*region, Kind::Value(0), &[]));
                BELL.announce(&*region);
                // Would it begin another?
                LANES.order_of(&*region, 0) == ORDER_RUN
            }
        });
        LANES.command(&*region, 0, ORDER_HOLD);
        let mut consumer = Consumer::new(RING);
        consumer.look(&*region).unwrap();
        let kills = consumer.next(&*region, &mut Vec::new()).unwrap().is_none();
        let begins = lane.join().unwrap();

        assert!(!(kills && begins), "an innocent task would die");
    });
}

#[test]
fn loom_claim_7_a_lane_that_parks_hears_that_it_should_end() {
    loom::model(|| {
        let region = region();
        LANES.admit(&*region, 0);
        let lane = thread::spawn({
            let region = region.clone();
            move || {
                while LANES.order_of(&*region, 0) != ORDER_END {
                    LANES.leave(&*region, 0, SEARCHING);
                    LANES.park(&*region, 0, || LANES.order_of(&*region, 0) != ORDER_RUN, None);
                }
            }
        });
        LANES.command(&*region, 0, ORDER_END);

        lane.join().unwrap();
    });
}
