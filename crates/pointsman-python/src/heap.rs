//! What the C library does with memory that calls in this process free.
//!
//! # Does not know
//!
//! Which calls those are.

use std::sync::Once;

use pyo3::prelude::*;

/// Bytes of the block that is freed, for the library to keep what is smaller, and twice as much in all of each thread's.
/// Arbitrary: what calls build on their way is mostly less, and as much for each thread is no burden.
const BLOCK: usize = (8 << 20) - (8 << 10);

/// Has the C library keep some of what calls free for the calls that follow, as it does by itself in a program that has
/// freed a block of that size. Otherwise a call that builds two blocks of some megabytes is given fresh memory for them each
/// time: hashing 3.6 MB took 4.7 ms in a loop so, and 10 ms otherwise. Does nothing but the first time.
#[pyfunction]
pub(crate) fn keep_some_freed() {
    static DONE: Once = Once::new();
    DONE.call_once(|| pointsman_shm::free_a_block_of(BLOCK));
}
