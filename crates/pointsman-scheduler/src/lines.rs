//! The order in which queued jobs leave: by priority, by age, and with [`Order::Stealing`] by whose line they stand in.

use std::collections::VecDeque;

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

/// Who takes which of the jobs of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One line for all workers, first in first out.
    Shared,
    /// A line for each worker: those posted from outside are dealt to the lines in turn; those that a worker posts go
    /// to its own, from which it takes the newest first. A worker whose line is empty takes the oldest of another's.
    /// Only [`Priority::Normal`] jobs; the others stand in lines for all.
    Stealing,
}

#[derive(Debug)]
struct Entry<T> {
    job: T,
    posted: u64,
}

/// The jobs of one worker.
#[derive(Debug)]
struct Own<T> {
    dealt: VecDeque<Entry<T>>,
    posted: VecDeque<Entry<T>>,
}

impl<T> Own<T> {
    /// Whether a job has been here for so long that it goes next, in whichever of the two lines it stands.
    fn is_impatient(&self, posted: u64) -> bool {
        let late = |entry: &Entry<T>| posted - entry.posted > PATIENCE;
        self.dealt.front().is_some_and(late) || self.posted.front().is_some_and(late)
    }

    fn longest(&mut self) -> Option<Entry<T>> {
        let since = |line: &VecDeque<Entry<T>>| line.front().map_or(u64::MAX, |entry| entry.posted);
        if since(&self.dealt) < since(&self.posted) { self.dealt.pop_front() } else { self.posted.pop_front() }
    }

    fn oldest(&mut self) -> Option<Entry<T>> {
        self.posted.pop_front().or_else(|| self.dealt.pop_front())
    }
}

/// All jobs that wait.
#[derive(Debug)]
pub(crate) struct Lines<T> {
    /// Jobs without which a worker never goes on: before all others, whatever their age.
    rescued: VecDeque<T>,
    shared: [VecDeque<Entry<T>>; Priority::COUNT],
    own: Vec<Own<T>>,
    order: Order,
    next: usize,
    posted: u64,
    len: usize,
}

impl<T> Lines<T> {
    pub(crate) fn new(order: Order) -> Self {
        let shared = [const { VecDeque::new() }; Priority::COUNT];
        Self { rescued: VecDeque::new(), shared, own: Vec::new(), order, next: 0, posted: 0, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a job that worker `from` posts, or somebody outside; `workers` is the number of lines to deal to.
    pub(crate) fn push(&mut self, priority: Priority, job: T, from: Option<usize>, workers: usize) {
        self.posted += 1;
        self.len += 1;
        let entry = Entry { job, posted: self.posted };
        if self.order == Order::Shared || priority != Priority::Normal {
            self.shared[priority as usize].push_back(entry);
            return;
        }
        let line = from.unwrap_or_else(|| {
            self.next += 1;
            self.next % workers.max(1)
        });
        while self.own.len() <= line {
            self.own.push(Own { dealt: VecDeque::new(), posted: VecDeque::new() });
        }
        let own = &mut self.own[line];
        if from.is_some() { own.posted.push_back(entry) } else { own.dealt.push_back(entry) }
    }

    /// Adds a job that goes before all others.
    pub(crate) fn rescue(&mut self, job: T) {
        self.len += 1;
        self.rescued.push_back(job);
    }

    /// Jobs that [`Lines::rescue`] has added and nobody has taken.
    pub(crate) fn rescued(&self) -> usize {
        self.rescued.len()
    }

    /// Removes the next of them.
    pub(crate) fn pop_rescued(&mut self) -> Option<T> {
        let job = self.rescued.pop_front()?;
        self.len -= 1;
        Some(job)
    }

    /// Removes the next job for a worker, or for a helper that is none.
    pub(crate) fn pop(&mut self, worker: Option<usize>) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        if let Some(job) = self.pop_rescued() {
            return Some(job);
        }
        let entry = match self.order {
            Order::Shared => self.pop_shared(),
            Order::Stealing => self.pop_stealing(worker),
        }?;
        self.len -= 1;
        Some(entry.job)
    }

    /// The line of the least urgent job that has waited beyond all patience, unless it is the most urgent anyway.
    fn impatient(&self) -> Option<usize> {
        let late = |line: &VecDeque<Entry<T>>| line.front().is_some_and(|entry| self.posted - entry.posted > PATIENCE);
        self.shared.iter().rposition(late).filter(|rank| *rank > 0)
    }

    fn pop_shared(&mut self) -> Option<Entry<T>> {
        let line = self.impatient().or_else(|| self.shared.iter().position(|line| !line.is_empty()))?;
        self.shared[line].pop_front()
    }

    fn pop_stealing(&mut self, worker: Option<usize>) -> Option<Entry<T>> {
        if let Some(rank) = self.impatient() {
            return self.shared[rank].pop_front();
        }
        let [urgent, high, _, low] = &mut self.shared;
        if let Some(entry) = urgent.pop_front().or_else(|| high.pop_front()) {
            return Some(entry);
        }
        // A worker that is always given new jobs comes to the old ones, too.
        let posted = self.posted;
        if let Some(own) = self.own.iter_mut().find(|own| own.is_impatient(posted)) {
            return own.longest();
        }
        let own = worker.and_then(|worker| self.own.get_mut(worker));
        if let Some(entry) = own.and_then(|own| own.posted.pop_back().or_else(|| own.dealt.pop_front())) {
            return Some(entry);
        }
        // The victims follow in turn, so that not all thieves meet at the first.
        let count = self.own.len();
        let first = worker.map_or(0, |worker| worker + 1);
        let stolen = (0..count).find_map(|step| self.own[(first + step) % count].oldest());
        stolen.or_else(|| low.pop_front())
    }

    /// Jobs that are more urgent than the usual.
    pub(crate) fn urgent(&self) -> usize {
        let [urgent, high, ..] = &self.shared;
        self.rescued.len() + urgent.len() + high.len()
    }

    /// The priority of the next job of a shared line, if there is one.
    pub(crate) fn most_urgent(&self) -> Option<Priority> {
        if !self.rescued.is_empty() {
            return Some(Priority::Urgent);
        }
        let rank = self.shared.iter().position(|line| !line.is_empty())?;
        Some(Priority::from_rank(u8::try_from(rank).unwrap_or(u8::MAX)))
    }
}
