//! Models of ends whose sleeping is done elsewhere: no signal is lost.
//!
//! A descriptor is a counter behind a lock, as in the kernel. At the end, a consumer that found
//! nothing in its last try, and has not read everything, must have a readable descriptor.

use std::cell::Cell;

use common::sync::{Arc, AtomicU32, AtomicU64, Mutex, Ordering, thread};
use day5::arm::arm;
use day5::doorbell::{self, Ticket};

use crate::explore;

/// An eventfd, and a futex's list of sleepers.
#[derive(Default)]
struct Kernel {
    counter: u64,
    watched: bool,
}

#[derive(Clone)]
struct Queue {
    published: Arc<AtomicU64>,
    word: Arc<AtomicU32>,
    kernel: Arc<Mutex<Kernel>>,
}

impl Queue {
    fn new() -> Self {
        Self {
            published: Arc::new(AtomicU64::new(0)),
            word: Arc::new(AtomicU32::new(0)),
            kernel: Arc::new(Mutex::new(Kernel::default())),
        }
    }

    /// Publishes one more message. Returns whether a sleeper has to be signalled.
    fn publish(&self) -> bool {
        self.published.store(self.published.load(Ordering::Relaxed) + 1, Ordering::Release);
        doorbell::ring(&self.word)
    }

    /// A producer that has the eventfd itself.
    fn publish_and_signal(&self) {
        if self.publish() {
            self.kernel.lock().unwrap().counter += 1;
        }
    }

    /// A producer that knows only the futex. A watcher sleeps there, and then signals.
    fn publish_and_wake(&self) {
        if self.publish() {
            self.signal_if_watched();
        }
    }

    /// The end of the watcher's sleep, by a ring or at the end of its slice.
    fn signal_if_watched(&self) {
        let mut kernel = self.kernel.lock().unwrap();
        kernel.counter += u64::from(kernel.watched);
        kernel.watched = false;
    }

    /// The watcher goes to sleep, if the word still agrees with the ticket.
    fn watch(&self, ticket: Ticket) {
        let mut kernel = self.kernel.lock().unwrap();
        if self.word.load(Ordering::Relaxed) == ticket.word() {
            kernel.watched = true;
        } else {
            kernel.counter += 1;
        }
    }

    /// Tries so many times, without waiting. Returns how much was read, and whether the last try
    /// found nothing.
    fn read(&self, tries: usize, watch: impl Fn(Ticket)) -> (u64, bool) {
        let (mut read, mut was_empty, mut ticket) = (0, false, None);
        for _ in 0..tries {
            let look = || (self.published.load(Ordering::Acquire) > read).then_some(());
            let clear = || std::mem::take(&mut self.kernel.lock().unwrap().counter) > 0;
            let found = look().or_else(|| arm(&self.word, &mut ticket, clear, look, &watch));
            was_empty = found.is_none();
            read += u64::from(!was_empty);
        }
        (read, was_empty)
    }

    fn assert_readable_if_needed(&self, (read, was_empty): (u64, bool)) {
        let readable = self.kernel.lock().unwrap().counter > 0;
        let all = self.published.load(Ordering::Relaxed) == read;
        assert!(all || !was_empty || readable, "there is more, and nobody says so");
    }
}

/// The producer signals.
#[test]
fn no_signal_is_lost() {
    explore("no_signal_is_lost", Some(3), || {
        let queue = Queue::new();
        let reader = queue.clone();
        let thread = thread::spawn(move || reader.read(3, |_| {}));
        queue.publish_and_signal();
        queue.publish_and_signal();
        let read = thread.join().unwrap();
        queue.assert_readable_if_needed(read);
    });
}

/// A thread sleeps on the futex, and signals when it is woken.
#[test]
fn no_signal_of_a_bridge_is_lost() {
    explore("no_signal_of_a_bridge_is_lost", Some(3), || {
        let queue = Queue::new();
        let reader = queue.clone();
        let thread = thread::spawn(move || {
            let queue = reader.clone();
            reader.read(3, move |ticket| queue.watch(ticket))
        });
        queue.publish_and_wake();
        queue.publish_and_wake();
        let read = thread.join().unwrap();
        queue.assert_readable_if_needed(read);
    });
}

/// The thread's slice ends after the first try, whether the doorbell has rung or not.
#[test]
fn a_bridge_that_gave_up_is_asked_again() {
    explore("a_bridge_that_gave_up_is_asked_again", Some(3), || {
        let queue = Queue::new();
        let producer = queue.clone();
        let producer = thread::spawn(move || {
            producer.publish_and_wake();
            producer.publish_and_wake();
        });
        let slices = Cell::new(0);
        let read = queue.read(3, |ticket| {
            queue.watch(ticket);
            if slices.replace(1) == 0 {
                queue.signal_if_watched();
            }
        });
        producer.join().unwrap();
        queue.assert_readable_if_needed(read);
    });
}
