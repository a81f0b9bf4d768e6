//! The CPU clocks of the calling thread and of the process, and the core that it runs on.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU seconds that the calling thread has used.
pub(crate) fn thread_cpu() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds).as_secs_f64()
}

/// CPU seconds that all threads of the process have used.
pub(crate) fn process_cpu() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds).as_secs_f64()
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
