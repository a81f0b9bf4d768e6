//! A queue of jobs with priorities, and the parking of the workers that serve it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, MutexGuard};

/// How urgent a job is. Among queued jobs the more urgent goes first, except that a job which
/// has been passed over by [`PATIENCE`] later ones goes next, so that none starves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Before everything else.
    Urgent = 0,
    /// Before ordinary jobs.
    High = 1,
    /// The usual place.
    Normal = 2,
    /// When nothing else waits.
    Low = 3,
}

impl Priority {
    const COUNT: usize = 4;

    /// The priority of this rank (0 is most urgent); ranks beyond the last are [`Priority::Low`].
    pub fn from_rank(rank: u8) -> Self {
        match rank {
            0 => Self::Urgent,
            1 => Self::High,
            2 => Self::Normal,
            _ => Self::Low,
        }
    }
}

/// Jobs of higher priority that may overtake a waiting one. Arbitrary: anything from 100 to
/// 10,000 keeps strict order for a burst and ends starvation within a second of steady load.
pub const PATIENCE: u64 = 1000;

/// How far a queue may grow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most workers that serve the queue at one time.
    pub workers: usize,
    /// Most jobs that may wait; a post beyond it is refused with [`Posted::Full`].
    pub queued: usize,
}

/// What came of posting a job.
#[derive(Debug, PartialEq, Eq)]
pub enum Posted<T> {
    /// A parked worker was woken for it, or a busy one will come to it.
    Queued,
    /// It is queued and one more worker should be started: the slot is already counted.
    QueuedNeedsWorker,
    /// The queue is at its capacity; the job comes back.
    Full(T),
    /// The queue is closed; the job comes back.
    Closed(T),
}

/// What a worker got.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken<T> {
    /// A job to run.
    Job(T),
    /// Nothing came within the time limit; the worker is no longer counted and should end.
    Surplus,
    /// The queue is closed and empty; the worker is no longer counted and should end.
    Closed,
}

#[derive(Debug)]
struct Entry<T> {
    job: T,
    posted: u64,
}

#[derive(Debug)]
struct State<T> {
    lines: [VecDeque<Entry<T>>; Priority::COUNT],
    queued: usize,
    posted: u64,
    parked: usize,
    workers: usize,
    limits: Limits,
    closed: bool,
}

impl<T> State<T> {
    /// Removes the next job: the most urgent, or the one that has waited beyond all patience.
    fn pop(&mut self) -> Option<T> {
        let posted = self.posted;
        let patient =
            self.lines.iter().rposition(|line| line.front().is_some_and(|entry| posted - entry.posted > PATIENCE));
        let line = match patient {
            Some(rank) if rank > 0 => rank,
            _ => self.lines.iter().position(|line| !line.is_empty())?,
        };
        let entry = self.lines[line].pop_front()?;
        self.queued -= 1;
        Some(entry.job)
    }
}

