//! Linux: polling, events, and sockets that carry descriptors.
//!
//! # Invariants
//!
//! - X2. Every descriptor passed to the kernel is borrowed from an owner for the length of the call.
//! - X3. Control buffers are arrays of `u64`, hence aligned for `cmsghdr`, and larger than any message that is sent.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::imp::{check, own};

/// Room for the descriptors of one message: 253 of them (the kernel's limit) and the header.
const CONTROL_WORDS: usize = 256;

/// A flag that can be polled.
#[derive(Debug)]
pub(crate) struct Event(OwnedFd);

impl Event {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes two integers.
        check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }).map(own).map(Self)
    }

    /// Makes the event readable.
    pub(crate) fn signal(&self) {
        let one = 1_u64;
        // SAFETY: the descriptor is open by X2 and `one` has the 8 bytes that are written. It only fails when the
        // count is full, and then the event is readable.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Makes the event unreadable.
    pub(crate) fn clear(&self) {
        let mut count = 0_u64;
        // SAFETY: the descriptor is open by X2 and `count` has the 8 bytes that are read. It only fails when there is
        // nothing to clear.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.0.as_fd()
    }
}

/// Waits until a descriptor is readable or closed; says which are. None may be, when the time is over or a signal came.
pub(crate) fn poll(descriptors: &[BorrowedFd<'_>], limit: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut set: Vec<libc::pollfd> = descriptors
        .iter()
        .map(|descriptor| libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    // Rounded up: a wait of less than a millisecond must not become a busy loop.
    let limit = limit.map_or(-1, |limit| limit.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(libc::c_int::MAX));
    let count = libc::nfds_t::try_from(set.len()).map_err(io::Error::other)?;
    // SAFETY: `set` is ours, has `count` entries, and its descriptors are open by X2.
    let result = check(unsafe { libc::poll(set.as_mut_ptr(), count, limit) });
    match result {
        Ok(_) => Ok(set.iter().map(|entry| entry.revents != 0).collect()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(vec![false; set.len()]),
        Err(error) => Err(error),
    }
}

/// Two connected sockets that keep messages whole.
pub(crate) fn seqpacket() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `pair` has room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) })?;
    let [ours, theirs] = pair;
    Ok((high(&own(ours))?, high(&own(theirs))?))
}

/// The same descriptor under a number of at least 10, so that a spawned program's first descriptors can be laid out in
/// any order without one overwriting another.
pub(crate) fn high(descriptor: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is open by X2; this command takes an integer.
    check(unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 10) }).map(own)
}

fn message_of(part: &mut libc::iovec, control: &mut [u64], control_len: usize) -> libc::msghdr {
    // SAFETY: `msghdr` is a plain structure for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control_len as _;
    message
}

/// Sends one message with descriptors, without waiting.
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let size = u32::try_from(std::mem::size_of_val(descriptors)).map_err(io::Error::other)?;
    // SAFETY: arithmetic on a length.
    let (space, len) = (unsafe { libc::CMSG_SPACE(size) } as usize, size);
    if space > CONTROL_WORDS * 8 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
    }
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let message = message_of(&mut part, &mut control, if descriptors.is_empty() { 0 } else { space });
    if !descriptors.is_empty() {
        // SAFETY: the control buffer has room for a header by X3.
        let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        // SAFETY: arithmetic on a length.
        let header_len = unsafe { libc::CMSG_LEN(len) };
        let filled =
            libc::cmsghdr { cmsg_len: header_len as _, cmsg_level: libc::SOL_SOCKET, cmsg_type: libc::SCM_RIGHTS };
        // SAFETY: `header` points at the start of the control buffer, aligned by X3.
        unsafe { header.write(filled) };
        // SAFETY: the data lies behind the header, inside the buffer, since `space` bytes fit (X3).
        let data = unsafe { libc::CMSG_DATA(header) };
        for (index, descriptor) in descriptors.iter().enumerate() {
            let raw = descriptor.as_raw_fd().to_ne_bytes();
            // SAFETY: the buffer has room for every descriptor, since `space` bytes fit (X3).
            let to = unsafe { data.add(index * raw.len()) };
            // SAFETY: `to` has room for these bytes, and they lie elsewhere.
            unsafe { to.copy_from_nonoverlapping(raw.as_ptr(), raw.len()) };
        }
    }
    // SAFETY: the descriptor is open by X2; the message refers to buffers that live through the call.
    let result =
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives one message with its descriptors, without waiting. An empty message means that the other end is closed.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; 4096];
    let mut control = [0_u64; CONTROL_WORDS];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut message = message_of(&mut part, &mut control, CONTROL_WORDS * 8);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the descriptor is open by X2; the message refers to buffers that live through the call.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    let mut descriptors = Vec::new();
    // SAFETY: the kernel has filled the control buffer and set its length.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: not null, so it is a whole header inside the buffer.
        let found = unsafe { header.read() };
        if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: the data of a header that exists.
            let data = unsafe { libc::CMSG_DATA(header) };
            // SAFETY: arithmetic on a length.
            let empty = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (found.cmsg_len as usize).saturating_sub(empty) / size_of::<libc::c_int>();
            for index in 0..count {
                // SAFETY: the kernel wrote `count` descriptors here.
                let at = unsafe { data.add(index * size_of::<libc::c_int>()) };
                // SAFETY: as above; the bytes of a descriptor may lie unaligned.
                descriptors.push(own(unsafe { at.cast::<libc::c_int>().read_unaligned() }));
            }
        }
        // SAFETY: both belong to the message that was received.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    bytes.truncate(got);
    Ok((bytes, descriptors))
}
