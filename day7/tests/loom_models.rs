//! Models of the ready words: no ring is lost, and no selector sleeps while there is something; and, in `newest`, of a
//! latest value.
//!
//! `cargo model -p day7` explores them; an ordinary `cargo test` runs each once on real threads.
//! `FANOUT_PREEMPTIONS` and `FANOUT_MUTANT` work as on Day 3. As in Day 5's models, both sides make the fence that one
//! side makes for both.

mod newest;
mod register;

use common::sync::{Arc, AtomicU32, AtomicU64, Mutex, Ordering, UnsafeCell, explore_model, thread};
use day5::doorbell::{self, Ticket};
use day7::ready::{Board, Seat, announce_and_look};

/// Explores a model with sleepers.
fn explore(name: &str, bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    #[cfg(loom)]
    day3::doorbell::model_sleepers();
    explore_model(name, bound, model);
}

fn board(seats: usize) -> Board {
    #[cfg(loom)]
    return Board::on_heap(seats);
    #[cfg(not(loom))]
    return Board::create(seats).unwrap();
}

/// What a client has written before it rang, without an order of its own.
struct Letter(UnsafeCell<u64>);

// SAFETY: the model says when it is written and when it is read, and loom watches.
unsafe impl Sync for Letter {}
// SAFETY: as above.
unsafe impl Send for Letter {}

impl Letter {
    fn write(&self) {
        // SAFETY: the model's reader reads it only after the ring.
        self.0.with_mut(|letter| unsafe { *letter = 1 });
    }

    fn read(&self) -> u64 {
        // SAFETY: it was written before the ring, and is not written again.
        self.0.with(|letter| unsafe { *letter })
    }
}

/// Two clients share a word of seats. The selector may find the one's bit when only the other has said that there is
/// one.
#[test]
fn a_turn_sees_what_was_written_before_the_ring() {
    explore("a_turn_sees_what_was_written_before_the_ring", None, || {
        let board = board(2);
        let letters: [_; 2] = core::array::from_fn(|_| Arc::new(Letter(UnsafeCell::new(0))));
        let clients = [0, 1].map(|number| {
            let (seat, letter) = (board.seat(number).unwrap(), Arc::clone(&letters[number]));
            thread::spawn(move || {
                letter.write();
                seat.ring();
            })
        });
        let mut read = [0; 2];
        board.take(|seat| read[seat] += letters[seat].read());
        for client in clients {
            client.join().unwrap();
        }
        board.take(|seat| read[seat] += letters[seat].read());
        assert_eq!(read, [1; 2], "each ring was taken once");
    });
}

/// A client that rings again while its ring is being taken is heard.
#[test]
fn a_ring_during_a_look_is_kept() {
    explore("a_ring_during_a_look_is_kept", None, || {
        let (board, written) = (board(1), Arc::new(AtomicU64::new(0)));
        let (seat, client) = (board.seat(0).unwrap(), Arc::clone(&written));
        let client = thread::spawn(move || {
            for round in 1..=2 {
                client.store(round, Ordering::Relaxed);
                seat.ring();
            }
        });
        let mut seen = 0;
        let mut take = || board.take(|_| seen = written.load(Ordering::Relaxed));
        take();
        take();
        client.join().unwrap();
        take();
        assert_eq!(seen, 2, "the second ring is lost");
    });
}

/// A kernel with one futex, and the one thread that may sleep there.
#[derive(Clone, Default)]
struct Kernel(Arc<Mutex<bool>>);

impl Kernel {
    /// Puts the selector to sleep if the word still agrees with its ticket.
    fn wait(&self, word: &AtomicU32, ticket: Ticket) -> bool {
        let mut sleeps = self.0.lock().unwrap();
        *sleeps = word.load(Ordering::Relaxed) == ticket.word();
        *sleeps
    }

    fn wake(&self) {
        *self.0.lock().unwrap() = false;
    }

    fn has_sleeper(&self) -> bool {
        *self.0.lock().unwrap()
    }
}

