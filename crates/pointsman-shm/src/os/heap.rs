//! What the C library does with memory that has been freed.
//!
//! By default glibc gives blocks of some size back to the system as soon as they are free, and every page of the next such
//! block is a fault: 1.5 us each, and a call that computes on some megabytes has thousands. A worker process runs the
//! same few functions again and again: it keeps what they will ask for. (`zlib.decompress` of some megabytes took 7.9 ms a
//! call and 3.9 ms so, an FFT of 131,072 numbers 8.4 and 3.0 ms.)
//!
//! # Invariants
//!
//! - M1. What changes the allocator's numbers directly is asked for while the process has a single thread.
//! - M2. A block is the caller's alone from when it is asked for until it is freed, once; any thread may do either.
//! - M3. Advice changes nothing of what memory holds, and concerns whole pages that lie within what was given.

/// Bytes of the largest block that is kept: the largest that glibc lets one say.
#[cfg(target_env = "gnu")]
const LARGEST: libc::c_int = 32 << 20;
/// Free bytes at the end of the heap beyond which they go back to the system. Arbitrary: twice the largest block.
#[cfg(target_env = "gnu")]
const MOST: libc::c_int = 64 << 20;

/// Has this process, and those forked from it, keep memory that was freed for the next that ask. Not if the environment says
/// what is to be done with it. To be called while the process has a single thread (M1).
#[cfg(target_env = "gnu")]
pub fn keep_freed() {
    let said = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        name.starts_with("MALLOC_") || (name == "GLIBC_TUNABLES" && value.contains("malloc"))
    };
    if std::env::vars_os().any(said) {
        return;
    }
    // SAFETY: changes two numbers of the allocator, with no other thread there to read them (M1).
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST) };
    // SAFETY: as above.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, MOST) };
}

/// Has this process keep memory that was freed, as it does by itself once a block of `bytes` has been freed: glibc then
/// takes what is smaller from its heap, of which it gives back only what is free beyond twice as much. Nothing changes
/// where the environment says what is to be done with freed memory.
#[cfg(target_env = "gnu")]
pub fn free_a_block_of(bytes: usize) {
    // SAFETY: any number of bytes may be asked for, by any thread (M2).
    let block = unsafe { libc::malloc(bytes) };
    // The compiler may leave out a block that nobody looks at.
    let block = std::hint::black_box(block);
    // SAFETY: it has just been made, or is null, and is freed once (M2).
    unsafe { libc::free(block) };
}

/// Bytes of a large page, and of memory from which on it is asked for in such. As numpy does; arbitrary from 2 MB on.
const LARGE_PAGE: usize = 2 << 20;
const LARGE: usize = 4 << 20;

/// Asks for large pages for memory that will be filled from its beginning: a page of 4 kB costs 2 us when it is first
/// written to, and one of 2 MB not much more than to clear it.
pub fn use_large_pages(memory: &mut [std::mem::MaybeUninit<u8>]) {
    let skipped = memory.as_ptr().align_offset(LARGE_PAGE);
    if memory.len() < LARGE || skipped > memory.len() {
        return;
    }
    let whole = (memory.len() - skipped) / LARGE_PAGE * LARGE_PAGE;
    let start = memory[skipped..].as_mut_ptr();
    // SAFETY: the pages lie within memory that is the caller's, and hold what they held (M3). Where there are none, or nobody
    // knows of such advice, nothing happens.
    unsafe { libc::madvise(start.cast(), whole, libc::MADV_HUGEPAGE) };
}

/// Gives what was kept back to the system.
#[cfg(target_env = "gnu")]
pub fn give_back() {
    // SAFETY: may be called at any time by any thread.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do as they do.
#[cfg(not(target_env = "gnu"))]
pub fn keep_freed() {}

/// See [`keep_freed`].
#[cfg(not(target_env = "gnu"))]
pub fn free_a_block_of(_bytes: usize) {}

/// See [`keep_freed`].
#[cfg(not(target_env = "gnu"))]
pub fn give_back() {}
