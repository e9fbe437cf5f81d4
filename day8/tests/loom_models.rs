//! Models of what other threads touch of a runtime: no wake-up is lost, and a shutdown is heard.
//!
//! `cargo model -p day8` explores them; an ordinary `cargo test` runs each once on real threads.
//! `FANOUT_PREEMPTIONS` and `FANOUT_MUTANT` work as on Day 3. Flags, list and tasks are the real code; the executor is a
//! loop of the test's own, and its poller a bell.

use std::collections::VecDeque;
use std::sync::Arc;

use common::sync::{AtomicU64, Mutex, Ordering, UnsafeCell, explore_model, thread};
use day8::runtime::remote::{Bell, Remote, State, Task};

/// A poller, which returns when this was rung. Its lock stands for the kernel's.
#[derive(Clone)]
struct Poller(Arc<Mutex<bool>>);

impl Bell for Poller {
    fn ring(&self) {
        *self.0.lock().unwrap() = true;
    }
}

impl Poller {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(false)))
    }

    /// Whether it was rung since the last call.
    fn hear(&self) -> bool {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// An executor, reduced to what it does with its tasks. A coroutine is a closure here, which never ends.
struct Executor<'a> {
    poller: Poller,
    remote: Arc<Remote<Poller>>,
    tasks: Vec<Task<Box<dyn FnMut() + 'a>, Poller>>,
    states: Vec<Arc<State<Poller>>>,
    ready: VecDeque<usize>,
}

impl<'a> Executor<'a> {
    fn new() -> Self {
        let poller = Poller::new();
        let remote = Arc::new(Remote::new(poller.clone()));
        Self { poller, remote, tasks: Vec::new(), states: Vec::new(), ready: VecDeque::new() }
    }

    /// A coroutine that was polled once and waits; what its wakers share.
    fn spawn(&mut self, coroutine: impl FnMut() + 'a) -> Arc<State<Poller>> {
        let state = Arc::new(State::queued(self.tasks.len(), 0, Arc::clone(&self.remote)));
        let mut task = Task::new(Arc::clone(&state), Box::new(coroutine) as Box<dyn FnMut() + 'a>);
        let polled = task.begin().unwrap();
        task.wait(polled);
        self.tasks.push(task);
        self.states.push(Arc::clone(&state));
        state
    }

    /// As when the poller has returned, for whatever reason.
    fn look(&mut self) {
        self.ready.extend(self.remote.take());
        while let Some(task) = self.ready.pop_front() {
            let mut coroutine = self.tasks[task].begin().unwrap();
            coroutine();
            self.tasks[task].wait(coroutine);
        }
    }

    /// The executor wakes a coroutine itself, as for a descriptor that has become readable.
    fn tell(&mut self, task: usize) {
        if self.states[task].claim() {
            self.ready.push_back(task);
        }
    }

    /// Asks the poller so often; something else has it return if nobody rings.
    fn turns(&mut self, turns: usize) {
        for _ in 0..turns {
            self.poller.hear();
            self.look();
        }
    }

    /// Goes on until it sleeps and nobody is left to wake it.
    fn rest(&mut self) {
        while self.poller.hear() {
            self.look();
        }
    }
}

/// A waker's thread: another one than the executor's.
fn wake(state: &State<Poller>) {
    state.wake_up(|_| false);
}

/// What a waker has written before it wakes, without an order of its own.
struct Letter(UnsafeCell<u64>);

// SAFETY: the model says when it is written and when it is read, and loom watches.
unsafe impl Sync for Letter {}
// SAFETY: as above.
unsafe impl Send for Letter {}

impl Letter {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(0)))
    }

    fn write(&self) {
        // SAFETY: the model's coroutine reads it only after the wake-up.
        self.0.with_mut(|letter| unsafe { *letter = 1 });
    }

    fn read(&self) -> u64 {
        // SAFETY: it was written before the wake-up, and is not written again.
        self.0.with(|letter| unsafe { *letter })
    }
}

/// A waker wakes twice. Its second wake-up may come at any moment of the poll that the first one caused: then there is
/// another poll, or that one has seen everything.
#[test]
fn a_wake_up_during_a_poll_is_not_lost() {
    explore_model("a_wake_up_during_a_poll_is_not_lost", None, || {
        let letters = [Letter::new(), Letter::new()];
        let written = Arc::new(AtomicU64::new(0));
        let (mut polls, mut seen) = (0, 0);
        let mut executor = Executor::new();
        let state = executor.spawn(|| {
            // A first poll is due to the first wake-up, a second one to the second.
            assert_eq!(letters[polls].read(), 1, "woken, and the letter is not there");
            polls += 1;
            seen = written.load(Ordering::Relaxed);
        });
        let waker = {
            let (letters, written) = (letters.clone(), Arc::clone(&written));
            thread::spawn(move || {
                for (number, letter) in (1..).zip(&letters) {
                    letter.write();
                    written.store(number, Ordering::Relaxed);
                    wake(&state);
                }
            })
        };
        // Before the join, which would show the executor everything.
        executor.turns(2);
        waker.join().unwrap();
        executor.rest();
        drop(executor);
        assert_eq!(seen, 2, "the second wake-up is lost, after {polls} polls");
    });
}

