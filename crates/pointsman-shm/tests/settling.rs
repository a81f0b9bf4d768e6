//! Tasks go out and outcomes come back, whatever their number and size.
#![cfg(not(loom))]

mod common;

use common::{BLOCK, ECHO, KEEP, LARGE, Outcome, Pool, SLEEP, SUM, echoed, eventually, small};
use pointsman_shm::{BlockRef, HostConfig, INLINE};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn many_tasks_over_three_processes_all_settle() {
    let pool = Pool::new(small(), 3, 1);
    let payloads: Vec<_> = (0..50_000_u32).map(|n| [&[ECHO][..], &n.to_le_bytes()].concat()).collect();
    let sinks: Vec<_> = payloads.iter().map(|payload| pool.call(payload)).collect();

    for (payload, sink) in payloads.iter().zip(&sinks) {
        assert_eq!(vec![echoed(payload, 0)], pool.finish(sink));
    }
    assert_eq!((0, 0), (pool.host.queued(), pool.host.running()));
}

#[test]
fn one_call_after_the_other_is_answered() {
    let pool = Pool::new(small(), 2, 1);
    for n in 0..2000_u32 {
        let payload = [&[ECHO][..], &n.to_le_bytes()].concat();
        assert_eq!(vec![echoed(&payload, 0)], pool.finish(&pool.call(&payload)));
    }
}

#[test]
fn one_call_after_the_other_is_answered_when_nobody_spins() {
    let pool = Pool::new(HostConfig { spin: Duration::ZERO, ..small() }, 3, 1);
    for n in 0..2000_u32 {
        let payload = [&[ECHO][..], &n.to_le_bytes()].concat();
        let sink = pool.call(&payload);
        assert!(pool.host.wait(&|| sink.is_finished(), Some(Instant::now() + Duration::from_secs(60)), Duration::ZERO));
        assert_eq!(vec![echoed(&payload, 0)], sink.all());
    }
}

#[test]
fn calls_that_travel_together_come_back_in_order() {
    let pool = Pool::new(small(), 2, 2);
    let payload = [ECHO, 7];
    let sinks: Vec<_> = (0..20).map(|_| pool.submit(&payload, 1000, 1, Vec::new()).1).collect();
    let expected: Vec<_> = (0..1000).map(|index| echoed(&payload, index)).collect();

    for sink in sinks {
        assert_eq!(expected, pool.finish(&sink));
        let usage = sink.usage.lock().unwrap().unwrap();
        assert_eq!((1000, 1), (usage.wall_ns, usage.cpu_ns));
    }
}

#[test]
fn a_few_slots_carry_many_tasks() {
    let config = HostConfig { slots: 4, window: 2, ..small() };
    let pool = Pool::new(config, 2, 1);
    let sinks: Vec<_> = (0..3000).map(|_| pool.call(&[ECHO])).collect();

    for sink in sinks {
        assert_eq!(vec![echoed(&[ECHO], 0)], pool.finish(&sink));
    }
}

#[test]
fn tasks_that_found_no_slot_run_although_nobody_waits() {
    let pool = Pool::new(HostConfig { slots: 16, ..small() }, 1, 1);
    let sinks: Vec<_> = (0..500).map(|_| pool.call(&[ECHO])).collect();

    // Neither waiting nor draining: the host's own threads must do it.
    eventually(|| pool.host.queued() == 0);
    pool.host.drain();
    for sink in sinks {
        pool.finish(&sink);
    }
}

#[test]
fn arguments_and_results_of_any_size_arrive() {
    let pool = Pool::new(HostConfig { ring_bytes: 4096, ..small() }, 2, 1);
    // One byte says what the call is to do.
    let around = [INLINE - 2, INLINE - 1, INLINE];
    for size in [0, 1, 7, 150, 400, 511, 512, 513, 4096, 5000, 100_000, 3_000_000_usize].into_iter().chain(around) {
        let payload: Vec<_> =
            std::iter::once(ECHO).chain((0..size).map(|at| u8::try_from(at % 253).unwrap())).collect();
        assert!(vec![echoed(&payload, 0)] == pool.finish(&pool.call(&payload)), "{size} bytes");
    }
}

#[test]
fn a_full_ring_holds_the_lane_back_and_loses_nothing() {
    let pool = Pool::new(HostConfig { ring_bytes: 4096, ..small() }, 2, 2);
    let size = 1000_u32;
    let payload = [&[LARGE][..], &size.to_le_bytes()].concat();
    let sinks: Vec<_> = (0..8).map(|_| pool.submit(&payload, 500, 1, Vec::new()).1).collect();
    let expected: Vec<_> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();

    // The host's own thread empties the rings while this thread does something else.
    eventually(|| sinks.iter().all(|sink| sink.outcomes.lock().unwrap().len() > 400));
    for sink in &sinks {
        let outcomes = pool.finish(sink);
        assert_eq!(500, outcomes.len());
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Value(1, expected.clone())));
    }
}

