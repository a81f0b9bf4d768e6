//! What holds for every observation, machine and job.

use pointsman_plan::{
    Backend, Backends, Bytes, Candidate, Carried, Cluster, Constant, Engine, Job, Machine, Observation, Plan,
    Provenance, Seconds, chunk_size, decide, human_bytes, human_seconds, turning_points,
};
use proptest::prelude::*;

/// Figures a measurement may give.
fn observations() -> impl Strategy<Value = Observation> {
    let time = || prop_oneof![2 => Just(0.0), 5 => (-7.0..1.0_f64).prop_map(|power| 10.0_f64.powf(power))];
    let bytes = || prop_oneof![1 => Just(0.0), 3 => (0.0..8.0_f64).prop_map(|power| 10.0_f64.powf(power))];
    let spread = (prop_oneof![Just(0.0), 0.0..3.0], 1.0..20.0);
    let rest = (0.0..1.0, proptest::option::of(0.2..2.0), any::<bool>(), proptest::option::of(0.0..1.0), time());
    (time(), time(), time(), bytes(), bytes(), spread, rest).prop_map(
        |(held, free, wait, arguments, results, (cv, longest), (flip, together, partial, recent, others))| {
            Observation {
                calls: 3,
                held: Seconds::new(held),
                free: Seconds::new(free),
                wait: Seconds::new(wait),
                cv,
                longest: Seconds::new((held + free + wait) * longest),
                argument_bytes: Bytes::new(arguments),
                result_bytes: Bytes::new(results),
                pack: None,
                other_threads: Seconds::new(others),
                faulting: Seconds::new(free / 4.0),
                flip,
                partial,
                recent,
                together,
            }
        },
    )
}

fn machines() -> impl Strategy<Value = Machine> {
    let cores = prop_oneof![Just(1.0), Just(2.0), Just(8.0), Just(64.0), 0.2..16.0];
    (cores, prop_oneof![Just(0.0), 1e8..1e11], any::<bool>(), proptest::option::of(clusters()))
        .prop_map(|(cores, memory, gil, cluster)| Machine { cluster, ..Machine::new(cores, Bytes::new(memory), gil) })
}

fn clusters() -> impl Strategy<Value = Cluster> {
    let sizes = (1..64_u32, 1..9_u32, any::<bool>(), any::<bool>());
    (sizes, -4.0..-1.0_f64, 6.0..10.0_f64).prop_map(|((workers, threads, here, dask), dispatch, speed)| Cluster {
        engine: if dask { Engine::Dask } else { Engine::Ray },
        workers,
        threads,
        here,
        dispatch: Constant::new(10.0_f64.powf(dispatch), Provenance::Given),
        bytes_per_second: Constant::new(10.0_f64.powf(speed), Provenance::Given),
        start_up: Constant::new(0.0, Provenance::Given),
    })
}

/// What a plan predicts for the cluster.
fn on_cluster(plan: &Plan) -> Option<&Candidate> {
    plan.candidates.iter().find(|candidate| candidate.backend >= Backend::Dask)
}

fn jobs() -> impl Strategy<Value = Job> {
    let limits = (proptest::option::of(1..40_u32), proptest::option::of(1..200_u64));
    (1..20_000_u64, limits, 0..4_u32, 0..4_u32, any::<bool>()).prop_map(
        |(calls, (max_workers, chunksize), threads_running, processes_running, caller_shares)| Job {
            max_workers,
            chunksize,
            threads_running,
            processes_running,
            caller_shares,
            ..Job::of(calls)
        },
    )
}

/// Any bit pattern, NaN and the infinities among them.
fn wild() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(0.0),
        Just(5e-324),
        Just(f64::MAX),
    ]
}

fn inline(plan: &Plan) -> &Candidate {
    plan.candidates
        .iter()
        .find(|candidate| candidate.backend == Backend::Inline)
        .expect("every plan has the plain loop")
}

