//! Reads CPU clocks and counts threads, each from any thread where the system allows.
//!
//! # Does not know
//!
//! What is observed and why; the GIL's state.
//!
//! # Invariants
//!
//! - I1. A clock id stays harmless for ever: the kernel looks the thread up by number at each reading,
//!   refuses one that is gone, and gives a clock only of this process's own threads.
//! - I2. The handler that runs in a forked child stores to atomics and does nothing else.
//! - I3. The descriptor of the task directory is never closed and its file is compared before its
//!   number is believed, so a program that closes all descriptors harms only our speed.

#[cfg(target_os = "linux")]
pub(crate) use linux::ThreadClock;
#[cfg(target_os = "linux")]
pub(super) use linux::{
    children_cpu, faults, forks, prepare_native_thread, process_cpu, process_cpu_native, queued, threads,
};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::ThreadClock;
#[cfg(not(target_os = "linux"))]
pub(super) use other::{
    children_cpu, faults, forks, prepare_native_thread, process_cpu, process_cpu_native, queued, threads,
};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File, Metadata};
    use std::mem;
    use std::os::linux::fs::MetadataExt;
    use std::ptr;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Mutex, Once, PoisonError};
    use std::time::Duration;

    use pyo3::Python;

    use crate::probe::sampler;

    /// Forks that this process has been through, counted in the child.
    static FORKS: AtomicU32 = AtomicU32::new(0);
    static FORK_HANDLER: Once = Once::new();
    const TASKS: &str = "/proc/self/task";
    /// Nanoseconds to which the kernel may delay the native thread's timers, instead of 50 000.
    const TIMER_SLACK: libc::c_ulong = 1_000;

    extern "C" fn count_fork() {
        // Relaxed: pairs with the Relaxed load in `forks`; the child has one thread, this one.
        FORKS.fetch_add(1, Ordering::Relaxed);
        sampler::forget_threads();
    }

    /// How often the history of this process forked since the first call of this function.
    pub(in crate::probe) fn forks() -> u32 {
        FORK_HANDLER.call_once(|| {
            // SAFETY: the handler is safe in a forked child by I2; it lives as long as this module,
            // which CPython never unloads. A failure (no memory) leaves forks uncounted.
            unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
        });
        // Relaxed: pairs with the Relaxed addition in `count_fork`, on this very thread's history.
        FORKS.load(Ordering::Relaxed)
    }

    /// The CPU clock of one thread.
    #[derive(Clone, Copy)]
    pub(crate) struct ThreadClock(Option<libc::clockid_t>);

    impl ThreadClock {
        /// The clock of the calling thread.
        pub(crate) fn here() -> Self {
            // SAFETY: takes nothing, always succeeds; needs no invariant but I1 for what follows.
            let thread = unsafe { libc::pthread_self() };
            let mut id: libc::clockid_t = 0;
            // SAFETY: `thread` is the caller and thus alive; what comes out is a number, by I1.
            let failed = unsafe { libc::pthread_getcpuclockid(thread, &raw mut id) };
            Self((failed == 0).then_some(id))
        }

        /// None if the thread has ended.
        pub(in crate::probe) fn read(self, _py: Python<'_>) -> Option<Duration> {
            self.read_native()
        }

        /// As `read`, for a thread that is not attached.
        pub(crate) fn read_native(self) -> Option<Duration> {
            read(self.0?)
        }
    }

    pub(in crate::probe) fn process_cpu(_py: Python<'_>) -> Duration {
        process_cpu_native()
    }

    /// As `process_cpu`, for a thread that is not attached.
    pub(in crate::probe) fn process_cpu_native() -> Duration {
        read(libc::CLOCK_PROCESS_CPUTIME_ID).unwrap_or_default()
    }

    /// CPU time of the child processes that have ended and were waited for.
    pub(in crate::probe) fn children_cpu() -> Duration {
        usage(libc::RUSAGE_CHILDREN).map_or(Duration::ZERO, |usage| duration(usage.ru_utime) + duration(usage.ru_stime))
    }

    /// Seconds for which a thread has been ready to run while others had the cores; 0 where the system does not say.
    pub(in crate::probe) fn queued(thread: u32) -> f64 {
        let said = fs::read(format!("{TASKS}/{thread}/schedstat")).unwrap_or_default();
        // Nanoseconds on a core, and in the queue for one.
        let queued = said.split(u8::is_ascii_whitespace).nth(1).and_then(|figure| std::str::from_utf8(figure).ok());
        let nanoseconds = queued.and_then(|figure| figure.parse().ok()).unwrap_or_default();
        Duration::from_nanos(nanoseconds).as_secs_f64()
    }

    /// Pages that this process has been given so far without reading them from a disk.
    pub(in crate::probe) fn faults() -> u64 {
        usage(libc::RUSAGE_SELF).and_then(|usage| u64::try_from(usage.ru_minflt).ok()).unwrap_or_default()
    }

    fn usage(whose: libc::c_int) -> Option<libc::rusage> {
        let mut usage = mem::MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: the kernel writes the whole structure, which is ours, or refuses; needs no invariant.
        let failed = unsafe { libc::getrusage(whose, usage.as_mut_ptr()) };
        if failed != 0 {
            return None;
        }
        // SAFETY: the call has succeeded, so the structure is filled; needs no invariant.
        Some(unsafe { usage.assume_init() })
    }

    fn duration(time: libc::timeval) -> Duration {
        let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
        seconds + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    }

    fn read(id: libc::clockid_t) -> Option<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is ours and writable; a clock id that names nothing is refused by I1.
        let failed = unsafe { libc::clock_gettime(id, &raw mut time) };
        let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
        (failed == 0).then_some(Duration::new(u64::try_from(time.tv_sec).ok()?, nanoseconds))
    }

    /// Threads of this process but for the probes' own; 0 where /proc is missing.
    pub(in crate::probe) fn threads() -> u32 {
        let Some(metadata) = task_directory() else {
            return 0;
        };
        // The directory has one link per thread, and two of its own.
        let threads = u32::try_from(metadata.st_nlink()).unwrap_or(0).saturating_sub(2);
        threads.saturating_sub(sampler::live()).max(1)
    }

    /// An open directory, and what tells it from another that took its number.
    struct Tasks {
        file: mem::ManuallyDrop<File>,
        device: u64,
        inode: u64,
        forks: u32,
    }

    /// By way of an open descriptor this takes 0.5 us instead of 1.7.
    fn task_directory() -> Option<Metadata> {
        static OPEN: Mutex<Option<Tasks>> = Mutex::new(None);
        // A fork may copy the lock in its taken state, and two threads may come at once; both go by
        // the path.
        let mut open = match OPEN.try_lock() {
            Ok(open) => open,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(std::sync::TryLockError::WouldBlock) => return fs::metadata(TASKS).ok(),
        };
        let forks = forks();
        if let Some(tasks) = open.as_ref().filter(|tasks| tasks.forks == forks) {
            return match tasks.file.metadata() {
                Ok(found) if (found.st_dev(), found.st_ino()) == (tasks.device, tasks.inode) => Some(found),
                _ => fs::metadata(TASKS).ok(),
            };
        }
        let file = mem::ManuallyDrop::new(File::open(TASKS).ok()?);
        let found = file.metadata().ok()?;
        *open = Some(Tasks { file, device: found.st_dev(), inode: found.st_ino(), forks });
        Some(found)
    }

    /// Makes the calling native thread punctual, and deaf to signals, which belong to Python's threads.
    pub(in crate::probe) fn prepare_native_thread() {
        // SAFETY: sets a number of the calling thread; takes no pointer, so no invariant is at stake.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK) };
        let mut all = mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `all` is ours and writable; the call fills the whole set.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: the set was filled by the line before; the old mask is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), ptr::null_mut()) };
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    use pyo3::prelude::*;

    /// Python's own clocks, which show the calling thread alone.
    #[derive(Clone, Copy)]
    pub(crate) struct ThreadClock(ThreadId);

    impl ThreadClock {
        pub(crate) fn here() -> Self {
            Self(thread::current().id())
        }

        /// None for any thread but the calling one.
        pub(in crate::probe) fn read(self, py: Python<'_>) -> Option<Duration> {
            (self.0 == thread::current().id()).then(|| python_clock(py, "thread_time"))?
        }

        #[expect(clippy::unused_self, reason = "the same call as on Linux, which can answer")]
        pub(crate) fn read_native(self) -> Option<Duration> {
            None
        }
    }

    fn python_clock(py: Python<'_>, name: &str) -> Option<Duration> {
        let seconds: f64 = py.import("time").ok()?.call_method0(name).ok()?.extract().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    pub(in crate::probe) fn process_cpu(py: Python<'_>) -> Duration {
        python_clock(py, "process_time").unwrap_or_default()
    }

    pub(in crate::probe) fn process_cpu_native() -> Duration {
        Duration::ZERO
    }

    pub(in crate::probe) fn children_cpu() -> Duration {
        Duration::ZERO
    }

    pub(in crate::probe) fn queued(_thread: u32) -> f64 {
        0.0
    }

    pub(in crate::probe) fn faults() -> u64 {
        0
    }

    pub(in crate::probe) fn threads() -> u32 {
        0
    }

    /// A fork is not noticed here; no native thread runs that it could lose.
    pub(in crate::probe) fn forks() -> u32 {
        0
    }

    pub(in crate::probe) fn prepare_native_thread() {}
}
