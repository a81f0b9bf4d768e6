//! Every interleaving of posting, taking and closing, on small models.
#![cfg(loom)]

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;
use pointsman_scheduler::{Limits, Order, Priority, Queue, Taken};

const NEVER: Duration = Duration::from_secs(3600);

fn queue() -> Arc<Queue<u32>> {
    Arc::new(Queue::new(Limits { workers: 2, queued: 8 }, Order::Shared))
}

fn take(queue: &Queue<u32>) -> Taken<u32> {
    queue.take_or_search(0).map_or_else(|| queue.search(0, NEVER), Taken::Job)
}

#[test]
fn a_parked_worker_never_misses_a_post() {
    loom::model(|| {
        let queue = queue();
        queue.add_worker(false);
        let worker = thread::spawn({
            let queue = queue.clone();
            move || take(&queue)
        });
        queue.post(Priority::Normal, 1, None);

        assert_eq!(Taken::Job(1), worker.join().unwrap());
    });
}

#[test]
fn two_workers_take_a_job_exactly_once() {
    loom::model(|| {
        let queue = queue();
        queue.post(Priority::Normal, 1, None);
        queue.post(Priority::Normal, 2, None);
        let other = thread::spawn({
            let queue = queue.clone();
            move || queue.try_take(None)
        });
        let mine = queue.try_take(None);
        let mut got = [mine.unwrap(), other.join().unwrap().unwrap()];
        got.sort_unstable();

        assert_eq!([1, 2], got);
    });
}

#[test]
fn closing_ends_a_parked_worker() {
    loom::model(|| {
        let queue = queue();
        queue.add_worker(false);
        let worker = thread::spawn({
            let queue = queue.clone();
            move || take(&queue)
        });
        queue.close(false);

        assert_eq!(Taken::Closed, worker.join().unwrap());
    });
}

#[test]
fn two_parked_workers_find_two_jobs_though_one_is_woken() {
    loom::model(|| {
        let queue = queue();
        let workers: Vec<_> = (0..2)
            .map(|_| {
                queue.add_worker(false);
                let queue = queue.clone();
                thread::spawn(move || take(&queue))
            })
            .collect();
        queue.post(Priority::Normal, 1, None);
        queue.post(Priority::Normal, 2, None);
        let mut got: Vec<_> = workers
            .into_iter()
            .map(|worker| match worker.join().unwrap() {
                Taken::Job(job) => job,
                other => panic!("{other:?}"),
            })
            .collect();
        got.sort_unstable();

        assert_eq!(vec![1, 2], got);
    });
}