/// All constants times `factor`, so that the whole machine is that much slower.
fn slower(machine: &Machine, factor: f64) -> Machine {
    let scale = |constant: Constant| Constant::new(constant.value() * factor, Provenance::Given);
    Machine {
        inline_dispatch: scale(machine.inline_dispatch),
        thread_start: scale(machine.thread_start),
        thread_dispatch: scale(machine.thread_dispatch),
        process_first: scale(machine.process_first),
        process_next: scale(machine.process_next),
        process_dispatch: scale(machine.process_dispatch),
        process_dispatch_alone: scale(machine.process_dispatch_alone),
        bytes_per_second: scale_down(machine.bytes_per_second, factor),
        event_loop_dispatch: scale(machine.event_loop_dispatch),
        least_chunk: scale(machine.least_chunk),
        least_gain: scale(machine.least_gain),
        cluster: machine.cluster.map(|cluster| Cluster {
            dispatch: scale(cluster.dispatch),
            bytes_per_second: scale_down(cluster.bytes_per_second, factor),
            ..cluster
        }),
        ..*machine
    }
}

fn scale_down(constant: Constant, factor: f64) -> Constant {
    Constant::new(constant.value() / factor, Provenance::Given)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        max_global_rejects: 100_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_choice_is_never_slower_than_the_plain_loop(
        observation in observations(), machine in machines(), job in jobs()
    ) {
        let plan = decide(&observation, &machine, &job);

        prop_assert!(plan.seconds <= inline(&plan).seconds);
        prop_assert!(plan.speedup >= 1.0);
        prop_assert!(plan.choice().struck_out.is_none());
    }

    #[test]
    fn a_cluster_is_a_candidate_only_where_there_is_one(
        observation in observations(), machine in machines(), job in jobs()
    ) {
        let plan = decide(&observation, &machine, &job);
        let shown = on_cluster(&plan).map(|candidate| candidate.backend);

        prop_assert_eq!(shown, machine.cluster.map(|cluster| cluster.engine.backend()));
    }

    #[test]
    fn a_cluster_is_taken_only_where_it_is_predicted_to_be_the_fastest(
        observation in observations(), machine in machines(), cluster in clusters(), job in jobs()
    ) {
        let plan = decide(&observation, &Machine { cluster: Some(cluster), ..machine }, &job);
        prop_assume!(plan.choice().backend >= Backend::Dask);

        let without = decide(&observation, &Machine { cluster: None, ..machine }, &job);

        prop_assert!(plan.seconds < without.seconds, "{:#?}\n{:#?}", plan, without);
    }

    #[test]
    fn a_slower_connection_never_favours_a_cluster(
        observation in observations(), machine in machines(), cluster in clusters(), job in jobs(),
        (later, slower) in (1.0..100.0_f64, 1.0..1000.0_f64)
    ) {
        let now = decide(&observation, &Machine { cluster: Some(cluster), ..machine }, &job);
        let worse = Cluster {
            dispatch: Constant::new(cluster.dispatch.value() * later, Provenance::Given),
            bytes_per_second: Constant::new(cluster.bytes_per_second.value() / slower, Provenance::Given),
            ..cluster
        };

        let then = decide(&observation, &Machine { cluster: Some(worse), ..machine }, &job);

        let seconds = |plan: &Plan| on_cluster(plan).map_or(0.0, |candidate| candidate.seconds);
        prop_assert!(seconds(&then) >= seconds(&now) * (1.0 - 1e-9), "{:#?}\n{:#?}", now, then);
        prop_assert!(then.choice().backend < Backend::Dask || now.choice().backend >= Backend::Dask);
    }

    #[test]
    fn a_cluster_that_is_struck_out_is_shown_and_not_taken(
        observation in observations(), machine in machines(), cluster in clusters(), job in jobs()
    ) {
        let backend = cluster.engine.backend();
        let job = Job { struck: vec![(backend, "it writes to a list".to_owned())], ..job };

        let plan = decide(&observation, &Machine { cluster: Some(cluster), ..machine }, &job);

        prop_assert_ne!(plan.choice().backend, backend);
        prop_assert_eq!(on_cluster(&plan).and_then(|one| one.struck_out.as_deref()), Some("it writes to a list"));
        prop_assert!(plan.reasons.iter().any(|reason| reason.contains("is struck out: it writes to a list")));
    }

    #[test]
    fn more_waiting_never_turns_threads_into_the_plain_loop(
        observation in observations(), machine in machines(), job in jobs(), more in 1.0..100.0_f64
    ) {
        let job = Job { allowed: Backends::only(&[Backend::Inline, Backend::Threads]), ..job };
        let now = decide(&observation, &machine, &job);
        prop_assume!(now.choice().backend == Backend::Threads);
        let added = (more - 1.0) * observation.wall().get();
        let longer = |time: Seconds| Seconds::new(time.get() + added);

        let wait = longer(observation.wait);
        let longest = longer(observation.longest);
        let then = decide(&Observation { wait, longest, ..observation }, &machine, &job);

        prop_assert_ne!(then.choice().backend, Backend::Inline, "{:#?}\n{:#?}", now, then);
    }

    #[test]
    fn more_bytes_never_favour_processes(
        observation in observations(), machine in machines(), job in jobs(), more in 0.0..1e8_f64
    ) {
        // A cluster suffers more from bytes, so calls that leave it may go to processes.
        let machine = Machine { cluster: None, ..machine };
        let now = decide(&observation, &machine, &job);
        let bytes = Bytes::new(observation.argument_bytes.get() + more);

        let then = decide(&Observation { argument_bytes: bytes, ..observation }, &machine, &job);

        if then.choice().backend == Backend::Processes {
            prop_assert_eq!(now.choice().backend, Backend::Processes);
        }
        for after in then.candidates.iter().filter(|one| one.backend == Backend::Processes) {
            let same = |one: &&Candidate| (one.workers, one.processes) == (after.workers, after.processes);
            for before in now.candidates.iter().filter(|one| one.backend == Backend::Processes).filter(same) {
                prop_assert!(after.seconds >= before.seconds * (1.0 - 1e-9), "{before:?} {after:?}");
            }
        }
    }

    #[test]
    fn what_a_function_carries_never_favours_processes(
        observation in observations(), machine in machines(), job in jobs(), bytes in 0.0..1e10_f64, pack in 0.0..10.0_f64
    ) {
        let machine = Machine { cluster: None, ..machine };
        let carried = Carried { bytes: Bytes::new(bytes), pack: Seconds::new(pack) };

        let then = decide(&observation, &machine, &Job { carried, ..job.clone() });

        if then.choice().backend == Backend::Processes {
            prop_assert_eq!(decide(&observation, &machine, &job).choice().backend, Backend::Processes);
        }
    }

    #[test]
    fn a_slower_clock_changes_no_choice(
        observation in observations(), machine in machines(), job in jobs(), power in -3..6_i32
    ) {
        // A call without any time is priced by the clamps, and those do not scale.
        prop_assume!(observation.wall().get() > 0.0);
        // A power of two, so that the arithmetic is exact.
        let factor = 2.0_f64.powi(power);
        let job = Job { target_chunk_seconds: 0.25, ..job };
        let scaled = Job { target_chunk_seconds: 0.25 * factor, ..job.clone() };

        let plan = decide(&observation, &machine, &job);
        let same = decide(&observation.scaled(factor), &slower(&machine, factor), &scaled);

        let shape = |one: &Candidate| (one.backend, one.workers, one.processes, one.chunksize);
        prop_assert_eq!(shape(plan.choice()), shape(same.choice()));
        prop_assert!((same.seconds - plan.seconds * factor).abs() <= 1e-9 * same.seconds);
    }

    #[test]
    fn more_calls_take_no_less_time_on_the_same_workers(
        observation in observations(), machine in machines(), job in jobs(), more in 1..5000_u64
    ) {
        let now = decide(&observation, &machine, &job);
        let then = decide(&observation, &machine, &Job { calls: job.calls.map(|calls| calls + more), ..job });

        let shape = |one: &Candidate| (one.backend, one.workers, one.processes);
        // Workers that are slower than the plain loop do as they please at the end.
        for before in now.candidates.iter().filter(|before| before.seconds <= inline(&now).seconds) {
            for after in then.candidates.iter().filter(|after| shape(after) == shape(before)) {
                prop_assert!(after.seconds >= before.seconds * (1.0 - 1e-9), "{before:?} {after:?}");
            }
        }
    }

    #[test]
    fn any_number_at_all_gives_a_plan(
        times in proptest::collection::vec(wild(), 5),
        rest in proptest::collection::vec(wild(), 10),
        constants in proptest::collection::vec(wild(), 11),
        (calls, chunksize, max_workers) in any::<(Option<u64>, Option<u64>, Option<u32>)>(),
        (running, shares, gil, partial) in any::<(u32, bool, bool, bool)>(),
    ) {
        let observation = Observation {
            calls: 1,
            held: Seconds::new(times[0]),
            free: Seconds::new(times[1]),
            wait: Seconds::new(times[2]),
            longest: Seconds::new(times[3]),
            other_threads: Seconds::new(times[4]),
            faulting: Seconds::new(times[3]),
            cv: rest[0],
            argument_bytes: Bytes::new(rest[1]),
            result_bytes: Bytes::new(rest[2]),
            pack: Some(Seconds::new(rest[3])),
            flip: rest[4],
            together: Some(rest[5]),
            partial,
            recent: Some(rest[9]),
        };
        let given = |index: usize| Constant::new(constants[index], Provenance::Given);
        let machine = Machine {
            inline_dispatch: given(0),
            thread_start: given(1),
            thread_dispatch: given(2),
            process_first: given(3),
            process_next: given(4),
            process_dispatch: given(5),
            process_dispatch_alone: given(6),
            bytes_per_second: given(7),
            event_loop_dispatch: given(8),
            least_chunk: given(9),
            least_gain: given(10),
            ..Machine::new(rest[6], Bytes::new(rest[7]), gil)
        };
        let job = Job {
            calls, chunksize, max_workers,
            threads_running: running,
            processes_running: running,
            caller_shares: shares,
            target_chunk_seconds: rest[8],
            ..Job::default()
        };

        let plan = decide(&observation, &machine, &job);

        prop_assert!(plan.chosen < plan.candidates.len());
        for candidate in &plan.candidates {
            prop_assert!(!candidate.seconds.is_nan() && candidate.seconds >= 0.0, "{candidate:?}");
            prop_assert!(!candidate.rate.is_nan() && candidate.rate >= 0.0, "{candidate:?}");
            prop_assert!(candidate.chunksize >= 1 && candidate.workers >= 1, "{candidate:?}");
        }
    }

    #[test]
    fn turning_points_are_found_for_any_measurement(
        observation in observations(), machine in machines(), job in jobs()
    ) {
        let points = turning_points(&observation, &machine, &job);

        for point in points {
            prop_assert!(point.starts_with("with "), "{}", point);
        }
    }

    #[test]
    fn chunks_cover_all_calls_and_stay_within_their_limits(
        calls in 0..20_000_u64, lanes in 0..300_u32, power in -7.5..1.0_f64, cv in 0.0..5.0_f64
    ) {
        let (mean, target) = (10.0_f64.powf(power), 0.2);
        let mut left = calls;

        while left > 0 {
            let chunk = chunk_size(left, lanes, mean, cv, target) as u64;
            prop_assert!(chunk >= 1 && chunk <= left);
            #[allow(clippy::cast_precision_loss, reason = "under 20 000")]
            let work = chunk as f64 * mean;
            prop_assert!(chunk == 1 || work <= target * (1.0 + 1e-9));
            // Less than the least work only for the last one.
            prop_assert!(chunk == left || work >= 200e-6 * (1.0 - 1e-9));
            left -= chunk;
        }
    }

    #[test]
    fn any_number_gives_a_chunk(remaining: u64, lanes: u32, mean in wild(), cv in wild(), target in wild()) {
        let chunk = chunk_size(remaining, lanes, mean, cv, target) as u64;

        prop_assert!(chunk >= 1 && chunk <= remaining.max(1));
    }

    #[test]
    fn any_number_can_be_written(value in wild()) {
        prop_assert!(human_seconds(value).contains(' '));
        prop_assert!(human_bytes(value).contains('B'));
    }
}
