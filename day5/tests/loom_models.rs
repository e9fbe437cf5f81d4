//! Models of the doorbell: no wake-up is lost.
//!
//! `cargo model -p day5` explores them; an ordinary `cargo test` runs each once on real threads.
//! `FANOUT_PREEMPTIONS` and `FANOUT_MUTANT` work as on Day 3. loom knows no `membarrier`: in the
//! model, both sides make the fence that one side makes for both.

mod armed;
mod joined;

use common::sync::{Arc, AtomicU32, AtomicU64, Mutex, Ordering, explore_model, thread};
use day5::doorbell::{self, Ticket};

/// Explores a model with sleepers.
fn explore(name: &str, bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    #[cfg(loom)]
    day3::doorbell::model_sleepers();
    explore_model(name, bound, model);
}

/// A kernel with one futex. Sleepers are numbers, and a sleeper is asleep while it is on the list.
struct Kernel {
    sleepers: Mutex<Vec<usize>>,
}

impl Kernel {
    /// Puts `who` to sleep if the word still agrees with its ticket.
    fn wait(&self, word: &AtomicU32, ticket: Ticket, who: usize) {
        let mut sleepers = self.sleepers.lock().unwrap();
        if word.load(Ordering::Relaxed) == ticket.word() {
            sleepers.push(who);
        }
    }

    fn wake_all(&self) {
        self.sleepers.lock().unwrap().clear();
    }
}

/// A queue reduced to its number of messages, with its doorbell and its kernel.
#[derive(Clone)]
struct Queue {
    published: Arc<AtomicU64>,
    word: Arc<AtomicU32>,
    kernel: Arc<Kernel>,
}

impl Queue {
    fn new() -> Self {
        Self {
            published: Arc::new(AtomicU64::new(0)),
            word: Arc::new(AtomicU32::new(0)),
            kernel: Arc::new(Kernel { sleepers: Mutex::new(Vec::new()) }),
        }
    }

    fn publish(&self) {
        self.published.store(self.published.load(Ordering::Relaxed) + 1, Ordering::Release);
        if doorbell::ring(&self.word) {
            self.kernel.wake_all();
        }
    }

    /// Waits for one message: looks, and rests if there is none.
    fn wait(&self, who: usize) {
        let look = || (self.published.load(Ordering::Acquire) > 0).then_some(());
        if look().is_none() {
            doorbell::rest(&self.word, look, |ticket| self.kernel.wait(&self.word, ticket, who));
        }
    }

    /// Everything is published, and the last ring is over: no thread may be asleep.
    fn assert_nobody_sleeps(&self) {
        let sleepers = self.kernel.sleepers.lock().unwrap().clone();
        assert!(sleepers.is_empty(), "{sleepers:?} sleep, and nobody wakes them");
    }
}

/// A consumer that goes to sleep while a message comes is woken, or does not sleep.
#[test]
fn no_wake_up_is_lost() {
    explore("no_wake_up_is_lost", None, || {
        let queue = Queue::new();
        let sleeper = queue.clone();
        let thread = thread::spawn(move || sleeper.wait(1));
        queue.publish();
        thread.join().unwrap();
        queue.assert_nobody_sleeps();
    });
}

/// The same after an earlier message, which has already woken a consumer.
#[test]
fn no_later_wake_up_is_lost() {
    explore("no_later_wake_up_is_lost", None, || {
        let queue = Queue::new();
        doorbell::announce(&queue.word);
        let sleeper = queue.clone();
        let thread = thread::spawn(move || sleeper.wait(1));
        queue.publish();
        queue.publish();
        thread.join().unwrap();
        queue.assert_nobody_sleeps();
    });
}

/// One consumer announces itself between another's last look and its sleep.
#[test]
fn two_sleepers_do_not_hide_a_ring() {
    explore("two_sleepers_do_not_hide_a_ring", Some(3), || {
        let queue = Queue::new();
        let threads = [1, 2].map(|who| {
            let sleeper = queue.clone();
            thread::spawn(move || sleeper.wait(who))
        });
        queue.publish();
        for thread in threads {
            thread.join().unwrap();
        }
        queue.assert_nobody_sleeps();
    });
}
