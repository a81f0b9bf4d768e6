//! Whether more threads would do more work: for pools whose size nobody has chosen.
//!
//! # Does not know
//!
//! Threads, queues or clocks: it is given figures, and says how many workers to have.

use std::time::Duration;

/// Time between two looks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Workers beyond which a pool does not grow by itself. Arbitrary: a thread costs some 20 KiB and 60 us.
const MOST: usize = 256;
/// Cores' worth of CPU time, of those there are, above which calls compute rather than wait.
const BUSY: f64 = 0.7;
/// Rise of the throughput that pays for a step: a step is by a half, so this is a fifth of what it could bring.
const WORTH: f64 = 1.1;

/// What is seen of a pool at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Seconds since any moment.
    pub(crate) now: f64,
    /// CPU seconds of the process.
    pub(crate) cpu: f64,
    /// Calls ended.
    pub(crate) ended: u64,
    /// Calls that wait for a worker.
    pub(crate) queued: u64,
    pub(crate) workers: usize,
}

#[derive(Debug)]
pub(crate) struct Growth {
    cores: f64,
    last: Option<Look>,
    /// Calls per second before the last step.
    before: Option<f64>,
    done: bool,
}

impl Growth {
    pub(crate) fn new(cores: f64) -> Self {
        Self { cores, last: None, before: None, done: false }
    }

    /// The number of workers to have from now on; `None` to leave it.
    pub(crate) fn decide(&mut self, look: Look) -> Option<usize> {
        let last = self.last.replace(look)?;
        let seconds = (look.now - last.now).max(1e-6);
        if look.queued < look.workers as u64 {
            // The next burst may be of another kind.
            (self.before, self.done) = (None, false);
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = look.ended.saturating_sub(last.ended) as f64 / seconds;
        let busy = (look.cpu - last.cpu) / seconds / self.cores.max(1.0);
        if self.done || busy > BUSY || rate <= 0.0 || look.workers >= MOST {
            return None;
        }
        if let Some(before) = self.before
            && rate < before * WORTH
        {
            self.done = true;
            return None;
        }
        self.before = Some(rate);
        Some((look.workers + look.workers.div_ceil(2)).min(MOST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(step: u32, ended: u64, cpu: f64, workers: usize) -> Look {
        Look { now: f64::from(step), cpu, ended, queued: 1000, workers }
    }

    #[test]
    fn a_pool_grows_while_its_throughput_does() {
        let mut growth = Growth::new(2.0);
        assert_eq!(None, growth.decide(look(0, 0, 0.0, 6)));

        assert_eq!(Some(9), growth.decide(look(1, 60, 0.1, 6)));
        assert_eq!(Some(14), growth.decide(look(2, 150, 0.2, 9)));
        assert_eq!(None, growth.decide(look(3, 240, 0.3, 14)));
    }

    #[test]
    fn a_pool_of_calls_that_compute_stays_as_it_is() {
        let mut growth = Growth::new(2.0);
        growth.decide(look(0, 0, 0.0, 6));

        assert_eq!(None, growth.decide(look(1, 60, 1.9, 6)));
    }
}
