//! What is decided for everyday work, on the 2-core machine of the built-in constants.

use pointsman_plan::{
    Backend, Backends, Bytes, Candidate, Carried, Job, Limit, Machine, Observation, Plan, Seconds, Workload, decide,
    turning_points,
};

const MS: f64 = 1e-3;
const US: f64 = 1e-6;

fn call(held: f64, free: f64, wait: f64) -> Observation {
    Observation {
        calls: 3,
        held: Seconds::new(held),
        free: Seconds::new(free),
        wait: Seconds::new(wait),
        ..Observation::default()
    }
}

fn plan(observation: &Observation, calls: u64) -> Plan {
    decide(observation, &Machine::default(), &Job::of(calls))
}

fn cheapest(plan: &Plan, backend: Backend) -> &Candidate {
    plan.candidates.iter().find(|candidate| candidate.backend == backend).expect("every backend has a candidate")
}

fn close(value: f64, expected: f64, share: f64) {
    assert!((value - expected).abs() <= share * expected, "{value} is not near {expected}");
}

#[test]
fn tiny_calls_stay_in_the_plain_loop() {
    let plan = plan(&call(0.1 * US, 0.0, 0.0), 10_000);

    assert_eq!(plan.choice().backend, Backend::Inline);
    assert_eq!(plan.workload, Workload::CpuBound);
}

#[test]
fn a_single_call_stays_in_the_plain_loop() {
    for call in [call(1.0, 0.0, 0.0), call(0.0, 1.0, 0.0), call(0.0, 0.0, 1.0)] {
        assert_eq!(plan(&call, 1).choice().backend, Backend::Inline);
    }
}

#[test]
fn no_calls_left_cost_nothing() {
    let plan = plan(&call(MS, 0.0, 0.0), 0);

    assert_eq!(plan.choice().backend, Backend::Inline);
    assert!(plan.seconds.abs() < f64::EPSILON);
}

#[test]
fn sleeping_calls_get_many_threads() {
    let plan = plan(&call(0.0, 20.0 * US, 10.0 * MS), 1000);

    assert_eq!(plan.choice().backend, Backend::Threads);
    assert!(plan.choice().workers >= 100, "{:?}", plan.choice());
    assert!(plan.speedup > 50.0);
    assert_eq!(plan.workload, Workload::IoBound);
}

#[test]
fn a_few_sleeping_calls_get_a_thread_each() {
    let plan = plan(&call(0.0, 0.0, 1.0), 10);

    assert_eq!((plan.choice().backend, plan.choice().workers), (Backend::Threads, 10));
    close(plan.seconds, 1.0, 0.01);
}

#[test]
fn enough_pure_python_gets_one_process_beside_the_caller() {
    let plan = plan(&call(MS, 0.0, 0.0), 1000);

    let choice = plan.choice();
    assert_eq!(choice.backend, Backend::Processes);
    assert_eq!((choice.processes, choice.threads_per_worker, choice.workers), (1, 1, 2));
    close(plan.seconds, 0.51, 0.02);
}

#[test]
fn pure_python_that_ends_before_processes_start_stays_in_the_plain_loop() {
    let plan = plan(&call(MS, 0.0, 0.0), 15);

    assert_eq!(plan.choice().backend, Backend::Inline);
}

#[test]
fn processes_that_already_run_take_smaller_jobs() {
    let job = Job { processes_running: 1, ..Job::of(15) };

    let plan = decide(&call(MS, 0.0, 0.0), &Machine::default(), &job);

    assert_eq!(plan.choice().backend, Backend::Processes);
    assert_eq!(plan.choice().processes, 1);
}

#[test]
fn computing_without_the_gil_gets_a_thread_per_core() {
    let plan = plan(&call(0.0, 10.0 * MS, 0.0), 100);

    assert_eq!((plan.choice().backend, plan.choice().workers), (Backend::Threads, 2));
    assert_eq!(plan.choice().limit, Limit::Cores);
    assert_eq!(plan.workload, Workload::GilFree);
    close(plan.speedup, 2.0, 0.01);
}