/// Two threads wake one coroutine before it is polled. It is queued once, and that poll sees what both have written.
#[test]
fn two_wakers_queue_a_coroutine_once() {
    explore_model("two_wakers_queue_a_coroutine_once", None, || {
        let letters = [Letter::new(), Letter::new()];
        // Says that wakers have woken, and orders nothing.
        let woken = Arc::new(AtomicU64::new(0));
        let mut read = Vec::new();
        let mut executor = Executor::new();
        let state = executor.spawn(|| read.push([letters[0].read(), letters[1].read()]));
        let wakers = letters.each_ref().map(|letter| {
            let (letter, state, woken) =
                (Arc::clone(letter), Arc::clone(&state), Arc::clone(&woken));
            thread::spawn(move || {
                letter.write();
                wake(&state);
                woken.fetch_add(1, Ordering::Relaxed);
            })
        });
        if woken.load(Ordering::Relaxed) == 2 {
            executor.rest();
        }
        for waker in wakers {
            waker.join().unwrap();
        }
        executor.rest();
        drop(executor);
        assert_eq!(read, [[1, 1]], "one poll, which sees both");
    });
}

/// The executor has the poller's word that a descriptor is readable, and wakes a coroutine itself, while two others wake
/// it.
#[test]
fn a_wake_up_by_the_executor_hides_no_other() {
    explore_model("a_wake_up_by_the_executor_hides_no_other", Some(3), || {
        let written = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let mut seen = [0; 2];
        let mut executor = Executor::new();
        let state =
            executor.spawn(|| seen = written.each_ref().map(|word| word.load(Ordering::Relaxed)));
        let wakers = written.each_ref().map(|word| {
            let (word, state) = (Arc::clone(word), Arc::clone(&state));
            thread::spawn(move || {
                word.store(1, Ordering::Relaxed);
                wake(&state);
            })
        });
        executor.tell(0);
        executor.turns(2);
        for waker in wakers {
            waker.join().unwrap();
        }
        executor.rest();
        drop(executor);
        assert_eq!(seen, [1; 2], "a wake-up is lost");
    });
}

/// Two coroutines are woken while the executor takes the list.
#[test]
fn a_push_while_the_list_is_taken_is_kept() {
    explore_model("a_push_while_the_list_is_taken_is_kept", None, || {
        let polls = [(); 2].map(|()| std::cell::Cell::new(0));
        let mut executor = Executor::new();
        let wakers = polls.each_ref().map(|polls| {
            let state = executor.spawn(|| polls.set(polls.get() + 1));
            thread::spawn(move || wake(&state))
        });
        executor.look();
        for waker in wakers {
            waker.join().unwrap();
        }
        // No bell: each wake-up is in the list, and the list's flag says so.
        executor.look();
        drop(executor);
        assert_eq!(polls.map(|polls| polls.get()), [1; 2], "each was woken once");
    });
}

/// A thread wakes two coroutines, another one wakes a third, while the executor looks and goes to sleep.
#[test]
fn the_executor_does_not_sleep_while_something_was_pushed() {
    explore_model("the_executor_does_not_sleep_while_something_was_pushed", Some(3), || {
        let polls = [(); 3].map(|()| std::cell::Cell::new(0));
        let mut executor = Executor::new();
        let states = polls.each_ref().map(|polls| executor.spawn(|| polls.set(polls.get() + 1)));
        let [first, second, third] = states;
        let wakers = [
            thread::spawn(move || {
                wake(&first);
                wake(&second);
            }),
            thread::spawn(move || wake(&third)),
        ];
        executor.turns(1);
        // From here on it sleeps unless somebody has rung.
        executor.rest();
        for waker in wakers {
            waker.join().unwrap();
        }
        executor.rest();
        drop(executor);
        assert_eq!(polls.map(|polls| polls.get()), [1; 3], "it sleeps, and nobody wakes it");
    });
}

/// Two threads, one has the executor stop, the other wakes a coroutine. They share the bell.
#[test]
fn a_shutdown_is_heard() {
    explore_model("a_shutdown_is_heard", None, || {
        let mut polls = 0;
        let mut executor = Executor::new();
        let (remote, state) = (Arc::clone(&executor.remote), executor.spawn(|| polls += 1));
        let others = [
            thread::spawn({
                let remote = Arc::clone(&remote);
                move || remote.stop()
            }),
            thread::spawn(move || wake(&state)),
        ];
        let mut has_stopped = false;
        while executor.poller.hear() {
            executor.look();
            has_stopped |= remote.is_to_stop();
        }
        for other in others {
            other.join().unwrap();
        }
        // Only what was rung has it look again: a join is no bell.
        while executor.poller.hear() {
            executor.look();
            has_stopped |= remote.is_to_stop();
        }
        drop(executor);
        assert!(has_stopped, "it sleeps, and was to stop");
        assert_eq!(polls, 1, "the wake-up beside the shutdown is lost");
    });
}