#[test]
fn results_in_blocks_are_used_again_after_their_views() {
    let pool = Pool::new(HostConfig { lane_arena_bytes: 8 << 20, ..small() }, 2, 1);
    let size = 3_000_000_u32;
    let payload = [&[BLOCK][..], &size.to_le_bytes()].concat();
    for index in 0..40 {
        // Two blocks and a bit fit into an arena, so forty need forty releases.
        let outcomes = pool.finish(&pool.call(&payload));
        assert!(outcomes == vec![Outcome::Value(2, vec![0; size as usize])], "{index}");
    }
}

fn attached(pool: &Pool, kind: u8, fill: u8, len: usize) -> Option<(Vec<u8>, BlockRef)> {
    let mut block = pool.host.alloc(len)?;
    block.as_mut_slice().fill(fill);
    let block = block.into_ref();
    Some(([&[kind][..], &block.offset.to_le_bytes(), &block.len.to_le_bytes()].concat(), block))
}

#[test]
fn attached_blocks_arrive_and_are_used_again() {
    let pool = Pool::new(HostConfig { host_arena_bytes: 16 << 20, slots: 64, ..small() }, 2, 1);
    let len = 5 << 20;
    for fill in 1..30_u8 {
        let (payload, block) = attached(&pool, SUM, fill, len).expect("room for it");
        let (_, sink) = pool.submit(&payload, 1, 1, vec![block]);
        let sum = u64::from(fill) * len as u64;
        assert_eq!(vec![Outcome::Value(0, sum.to_le_bytes().to_vec())], pool.finish(&sink));
    }
}

#[test]
fn a_block_that_a_worker_keeps_is_not_used_again_until_the_worker_ends() {
    let pool = Pool::new(HostConfig { host_arena_bytes: 16 << 20, slots: 64, ..small() }, 1, 1);
    let (payload, block) = attached(&pool, KEEP, 1, 5 << 20).unwrap();
    pool.settled(1);
    pool.finish(&pool.submit(&payload, 1, 1, vec![block]).1);
    let again = attached(&pool, SUM, 2, 5 << 20).unwrap().1;

    assert_ne!(block, again);
    pool.host.free(again);
    common::kill(pool.pids()[0], libc::SIGKILL);
    eventually(|| {
        let (_, now) = attached(&pool, SUM, 2, 5 << 20).unwrap();
        pool.host.free(now);
        now == block
    });
}

#[test]
fn arguments_that_fit_nowhere_fail_and_do_not_hang() {
    let pool = Pool::new(HostConfig { host_arena_bytes: 1 << 20, slots: 64, ..small() }, 1, 1);
    let sink = pool.call(&vec![ECHO; 2 << 20]);

    let outcomes = pool.finish(&sink);
    assert!(
        matches!(&outcomes[..], [Outcome::Died(cause)] if cause.to_string().contains("2097152 bytes")),
        "{outcomes:?}"
    );
    assert_eq!(1, pool.finish(&pool.call(&[ECHO])).len());
}

#[test]
fn arguments_that_find_no_room_now_wait_for_it() {
    let pool = Pool::new(HostConfig { host_arena_bytes: 4 << 20, slots: 64, ..small() }, 1, 1);
    let payload = vec![ECHO; 1 << 20];
    let sinks: Vec<_> = (0..20).map(|_| pool.call(&payload)).collect();

    for sink in sinks {
        assert!(vec![echoed(&payload, 0)] == pool.finish(&sink));
    }
}

#[test]
fn urgent_tasks_pass_those_that_wait() {
    let pool = Pool::new(small(), 1, 1);
    let blocker = pool.call(&[SLEEP, 50]);
    eventually(|| {
        pool.host.drain();
        pool.host.running() == 1
    });
    let late: Vec<_> = (0..200).map(|_| pool.submit(&[ECHO], 1, 2, Vec::new()).1).collect();
    let urgent = pool.submit(&[ECHO], 1, 0, Vec::new()).1;
    let middle = pool.submit(&[ECHO], 1, 1, Vec::new()).1;
    pool.wait(&|| urgent.is_finished());
    // One lane begins one task after the other: when the middle one begins, the urgent one has ended.
    assert!(blocker.is_finished());
    pool.wait(&|| middle.is_finished());
    pool.wait(&|| late.iter().all(|sink| sink.is_finished()));

    let order = pool.submit(&[SLEEP, 50], 1, 0, Vec::new()).1;
    eventually(|| {
        pool.host.drain();
        pool.host.running() == 1
    });
    let last = pool.submit(&[SLEEP, 20], 1, 3, Vec::new()).1;
    let first = pool.submit(&[ECHO], 1, 1, Vec::new()).1;
    pool.wait(&|| first.is_finished());
    assert!(order.is_finished() && last.begun.load(Ordering::SeqCst) + last.finished.load(Ordering::SeqCst) <= 1);
    assert!(!last.is_finished());
    pool.finish(&last);
}

