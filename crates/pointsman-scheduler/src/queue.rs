//! A queue of jobs, and the parking of the workers that serve it.
//!
//! A worker that finds nothing is *searching* while it looks around, and *parked* while it sleeps. One searching worker is
//! enough to find whatever is posted; it wakes the next parked one if there is more than it takes (a chain), so that a burst
//! of posts costs its author one wake and not one for each.

use std::time::{Duration, Instant};

use crate::lines::{Lines, Order, Priority};
use crate::sync::{AtomicUsize, Condvar, Mutex, MutexGuard, Ordering};

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
    /// A worker was woken for it, or a busy one will come to it.
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
struct State<T> {
    lines: Lines<T>,
    /// Workers that sleep and have not been chosen to be woken.
    parked: usize,
    /// Workers that look for a job, those chosen among the sleepers included.
    searching: usize,
    /// Sleepers that were chosen and have not woken yet.
    chosen: usize,
    workers: usize,
    limits: Limits,
    /// Workers that there may be beyond the limit, for jobs that could not be run otherwise.
    extra: usize,
    closed: bool,
}

impl<T> State<T> {
    /// Whether there is a worker too many, even for a time in which some are lent.
    fn is_crowded(&self) -> bool {
        self.workers > self.limits.workers.saturating_add(self.extra)
    }

    /// Chooses one sleeper to be woken; the caller notifies `work` if true.
    fn choose(&mut self) -> bool {
        if self.parked == 0 {
            return false;
        }
        self.parked -= 1;
        self.chosen += 1;
        self.searching += 1;
        true
    }
}

/// A queue that many threads post to and many workers take from.
#[derive(Debug)]
pub struct Queue<T> {
    state: Mutex<State<T>>,
    work: Condvar,
    room: Condvar,
    /// The number of queued jobs, or a large number once closed, for those who look without the lock.
    visible: AtomicUsize,
    /// The number of those that are more urgent than [`Priority::Normal`].
    urgent: AtomicUsize,
}

const CLOSED: usize = usize::MAX;

impl<T> Queue<T> {
    /// An empty queue.
    pub fn new(limits: Limits, order: Order) -> Self {
        Self {
            state: Mutex::new(State {
                lines: Lines::new(order),
                parked: 0,
                searching: 0,
                chosen: 0,
                workers: 0,
                limits,
                extra: 0,
                closed: false,
            }),
            work: Condvar::new(),
            room: Condvar::new(),
            visible: AtomicUsize::new(0),
            urgent: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A poisoned lock means a panic between two plain moves of this file, which leave the
        // state whole (I2: no foreign code runs here), so the state is still good.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn show(&self, state: &State<T>) {
        let visible = if state.closed { CLOSED } else { state.lines.len() };
        // Relaxed: a hint for searchers, who take the lock to see what is really there.
        self.visible.store(visible, Ordering::Relaxed);
        self.urgent.store(state.lines.urgent(), Ordering::Relaxed);
    }

    /// Adds a job that worker `from` posts, or somebody outside.
    pub fn post(&self, priority: Priority, job: T, from: Option<usize>) -> Posted<T> {
        self.post_up_to(priority, job, from, None)
    }

    /// Like [`Queue::post`], but never [`Posted::Full`].
    pub fn post_beyond_capacity(&self, priority: Priority, job: T, from: Option<usize>) -> Posted<T> {
        self.post_up_to(priority, job, from, Some(usize::MAX))
    }

    fn post_up_to(&self, priority: Priority, job: T, from: Option<usize>, capacity: Option<usize>) -> Posted<T> {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return Posted::Closed(job);
        }
        if state.lines.len() >= capacity.unwrap_or(state.limits.queued) {
            drop(state);
            return Posted::Full(job);
        }
        let workers = state.workers;
        state.lines.push(priority, job, from, workers);
        self.show(&state);
        let wake = state.searching == 0 && state.choose();
        let needs = state.lines.len() > state.parked + state.searching && state.workers < state.limits.workers;
        if needs {
            state.workers += 1;
        }
        drop(state);
        if wake {
            self.work.notify_one();
        }
        if needs { Posted::QueuedNeedsWorker } else { Posted::Queued }
    }

    /// Waits until a post can succeed, the queue closes, or `limit` has passed.
    pub fn wait_for_room(&self, limit: Duration) -> bool {
        let state = self.lock();
        if state.closed || state.lines.len() < state.limits.queued {
            return true;
        }
        let (state, _) = Self::wait(&self.room, state, limit);
        state.closed || state.lines.len() < state.limits.queued
    }

    /// A job for a worker; `None` makes it a searching one, which must call [`Queue::search`].
    pub fn take_or_search(&self, worker: usize) -> Option<T> {
        let mut state = self.lock();
        let job = self.pop_allowed(&mut state, worker);
        if job.is_none() {
            state.searching += 1;
        }
        self.leave(state, job.is_some());
        job
    }

    /// Whether a searching worker would find nothing now. A hint, and cheap: it takes no lock.
    pub fn looks_empty(&self) -> bool {
        // Relaxed: see `show`.
        self.visible.load(Ordering::Relaxed) == 0
    }

    /// Whether jobs that are more urgent than the usual wait. A hint, and cheap: it takes no lock.
    pub fn looks_urgent(&self) -> bool {
        // Relaxed: see `show`.
        self.urgent.load(Ordering::Relaxed) > 0
    }