#[test]
fn calls_of_microseconds_must_gain_more_to_leave_the_plain_loop() {
    // What it is said to take to pack one is as much as the call, and a fifth of all would be gained.
    let packed = |held: f64| Observation { pack: Some(Seconds::new(1.2 * held)), ..call(held, 0.0, 0.0) };
    let hashes = plan(&call(1.0 * US, 3.0 * US, 0.0), 200_000);

    let (tiny, longer) = (plan(&packed(4.0 * US), 200_000), plan(&packed(40.0 * US), 20_000));

    assert!(cheapest(&tiny, Backend::Processes).seconds < 0.9 * cheapest(&tiny, Backend::Inline).seconds);
    assert_eq!(tiny.choice().backend, Backend::Inline);
    assert!(tiny.reasons.iter().any(|reason| reason.contains("by 25 %")), "{:?}", tiny.reasons);
    assert_eq!(longer.choice().backend, Backend::Processes);
    assert_ne!(hashes.choice().backend, Backend::Threads);
}

#[test]
fn a_build_without_a_gil_gets_threads_for_pure_python() {
    let machine = Machine { gil: false, ..Machine::default() };

    let plan = decide(&call(10.0 * MS, 0.0, 0.0), &machine, &Job::of(100));

    assert_eq!(plan.choice().backend, Backend::Threads);
    assert!(plan.speedup > 1.7);
}

#[test]
fn three_calls_of_a_second_on_two_cores_share_them() {
    let plan = plan(&call(1.0, 0.0, 0.0), 3);

    assert_eq!(plan.choice().backend, Backend::Processes);
    // Two at a time would take two seconds; three processes sharing two cores take one and a half.
    close(plan.seconds, 1.53, 0.03);
}

#[test]
fn two_heavy_calls_run_side_by_side() {
    let plan = plan(&call(1.0, 0.0, 0.0), 2);

    assert_eq!((plan.choice().backend, plan.choice().processes), (Backend::Processes, 1));
    close(plan.seconds, 1.018, 0.001);
}

#[test]
fn half_computing_half_waiting_calls_get_processes_with_threads_inside() {
    let plan = plan(&call(10.0 * MS, 0.0, 10.0 * MS), 200);

    let choice = plan.choice();
    assert_eq!(choice.backend, Backend::Processes);
    assert!(choice.threads_per_worker > 1, "{choice:?}");
    assert!(choice.seconds < 0.6 * cheapest(&plan, Backend::Threads).seconds);
}

#[test]
fn where_threads_are_struck_out_workers_have_one_each() {
    let job = Job { struck: vec![(Backend::Threads, "it sets the directory".into())], ..Job::of(200) };
    let plan = decide(&call(10.0 * MS, 0.0, 10.0 * MS), &Machine::default(), &job);

    assert_eq!(plan.choice().backend, Backend::Processes);
    let workers = plan.candidates.iter().filter(|one| one.backend == Backend::Processes);
    assert!(workers.clone().count() > 0);
    assert!(workers.into_iter().all(|one| one.threads_per_worker == 1));
}

#[test]
fn one_core_gives_nothing_to_computing_calls() {
    let machine = Machine { cores: 1.0, ..Machine::default() };

    for call in [call(MS, 0.0, 0.0), call(0.0, MS, 0.0)] {
        let plan = decide(&call, &machine, &Job::of(10_000));
        assert_eq!(plan.choice().backend, Backend::Inline, "{plan:#?}");
    }
}

#[test]
fn more_cores_get_more_processes() {
    let machine = Machine { cores: 16.0, ..Machine::default() };

    let plan = decide(&call(10.0 * MS, 0.0, 0.0), &machine, &Job::of(5000));

    assert_eq!((plan.choice().backend, plan.choice().workers), (Backend::Processes, 16));
}

#[test]
fn large_arguments_keep_calls_where_they_are() {
    let heavy = Observation { argument_bytes: Bytes::new(80e6), ..call(20.0 * MS, 0.0, 0.0) };

    let plan = plan(&heavy, 100);

    assert_eq!(plan.choice().backend, Backend::Inline);
    assert!(plan.reasons.iter().any(|reason| reason.contains("moving 80 MB")), "{:?}", plan.reasons);
}