#[test]
fn cancelled_tasks_never_run() {
    let pool = Pool::new(small(), 1, 1);
    let blocker = pool.call(&[SLEEP, 50]);
    eventually(|| {
        pool.host.drain();
        pool.host.running() == 1
    });
    let tasks: Vec<_> = (0..50).map(|_| pool.submit(&[ECHO], 3, 1, Vec::new())).collect();
    for (id, sink) in tasks.iter().step_by(2) {
        assert!(pool.host.cancel(*id));
        assert_eq!(vec![Outcome::Cancelled; 3], sink.all());
        assert!(!pool.host.cancel(*id), "a second time");
    }

    pool.finish(&blocker);
    for (at, (_, sink)) in tasks.iter().enumerate() {
        assert_eq!(u32::from(at % 2 == 1), {
            drop(pool.finish(sink));
            sink.begun.load(Ordering::SeqCst)
        });
    }
}

#[test]
fn every_call_is_run_or_cancelled_when_cancels_race_with_claims() {
    let pool = Pool::new(small(), 3, 1);
    for _ in 0..20 {
        let tasks: Vec<_> = (0..500).map(|_| pool.submit(&[ECHO], 1, 1, Vec::new())).collect();
        for (id, sink) in tasks.iter().rev() {
            let cancelled = pool.host.cancel(*id);
            let expected = if cancelled { Outcome::Cancelled } else { echoed(&[ECHO], 0) };
            assert_eq!(vec![expected], pool.finish(sink));
        }
    }
}

#[test]
fn collectors_deliver_although_nobody_waits() {
    let pool = Pool::new(small(), 2, 1);
    pool.host.set_collectors(true);
    let sinks: Vec<_> = (0..100).map(|_| pool.call(&[ECHO])).collect();

    eventually(|| sinks.iter().all(|sink| sink.is_finished()));
    eventually(|| pool.told.drained.load(Ordering::SeqCst) > 0);
}

#[test]
fn several_threads_may_wait_for_their_own_tasks() {
    let pool = Pool::new(HostConfig { spin: Duration::ZERO, ..small() }, 2, 1);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..300_u32 {
                    let payload = [&[ECHO][..], &thread.to_le_bytes(), &n.to_le_bytes()].concat();
                    let sink = pool.call(&payload);
                    let spin = Duration::from_micros(u64::from(n % 3) * 20);
                    assert!(pool.host.wait(
                        &|| sink.is_finished(),
                        Some(Instant::now() + Duration::from_secs(60)),
                        spin
                    ));
                    assert_eq!(vec![echoed(&payload, 0)], sink.all());
                }
            });
        }
    });
}

#[test]
fn a_shutdown_lets_the_queue_run_empty() {
    let pool = Pool::new(small(), 2, 1);
    let sinks: Vec<_> = (0..200).map(|_| pool.call(&[SLEEP, 1])).collect();
    pool.host.shutdown(false);
    let late = pool.call(&[ECHO]);

    assert!(pool.host.join(Some(Instant::now() + Duration::from_secs(60))));
    assert!(sinks.iter().all(|sink| sink.all() == vec![echoed(&[SLEEP, 1], 0)]));
    assert_eq!(vec![echoed(&[ECHO], 0)], late.all());
    assert_eq!(vec![Outcome::Cancelled], pool.call(&[ECHO]).all(), "after the end");
    assert!(pool.host.add_process(1).is_err());
}

#[test]
fn a_retired_process_ends_and_the_others_go_on() {
    let pool = Pool::new(small(), 2, 1);
    pool.settled(2);
    let first = pool.host.processes()[0].id;
    pool.host.retire(first);

    eventually(|| pool.host.processes().len() == 1);
    assert_ne!(first, pool.host.processes()[0].id);
    assert_eq!(1, pool.finish(&pool.call(&[ECHO])).len());
    assert!(!pool.told.deaths.lock().unwrap()[0].1, "none takes its place");
}

#[test]
fn a_wait_ends_at_its_deadline() {
    let pool = Pool::new(small(), 1, 1);
    let until = Instant::now() + Duration::from_millis(30);

    assert!(!pool.host.wait(&|| false, Some(until), Duration::ZERO));
    assert!(Instant::now() >= until);
}