    /// Waits for a job after [`Queue::take_or_search`] gave none, for at most `patience`.
    pub fn search(&self, worker: usize, patience: Duration) -> Taken<T> {
        let began = Instant::now();
        let mut state = self.lock();
        loop {
            // Here this worker is one of `searching`.
            if let Some(job) = self.pop_allowed(&mut state, worker) {
                state.searching -= 1;
                self.leave(state, true);
                return Taken::Job(job);
            }
            let left = patience.saturating_sub(began.elapsed());
            let surplus = left.is_zero() || state.workers > state.limits.workers;
            if state.closed || surplus {
                state.searching -= 1;
                state.workers -= 1;
                let taken = if state.closed { Taken::Closed } else { Taken::Surplus };
                // Jobs may be left that were posted while this worker searched.
                self.leave(state, true);
                return taken;
            }
            state.searching -= 1;
            state.parked += 1;
            let (guard, _) = Self::wait(&self.work, state, left);
            state = guard;
            if state.chosen > 0 {
                state.chosen -= 1;
            } else {
                // Its time is over, or all are woken to see that the queue is closed.
                state.parked -= 1;
                state.searching += 1;
            }
        }
    }

    /// Takes a job if there is one, for a thread that has something else to wait for.
    pub fn try_take(&self, worker: Option<usize>) -> Option<T> {
        let mut state = self.lock();
        let job = self.pop(&mut state, worker);
        self.leave(state, job.is_some());
        job
    }

    /// Takes a job that is more urgent than `than`, if there is one.
    pub fn try_take_before(&self, than: Priority) -> Option<T> {
        let mut state = self.lock();
        let urgent = state.lines.most_urgent().is_some_and(|priority| priority < than);
        let job = if urgent { self.pop(&mut state, None) } else { None };
        self.leave(state, job.is_some());
        job
    }

    fn pop(&self, state: &mut State<T>, worker: Option<usize>) -> Option<T> {
        let job = state.lines.pop(worker);
        if job.is_some() {
            self.show(state);
        }
        job
    }

    /// The next job for a worker. One too many takes no other than a rescued one: whoever rescued it may have counted on
    /// this worker, and all others may wait for what waits for it.
    fn pop_allowed(&self, state: &mut State<T>, worker: usize) -> Option<T> {
        if !state.is_crowded() {
            return self.pop(state, Some(worker));
        }
        let job = state.lines.pop_rescued();
        if job.is_some() {
            self.show(state);
        }
        job
    }

    /// Lets go of the lock after a worker took a job or ended, waking whom that concerns.
    fn leave(&self, mut state: MutexGuard<'_, State<T>>, took: bool) {
        if !took {
            return;
        }
        // The chain: nobody else looks for what is left.
        let wake = state.lines.len() > 0 && state.searching == 0 && state.choose();
        let room = state.limits.queued != usize::MAX;
        drop(state);
        if wake {
            self.work.notify_one();
        }
        if room {
            self.room.notify_one();
        }
    }

    /// Closes the queue: posts are refused from now on. With `discard`, the queued jobs are handed
    /// back instead of being run.
    pub fn close(&self, discard: bool) -> Vec<T> {
        let mut state = self.lock();
        state.closed = true;
        let mut handed_back = Vec::new();
        if discard {
            while let Some(job) = state.lines.pop(None) {
                handed_back.push(job);
            }
        }
        self.show(&state);
        drop(state);
        self.work.notify_all();
        self.room.notify_all();
        handed_back
    }

    /// Counts a worker that is about to be started outside of [`Queue::post`]; false at the limit.
    pub fn add_worker(&self, beyond_limit: bool) -> bool {
        let mut state = self.lock();
        if state.closed && state.lines.len() == 0 {
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
        let needed = state.lines.len() > state.parked + state.searching && state.workers < state.limits.workers;
        state.workers += usize::from(needed);
        needed
    }

    /// Counts a worker again that had stepped out. There may be more than the limit then, until one has nothing to do.
    pub fn step_in(&self) {
        self.lock().workers += 1;
    }

    /// Queues a job before all others, though the queue be full or closed, and allows one worker more than the limit until
    /// [`Queue::relieve`]; whether one must be started, which is then counted. For a job that somebody waits for who keeps
    /// a worker from it. The job may be one that is queued already.
    pub fn rescue(&self, job: T) -> bool {
        let mut state = self.lock();
        state.extra += 1;
        state.lines.rescue(job);
        self.show(&state);
        // Each rescued job needs a worker of its own: one that runs another may come to wait for this one.
        let wake = state.searching < state.lines.rescued() && state.choose();
        let needs = !wake && state.searching < state.lines.rescued();
        state.workers += usize::from(needs);
        drop(state);
        if wake {
            self.work.notify_one();
        }
        needs
    }

    /// Ends what [`Queue::rescue`] allowed: a worker too many ends when it comes for its next job.
    pub fn relieve(&self) {
        let mut state = self.lock();
        state.extra = state.extra.saturating_sub(1);
    }

    /// Uncounts a worker that could not be started or ended on its own.
    pub fn remove_worker(&self) {
        let mut state = self.lock();
        state.workers = state.workers.saturating_sub(1);
    }

    /// Most workers from now on; those beyond it end when they find nothing to do.
    pub fn limit_workers(&self, workers: usize) {
        self.lock().limits.workers = workers;
    }

    /// Most workers that serve the queue.
    pub fn most_workers(&self) -> usize {
        self.lock().limits.workers
    }

    /// Jobs that wait.
    pub fn queued(&self) -> usize {
        self.lock().lines.len()
    }

    /// Workers that serve the queue, parked ones included.
    pub fn workers(&self) -> usize {
        self.lock().workers
    }

    /// Workers that have nothing to do.
    pub fn idle(&self) -> usize {
        let state = self.lock();
        state.parked + state.searching
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
#[path = "queue_tests.rs"]
mod tests;
