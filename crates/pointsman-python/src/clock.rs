//! The CPU clocks of the calling thread and of the process, the clock that all processes share, and the core that the thread
//! runs on.

#[cfg(unix)]
use self::posix as imp;
#[cfg(not(unix))]
use self::windows as imp;

/// CPU seconds that the calling thread has used.
pub(crate) fn thread_cpu() -> f64 {
    imp::thread_cpu()
}

/// CPU seconds that all threads of the process have used.
pub(crate) fn process_cpu() -> f64 {
    imp::process_cpu()
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn monotonic() -> u64 {
    imp::monotonic()
}

/// The core that the calling thread runs on; it may be another one at the next instruction.
pub(crate) fn core() -> usize {
    #[cfg(target_os = "linux")]
    {
        rustix::thread::sched_getcpu()
    }
    #[cfg(not(target_os = "linux"))]
    {
        usize::MAX
    }
}

#[cfg(unix)]
mod posix {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    fn read(clock: ClockId) -> Duration {
        let now = clock_gettime(clock);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    }

    pub(super) fn thread_cpu() -> f64 {
        read(ClockId::ThreadCPUTime).as_secs_f64()
    }

    pub(super) fn process_cpu() -> f64 {
        read(ClockId::ProcessCPUTime).as_secs_f64()
    }

    pub(super) fn monotonic() -> u64 {
        let now = clock_gettime(ClockId::Monotonic);
        let (seconds, rest) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
        seconds * 1_000_000_000 + rest
    }
}

#[cfg(not(unix))]
mod windows {
    use std::sync::OnceLock;
    use std::time::{Instant, SystemTime};

    use cpu_time::{ProcessTime, ThreadTime};

    pub(super) fn thread_cpu() -> f64 {
        ThreadTime::try_now().map_or(0.0, |now| now.as_duration().as_secs_f64())
    }

    pub(super) fn process_cpu() -> f64 {
        ProcessTime::try_now().map_or(0.0, |now| now.as_duration().as_secs_f64())
    }

    /// From the time of day when it is first asked for, so that processes agree as far as their clocks do.
    pub(super) fn monotonic() -> u64 {
        static BEGAN: OnceLock<(Instant, u64)> = OnceLock::new();
        let (began, at) = BEGAN.get_or_init(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            (Instant::now(), u64::try_from(since.as_nanos()).unwrap_or(0))
        });
        at.saturating_add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
