//! Wakes a lane that waits for input.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// A doorbell with a file descriptor, so that a reader can wait for it and for its client's own
/// descriptor in one `poll(2)`. Rings stay until answered.
#[derive(Debug, Clone)]
pub struct Bell {
    fd: Arc<OwnedFd>,
}

impl Bell {
    pub fn new() -> std::io::Result<Self> {
        // SAFETY: eventfd has no preconditions; the descriptor is owned by nobody else.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: see above.
        Ok(Bell { fd: Arc::new(unsafe { OwnedFd::from_raw_fd(fd) }) })
    }

    /// Wakes whoever waits, now or at its next wait.
    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is valid for eight bytes. A full counter is a bell that rings already.
        unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Takes back all rings.
    pub fn answer(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is valid for eight bytes.
        unsafe { libc::read(self.fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    /// Rings when eight bytes (a `u64`, not 0) are written to it: for clients that can signal a descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Waits for the bell or any of `others` to become readable; answers the bell.
    pub fn wait(&self, others: &[RawFd], timeout: Duration) {
        let watch = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds: Vec<libc::pollfd> =
            std::iter::once(self.fd.as_raw_fd()).chain(others.iter().copied()).map(watch).collect();
        // Rounded up, or a wait of half a millisecond would spin.
        let timeout_ms = timeout.as_micros().div_ceil(1_000).min(i32::MAX as u128) as i32;
        // SAFETY: `fds` is valid for its length.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
        self.answer();
    }
}
