//! Systems without memfd, futex and pidfd: everything answers [`io::ErrorKind::Unsupported`], so that no host or guest
//! comes into being and the rest is never reached.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::{BorrowedFd, OwnedFd};

fn unsupported<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "worker processes over shared memory need Linux"))
}

pub(crate) fn create_memory(_name: &str, _len: u64) -> io::Result<OwnedFd> {
    unsupported()
}

pub(crate) fn memory_len(_file: BorrowedFd<'_>) -> io::Result<u64> {
    unsupported()
}

pub(crate) fn read_front(_file: &File, _bytes: &mut [u8]) -> io::Result<()> {
    unsupported()
}

pub(crate) fn write_front(_file: &File, _bytes: &[u8]) -> io::Result<()> {
    unsupported()
}

pub(crate) fn largest_segment() -> u64 {
    u64::MAX
}

/// Cannot exist here.
#[derive(Debug)]
pub(crate) struct Mapping(Infallible);

impl Mapping {
    pub(crate) fn new(_file: BorrowedFd<'_>, _len: u64) -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        match self.0 {}
    }

    pub(crate) fn len(&self) -> usize {
        match self.0 {}
    }
}

pub(crate) fn punch(_file: BorrowedFd<'_>, _start: u64, _len: u64) -> io::Result<()> {
    unsupported()
}

pub(crate) fn futex_wait(_word: &AtomicU32, _expected: u32, _limit: Option<Duration>) {}

pub(crate) fn futex_wake(_word: &AtomicU32) {}

pub(crate) fn coarse_now() -> u64 {
    0
}

/// Where nothing counts forks, the number of the process itself.
pub fn fork_generation() -> u32 {
    std::process::id()
}

pub(crate) fn open_process(_pid: i32) -> io::Result<OwnedFd> {
    unsupported()
}

pub(crate) fn end_children(_process: BorrowedFd<'_>, _pid: i32) {}

pub(crate) fn stop(_process: BorrowedFd<'_>) -> io::Result<()> {
    unsupported()
}

pub(crate) fn kill(_process: BorrowedFd<'_>) -> io::Result<()> {
    unsupported()
}

pub(crate) fn reap(_pid: i32) -> io::Result<i32> {
    unsupported()
}

pub(crate) fn try_reap(_pid: i32) -> io::Result<bool> {
    unsupported()
}

pub(crate) fn exit_of(status: i32) -> Result<i32, i32> {
    Ok(status)
}

pub(crate) fn exit_now(code: i32) -> ! {
    std::process::exit(code)
}

pub(crate) fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// Cannot exist here.
#[derive(Debug)]
pub(crate) struct Event(Infallible);

impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        unsupported()
    }

    pub(crate) fn signal(&self) {
        match self.0 {}
    }

    pub(crate) fn clear(&self) {
        match self.0 {}
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        match self.0 {}
    }
}

pub(crate) fn poll(_descriptors: &[BorrowedFd<'_>], _limit: Option<Duration>) -> io::Result<Vec<bool>> {
    unsupported()
}

pub(crate) fn seqpacket() -> io::Result<(OwnedFd, OwnedFd)> {
    unsupported()
}

pub(crate) fn high(_descriptor: &OwnedFd) -> io::Result<OwnedFd> {
    unsupported()
}

pub(crate) fn send(_socket: BorrowedFd<'_>, _bytes: &[u8], _descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    unsupported()
}

pub(crate) fn receive(_socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    unsupported()
}

/// Nothing is known of what is freed.
pub fn keep_freed() {}

/// As above.
pub fn free_a_block_of(_bytes: usize) {}

/// Nothing was kept.
pub fn give_back() {}

/// Nobody is asked.
pub fn use_large_pages(_memory: &mut [std::mem::MaybeUninit<u8>]) {}
