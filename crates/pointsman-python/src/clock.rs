//! The CPU clocks of the calling thread and of the process.

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