/// A queue that many threads post to and many workers take from.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    work: Condvar,
    room: Condvar,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::new(State {
                lines: [const { VecDeque::new() }; Priority::COUNT],
                queued: 0,
                posted: 0,
                parked: 0,
                workers: 0,
                limits,
                closed: false,
            }),
            work: Condvar::new(),
            room: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A poisoned lock means a panic between two plain moves of this file, which leave the
        // state whole (I2: no foreign code runs here), so the state is still good.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Adds a job.
    pub fn post(&self, priority: Priority, job: T) -> Posted<T> {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return Posted::Closed(job);
        }
        if state.queued >= state.limits.queued {
            drop(state);
            return Posted::Full(job);
        }
        state.posted += 1;
        let posted = state.posted;
        state.lines[priority as usize].push_back(Entry { job, posted });
        state.queued += 1;
        // A worker that was woken counts as parked until it has the lock: each queued job needs one of its own.
        if state.parked > 0 {
            self.work.notify_one();
        }
        if state.queued > state.parked && state.workers < state.limits.workers {
            state.workers += 1;
            return Posted::QueuedNeedsWorker;
        }
        Posted::Queued
    }

    /// Waits until a post can succeed, the queue closes, or `limit` has passed.
    pub fn wait_for_room(&self, limit: Duration) -> bool {
        let state = self.lock();
        if state.closed || state.queued < state.limits.queued {
            return true;
        }
        let (state, _) = Self::wait(&self.room, state, limit);
        state.closed || state.queued < state.limits.queued
    }

    /// Takes a job, parking for at most `patience` while there is none.
    pub fn take(&self, patience: Duration) -> Taken<T> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(job) = state.pop() {
                drop(state);
                self.room.notify_one();
                return Taken::Job(job);
            }
            if state.closed {
                state.workers -= 1;
                return Taken::Closed;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // One that was started for a worker that waited elsewhere is not needed when that is back.
            if left.is_zero() || state.workers > state.limits.workers {
                state.workers -= 1;
                return Taken::Surplus;
            }
            state.parked += 1;
            let (guard, _) = Self::wait(&self.work, state, left);
            state = guard;
            state.parked -= 1;
        }
    }

    /// Takes a job if there is one, for a thread that has something else to wait for.
    pub fn try_take(&self) -> Option<T> {
        let job = self.lock().pop();
        if job.is_some() {
            self.room.notify_one();
        }
        job
    }

    /// Removes the first queued job that `wanted` accepts. `wanted` must be quick and plain.
    pub fn withdraw(&self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let mut state = self.lock();
        for rank in 0..Priority::COUNT {
            if let Some(at) = state.lines[rank].iter().position(|entry| wanted(&entry.job)) {
                let entry = state.lines[rank].remove(at);
                state.queued -= 1;
                drop(state);
                self.room.notify_one();
                return entry.map(|entry| entry.job);
            }
        }
        None
    }

    /// Closes the queue: posts are refused from now on. With `discard`, the queued jobs are handed
    /// back instead of being run.
    pub fn close(&self, discard: bool) -> Vec<T> {
        let mut state = self.lock();
        state.closed = true;
        let mut handed_back = Vec::new();
        if discard {
            while let Some(job) = state.pop() {
                handed_back.push(job);
            }
        }
        drop(state);
        self.work.notify_all();
        self.room.notify_all();
        handed_back
    }

    /// Counts a worker that is about to be started outside of [`Queue::post`]; false at the limit.
    pub fn add_worker(&self, beyond_limit: bool) -> bool {
        let mut state = self.lock();
        if state.closed && state.queued == 0 {
            return false;
        }
        if !beyond_limit && state.workers >= state.limits.workers {
            return false;
        }
        state.workers += 1;
        true
    }

    /// Uncounts a worker that is about to wait for something else, so that another may take its place; whether one must
    /// be started for it, which is then counted.
    pub fn step_out(&self) -> bool {
        let mut state = self.lock();
        state.workers = state.workers.saturating_sub(1);
        let needed = state.queued > state.parked && state.workers < state.limits.workers;
        state.workers += usize::from(needed);
        needed
    }

    /// Counts a worker again that had stepped out. There may be more than the limit then, until one has nothing to do.
    pub fn step_in(&self) {
        self.lock().workers += 1;
    }

    /// Uncounts a worker that could not be started or ended on its own.
    pub fn remove_worker(&self) {
        let mut state = self.lock();
        state.workers = state.workers.saturating_sub(1);
    }

    /// Jobs that wait.
    pub fn queued(&self) -> usize {
        self.lock().queued
    }

    /// Workers that serve the queue, parked ones included.
    pub fn workers(&self) -> usize {
        self.lock().workers
    }

    /// Workers that are parked.
    pub fn parked(&self) -> usize {
        self.lock().parked
    }

    /// Whether [`Queue::close`] has been called.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    #[cfg(not(loom))]
    fn wait<'a>(
        condition: &Condvar,
        state: MutexGuard<'a, State<T>>,
        limit: Duration,
    ) -> (MutexGuard<'a, State<T>>, bool) {
        let (state, result) = condition.wait_timeout(state, limit).unwrap_or_else(std::sync::PoisonError::into_inner);
        (state, result.timed_out())
    }

    #[cfg(loom)]
    fn wait<'a>(
        condition: &Condvar,
        state: MutexGuard<'a, State<T>>,
        _limit: Duration,
    ) -> (MutexGuard<'a, State<T>>, bool) {
        // loom has no clock: a wait that needs its time limit to end is a lost wake, and loom says so.
        (condition.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner), false)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    fn queue(workers: usize, queued: usize) -> Queue<u32> {
        Queue::new(Limits { workers, queued })
    }

    #[test]
    fn jobs_of_one_priority_leave_in_the_order_of_their_posts() {
        let queue = queue(1, 10);
        for job in 0..3 {
            queue.post(Priority::Normal, job);
        }

        assert_eq!(
            [Taken::Job(0), Taken::Job(1), Taken::Job(2)],
            [queue.take(SOON), queue.take(SOON), queue.take(SOON)]
        );
    }

    #[test]
    fn the_more_urgent_job_leaves_first() {
        let queue = queue(1, 10);
        queue.post(Priority::Low, 3);
        queue.post(Priority::Normal, 2);
        queue.post(Priority::Urgent, 0);
        queue.post(Priority::High, 1);

        let order: Vec<_> = std::iter::from_fn(|| queue.try_take()).collect();

        assert_eq!(vec![0, 1, 2, 3], order);
    }

    #[test]
    fn a_job_that_was_overtaken_for_long_goes_next() {
        let queue = queue(1, usize::MAX);
        queue.post(Priority::Low, 7);
        for _ in 0..=PATIENCE {
            queue.post(Priority::Urgent, 0);
        }

        assert_eq!(Some(7), queue.try_take());
    }

    #[test]
    fn a_post_asks_for_a_worker_only_while_none_is_parked_and_the_limit_allows() {
        let queue = queue(2, 10);

        assert_eq!(Posted::QueuedNeedsWorker, queue.post(Priority::Normal, 0));
        assert_eq!(Posted::QueuedNeedsWorker, queue.post(Priority::Normal, 1));
        assert_eq!(Posted::Queued, queue.post(Priority::Normal, 2));
    }

    #[test]
    fn a_full_queue_hands_the_job_back() {
        let queue = queue(0, 1);
        queue.post(Priority::Normal, 0);

        assert_eq!(Posted::Full(1), queue.post(Priority::Normal, 1));
        assert!(!queue.wait_for_room(SOON));
    }

    #[test]
    fn a_closed_queue_runs_what_it_has_and_refuses_more() {
        let queue = queue(1, 10);
        queue.post(Priority::Normal, 0);
        queue.close(false);

        assert_eq!(Posted::Closed(1), queue.post(Priority::Normal, 1));
        assert_eq!(Taken::Job(0), queue.take(SOON));
        assert_eq!(Taken::Closed, queue.take(SOON));
    }

    #[test]
    fn closing_with_discard_hands_every_queued_job_back() {
        let queue = queue(1, 10);
        queue.post(Priority::Normal, 0);
        queue.post(Priority::High, 1);

        assert_eq!(vec![1, 0], queue.close(true));
    }

    #[test]
    fn an_idle_worker_becomes_surplus_and_is_uncounted() {
        let queue = queue(1, 10);
        assert!(queue.add_worker(false));

        assert_eq!(Taken::Surplus, queue.take(SOON));
        assert_eq!(0, queue.workers());
    }

    #[test]
    fn a_withdrawn_job_is_never_taken() {
        let queue = queue(1, 10);
        queue.post(Priority::Normal, 5);
        queue.post(Priority::Normal, 6);

        assert_eq!(Some(5), queue.withdraw(|job| *job == 5));
        assert_eq!(Some(6), queue.try_take());
        assert_eq!(None, queue.try_take());
    }
}
