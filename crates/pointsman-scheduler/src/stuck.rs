//! Which of the threads that wait for jobs wait for each other in a circle, so that none of them will ever go on.

use std::collections::HashMap;

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

/// What becomes of the waits in a thread, or in all threads of a pool.
#[derive(Default)]
struct Waits {
    /// Those that are stuck as far as is known.
    stuck: usize,
    /// Who waits for the thread or the pool: it goes on with fewer stuck ones than this; and its index.
    awaited_by: Vec<(usize, usize)>,
}

impl Waits {
    /// Hands out those who need not wait for ever, because so few are stuck.
    fn let_go(&mut self, freed: &mut Vec<usize>) {
        while let Some((_, wait)) = self.awaited_by.pop_if(|(enough, _)| self.stuck < *enough) {
            freed.push(wait);
        }
    }
}

/// Whether a thread will wait for ever unless some pool gets one more worker.
///
/// All are taken to be stuck, and then those let go, again and again, who wait for a thread that is not, or for a pool
/// with a worker that is not. Who is left waits for others that are left. Takes time by the number of waits, and sorts
/// them once.
pub fn is_stuck(waits: &[Wait], thread: usize) -> bool {
    let (mut threads, mut pools) = (HashMap::<usize, Waits>::new(), HashMap::<usize, Waits>::new());
    for (index, wait) in waits.iter().enumerate() {
        threads.entry(wait.thread).or_default().stuck += 1;
        if let Some(home) = wait.home {
            pools.entry(home).or_default().stuck += 1;
        }
        match wait.awaits {
            Awaits::Thread(runner) => threads.entry(runner).or_default().awaited_by.push((1, index)),
            Awaits::Pool(pool, workers) => pools.entry(pool).or_default().awaited_by.push((workers, index)),
        }
    }
    let mut freed = Vec::new();
    for awaited in threads.values_mut().chain(pools.values_mut()) {
        awaited.awaited_by.sort_unstable();
        awaited.let_go(&mut freed);
    }
    while let Some(index) = freed.pop() {
        let wait = &waits[index];
        let (of_thread, of_home) = (threads.get_mut(&wait.thread), wait.home.and_then(|home| pools.get_mut(&home)));
        for awaited in of_thread.into_iter().chain(of_home) {
            awaited.stuck -= 1;
            awaited.let_go(&mut freed);
        }
    }
    threads.get(&thread).is_some_and(|waits| waits.stuck > 0)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn a_chain_of_a_hundred_thousand_is_looked_through() {
        let mut chain: Vec<_> = (1..100_000).map(|thread| waits(thread, ONE, Awaits::Thread(thread + 1))).collect();
        assert!(!is_stuck(&chain, 1));

        chain.push(waits(100_000, ONE, Awaits::Pool(ONE, 100_000)));
        assert!(is_stuck(&chain, 1));
    }

    /// By the words of the rule, however long it takes.
    fn is_stuck_by_the_rule(waits: &[Wait], thread: usize) -> bool {
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

    fn any_wait() -> impl Strategy<Value = Wait> {
        let awaits = prop_oneof![
            (0..10_usize).prop_map(Awaits::Thread),
            (100..103_usize, 0..4_usize).prop_map(|(pool, workers)| Awaits::Pool(pool, workers)),
        ];
        (0..10_usize, proptest::option::of(100..103_usize), awaits).prop_map(|(thread, home, awaits)| Wait {
            thread,
            home,
            awaits,
        })
    }

    proptest! {
        #[test]
        fn who_is_stuck_is_so_by_the_rule(waits in proptest::collection::vec(any_wait(), 0..12)) {
            for thread in 0..10 {
                prop_assert_eq!(is_stuck_by_the_rule(&waits, thread), is_stuck(&waits, thread));
            }
        }
    }
}