#[test]
fn measured_packing_overrides_the_estimate_from_bytes() {
    let cheap =
        Observation { argument_bytes: Bytes::new(80e6), pack: Some(Seconds::new(MS)), ..call(20.0 * MS, 0.0, 0.0) };

    assert_eq!(plan(&cheap, 100).choice().backend, Backend::Processes);
}

#[test]
fn a_gil_that_is_passed_to_and_fro_speaks_against_threads() {
    // What FEASIBILITY F saw of fetching rows from sqlite: two threads ran 0.29 times as fast.
    let fetch = Observation { flip: 0.88, ..call(44.0 * MS, 56.0 * MS, 0.0) };

    let plan = plan(&fetch, 100);

    let threads = cheapest(&plan, Backend::Threads);
    assert!(threads.rate * 0.1 < 0.4, "{threads:?}");
    assert_eq!(plan.choice().backend, Backend::Processes);
}

#[test]
fn two_calls_that_ran_together_without_gain_speak_against_threads() {
    let bound_by_memory = Observation { together: Some(1.0), ..call(0.0, 50.0 * MS, 0.0) };

    let plan = plan(&bound_by_memory, 100);

    assert_ne!(plan.choice().backend, Backend::Threads);
    close(cheapest(&plan, Backend::Threads).rate, 1.0 / 0.05, 0.01);
}

#[test]
fn a_call_that_still_runs_is_taken_to_last_twice_as_long() {
    let partial = Observation { partial: true, ..call(0.5, 0.0, 0.0) };

    let (partial, whole) = (plan(&partial, 4), plan(&call(1.0, 0.0, 0.0), 4));

    assert_eq!(partial.candidates, whole.candidates);
    assert_eq!(partial.warnings.len(), 1);
}

#[test]
fn calls_that_compute_in_threads_of_their_own_leave_no_core_for_others() {
    let blas = Observation { other_threads: Seconds::new(10.0 * MS), ..call(0.0, 10.0 * MS, 0.0) };

    let plan = plan(&blas, 100);

    assert_eq!(plan.choice().backend, Backend::Inline);
    assert!(plan.warnings[0].contains("nested parallelism"), "{:?}", plan.warnings);
}

#[test]
fn a_struck_backend_is_priced_and_not_taken() {
    let job =
        Job { struck: vec![(Backend::Processes, "it appends to the captured list rows".to_owned())], ..Job::of(1000) };

    let plan = decide(&call(MS, 0.0, 0.0), &Machine::default(), &job);

    assert_eq!(plan.choice().backend, Backend::Inline);
    let struck = cheapest(&plan, Backend::Processes);
    assert_eq!(struck.struck_out.as_deref(), Some("it appends to the captured list rows"));
    assert!(struck.seconds < plan.seconds);
}

#[test]
fn an_explicit_backend_is_taken_even_when_it_is_slower() {
    for backend in [Backend::Threads, Backend::Processes] {
        let job = Job { allowed: Backends::only(&[backend]), max_workers: Some(1), ..Job::of(1) };

        let plan = decide(&call(MS, 0.0, 0.0), &Machine::default(), &job);

        assert_eq!((plan.choice().backend, plan.choice().workers), (backend, 1));
    }
}

#[test]
fn when_nothing_can_be_chosen_the_plain_loop_is_and_says_so() {
    let job = Job {
        allowed: Backends::only(&[Backend::Processes]),
        struck: vec![(Backend::Processes, "a lock cannot travel".to_owned())],
        ..Job::of(1000)
    };

    let plan = decide(&call(MS, 0.0, 0.0), &Machine::default(), &job);

    assert_eq!(plan.choice().backend, Backend::Inline);
    assert_eq!(plan.warnings.len(), 1);
}

#[test]
fn no_candidate_exceeds_max_workers() {
    let job = Job { max_workers: Some(5), ..Job::of(1000) };
    let machine = Machine { cores: 8.0, ..Machine::default() };

    let plan = decide(&call(5.0 * MS, 0.0, 5.0 * MS), &machine, &job);

    assert!(plan.candidates.iter().all(|candidate| candidate.workers <= 5), "{:#?}", plan.candidates);
    assert_eq!(plan.choice().workers, 5);
}

