//! Closes descriptors on a thread of its own, so that no close holds up the caller.

use std::os::fd::OwnedFd;
use std::sync::{MutexGuard, PoisonError};
use std::thread;

use common::sync::{Arc, Mutex};

/// How many descriptors may wait to be closed. Beyond that the caller should take in no more.
const MOST: usize = 256;

/// A queue of descriptors to close. It has a thread while there are any.
///
/// The child of a fork does not have that thread. Its copies of the descriptors are closed when it
/// ends.
#[derive(Debug, Default)]
pub(crate) struct Closer(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    descriptors: Vec<OwnedFd>,
    has_thread: bool,
}

impl Closer {
    /// Has these descriptors closed soon.
    pub(crate) fn close(&self, descriptors: impl IntoIterator<Item = OwnedFd>) {
        let mut pending = self.0.lock();
        pending.descriptors.extend(descriptors);
        if pending.descriptors.is_empty() || pending.has_thread {
            return;
        }
        let queue = Arc::clone(&self.0);
        let thread =
            thread::Builder::new().name("fanout-closer".into()).spawn(move || queue.work());
        // Without a thread the descriptors stay open until the next call can start one.
        pending.has_thread = thread.is_ok();
    }

    /// Whether too many descriptors wait to be closed, so that the caller should add no more.
    pub(crate) fn is_behind(&self) -> bool {
        self.0.lock().descriptors.len() >= MOST
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next descriptor. If there is none, the thread is about to end.
    fn next(&self) -> Option<OwnedFd> {
        let mut pending = self.lock();
        let next = pending.descriptors.pop();
        pending.has_thread = next.is_some();
        next
    }

    fn work(&self) {
        while let Some(descriptor) = self.next() {
            drop(descriptor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read};
    use std::time::{Duration, Instant};

    /// Fails if the other end is still open after a minute.
    fn ends(mut reader: PipeReader) {
        let started = Instant::now();
        rustix::fs::fcntl_setfl(&reader, rustix::fs::OFlags::NONBLOCK).unwrap();
        while reader.read(&mut [0]).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "it is still open");
            thread::sleep(Duration::from_micros(200));
        }
    }

    #[test]
    fn what_is_given_is_closed_again_and_again() {
        let closer = Closer::default();
        for _ in 0..20 {
            let (reader, writer) = std::io::pipe().unwrap();
            let (another_reader, another) = std::io::pipe().unwrap();
            closer.close([writer.into(), another.into()]);
            ends(reader);
            ends(another_reader);
        }
        assert!(!closer.is_behind());
    }
}
