use super::*;
use crate::lines::PATIENCE;

const SOON: Duration = Duration::from_millis(1);

fn queue(workers: usize, queued: usize) -> Queue<u32> {
    Queue::new(Limits { workers, queued }, Order::Shared)
}

fn stealing() -> Queue<u32> {
    let queue = Queue::new(Limits { workers: 2, queued: 100 }, Order::Stealing);
    assert!(queue.add_worker(false) && queue.add_worker(false));
    queue
}

fn post(queue: &Queue<u32>, job: u32) -> Posted<u32> {
    queue.post(Priority::Normal, job, None)
}

fn take(queue: &Queue<u32>) -> Taken<u32> {
    queue.take_or_search(0).map_or_else(|| queue.search(0, SOON), Taken::Job)
}

#[test]
fn jobs_of_one_priority_leave_in_the_order_of_their_posts() {
    let queue = queue(1, 10);
    for job in 0..3 {
        post(&queue, job);
    }

    assert_eq!([Taken::Job(0), Taken::Job(1), Taken::Job(2)], [take(&queue), take(&queue), take(&queue)]);
}

#[test]
fn the_more_urgent_job_leaves_first() {
    for queue in [queue(1, 10), stealing()] {
        queue.post(Priority::Low, 3, None);
        queue.post(Priority::Normal, 2, None);
        queue.post(Priority::Urgent, 0, None);
        queue.post(Priority::High, 1, None);

        let order: Vec<_> = std::iter::from_fn(|| queue.try_take(Some(0))).collect();

        assert_eq!(vec![0, 1, 2, 3], order);
    }
}

#[test]
fn a_job_that_was_overtaken_for_long_goes_next() {
    let queue = queue(1, usize::MAX);
    queue.post(Priority::Low, 7, None);
    for _ in 0..=PATIENCE {
        queue.post(Priority::Urgent, 0, None);
    }

    assert_eq!(Some(7), queue.try_take(None));
}

#[test]
fn only_a_job_that_is_more_urgent_is_taken_before_the_others() {
    let queue = queue(1, 10);
    post(&queue, 1);

    assert_eq!(None, queue.try_take_before(Priority::Normal));
    queue.post(Priority::High, 2, None);
    assert_eq!(Some(2), queue.try_take_before(Priority::Normal));
}

#[test]
fn a_post_asks_for_a_worker_only_while_none_is_idle_and_the_limit_allows() {
    let queue = queue(2, 10);

    assert_eq!(Posted::QueuedNeedsWorker, post(&queue, 0));
    assert_eq!(Posted::QueuedNeedsWorker, post(&queue, 1));
    assert_eq!(Posted::Queued, post(&queue, 2));
}

#[test]
fn a_worker_that_searches_is_enough_for_one_job_and_not_for_two() {
    let queue = queue(2, 10);
    assert!(queue.add_worker(false));
    assert_eq!(None, queue.take_or_search(0));

    assert_eq!(Posted::Queued, post(&queue, 0));
    assert_eq!(Posted::QueuedNeedsWorker, post(&queue, 1));
}

#[test]
fn a_full_queue_hands_the_job_back_unless_it_must_go_in() {
    let queue = queue(0, 1);
    post(&queue, 0);

    assert_eq!(Posted::Full(1), post(&queue, 1));
    assert!(!queue.wait_for_room(SOON));
    assert_eq!(Posted::Queued, queue.post_beyond_capacity(Priority::Normal, 1, None));
}

#[test]
fn a_closed_queue_runs_what_it_has_and_refuses_more() {
    let queue = queue(1, 10);
    post(&queue, 0);
    queue.close(false);

    assert_eq!(Posted::Closed(1), post(&queue, 1));
    assert_eq!(Taken::Job(0), take(&queue));
    assert_eq!(Taken::Closed, take(&queue));
}

#[test]
fn closing_with_discard_hands_every_queued_job_back() {
    for queue in [queue(1, 10), stealing()] {
        queue.post(Priority::Normal, 0, None);
        queue.post(Priority::High, 1, None);

        assert_eq!(vec![1, 0], queue.close(true));
    }
}

#[test]
fn an_idle_worker_becomes_surplus_and_is_uncounted() {
    let queue = queue(1, 10);
    assert!(queue.add_worker(false));

    assert_eq!(Taken::Surplus, take(&queue));
    assert_eq!(0, queue.workers());
}