#[test]
fn a_prescribed_chunksize_is_kept_and_priced() {
    let job = Job { chunksize: Some(100), ..Job::of(150) };

    let plan = decide(&call(0.0, 10.0 * MS, 0.0), &Machine::default(), &job);

    assert_eq!(plan.choice().chunksize, 100);
    // A hundred calls on one thread, the other fifty beside them.
    assert!(plan.seconds >= 0.99, "{}", plan.seconds);
}

#[test]
fn what_a_function_carries_is_worth_sending_only_for_much_work() {
    let carried = Carried { bytes: Bytes::new(80e6), pack: Seconds::ZERO };
    let decide = |calls| decide(&call(5.0 * MS, 0.0, 0.0), &Machine::default(), &Job { carried, ..Job::of(calls) });
    let (little, much) = (decide(30), decide(10_000));

    assert_eq!((little.choice().backend, much.choice().backend), (Backend::Inline, Backend::Processes));
    assert!(little.reasons.iter().any(|reason| reason.contains("carries 80 MB")), "{:?}", little.reasons);
    let free = crate::decide(&call(5.0 * MS, 0.0, 0.0), &Machine::default(), &Job::of(30));
    assert_eq!(free.choice().backend, Backend::Processes);
}

#[test]
fn workers_that_would_unpack_more_than_there_is_memory_are_struck_out() {
    let machine = Machine::new(2.0, Bytes::new(1e9), true);
    let carried = Carried { bytes: Bytes::new(600e6), pack: Seconds::ZERO };

    let plan = decide(&call(5.0 * MS, 0.0, 0.0), &machine, &Job { carried, ..Job::of(1_000_000) });

    assert_eq!(plan.choice().backend, Backend::Inline);
}

#[test]
fn memory_limits_the_processes_and_a_warning_says_so() {
    let machine = Machine::new(8.0, Bytes::new(1e9), true);
    let job = Job { worker_bytes: Bytes::new(200e6), ..Job::of(10_000) };

    let plan = decide(&call(5.0 * MS, 0.0, 0.0), &machine, &job);

    assert_eq!((plan.choice().backend, plan.choice().processes), (Backend::Processes, 4));
    assert!(plan.warnings[0].contains("memory"), "{:?}", plan.warnings);
}

#[test]
fn processes_that_never_fit_are_struck_out_for_memory() {
    let machine = Machine::new(2.0, Bytes::new(100e6), true);
    let job = Job { worker_bytes: Bytes::new(200e6), ..Job::of(10_000) };

    let plan = decide(&call(5.0 * MS, 0.0, 0.0), &machine, &job);

    assert_eq!(plan.choice().backend, Backend::Inline);
    let processes = cheapest(&plan, Backend::Processes);
    assert!(processes.struck_out.as_ref().unwrap().contains("80 MB"), "{processes:?}");
}

#[test]
fn an_input_without_a_length_is_priced_as_a_long_one() {
    let plan = decide(&call(MS, 0.0, 0.0), &Machine::default(), &Job::default());

    assert_eq!(plan.choice().backend, Backend::Processes);
    assert!(plan.reasons[1].contains("unknown"), "{:?}", plan.reasons);
}

#[test]
fn calls_that_differ_much_are_predicted_to_end_later() {
    let uneven = Observation { cv: 2.0, longest: Seconds::new(100.0 * MS), ..call(0.0, 10.0 * MS, 0.0) };

    let (uneven, even) = (plan(&uneven, 100), plan(&call(0.0, 10.0 * MS, 0.0), 100));

    assert!(uneven.seconds > even.seconds);
    assert!(uneven.seconds < even.seconds + 0.09 + 1e-9);
}

#[test]
fn every_plan_shows_what_fixed_choices_would_have_cost() {
    let plan = plan(&call(0.1 * US, 0.0, 0.0), 10);

    for threads in [2, 8, 32] {
        assert!(plan.candidates.iter().any(|one| one.backend == Backend::Threads && one.workers == threads));
    }
    assert!(plan.candidates.iter().any(|one| one.processes == 2 && one.threads_per_worker == 1));
    assert!(plan.candidates.is_sorted_by(|one, other| one.seconds <= other.seconds));
}

