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
#[path = "linux.rs"]
mod imp;
#[cfg(not(target_os = "linux"))]
#[path = "unsupported.rs"]
mod imp;

#[cfg(target_os = "linux")]
pub(crate) use descriptors::{Event, high, poll, receive, send, seqpacket};
#[cfg(target_os = "linux")]
pub(crate) use family::end_children;
pub(crate) use imp::*;
