//! Wakes a lane that waits for input.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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

    /// Waits for the bell or any of `others` to become readable; answers the bell. False: the time is over, and a bell that
    /// rang since rings on: whoever rests then must hear it.
    pub fn wait(&self, others: &[RawFd], timeout: Duration) -> bool {
        let watch = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds: Vec<libc::pollfd> =
            std::iter::once(self.fd.as_raw_fd()).chain(others.iter().copied()).map(watch).collect();
        // Rounded up, or a wait of half a millisecond would spin.
        let timeout_ms = timeout.as_micros().div_ceil(1_000).min(i32::MAX as u128) as i32;
        // SAFETY: `fds` is valid for its length.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
        // An interrupted wait is no time-out.
        let woken = ready != 0;
        if woken {
            self.answer();
        }
        woken
    }

    /// The same in a task, for one bell.
    async fn rung(&self) {
        // SAFETY: the watch holds the descriptor itself.
        match unsafe { AsyncFd::register_with_interest(self.fd.clone(), Interest::READABLE) } {
            Ok(fd) => drop(fd.readable().await),
            // Without a watch it is looked after now and then.
            Err(_) => tokio::time::sleep(UNWATCHED).await,
        }
        self.answer();
    }
}

/// How often a bell is looked after that the system cannot watch.
const UNWATCHED: Duration = Duration::from_millis(100);

/// What a reader waits for.
#[derive(Debug)]
pub enum Input {
    /// Nothing: there may be something to poll.
    Ready,
    /// There may be something to poll when this bell rings, or at this time.
    Awaited { rings: Option<Bell>, due: Option<Instant> },
}

impl Input {
    /// Nothing will come by itself.
    pub const NEVER: Input = Input::Awaited { rings: None, due: None };

    /// Waits for it, for `bell`, or until the time is over: then it gives false.
    pub fn wait(&self, bell: &Bell, timeout: Duration) -> bool {
        let Input::Awaited { rings, due } = self else { return true };
        let until_due = due.map(|due| due.saturating_duration_since(Instant::now()));
        let filled: Vec<RawFd> = rings.iter().map(Bell::descriptor).collect();
        let woken = bell.wait(&filled, until_due.map_or(timeout, |due| due.min(timeout)));
        if woken {
            rings.iter().for_each(Bell::answer);
        }
        woken || until_due.is_some_and(|due| due <= timeout)
    }

    /// Waits for it or for `bell` in a task.
    pub async fn rest(self, bell: &Bell) {
        let Input::Awaited { rings, due } = self else { return };
        let filled = async {
            match &rings {
                Some(rings) => rings.rung().await,
                None => std::future::pending().await,
            }
        };
        let due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = bell.rung() => {}
            () = filled => {}
            () = due => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring between the end of the time and the look at the bell cannot be made to come just then; one that nobody
    /// waits for is the same to a bell.
    #[test]
    fn a_ring_that_no_wait_was_woken_by_is_heard_at_the_next() {
        let (bell, filled) = (Bell::new().unwrap(), Bell::new().unwrap());
        let input = Input::Awaited { rings: Some(filled.clone()), due: None };
        let ringing = [bell.clone(), filled.clone()];
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (stopped, rung) = (stop.clone(), std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0)));
        let heard = rung.clone();
        // Each ring waits until the one before was heard: a ring that is lost stops it for good.
        let ringer = std::thread::spawn(move || {
            let mut count = 0;
            while !stopped.load(std::sync::atomic::Ordering::SeqCst) {
                ringing[count as usize % 2].ring();
                count += 1;
                let since = Instant::now();
                while heard.load(std::sync::atomic::Ordering::SeqCst) < count {
                    if stopped.load(std::sync::atomic::Ordering::SeqCst) {
                        return true;
                    }
                    if since.elapsed() > Duration::from_secs(5) {
                        return false;
                    }
                    std::hint::spin_loop();
                }
            }
            true
        });
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            // No time at all: nearly every wait is over when the ring comes.
            if input.wait(&bell, Duration::ZERO) {
                rung.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(ringer.join().unwrap(), "a ring was lost");
    }
}
