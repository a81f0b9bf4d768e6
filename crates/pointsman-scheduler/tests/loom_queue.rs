//! Every interleaving of posting, taking and closing, on small models.
#![cfg(loom)]

// A module, so that the name by which loom's tests are chosen is in the names of these.
mod loom_models {
    use std::time::Duration;

    use loom::sync::Arc;
    use loom::thread;
    use pointsman_scheduler::{Limits, Order, Posted, Priority, Queue, Taken};

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

    /// The one worker that there may be waits for a call of its own pool; returns what that call's worker got, if one was
    /// started for it.
    fn waits_for_its_own(queue: &Arc<Queue<u32>>) -> Option<thread::JoinHandle<Taken<u32>>> {
        queue.step_out().then(|| {
            let queue = queue.clone();
            thread::spawn(move || take(&queue))
        })
    }

    #[test]
    fn a_call_is_run_though_the_only_worker_waits_for_it() {
        loom::model(|| {
            let queue = Arc::new(Queue::new(Limits { workers: 1, queued: 8 }, Order::Shared));
            queue.add_worker(false);
            // Somebody posts the call while the worker begins to wait: either sees to it that a worker is started.
            let poster = thread::spawn({
                let queue = queue.clone();
                move || queue.post(Priority::Normal, 1, None)
            });
            let started = waits_for_its_own(&queue);
            let asked = poster.join().unwrap() == Posted::QueuedNeedsWorker;

            assert!(asked != started.is_some());
            let got = started.map_or_else(|| take(&queue), |worker| worker.join().unwrap());
            assert_eq!(Taken::Job(1), got);
            queue.step_in();
            assert_eq!(2, queue.workers());
        });
    }

    #[test]
    fn a_worker_that_comes_back_ends_when_there_is_one_too_many() {
        loom::model(|| {
            let queue = Arc::new(Queue::new(Limits { workers: 1, queued: 8 }, Order::Shared));
            queue.add_worker(false);
            queue.post(Priority::Normal, 1, None);
            let other = waits_for_its_own(&queue).unwrap();
            queue.step_in();
            // Both look for work now; one of them finds that it is one too many, the other sleeps until the end.
            let mine = thread::spawn({
                let queue = queue.clone();
                move || take(&queue)
            });
            queue.close(false);
            let got = (mine.join().unwrap(), other.join().unwrap());

            assert!(matches!(got, (Taken::Job(1), Taken::Closed | Taken::Surplus) | (_, Taken::Job(1))));
            assert!(queue.workers() <= 1);
        });
    }
}
