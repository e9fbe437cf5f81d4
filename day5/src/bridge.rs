//! A thread that sleeps on a futex so that somebody else can sleep on a descriptor.

use core::ptr::NonNull;
use std::io;
use std::sync::{Condvar, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::sync::{Arc, AtomicU32, Mutex};

use crate::doorbell::Ticket;
use crate::eventfd::Counter;
use crate::futex;
use crate::strategy::SLICE;

/// A word of a doorbell that an end has mapped.
#[derive(Clone, Copy, Debug)]
struct Word(NonNull<AtomicU32>);

// SAFETY: the address of an atomic word, which any thread may use.
unsafe impl Send for Word {}

/// What the thread is to do.
#[derive(Debug, Default)]
struct Orders {
    watch: Option<(Word, Ticket)>,
    /// The word that was watched last.
    last: Option<Word>,
    stop: bool,
}

/// Where the thread gets its orders, and how it reports.
#[derive(Debug)]
pub(crate) struct Post {
    orders: Mutex<Orders>,
    changed: Condvar,
    counter: Counter,
}

impl Post {
    pub(crate) fn counter(&self) -> &Counter {
        &self.counter
    }

    /// Has the thread signal, once, as soon as the word is no longer what the ticket says, or after a
    /// [`SLICE`].
    ///
    /// # Safety
    ///
    /// The word stays where it is until the [`Bridge`] is dropped.
    pub(crate) unsafe fn watch(&self, word: &AtomicU32, ticket: Ticket) {
        let word = Word(NonNull::from(word));
        let mut orders = self.orders();
        orders.watch = Some((word, ticket));
        orders.last = Some(word);
        drop(orders);
        self.changed.notify_one();
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next order; `None` at the end.
    fn next(&self) -> Option<(Word, Ticket)> {
        let mut orders = self.orders();
        loop {
            if orders.stop {
                return None;
            }
            if let Some(order) = orders.watch.take() {
                return Some(order);
            }
            orders = self.changed.wait(orders).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn work(&self) {
        while let Some((word, ticket)) = self.next() {
            // SAFETY: it stays where it is until the bridge is dropped, which waits for our end.
            let word = unsafe { word.0.as_ref() };
            // Whatever ended the sleep, the one who ordered it looks.
            let _ = futex::wait(word, ticket.word(), SLICE);
            self.counter.signal();
        }
    }
}

/// The thread; dropping this ends it.
#[derive(Debug)]
pub(crate) struct Bridge {
    post: Arc<Post>,
    thread: Option<JoinHandle<()>>,
}

impl Bridge {
    pub(crate) fn start() -> io::Result<Self> {
        let counter = Counter::new()?;
        let post = Post { orders: Mutex::default(), changed: Condvar::new(), counter };
        let post = Arc::new(post);
        let work = Arc::clone(&post);
        let thread =
            thread::Builder::new().name("fanout-bridge".into()).spawn(move || work.work())?;
        Ok(Self { post, thread: Some(thread) })
    }

    pub(crate) fn post(&self) -> &Arc<Post> {
        &self.post
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let mut orders = self.post.orders();
        orders.stop = true;
        let last = orders.last;
        drop(orders);
        self.post.changed.notify_one();
        // It may be about to sleep, so that the first call finds nobody.
        while !thread.is_finished() {
            if let Some(word) = last {
                // SAFETY: whoever ordered it keeps it in place until we are dropped.
                let word = unsafe { word.0.as_ref() };
                futex::wake(word);
            }
            thread::sleep(Duration::from_micros(100));
        }
        // It has no panics to tell of, and a drop has nobody to tell.
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell;
    use common::sync::Ordering;
    use std::time::Instant;

    fn eventually(mut condition: impl FnMut() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < Duration::from_secs(60), "never happened");
            thread::sleep(Duration::from_micros(200));
        }
    }

    #[test]
    fn one_order_is_one_signal() {
        let word = AtomicU32::new(0);
        let bridge = Bridge::start().unwrap();
        for _ in 0..20 {
            let ticket = doorbell::announce(&word);
            // SAFETY: the word was declared before the bridge, and so lives longer.
            unsafe { bridge.post().watch(&word, ticket) };
            if doorbell::ring(&word) {
                futex::wake(&word);
            }
            let mut signals = 0;
            eventually(|| {
                signals += bridge.post().counter().take();
                signals > 0
            });
            assert_eq!(signals, 1);
        }
        drop(bridge);
        assert_eq!(word.load(Ordering::Relaxed) & 1, 0);
    }

    #[test]
    fn nobody_rings_and_the_slice_ends() {
        let word = AtomicU32::new(0);
        let bridge = Bridge::start().unwrap();
        let ticket = doorbell::announce(&word);
        // SAFETY: the word was declared before the bridge, and so lives longer.
        unsafe { bridge.post().watch(&word, ticket) };
        eventually(|| bridge.post().counter().take() == 1);
    }
}
