//! The words for descriptors where there are none: a handle stands for one. No host or guest comes into being there, so
//! nothing is ever done with it.

use std::os::windows::io::AsHandle;
pub(crate) use std::os::windows::io::BorrowedHandle as BorrowedFd;
use std::sync::Arc;

use super::OwnedFd;

/// What `std::os::fd::AsFd` is elsewhere.
pub(crate) trait AsFd {
    /// The handle.
    fn as_fd(&self) -> BorrowedFd<'_>;
}

impl AsFd for OwnedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.as_handle()
    }
}

impl<T: AsFd + ?Sized> AsFd for Arc<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        (**self).as_fd()
    }
}
