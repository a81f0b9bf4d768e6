//! Whoever dies, every call settles once, and only those fail that were running.
#![cfg(not(loom))]

mod common;

use common::{DIE_AT, Dice, ECHO, EXIT, Outcome, Pool, SLEEP, TWICE, echoed, eventually, is_alive, kill, reap, small};
use pointsman_shm::{Cause, HostConfig, KillReason};
use std::collections::HashSet;
use std::os::fd::FromRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Kills processes at random while tasks come and go; each kill hits a process that lives.
fn storm(processes: u32, lanes: u32, tasks: usize, calls: u32, kills: usize) {
    let pool = Pool::new(small(), processes, lanes);
    let mut dice = Dice(0x5EED);
    let mut sinks = Vec::new();
    let mut killed = HashSet::new();
    while sinks.len() < tasks || killed.len() < kills {
        for _ in 0..tasks / kills {
            sinks.push(pool.submit(&[ECHO, 9], calls, 1, Vec::new()).1);
        }
        let alive: Vec<_> = pool.pids().into_iter().filter(|pid| !killed.contains(pid)).collect();
        if !alive.is_empty() {
            let victim = alive[dice.index(alive.len())];
            kill(victim, libc::SIGKILL);
            killed.insert(victim);
        }
        if dice.index(4) == 0 {
            pool.host.drain();
        }
        std::thread::sleep(Duration::from_micros(dice.roll(3000)));
    }
    let mut died = 0;
    for sink in &sinks {
        for (index, outcome) in (0..).zip(pool.finish(sink)) {
            match outcome {
                Outcome::Died(Cause::Signal(libc::SIGKILL)) => died += 1,
                other => assert_eq!(echoed(&[ECHO, 9], index), other),
            }
        }
    }
    assert!(died <= killed.len() * lanes as usize, "{died} calls died of {} kills", killed.len());
    assert_eq!((0, 0), (pool.host.queued(), pool.host.running()));
    pool.settled(processes as usize);
}

#[test]
fn single_calls_survive_a_storm_of_kills() {
    storm(3, 1, 20_000, 1, 200);
}

#[test]
fn calls_that_travel_together_survive_a_storm_of_kills() {
    storm(3, 1, 4000, 50, 100);
}

#[test]
fn processes_of_several_lanes_survive_a_storm_of_kills() {
    storm(2, 3, 10_000, 3, 60);
}

#[test]
fn one_call_of_a_chunk_dies_and_the_rest_runs_elsewhere() {
    let pool = Pool::new(small(), 2, 1);
    let payload = [DIE_AT, 5];
    let outcomes = pool.finish(&pool.submit(&payload, 20, 1, Vec::new()).1);

    for (index, outcome) in (0..).zip(outcomes) {
        let expected = if index == 5 { Outcome::Died(Cause::Signal(libc::SIGKILL)) } else { echoed(&payload, index) };
        assert_eq!(expected, outcome, "call {index}");
    }
    eventually(|| !pool.told.deaths.lock().unwrap().is_empty());
    assert!(pool.told.deaths.lock().unwrap()[0].1, "another takes its place");
}

#[test]
fn a_chunk_whose_arguments_lie_in_a_block_survives_the_death_of_its_last_call() {
    let pool = Pool::new(small(), 1, 1);
    let payload: Vec<_> = [DIE_AT, 3].into_iter().chain([7; 5000]).collect();
    let outcomes = pool.finish(&pool.submit(&payload, 4, 1, Vec::new()).1);

    assert_eq!(Outcome::Died(Cause::Signal(libc::SIGKILL)), outcomes[3]);
    assert_eq!(echoed(&payload, 2), outcomes[2]);
    assert_eq!(vec![echoed(&[ECHO], 0)], pool.finish(&pool.call(&[ECHO])));
}

#[test]
fn an_exit_is_reported_with_its_code() {
    let pool = Pool::new(small(), 1, 1);

    assert_eq!(vec![Outcome::Died(Cause::Exit(42))], pool.finish(&pool.call(&[EXIT, 42])));
}

