//! What only an operating system can do: shared memory, sleeping on a word, processes, descriptors.
//!
//! One file per system behind one alias; no other file of this crate asks which system it is.

#[cfg(target_os = "linux")]
#[path = "descriptors.rs"]
mod descriptors;
#[cfg(target_os = "linux")]
#[path = "family.rs"]
mod family;
#[cfg(target_os = "linux")]
mod heap;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod imp;
#[cfg(not(target_os = "linux"))]
#[path = "unsupported.rs"]
mod imp;

#[cfg(windows)]
#[path = "handles.rs"]
mod handles;

#[cfg(unix)]
pub use std::os::fd::OwnedFd;
#[cfg(unix)]
pub(crate) use std::os::fd::{AsFd, BorrowedFd};
#[cfg(windows)]
pub use std::os::windows::io::OwnedHandle as OwnedFd;

#[cfg(windows)]
pub(crate) use handles::{AsFd, BorrowedFd};

#[cfg(target_os = "linux")]
pub(crate) use descriptors::{Event, high, poll, receive, send, seqpacket};
#[cfg(target_os = "linux")]
pub(crate) use family::end_children;
#[cfg(target_os = "linux")]
pub use heap::{free_a_block_of, give_back, keep_freed, use_large_pages};
pub use imp::fork_generation;
pub(crate) use imp::*;
#[cfg(not(target_os = "linux"))]
pub use imp::{free_a_block_of, give_back, keep_freed, use_large_pages};
