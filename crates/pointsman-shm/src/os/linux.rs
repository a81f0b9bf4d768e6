//! Linux: memfd, futex, pidfd.
//!
//! # Invariants
//!
//! - X1. A [`Mapping`] owns the address range that it was given by `mmap` until it is dropped.
//! - X2. Every descriptor passed to the kernel is borrowed from an owner for the length of the call.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// The result of a system call that answers -1 for an error.
pub(super) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: libc::c_long) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(result).map_err(io::Error::other)
}

/// A descriptor that a system call has just made.
pub(super) fn own(descriptor: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

/// Memory of `len` bytes that can be mapped by whoever has the descriptor, and never changes its length. Sparse.
pub(crate) fn create_memory(name: &str, len: u64) -> io::Result<OwnedFd> {
    let name = CString::new(name)?;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: `name` is a C string that lives through the call.
    let file = own(check(unsafe { libc::memfd_create(name.as_ptr(), flags) })?);
    let size = libc::off_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open by X2.
    check(unsafe { libc::ftruncate(file.as_raw_fd(), size) })?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: the descriptor is open by X2; this command takes an integer.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(file)
}

/// Bytes of the memory behind a descriptor.
pub(crate) fn memory_len(file: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: `stat` is a plain structure for which zeros are valid.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open by X2, and `stat` is ours to write.
    check(unsafe { libc::fstat(file.as_raw_fd(), &raw mut stat) })?;
    u64::try_from(stat.st_size).map_err(io::Error::other)
}

/// Reads the front of a file.
pub(crate) fn read_front(file: &File, bytes: &mut [u8]) -> io::Result<()> {
    file.read_exact_at(bytes, 0)
}

/// Writes the front of a file.
pub(crate) fn write_front(file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, 0)
}

/// The most bytes that one segment should take, as far as this process's limits say.
pub(crate) fn largest_segment() -> u64 {
    let limit = |resource, share: u64| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is ours to write.
        let result = unsafe { libc::getrlimit(resource, &raw mut limit) };
        if result != 0 || limit.rlim_cur == libc::RLIM_INFINITY { u64::MAX } else { limit.rlim_cur / share }
    };
    // A limit on addresses is the user's for the program; a sixteenth leaves room for it and for many lanes.
    limit(libc::RLIMIT_AS, 16).min(limit(libc::RLIMIT_FSIZE, 1))
}

/// A mapped segment.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is an address range that belongs to the process, not to a thread (X1).
unsafe impl Send for Mapping {}
// SAFETY: as above; who may touch which bytes is settled by the protocols over it.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps all of a memory file, readable and writable.
    pub(crate) fn new(file: BorrowedFd<'_>, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_NORESERVE);
        // SAFETY: the kernel chooses a fresh address range, so no memory that exists is touched.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("a mapping at address zero"))?;
        Ok(Self { start, len })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is ours by X1, and nothing borrows from a mapping that is being dropped.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Gives the pages of a range back to the system; they read as zeros afterwards.
pub(crate) fn punch(file: BorrowedFd<'_>, start: u64, len: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (start, len) = (start.try_into().map_err(io::Error::other)?, len.try_into().map_err(io::Error::other)?);
    // SAFETY: the descriptor is open by X2.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, start, len) }).map(drop)
}

/// Sleeps while the word is `expected`, until woken or the time is over. May return early.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, limit: Option<Duration>) {
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word is borrowed through the call, and `limit` is null or a time that lives through it.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, limit) };
}

/// Wakes all that sleep on the word.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is borrowed through the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, libc::c_int::MAX) };
}

/// A clock that costs next to nothing and ticks every few milliseconds. Nanoseconds.
pub(crate) fn coarse_now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

static FORKS: AtomicU32 = AtomicU32::new(0);
static AT_FORK: AtomicBool = AtomicBool::new(false);

extern "C" fn count_fork() {
    // Relaxed: the child has one thread here.
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How many forks lie between this process and the one that first asked. What was made under another number belongs to
/// another process.
pub fn fork_generation() -> u32 {
    // No `Once`: a fork while another thread is inside of it would leave the child waiting for that thread for ever. Two
    // threads that meet here register twice, and a fork counts double, which is as good.
    if !AT_FORK.load(Ordering::Acquire) {
        // SAFETY: the handler only touches an atomic, which is allowed between fork and exec.
        unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
        // Release: pairs with the Acquire above, so whoever skips the call comes after it.
        AT_FORK.store(true, Ordering::Release);
    }
    // Relaxed: changes only in a child that has a single thread.
    FORKS.load(Ordering::Relaxed)
}

/// A descriptor that becomes readable when the process ends.
pub(crate) fn open_process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers.
    check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).map(own)
}

/// Ends a process at once, whatever it does.
pub(crate) fn kill(process: BorrowedFd<'_>) -> io::Result<()> {
    signal(process, libc::SIGKILL)
}

/// Stops a process, which can do nothing about it.
pub(crate) fn stop(process: BorrowedFd<'_>) -> io::Result<()> {
    signal(process, libc::SIGSTOP)
}

fn signal(process: BorrowedFd<'_>, number: libc::c_int) -> io::Result<()> {
    let nothing = ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open by X2; a null information pointer is allowed.
    check_long(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), number, nothing, 0) }).map(drop)
}

/// Waits for a child of this process and returns how it ended (a wait status).
pub(crate) fn reap(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is ours to write.
        match check(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Ok(_) => return Ok(status),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reaps a child of this process if it has ended; whether it had.
pub(crate) fn try_reap(pid: i32) -> io::Result<bool> {
    let mut status = 0;
    // SAFETY: `status` is ours to write.
    check(unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) }).map(|reaped| reaped == pid)
}

/// How a wait status says that a process ended: with a code, or by a signal.
pub(crate) fn exit_of(status: i32) -> Result<i32, i32> {
    if libc::WIFSIGNALED(status) { Err(libc::WTERMSIG(status)) } else { Ok(libc::WEXITSTATUS(status)) }
}

/// Ends this process at once, without any clean-up.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: never returns, and runs none of our code.
    unsafe { libc::_exit(code) }
}

/// The number of this process.
pub(crate) fn own_pid() -> i32 {
    std::process::id().cast_signed()
}