/// A ring reduced to its number of messages, with its doorbell.
#[derive(Clone)]
struct Queue {
    published: Arc<AtomicU64>,
    word: Arc<AtomicU32>,
}

impl Queue {
    fn new() -> Self {
        Self { published: Arc::new(AtomicU64::new(0)), word: Arc::new(AtomicU32::new(0)) }
    }

    /// As a producer whose way to wait is a `Posting`.
    fn publish(&self, seat: &Seat, kernel: &Kernel) {
        self.published.store(self.published.load(Ordering::Relaxed) + 1, Ordering::Release);
        if doorbell::ring(&self.word) && seat.ring() {
            kernel.wake();
        }
    }

    fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }
}

/// A selector, reduced to what it looks at.
struct Server<'a> {
    board: &'a Board,
    queues: &'a [Queue],
    active: Vec<bool>,
    read: Vec<u64>,
}

impl Server<'_> {
    /// Reads what there is in active rings; says whether there was anything.
    fn look(&mut self) -> bool {
        if self.board.has_rung() {
            let active = &mut self.active;
            self.board.take(|seat| active[seat] = true);
        }
        let mut found = false;
        for (at, queue) in self.queues.iter().enumerate().filter(|(at, _)| self.active[*at]) {
            let published = queue.published();
            found |= published > self.read[at];
            self.read[at] = published;
        }
        found
    }

    /// Lets active rings go idle, and announces a sleep; the ticket if there is nothing to do.
    fn announce(&mut self) -> Option<Ticket> {
        let resting: Vec<_> = (0..self.queues.len()).filter(|at| self.active[*at]).collect();
        let words = resting.iter().map(|&at| &*self.queues[at].word);
        let words: Vec<_> = words.chain([self.board.word()]).collect();
        let (mut found, queues, read) = (vec![false; words.len()], self.queues, &self.read);
        let tickets = announce_and_look(&words, |at| {
            found[at] = match resting.get(at) {
                Some(&ring) => queues[ring].published() > read[ring],
                None => self.board.has_rung(),
            };
        });
        for (&ring, found) in resting.iter().zip(&found) {
            self.active[ring] = *found;
        }
        (!found.contains(&true)).then_some(tickets[resting.len()])
    }

    /// Looks so often; says whether it sleeps then.
    fn serve(&mut self, kernel: &Kernel, looks: usize) -> bool {
        (0..looks).any(|_| {
            !self.look()
                && self.announce().is_some_and(|ticket| kernel.wait(self.board.word(), ticket))
        })
    }
}

/// Clients that publish once each (or twice, if there is one), and a selector that looks and sleeps.
fn nobody_sleeps(clients: usize, messages: u64, looks: usize) {
    let (board, kernel) = (board(clients), Kernel::default());
    let queues: Vec<_> = (0..clients).map(|_| Queue::new()).collect();
    let threads: Vec<_> = (0..clients)
        .map(|at| {
            let (queue, seat) = (queues[at].clone(), board.seat(at).unwrap());
            let kernel = kernel.clone();
            thread::spawn(move || (0..messages).for_each(|_| queue.publish(&seat, &kernel)))
        })
        .collect();
    let (active, read) = (vec![true; clients], vec![0; clients]);
    let mut server = Server { board: &board, queues: &queues, active, read };
    server.serve(&kernel, looks);
    let read = server.read;
    for thread in threads {
        thread.join().unwrap();
    }
    let all = read.iter().all(|&read| read == messages);
    assert!(all || !kernel.has_sleeper(), "{read:?} of {messages} each, and nobody wakes it");
}

/// A client publishes while its ring goes idle, or has gone.
#[test]
fn a_selector_does_not_sleep_while_there_is_something() {
    explore("a_selector_does_not_sleep_while_there_is_something", Some(3), || {
        nobody_sleeps(1, 2, 3);
    });
}

/// Two rings go idle at once, and the sleep is announced with the same barrier.
#[test]
fn rings_that_go_idle_together_are_both_heard() {
    explore("rings_that_go_idle_together_are_both_heard", Some(2), || {
        nobody_sleeps(2, 1, 3);
    });
}
