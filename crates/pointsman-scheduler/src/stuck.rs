//! Which of the threads that wait for jobs wait for each other in a circle, so that none of them will ever go on.

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// A job that this thread runs.
    Thread(usize),
    /// A job that any worker of a pool may run, and how many workers the pool has.
    Pool(usize, usize),
}

/// One thread that waits.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Its own name.
    pub thread: usize,
    /// The pool that it is a worker of.
    pub home: Option<usize>,
    /// What it waits for.
    pub awaits: Awaits,
}

/// Whether a thread will wait for ever unless some pool gets one more worker.
///
/// All are taken to be stuck, and then those let go, again and again, who wait for a thread that is not, or for a pool
/// with a worker that is not. Who is left waits for others that are left.
pub fn is_stuck(waits: &[Wait], thread: usize) -> bool {
    let mut stuck: Vec<&Wait> = waits.iter().collect();
    loop {
        let goes_on = |wait: &&Wait| match wait.awaits {
            Awaits::Thread(runner) => stuck.iter().all(|other| other.thread != runner),
            Awaits::Pool(pool, workers) => stuck.iter().filter(|other| other.home == Some(pool)).count() < workers,
        };
        let left: Vec<_> = stuck.iter().copied().filter(|wait| !goes_on(wait)).collect();
        if left.len() == stuck.len() {
            return left.iter().any(|wait| wait.thread == thread);
        }
        stuck = left;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ONE: usize = 100;
    const OTHER: usize = 200;

    fn waits(thread: usize, home: usize, awaits: Awaits) -> Wait {
        Wait { thread, home: Some(home), awaits }
    }

    #[test]
    fn the_only_worker_of_a_pool_that_waits_for_a_queued_job_of_it_is_stuck() {
        let waits = [waits(1, ONE, Awaits::Pool(ONE, 1))];

        assert!(is_stuck(&waits, 1));
    }

    #[test]
    fn a_worker_is_not_stuck_while_another_may_come_to_the_job() {
        let waits = [waits(1, ONE, Awaits::Pool(ONE, 2))];

        assert!(!is_stuck(&waits, 1));
    }

    #[test]
    fn a_worker_that_waits_for_a_busy_one_is_not_stuck() {
        let waits = [waits(1, ONE, Awaits::Thread(2)), waits(3, ONE, Awaits::Pool(ONE, 2))];

        assert!(!is_stuck(&waits, 1));
        assert!(!is_stuck(&waits[..1], 1));
    }

    #[test]
    fn two_pools_whose_workers_wait_for_each_other_are_stuck() {
        let waits = [waits(1, ONE, Awaits::Thread(2)), waits(2, OTHER, Awaits::Pool(ONE, 1))];

        assert!(is_stuck(&waits, 1));
        assert!(is_stuck(&waits, 2));
    }

    #[test]
    fn many_that_wait_for_one_busy_pool_are_not_stuck() {
        let mut all: Vec<_> = (1..9).map(|thread| waits(thread, ONE, Awaits::Pool(OTHER, 1))).collect();
        assert!(!is_stuck(&all, 3));

        all.push(waits(9, OTHER, Awaits::Pool(ONE, 8)));
        assert!(is_stuck(&all, 3));
    }

    #[test]
    fn a_thread_that_does_not_wait_is_not_stuck() {
        assert!(!is_stuck(&[waits(1, ONE, Awaits::Pool(ONE, 1))], 2));
    }
}