#[test]
fn a_killed_task_dies_and_its_neighbour_does_not() {
    let pool = Pool::new(small(), 2, 1);
    let (victim, sink) = pool.submit(&[SLEEP, 250], 1, 1, Vec::new());
    let neighbour = pool.call(&[SLEEP, 250]);
    eventually(|| {
        pool.host.drain();
        pool.host.running() == 2
    });

    assert!(pool.host.kill(victim, KillReason::Cancelled));
    assert_eq!(vec![Outcome::Died(Cause::Killed(KillReason::Cancelled))], pool.finish(&sink));
    assert_eq!(vec![echoed(&[SLEEP, 250], 0)], pool.finish(&neighbour));
    assert!(!pool.host.kill(victim, KillReason::Cancelled), "it is over");
    assert_eq!(Some(victim), pool.told.deaths.lock().unwrap()[0].0.target);
}

#[test]
fn kills_that_come_too_late_hit_nobody_else() {
    let pool = Pool::new(small(), 1, 1);
    let tasks: Vec<_> = (0..400).map(|_| pool.submit(&[ECHO], 1, 1, Vec::new())).collect();
    for (id, sink) in &tasks {
        let killed = pool.host.kill(*id, KillReason::Memory);
        let outcomes = pool.finish(sink);
        // One that ends while the signal is on its way has its value, whatever becomes of its process.
        let died = killed && outcomes == vec![Outcome::Died(Cause::Killed(KillReason::Memory))];
        if !died {
            assert_eq!(vec![echoed(&[ECHO], 0)], outcomes);
        }
    }
}

#[test]
fn a_call_that_takes_too_long_is_killed_and_those_after_it_run() {
    let pool = Pool::new(small(), 1, 1);
    let (task, sink) = pool.submit(&[SLEEP, 200], 2, 1, Vec::new());
    let limit = Duration::from_millis(30);
    pool.host.set_timeout(task, limit);
    let after = pool.call(&[ECHO]);

    let late = Outcome::Died(Cause::Killed(KillReason::Timeout(limit)));
    assert_eq!(vec![late.clone(), late], pool.finish(&sink));
    assert_eq!(vec![echoed(&[ECHO], 0)], pool.finish(&after));
}

#[test]
fn calls_within_their_limit_are_left_alone() {
    let pool = Pool::new(small(), 1, 1);
    let (task, sink) = pool.submit(&[SLEEP, 20], 5, 1, Vec::new());
    pool.host.set_timeout(task, Duration::from_secs(5));

    assert_eq!(5, pool.finish(&sink).iter().filter(|outcome| matches!(outcome, Outcome::Value(..))).count());
}

#[test]
fn a_worker_that_writes_nonsense_is_killed_and_replaced() {
    let pool = Pool::new(small(), 1, 1);
    let sink = pool.call(&[TWICE]);
    pool.wait(&|| sink.is_finished());
    // Nothing rings for what the hooks are told.
    eventually(|| !pool.told.deaths.lock().unwrap().is_empty());

    assert!(matches!(pool.told.deaths.lock().unwrap()[0].0.cause, Cause::Corrupt(_)));
    assert_eq!(vec![echoed(&[ECHO], 0)], pool.finish(&pool.call(&[ECHO])));
}

#[test]
fn a_shutdown_that_kills_settles_everything() {
    let pool = Pool::new(small(), 2, 1);
    let sinks: Vec<_> = (0..100).map(|_| pool.call(&[SLEEP, 100])).collect();
    eventually(|| {
        pool.host.drain();
        pool.host.running() == 2
    });
    pool.host.shutdown(true);

    assert!(pool.host.join(Some(Instant::now() + Duration::from_secs(60))));
    let outcomes: Vec<_> = sinks.iter().flat_map(|sink| sink.all()).collect();
    let killed = Outcome::Died(Cause::Killed(KillReason::Shutdown));
    assert_eq!(2, outcomes.iter().filter(|outcome| **outcome == killed).count());
    assert_eq!(98, outcomes.iter().filter(|outcome| **outcome == Outcome::Cancelled).count());
}

#[test]
fn a_queue_outlives_its_workers_during_a_shutdown() {
    let pool = Pool::new(small(), 1, 1);
    let sinks: Vec<_> = (0..10).map(|n| pool.call(if n == 3 { &[DIE_AT, 0] } else { &[ECHO, 0] })).collect();
    pool.host.shutdown(false);

    assert!(pool.host.join(Some(Instant::now() + Duration::from_secs(60))));
    for (n, sink) in sinks.iter().enumerate() {
        let expected = if n == 3 { Outcome::Died(Cause::Signal(libc::SIGKILL)) } else { echoed(&[ECHO, 0], 0) };
        assert_eq!(vec![expected], sink.all());
    }
}

