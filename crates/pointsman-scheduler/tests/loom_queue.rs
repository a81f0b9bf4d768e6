//! Every interleaving of posting, taking and closing, on small models.
#![cfg(loom)]

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;
use pointsman_scheduler::{Limits, Priority, Queue, Taken};

const NEVER: Duration = Duration::from_secs(3600);

fn queue() -> Arc<Queue<u32>> {
    Arc::new(Queue::new(Limits { workers: 2, queued: 8 }))
}

#[test]
fn a_parked_worker_never_misses_a_post() {
    loom::model(|| {
        let queue = queue();
        queue.add_worker(false);
        let worker = thread::spawn({
            let queue = queue.clone();
            move || queue.take(NEVER)
        });
        queue.post(Priority::Normal, 1);

        assert_eq!(Taken::Job(1), worker.join().unwrap());
    });
}

#[test]
fn two_workers_take_a_job_exactly_once() {
    loom::model(|| {
        let queue = queue();
        queue.post(Priority::Normal, 1);
        queue.post(Priority::Normal, 2);
        let other = thread::spawn({
            let queue = queue.clone();
            move || queue.try_take()
        });
        let mine = queue.try_take();
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
            move || queue.take(NEVER)
        });
        queue.close(false);

        assert_eq!(Taken::Closed, worker.join().unwrap());
    });
}