#[test]
fn reasons_carry_the_figures_that_decided() {
    let plan = plan(&call(12.3 * MS, 0.0, 0.1 * MS), 100);

    assert_eq!(plan.reasons[0], "one call: 12 ms GIL-held, 100 us waiting (mean of 3)");
    assert!(plan.reasons[2].starts_with("threads cannot help: the GIL is held 99 % of the time"), "{:?}", plan.reasons);
    assert!(plan.reasons[3].starts_with("1 process and the caller: "), "{:?}", plan.reasons);
}

#[test]
fn turning_points_say_where_the_choice_would_change() {
    let observation = call(MS, 0.0, 0.0);

    let points = turning_points(&observation, &Machine::default(), &Job::of(1000));

    assert_eq!(points.len(), 2, "{points:?}");
    assert!(points[0].starts_with("with calls under ") && points[0].ends_with(", inline"), "{points:?}");
    assert!(points[1].starts_with("with fewer than ") && points[1].ends_with(" calls, inline"), "{points:?}");
}

#[test]
fn turning_points_lie_on_the_side_where_the_choice_is_another() {
    let points = turning_points(&call(0.001 * MS, 0.0, 0.0), &Machine::default(), &Job::of(1000));

    assert!(points[0].starts_with("with calls over ") && points[0].ends_with(", processes"), "{points:?}");
}

#[test]
fn an_unmeasured_loss_without_a_gil_prefers_no_process_to_a_thread() {
    let machine = Machine { gil: false, cores: 8.0, ..Machine::default() };

    let plan = decide(&call(10.0 * MS, 0.0, 0.0), &machine, &Job::of(1_000_000));

    assert_eq!(plan.choice().backend, Backend::Threads);
}

#[test]
fn half_waiting_calls_that_fit_into_one_round_run_in_one() {
    let plan = plan(&call(0.02, 0.0, 1.0), 40);

    // Two calls of 20 ms at a time on two cores, and a second of waiting.
    assert!(plan.seconds < 1.9, "{:?}", plan.choice());
}

#[test]
fn after_one_call_that_mostly_waited_there_are_more_threads_than_its_own_computing_asks_for() {
    let several = call(2.0 * MS, 0.0, 12.0 * MS);
    let one = Observation { calls: 1, ..several };
    let job = Job { struck: vec![(Backend::Processes, "not asked".into())], ..Job::of(400) };
    let [few, many] = [several, one].map(|seen| decide(&seen, &Machine::default(), &job));

    assert_eq!((few.choice().backend, many.choice().backend), (Backend::Threads, Backend::Threads));
    assert!(many.choice().workers > few.choice().workers);
    assert!(many.seconds <= few.seconds * 1.04);
}

#[test]
fn after_one_call_that_mostly_waited_no_processes_are_started_for_what_it_computed() {
    let several = call(3.0 * MS, 0.0, 12.0 * MS);
    let one = Observation { calls: 1, ..several };

    assert_eq!(plan(&several, 400).choice().backend, Backend::Processes);
    assert_eq!(plan(&one, 400).choice().backend, Backend::Threads);
}

#[test]
fn a_call_that_has_mostly_waited_is_expected_to_go_on_waiting() {
    let waits = Observation { partial: true, ..call(2.0 * MS, 0.0, 8.0 * MS) }.completed();
    let computes = Observation { partial: true, ..call(8.0 * MS, 0.0, 2.0 * MS) }.completed();

    close(waits.wall().get(), 20.0 * MS, 1e-9);
    close(waits.cpu().get(), 2.0 * MS, 1e-9);
    close(computes.wall().get(), 20.0 * MS, 1e-9);
    close(computes.cpu().get(), 16.0 * MS, 1e-9);
}

#[test]
fn a_running_call_is_expected_to_go_on_with_what_it_did_last() {
    let connected = Observation { partial: true, recent: Some(0.0), ..call(3.0 * MS, 0.0, 2.0 * MS) };
    let computes = Observation { recent: Some(1.0), ..connected };

    assert_eq!(connected.completed().held, connected.held);
    assert!(connected.completed().wait > computes.completed().wait);
    assert!(computes.completed().held > connected.held);
    assert_eq!(connected.completed().wall(), computes.completed().wall());
}