#[test]
fn a_worker_beyond_the_limit_ends_as_soon_as_it_is_idle() {
    let queue = queue(1, 10);
    assert!(queue.add_worker(false) && queue.add_worker(true));
    assert_eq!(None, queue.take_or_search(0));

    let never = Duration::from_secs(3600);

    assert_eq!(Taken::Surplus, queue.search(0, never));
    assert_eq!(1, queue.workers());
}

#[test]
fn a_worker_takes_its_own_newest_job_and_a_thief_the_oldest() {
    let queue = stealing();
    for job in 0..3 {
        queue.post(Priority::Normal, job, Some(0));
    }

    assert_eq!(Some(2), queue.try_take(Some(0)));
    assert_eq!(Some(0), queue.try_take(Some(1)));
    assert_eq!(Some(1), queue.try_take(None));
}

#[test]
fn jobs_from_outside_are_dealt_to_the_workers_in_turn() {
    let queue = stealing();
    for job in 0..4 {
        post(&queue, job);
    }

    let mine: Vec<_> = [queue.try_take(Some(0)), queue.try_take(Some(0))].into_iter().flatten().collect();
    let others: Vec<_> = [queue.try_take(Some(1)), queue.try_take(Some(1))].into_iter().flatten().collect();

    assert_eq!((2, 2), (mine[1] - mine[0], others[1] - others[0]));
}

#[test]
fn jobs_from_outside_leave_though_a_worker_always_posts_new_ones() {
    let queue = stealing();
    queue.post(Priority::Normal, 7, None);

    let mut taken = Vec::new();
    for job in 100..=100 + u32::try_from(PATIENCE).unwrap() + 1 {
        queue.post(Priority::Normal, job, Some(0));
        taken.extend(queue.try_take(Some(0)));
    }

    assert!(taken.contains(&7));
}

#[test]
fn a_worker_too_many_ends_before_it_takes_a_job() {
    let queue = queue(1, 10);
    assert!(queue.add_worker(false));
    queue.step_out();
    assert!(queue.add_worker(false));
    queue.step_in();
    post(&queue, 0);

    assert_eq!(Taken::Surplus, take(&queue));
    assert_eq!(Taken::Job(0), take(&queue));
}

#[test]
fn a_rescued_job_goes_first_and_gets_a_worker_beyond_the_limit() {
    let queue = queue(1, 1);
    assert!(queue.add_worker(false));
    post(&queue, 0);

    assert!(queue.rescue(1));
    assert_eq!(2, queue.workers());
    assert_eq!(Taken::Job(1), take(&queue));
    queue.relieve();
    assert_eq!(Taken::Surplus, take(&queue));
    assert_eq!(Taken::Job(0), take(&queue));
}

#[test]
fn an_idle_worker_runs_a_rescued_job_and_no_other_is_started() {
    let queue = queue(2, 10);
    assert!(queue.add_worker(false));
    assert_eq!(None, queue.take_or_search(0));

    assert!(!queue.rescue(1));
    assert_eq!(Taken::Job(1), queue.search(0, SOON));
}

#[test]
fn each_rescued_job_gets_a_worker_of_its_own() {
    let queue = queue(1, 10);
    assert!(queue.add_worker(false));
    assert_eq!(None, queue.take_or_search(0));

    assert!(!queue.rescue(1), "the one that searches");
    assert!(queue.rescue(2), "it will run the other one, and may wait for this");
    assert_eq!(Taken::Job(1), queue.search(0, SOON));
    assert_eq!(Some(2), queue.take_or_search(1));
}

#[test]
fn a_worker_too_many_runs_a_rescued_job_before_it_ends() {
    let queue = queue(1, 10);
    assert!(queue.add_worker(false));
    assert!(queue.add_worker(true));
    assert!(queue.add_worker(true));
    assert_eq!(None, queue.take_or_search(0));

    assert!(!queue.rescue(1));
    post(&queue, 0);
    assert_eq!(Taken::Job(1), queue.search(0, SOON));
    assert_eq!(Taken::Surplus, take(&queue));
}

#[test]
fn a_rescued_job_goes_before_those_that_have_lost_their_patience() {
    let jobs = 2 * u32::try_from(crate::PATIENCE).unwrap();
    let queue = queue(1, usize::MAX);
    assert!(queue.add_worker(false));
    for job in 0..jobs {
        post(&queue, job);
    }

    assert!(queue.rescue(jobs));
    assert_eq!(Taken::Job(jobs), take(&queue));
    assert_eq!(Taken::Job(0), take(&queue));
}
