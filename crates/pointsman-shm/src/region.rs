//! The medium that the protocols are written over: words, bytes, and waiting on a word.
//!
//! # Does not know
//!
//! What lies where: the layouts belong to [`crate::layout`] and to the protocols.
//!
//! # Invariants
//!
//! - G1. An offset names either a word of one width or a byte area, never both at different times.
//! - G2. A byte area is written by one side at a time; the protocol that hands it over orders the accesses.

use std::time::Duration;

use crate::sync::{AtomicU32, AtomicU64};

/// Memory that several threads or processes share.
pub(crate) trait Region {
    /// The 32-bit word at this offset.
    fn word32(&self, at: usize) -> &AtomicU32;
    /// The 64-bit word at this offset.
    fn word64(&self, at: usize) -> &AtomicU64;
    /// Copies bytes out.
    fn read(&self, at: usize, into: &mut [u8]);
    /// Copies bytes in.
    fn write(&self, at: usize, from: &[u8]);
    /// Sleeps while the word at `at` is `expected`, until woken or the time is over. May return early.
    fn sleep(&self, at: usize, expected: u32, limit: Option<Duration>);
    /// Wakes all that sleep on the word at `at`.
    fn wake(&self, at: usize);
}

/// A region on the heap in which loom sees every access.
#[cfg(loom)]
pub(crate) mod heap {
    use super::{AtomicU32, AtomicU64, Duration, Region};
    use loom::cell::UnsafeCell;
    use loom::sync::{Condvar, Mutex};

    use crate::sync::Ordering;

    /// Separate arrays stand for the two widths of words and for the bytes, which G1 allows.
    pub(crate) struct Heap {
        words32: Vec<AtomicU32>,
        words64: Vec<AtomicU64>,
        bytes: Vec<UnsafeCell<[u8; 8]>>,
        sleepers: Mutex<()>,
        woken: Condvar,
    }

    impl Heap {
        /// A region of `len` bytes, all zero.
        pub(crate) fn new(len: usize) -> Self {
            Self {
                words32: (0..len / 4).map(|_| AtomicU32::new(0)).collect(),
                words64: (0..len / 8).map(|_| AtomicU64::new(0)).collect(),
                bytes: (0..len / 8).map(|_| UnsafeCell::new([0; 8])).collect(),
                sleepers: Mutex::new(()),
                woken: Condvar::new(),
            }
        }
    }

    // SAFETY: loom itself checks, in every execution, that the accesses to `bytes` are ordered (G2).
    unsafe impl Sync for Heap {}

    impl Region for Heap {
        fn word32(&self, at: usize) -> &AtomicU32 {
            &self.words32[at / 4]
        }

        fn word64(&self, at: usize) -> &AtomicU64 {
            &self.words64[at / 8]
        }

        fn read(&self, at: usize, into: &mut [u8]) {
            for (index, piece) in into.chunks_mut(8).enumerate() {
                self.bytes[at / 8 + index].with(|cell| {
                    // SAFETY: the cell is alive, and loom fails the test if a write is concurrent (G2).
                    let cell = unsafe { &*cell };
                    piece.copy_from_slice(&cell[..piece.len()]);
                });
            }
        }

        fn write(&self, at: usize, from: &[u8]) {
            for (index, piece) in from.chunks(8).enumerate() {
                self.bytes[at / 8 + index].with_mut(|cell| {
                    // SAFETY: the cell is alive, and loom fails the test if another access is concurrent (G2).
                    let cell = unsafe { &mut *cell };
                    cell[..piece.len()].copy_from_slice(piece);
                });
            }
        }

        fn sleep(&self, at: usize, expected: u32, limit: Option<Duration>) {
            assert!(limit.is_none(), "time does not pass in a model");
            let guard = self.sleepers.lock().unwrap();
            // Relaxed: like the kernel's own look at the word, it needs no more than to see it.
            if self.words32[at / 4].load(Ordering::Relaxed) == expected {
                drop(self.woken.wait(guard).unwrap());
            }
        }

        fn wake(&self, _at: usize) {
            drop(self.sleepers.lock().unwrap());
            self.woken.notify_all();
        }
    }
}
