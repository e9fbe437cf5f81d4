//! Threads that sleep on futexes so that programs can sleep on descriptors. All bridges of a process
//! share them.
//!
//! A thread sleeps on many words at once (`futex_waitv(2)`, Linux 5.16): on up to 127 bridges'
//! words, and on a control word of its own, which changes with each order. More bridges than that need
//! another thread, and without `futex_waitv` each bridge has a thread of its own. A thread ends when it
//! has no bridge left.
//!
//! # Words that go away
//!
//! The words lie in memory that an end has mapped. When the end is gone, something else may be mapped at
//! the same address, and the thread must not sleep on that. So a bridge that is dropped takes its word
//! off the list, wakes the thread, and waits until the thread has woken up. From then on the thread
//! sleeps only on words that were on the list when it last looked.
//!
//! # Forks
//!
//! The child of a fork has copies of the bridges and none of the threads. The bridges' ends are the
//! parent's, so what the child does with its copies has no effect. Bridges that the child makes have a
//! thread each: the list of the parent's threads may have been in use at the moment of the fork.

use core::ptr::NonNull;
use std::io;
use std::sync::{Condvar, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::process::Origin;
use common::sync::{Arc, AtomicU32, Mutex, Ordering};

use crate::doorbell::Ticket;
use crate::eventfd::Counter;
use crate::futex;
use crate::strategy::SLICE;

/// How many bridges a thread serves: the kernel takes 128 words, and one of them is the control
/// word.
const MOST: usize = 127;

/// How long a bridge that is dropped waits before it wakes its thread again. Without `futex_waitv`, a
/// wake-up is lost if the thread was only about to sleep.
const AGAIN: Duration = Duration::from_millis(1);

/// A word of a doorbell that an end has mapped.
#[derive(Clone, Copy, Debug)]
struct Word(NonNull<AtomicU32>);

// SAFETY: the address of an atomic word, which any thread may use.
unsafe impl Send for Word {}

/// An order: signal when the word has changed from the ticket, or when the time is up.
#[derive(Clone, Copy, Debug)]
struct Watch {
    word: Word,
    value: u32,
    until: Instant,
}

/// A bridge, as its thread knows it.
#[derive(Debug)]
struct Member {
    id: u64,
    counter: Arc<Counter>,
    watch: Option<Watch>,
}

#[derive(Debug, Default)]
struct State {
    members: Vec<Member>,
    next_id: u64,
    /// How often the thread has woken up.
    rounds: u64,
    /// Whether the thread sleeps, or is about to sleep, on the words that were on the list in this
    /// round.
    sleeps: bool,
    /// Whether the thread takes no more bridges.
    has_ended: bool,
}

/// A thread, as its bridges know it.
#[derive(Debug)]
struct Watcher {
    control: AtomicU32,
    state: Mutex<State>,
    woke: Condvar,
    /// How many bridges the thread serves at most.
    most: usize,
    origin: Origin,
}

/// The threads of the process that made the first bridge.
#[derive(Debug)]
struct Threads {
    watchers: Mutex<Vec<Arc<Watcher>>>,
    origin: Origin,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many bridges one thread can serve on this kernel.
fn most() -> usize {
    if futex::can_wait_for_many() { MOST } else { 1 }
}

impl Threads {
    fn of_this_process() -> Option<&'static Self> {
        static THREADS: OnceLock<Threads> = OnceLock::new();
        let threads =
            THREADS.get_or_init(|| Self { watchers: Mutex::default(), origin: Origin::here() });
        threads.origin.is_here().then_some(threads)
    }

    /// Finds a thread for one more bridge, or starts one.
    fn enter(counter: &Arc<Counter>) -> io::Result<(Arc<Watcher>, u64)> {
        let Some(threads) = Self::of_this_process() else {
            return Watcher::start(1, counter);
        };
        let mut watchers = lock(&threads.watchers);
        watchers.retain(|watcher| !lock(&watcher.state).has_ended);
        for watcher in &*watchers {
            if let Some(id) = watcher.enter(counter) {
                return Ok((Arc::clone(watcher), id));
            }
        }
        let (watcher, id) = Watcher::start(most(), counter)?;
        watchers.push(Arc::clone(&watcher));
        Ok((watcher, id))
    }
}

impl Watcher {
    /// Starts a thread, with this counter's bridge as its first.
    fn start(most: usize, counter: &Arc<Counter>) -> io::Result<(Arc<Self>, u64)> {
        let (control, state, woke) = (AtomicU32::new(0), Mutex::default(), Condvar::new());
        let watcher = Arc::new(Self { control, state, woke, most, origin: Origin::here() });
        let id = watcher.enter(counter).expect("a new one has room");
        let work = Arc::clone(&watcher);
        thread::Builder::new().name("fanout-bridge".into()).spawn(move || work.work())?;
        Ok((watcher, id))
    }

    /// Takes one more bridge, if there is room.
    fn enter(&self, counter: &Arc<Counter>) -> Option<u64> {
        let mut state = lock(&self.state);
        if state.has_ended || state.members.len() >= self.most {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        state.members.push(Member { id, counter: Arc::clone(counter), watch: None });
        Some(id)
    }

    /// Takes an order. An order from a bridge that has left is ignored.
    fn order(&self, id: u64, watch: Watch) {
        if !self.origin.is_here() {
            return;
        }
        let mut state = lock(&self.state);
        let Some(member) = state.members.iter_mut().find(|member| member.id == id) else { return };
        member.watch = Some(watch);
        let sleeps = state.sleeps;
        drop(state);
        if sleeps {
            self.kick(None);
        }
    }

    /// Forgets this bridge. Afterwards the thread does not touch the bridge's word.
    fn leave(&self, id: u64) {
        if !self.origin.is_here() {
            return;
        }
        let mut state = lock(&self.state);
        let Some(at) = state.members.iter().position(|member| member.id == id) else { return };
        let watch = state.members.swap_remove(at).watch;
        if watch.is_none() && !state.members.is_empty() {
            // The thread has reported since, so it no longer sleeps on that word.
            return;
        }
        let round = state.rounds;
        while state.sleeps && state.rounds == round {
            drop(state);
            self.kick(watch);
            let (again, _) = self
                .woke
                .wait_timeout_while(lock(&self.state), AGAIN, |state| {
                    state.sleeps && state.rounds == round
                })
                .unwrap_or_else(PoisonError::into_inner);
            state = again;
        }
    }

    /// Wakes the thread. `watch` is the word that it may be sleeping on, if it can sleep on only
    /// one.
    fn kick(&self, watch: Option<Watch>) {
        self.control.fetch_add(1, Ordering::Relaxed);
        futex::wake(&self.control);
        if let Some(watch) = watch
            && !futex::can_wait_for_many()
        {
            // SAFETY: the caller's bridge is not dropped yet.
            futex::wake(unsafe { watch.word.0.as_ref() });
        }
    }

    fn work(&self) {
        let mut woken = None;
        loop {
            let mut state = lock(&self.state);
            state.rounds += 1;
            state.sleeps = false;
            self.woke.notify_all();
            state.report(woken);
            if state.members.is_empty() {
                state.has_ended = true;
                return;
            }
            let watches: Vec<_> =
                state.members.iter().filter_map(|one| Some((one.id, one.watch?))).collect();
            let control = self.control.load(Ordering::Relaxed);
            state.sleeps = true;
            drop(state);
            woken = self.sleep(control, &watches);
        }
    }

    /// Sleeps until there is something to do. Returns the bridge whose word was rung, if the kernel
    /// told.
    fn sleep(&self, control: u32, watches: &[(u64, Watch)]) -> Option<u64> {
        let until = watches.iter().map(|(_, watch)| watch.until).min();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if futex::can_wait_for_many() {
            let words = watches.iter().map(|(_, watch)| (watch.word.0, watch.value));
            let words: Vec<_> = words.chain([(NonNull::from(&self.control), control)]).collect();
            return watches.get(futex::wait_for_any(&words, left)?).map(|(id, _)| *id);
        }
        let left = left.unwrap_or(SLICE);
        let Some((id, watch)) = watches.first() else {
            let _ = futex::wait(&self.control, control, left);
            return None;
        };
        // SAFETY: its bridge waits for the end of this round before it is dropped.
        let word = unsafe { watch.word.0.as_ref() };
        let _ = futex::wait(word, watch.value, left);
        Some(*id)
    }
}

impl State {
    /// Signals each bridge whose order is fulfilled. It looks at every word itself, whatever ended
    /// the sleep.
    fn report(&mut self, woken: Option<u64>) {
        let mut now = None;
        for member in &mut self.members {
            let Some(watch) = member.watch else { continue };
            // SAFETY: a bridge takes its order off the list before it is dropped.
            let word = unsafe { watch.word.0.as_ref() };
            let is_due = Some(member.id) == woken
                || word.load(Ordering::Relaxed) != watch.value
                || *now.get_or_insert_with(Instant::now) >= watch.until;
            if is_due {
                member.watch = None;
                member.counter.signal();
            }
        }
    }
}

/// The way between a bridge and its thread: orders go to the thread, and signals come back.
#[derive(Debug)]
pub struct Post {
    watcher: Arc<Watcher>,
    id: u64,
    counter: Arc<Counter>,
}

impl Post {
    /// Where signals arrive.
    pub fn counter(&self) -> &Counter {
        &self.counter
    }

    /// Asks the thread for one signal: as soon as the word has changed from the ticket, or after `slice`.
    ///
    /// # Safety
    ///
    /// The word must stay in place until the [`Bridge`] is dropped.
    pub unsafe fn watch(&self, word: &AtomicU32, ticket: Ticket, slice: Duration) {
        let (word, until) = (Word(NonNull::from(word)), Instant::now() + slice);
        self.watcher.order(self.id, Watch { word, value: ticket.word(), until });
    }
}

/// A word that can be watched until this is dropped.
#[derive(Debug)]
pub struct Bridge {
    post: Arc<Post>,
}

impl Bridge {
    /// A bridge, served by a thread that others have started, or by a new one.
    ///
    /// # Errors
    ///
    /// What the kernel said: no descriptor, or no thread.
    pub fn start() -> io::Result<Self> {
        let counter = Arc::new(Counter::new()?);
        let (watcher, id) = Threads::enter(&counter)?;
        Ok(Self { post: Arc::new(Post { watcher, id, counter }) })
    }

    /// The way to its thread.
    pub fn post(&self) -> &Arc<Post> {
        &self.post
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.post.watcher.leave(self.post.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell;

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
            unsafe { bridge.post().watch(&word, ticket, SLICE) };
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
        unsafe { bridge.post().watch(&word, ticket, SLICE) };
        eventually(|| bridge.post().counter().take() == 1);
    }

    #[test]
    fn nobody_sleeps_on_the_word_of_a_bridge_that_was_dropped() {
        let stays = AtomicU32::new(0);
        let witness = Bridge::start().unwrap();
        for round in 0..200 {
            let word = AtomicU32::new(0);
            let bridge = Bridge::start().unwrap();
            let ticket = doorbell::announce(&word);
            // SAFETY: the bridge is dropped before the word.
            unsafe { bridge.post().watch(&word, ticket, SLICE) };
            thread::sleep(Duration::from_micros(round % 3 * 100));
            drop(bridge);
            assert_eq!(futex::wake(&word), 0, "the kernel knows who sleeps on it");
        }
        let ticket = doorbell::announce(&stays);
        // SAFETY: the word was declared before the bridge, and so lives longer.
        unsafe { witness.post().watch(&stays, ticket, SLICE) };
        doorbell::wake(&stays);
        eventually(|| witness.post().counter().take() == 1);
    }
}