#[test]
fn processes_that_never_start_fail_the_pool() {
    let pool = Pool::empty(small());
    pool.host.set_launch_config(b"stillborn").unwrap();
    pool.host.add_process(1).unwrap();
    let outcomes = pool.finish(&pool.submit(&[ECHO], 2, 1, Vec::new()).1);

    assert!(
        matches!(&outcomes[..], [Outcome::Died(Cause::NeverStarted(why)), Outcome::Died(_)] if why.contains("code 3")),
        "{outcomes:?}"
    );
    assert!(matches!(pool.call(&[ECHO]).all()[..], [Outcome::Died(Cause::NeverStarted(_))]), "later ones, too");
}

#[test]
fn a_dead_zygote_is_reported_and_a_new_one_goes_on() {
    let pool = Pool::new(small(), 1, 1);
    pool.settled(1);
    kill(pool.zygote(), libc::SIGKILL);
    eventually(|| pool.told.zygotes.load(Ordering::SeqCst) == 1);
    assert_eq!(vec![echoed(&[ECHO], 0)], pool.finish(&pool.call(&[ECHO])));
    let sink = pool.call(&[DIE_AT, 0]);
    assert_eq!(vec![Outcome::Died(Cause::Unknown)], pool.finish(&sink));
    let next = common::start_zygote();
    pool.host.set_zygote(next.socket).unwrap();

    assert_eq!(vec![echoed(&[ECHO], 0)], pool.finish(&pool.call(&[ECHO])));
    pool.host.shutdown(true);
    assert!(pool.host.join(Some(Instant::now() + Duration::from_secs(60))));
    reap(next.pid);
}

#[test]
fn workers_end_when_their_parent_is_killed() {
    let mut pipe = [0; 2];
    // SAFETY: there is room for two descriptors.
    assert_eq!(0, unsafe { libc::pipe(pipe.as_mut_ptr()) });
    let [read, write] = pipe;
    let parent = common::fork(|| {
        let pool = Pool::new(small(), 3, 2);
        pool.call(&[SLEEP, 255]);
        pool.settled(3);
        let mut pids = pool.pids();
        pids.push(pool.zygote());
        let bytes: Vec<u8> = pids.iter().flat_map(|pid| pid.to_ne_bytes()).collect();
        // SAFETY: the bytes live through the call.
        unsafe { libc::write(write, bytes.as_ptr().cast(), bytes.len()) };
        std::thread::sleep(Duration::from_secs(600));
    });
    // SAFETY: this end is ours alone.
    drop(unsafe { std::fs::File::from_raw_fd(write) });
    let mut bytes = [0; 16];
    // SAFETY: this end is ours alone.
    std::io::Read::read_exact(&mut unsafe { std::fs::File::from_raw_fd(read) }, &mut bytes).unwrap();
    let pids: Vec<_> = bytes.chunks(4).map(|bytes| i32::from_ne_bytes(bytes.try_into().unwrap())).collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    kill(parent, libc::SIGKILL);
    reap(parent);

    eventually(|| pids.iter().all(|pid| !is_alive(*pid)));
}

#[test]
fn a_forked_child_can_use_the_pool_of_its_parent_for_nothing() {
    let pool = Pool::new(small(), 1, 1);
    let kept = pool.call(&[ECHO, 1]);
    pool.finish(&kept);
    let child = common::fork(|| {
        pool.host.disown();
        let died = matches!(pool.call(&[ECHO]).all()[..], [Outcome::Died(_)]);
        pool.host.shutdown(true);
        // SAFETY: ends this process.
        unsafe { libc::_exit(i32::from(!died)) };
    });
    let mut status = -1;
    // SAFETY: `status` is ours to write.
    unsafe { libc::waitpid(child, &raw mut status, 0) };

    assert_eq!(0, status);
    assert_eq!(vec![echoed(&[ECHO, 2], 0)], pool.finish(&pool.call(&[ECHO, 2])));
}

#[test]
fn the_window_of_a_pool_with_two_slots_survives_kills() {
    let pool = Pool::new(HostConfig { slots: 2, ..small() }, 2, 1);
    for n in 0..60_u8 {
        let payload = [DIE_AT, u8::from(n % 4 != 0)];
        let outcomes = pool.finish(&pool.call(&payload));
        let expected = if n % 4 == 0 { Outcome::Died(Cause::Signal(libc::SIGKILL)) } else { echoed(&payload, 0) };
        assert_eq!(vec![expected], outcomes);
    }
}
