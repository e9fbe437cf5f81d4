//! One thread, thousands of rings.
//!
//! A [`Selector`] watches consumers from outside, through their [`Outlook`]s, and says whose turn it is. The consumers
//! stay where they are: they may be of rings of messages and of records, broadcast consumers, evictable ones and members
//! of groups, in any mix.
//!
//! # Idle rings cost nothing
//!
//! A ring that was found empty for a while goes *idle*: the selector announces a sleep at the ring's doorbell, and does
//! not look at it any more. A producer that publishes finds the announcement, and rings its [`Seat`]. Many
//! rings go idle at once, with one barrier. So one busy ring among a thousand idle ones is as fast as one ring alone.
//!
//! A ring that was [added](Selector::add) without a seat needs nothing of its producer, but the selector has to
//! look at its doorbell now and then, and sleeps there, too: there can be at most [`MOST_PLAIN`] of them.
//!
//! Each [`SLICE`] the selector looks at all rings, whatever their doorbells say. So a wake-up that never comes, because a
//! producer was killed between publish and ring, or rings no seat, costs a slice at most. And it asks the kernel about
//! a few of the producers, in turn, and gives a turn to the consumers of dead ones: then their `try_recv` reports it.
//!
//! # Turns
//!
//! Rings that have something are visited one after the other, by *deficit round robin* (M. Shreedhar, G. Varghese,
//! 1995): each visit adds a quantum of bytes to the ring's budget, and what the consumer has released since is taken off
//! it. A consumer that takes more than its budget is passed over until it has made up for that. So while they
//! all have something, no ring gets more bytes than another by more than a quantum and a message (where messages are of
//! many lengths: two of the longest). Nobody has to report what was used: it is read from the consumer's cursor. A member of a group is charged with what the group has
//! claimed from the begin of its visit to the next call.
//!
//! A ring that has ended, or that its consumer has left, has a turn once a slice until it is
//! [removed](Selector::remove): the consumer reports which it was.
//!
//! # Examples
//!
//! ```
//! # mod fanout {
//! #     pub use day3::*;
//! #     pub mod records { pub use day4::*; }
//! #     pub mod select { pub use day7::{ready::Posting, selector::Selector}; }
//! # }
//! use std::collections::HashMap;
//! use std::thread;
//!
//! use fanout::records::{Reader, Writer};
//! use fanout::select::{Posting, Selector};
//! use fanout::{Start, TryRecvError};
//!
//! let (mut selector, mut readers) = (Selector::new()?, HashMap::new());
//! let mut clients = Vec::new();
//! for client in 0..4u8 {
//!     let name = format!("/doc-selector-{}-{client}", std::process::id());
//!     let writer = Writer::create(&name, 4096)?;
//!     let reader = Reader::join(&name, Start::Oldest)?;
//!     let key = selector.add_seated(reader.outlook())?;
//!     readers.insert(key, reader);
//!     let seat = selector.seat(key).expect("it has one");
//!     let mut writer = writer.waiting(Posting::<fanout::Yield>::new(seat, Default::default()));
//!     clients.push(thread::spawn(move || (0..100).try_for_each(|_| writer.send(&[client]))));
//! }
//! let mut received = [0; 4];
//! while !readers.is_empty() {
//!     let turn = selector.wait();
//!     let reader = readers.get_mut(&turn.key).expect("it was not removed");
//!     let has_ended = match reader.try_recv_batch(turn.bytes as usize) {
//!         Ok(records) => {
//!             records.iter().for_each(|record| received[usize::from(record[0])] += 1);
//!             false
//!         }
//!         Err(why) => why != TryRecvError::Empty,
//!     };
//!     if has_ended {
//!         selector.remove(turn.key);
//!         readers.remove(&turn.key);
//!     }
//! }
//! assert_eq!(received, [100; 4]);
//! # clients.into_iter().for_each(|client| client.join().unwrap().unwrap());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod entry;
mod options;
mod pollable;
mod sleep;

use core::fmt;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use common::process::forks;
use common::sync::{spin_loop, yield_now};
use day3::outlook::Outlook;
use day5::Adaptive;
use day5::strategy::{Looked, SLICE, Strategy, until};

use crate::ready::{Board, Seat};

use entry::{Entry, Slot, Visit};
pub use options::{AddError, SelectorError, SelectorOptions};
#[cfg(feature = "tokio")]
pub use pollable::AsyncSelector;
pub use pollable::PollableSelector;
use pollable::Watch;

/// How many rings without a seat a selector takes: the kernel lets a thread sleep on 128 words at once.
pub const MOST_PLAIN: usize = 120;

/// For so many turns a ring has to be empty before it goes idle while others are busy.
const EMPTY_TURNS: u64 = 64;
/// So many looks in vain are worth a barrier, which costs some microseconds.
const LOOKS_FOR_BARRIER: u32 = 256;
/// How many tries there are between two looks at the clock.
const TRIES_BETWEEN_CLOCKS: u32 = 64;
/// How many tries there are between two looks at the doorbells of idle rings without a seat.
const TRIES_BETWEEN_PLAIN: u32 = 16;
/// The kernel is asked about so many producers in each slice.
const ASKED_IN_SLICE: usize = 8;

/// Names what was added to a selector. The key of what was removed names nothing any more. A key is good for its own
/// selector: another one may have given the same key to something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// A small number that no other key has at the same time: an index for what belongs to it.
    pub fn index(self) -> usize {
        self.index as usize
    }
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Turn {
    /// What it was added as.
    pub key: Key,
    /// How many bytes the consumer may receive now. One that receives more, because a message is longer, makes up for
    /// it with its next turns.
    pub bytes: u64,
    /// Whether its seat was rung, or [`Selector::wake`] was called, since its last turn. There may be no message then.
    pub was_rung: bool,
}

/// Says whose turn it is: see the [module](self).
///
/// In a child that was forked from its process it does not learn whose seats were rung: that is for its parent.
pub struct Selector {
    // Declared before the board, so dropped first: a thread watches the board's doorbell.
    watch: Option<Watch>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    board: Board,
    /// By seat: who has it.
    seats: Vec<Option<u32>>,
    free_seats: Vec<usize>,
    /// The rings that are looked at, in the order of their turns.
    active: VecDeque<u32>,
    /// The rings without a seat.
    plain: Vec<u32>,
    quantum: u64,
    /// Who had the last turn.
    current: Option<u32>,
    /// How many turns there were.
    turns: u64,
    /// How many looks in vain there were beside turns since rings last went idle.
    vain: u32,
    tries: u32,
    waiting: Strategy,
    adaptive: Adaptive,
    /// When to look at all rings again.
    next_sweep: Instant,
    /// The ring whose producer the kernel is asked about next.
    next_asked: usize,
    sleeps: u64,
    forks: u64,
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, active) = (self.len(), self.active.len());
        let mut out = f.debug_struct("Selector");
        out.field("len", &len).field("active", &active).field("quantum", &self.quantum);
        out.finish_non_exhaustive()
    }
}

impl Selector {
    /// A selector with the default options.
    ///
    /// # Errors
    ///
    /// [`SelectorError`].
    pub fn new() -> Result<Self, SelectorError> {
        Self::with_options(&SelectorOptions::new())
    }

    /// A selector with these options.
    ///
    /// # Errors
    ///
    /// [`SelectorError`].
    pub fn with_options(options: &SelectorOptions) -> Result<Self, SelectorError> {
        let quantum = options.checked_quantum()?;
        let board = Board::create(options.seats)?;
        let seats = board.seats();
        Ok(Self {
            watch: None,
            slots: Vec::new(),
            free: Vec::new(),
            board,
            seats: vec![None; seats],
            free_seats: (0..seats).rev().collect(),
            active: VecDeque::new(),
            plain: Vec::new(),
            quantum,
            current: None,
            turns: 0,
            vain: 0,
            tries: 0,
            waiting: options.waiting,
            adaptive: Adaptive::default(),
            next_sweep: Instant::now() + SLICE,
            next_asked: 0,
            sleeps: 0,
            forks: forks(),
        })
    }

    /// Watches the consumer of this outlook, whose producer need not know of it. The selector sleeps at the ring's own
    /// doorbell, too.
    ///
    /// # Errors
    ///
    /// [`AddError::Plain`] if there are [`MOST_PLAIN`] of them already.
    pub fn add(&mut self, outlook: Outlook) -> Result<Key, AddError> {
        if self.plain.len() >= MOST_PLAIN {
            return Err(AddError::Plain);
        }
        let mut entry = Entry::new(Some(outlook), None);
        if let Some(watch) = &self.watch {
            entry.bridge = Some(watch.bridge()?);
        }
        let key = self.insert(entry);
        self.plain.push(key.index);
        self.activate(key.index);
        Ok(key)
    }

    /// Watches the consumer of this outlook, whose producer rings its [seat](Self::seat): see
    /// [`Posting`](crate::ready::Posting). Until it does, the selector finds its messages with the delay of a [`SLICE`].
    ///
    /// # Errors
    ///
    /// [`AddError::Seats`] if all seats are taken.
    pub fn add_seated(&mut self, outlook: Outlook) -> Result<Key, AddError> {
        let key = self.seated(Some(outlook))?;
        self.activate(key.index);
        Ok(key)
    }

    /// A seat without a ring: it has a turn when it was rung.
    ///
    /// # Errors
    ///
    /// [`AddError::Seats`] if all seats are taken.
    pub fn add_bell(&mut self) -> Result<Key, AddError> {
        self.seated(None)
    }

    fn seated(&mut self, outlook: Option<Outlook>) -> Result<Key, AddError> {
        let seats = self.seats.len();
        let seat = self.free_seats.pop().ok_or(AddError::Seats { seats })?;
        let key = self.insert(Entry::new(outlook, Some(seat)));
        self.seats[seat] = Some(key.index);
        Ok(key)
    }

    fn insert(&mut self, entry: Entry) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.entry = Some(Box::new(entry));
        Key { index, generation: slot.generation }
    }

    /// Forgets this one; says whether it was there. Its seat goes to the next one that is added: who rings the seat until
    /// then costs the newcomer a turn without need.
    pub fn remove(&mut self, key: Key) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        let slot = &mut self.slots[key.index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        if let Some(entry) = slot.entry.take() {
            if entry.is_active {
                self.active.retain(|&index| index != key.index);
            }
            match entry.seat {
                Some(seat) => {
                    self.seats[seat] = None;
                    self.free_seats.push(seat);
                }
                None => self.plain.retain(|&index| index != key.index),
            }
        }
        self.free.push(key.index);
        self.current = self.current.filter(|&index| index != key.index);
        true
    }

    /// The seat of this one, for its producer in this process. `None` for a ring that was added without, and for what
    /// was removed.
    pub fn seat(&self, key: Key) -> Option<Seat> {
        self.board.seat(self.get(key)?.seat?)
    }

    /// The same for a producer in another process: a descriptor of the board, and the number of the seat, for
    /// [`Seat::from_fd`].
    ///
    /// # Errors
    ///
    /// What the kernel said: this process is at its limit of descriptors.
    pub fn seat_descriptor(&self, key: Key) -> io::Result<Option<(OwnedFd, usize)>> {
        let Some(seat) = self.get(key).and_then(|entry| entry.seat) else { return Ok(None) };
        Ok(Some((self.board.descriptor()?, seat)))
    }

    /// A descriptor of the board, for producers in other processes.
    pub(crate) fn board_descriptor(&self) -> io::Result<OwnedFd> {
        self.board.descriptor()
    }

    /// Gives this one a turn, as if its seat had been rung; says whether it is there.
    pub fn wake(&mut self, key: Key) -> bool {
        let is_there = self.get(key).is_some();
        if is_there {
            self.rung(key.index);
        }
        is_there
    }

    /// Gives this one no turn for what is in its ring, until its seat is rung, or [`wake`](Self::wake) is called, or for a
    /// [`SLICE`]: its consumer cannot take that now, and who can change it rings.
    pub fn rest(&mut self, key: Key) {
        if self.get(key).is_some()
            && let Some(entry) = self.slots[key.index as usize].entry.as_deref_mut()
        {
            entry.rests = true;
        }
    }

    /// Gives this one turns again for what is in its ring, after a [`rest`](Self::rest).
    pub fn resume(&mut self, key: Key) {
        if self.get(key).is_some()
            && let Some(entry) = self.slots[key.index as usize].entry.as_deref_mut()
        {
            entry.rests = false;
            self.activate(key.index);
        }
    }

    /// What it watches under this key; `None` for a bell, and for what was removed.
    pub fn outlook(&self, key: Key) -> Option<&Outlook> {
        self.get(key)?.outlook.as_ref()
    }

    /// Whether this one is there.
    pub fn contains(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// How many were added and not removed.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are looked at: the others are idle.
    pub fn active(&self) -> usize {
        self.active.len()
    }

    /// How often it has announced that it is going to sleep.
    pub fn sleeps(&self) -> u64 {
        self.sleeps
    }

    fn get(&self, key: Key) -> Option<&Entry> {
        let slot = self.slots.get(key.index as usize)?;
        slot.entry.as_deref().filter(|_| slot.generation == key.generation)
    }

    /// The next turn, if there is one now.
    pub fn try_wait(&mut self) -> Option<Turn> {
        let turn = self.look();
        if turn.is_none() && self.watch.is_some() { self.arm() } else { turn }
    }

    /// The next turn, waiting for it: it spins and yields while that pays off, and then sleeps. With nothing added it
    /// waits for ever.
    pub fn wait(&mut self) -> Turn {
        loop {
            if let Some(turn) = self.wait_until(None) {
                return turn;
            }
        }
    }

    /// The next turn, waiting for at most `timeout`.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Turn> {
        self.wait_until(Some(day3::wait::deadline(timeout)))
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> Option<Turn> {
        if let Some(turn) = self.look() {
            return Some(turn);
        }
        match self.waiting {
            Strategy::Spin => return self.poll_until(deadline, spin_loop),
            Strategy::Yield => return self.poll_until(deadline, yield_now),
            Strategy::Sleep => {}
            Strategy::Adaptive => {
                let mut adaptive = self.adaptive;
                let width = u32::try_from(self.active.len()).unwrap_or(u32::MAX);
                let looked = adaptive.look_awhile(deadline, width, || self.look());
                self.adaptive = adaptive;
                match looked {
                    Looked::Found(turn) => return Some(turn),
                    Looked::TimedOut => return None,
                    Looked::Exhausted => {}
                }
            }
        }
        loop {
            let slice = until(deadline, SLICE)?;
            self.sleep(slice);
            self.keep_time();
            if let Some(turn) = self.look() {
                return Some(turn);
            }
        }
    }

    /// Looks again and again, with a pause after each look in vain.
    fn poll_until(&mut self, deadline: Option<Instant>, pause: impl Fn()) -> Option<Turn> {
        let mut looks = 0u32;
        loop {
            if let Some(turn) = self.look() {
                return Some(turn);
            }
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(TRIES_BETWEEN_CLOCKS)
                && deadline.is_some_and(|deadline| Instant::now() >= deadline)
            {
                return None;
            }
            pause();
        }
    }

    /// The next turn, if there is one now. In vain it arms no descriptor: a loop that looks often, and means to go on,
    /// calls this, and [`try_wait`](Self::try_wait) only before it waits for the descriptor.
    #[inline]
    pub fn look(&mut self) -> Option<Turn> {
        self.settle();
        self.tries = self.tries.wrapping_add(1);
        if self.tries.is_multiple_of(TRIES_BETWEEN_CLOCKS) {
            self.keep_time();
        }
        if self.board.has_rung() {
            self.take();
        }
        if self.tries.is_multiple_of(TRIES_BETWEEN_PLAIN) {
            self.look_at_plain();
        }
        self.pass().or_else(|| if self.look_at_plain() { self.pass() } else { None })
    }

    /// Takes what the last visit has used off the ring's budget.
    fn settle(&mut self) {
        let Some(index) = self.current.take() else { return };
        let quantum = self.quantum;
        if let Some(entry) = self.slots[index as usize].entry.as_deref_mut() {
            entry.settle(quantum);
        }
    }

    /// Notes whose seats were rung.
    #[cold]
    fn take(&mut self) {
        // A forked child shares the board. What it took there would be lost to its parent: a bell is nowhere else.
        if self.forks != forks() {
            return;
        }
        let Self { board, seats, slots, active, turns, .. } = self;
        board.take(|seat| {
            let Some(index) = seats[seat] else { return };
            if let Some(entry) = slots[index as usize].entry.as_deref_mut() {
                entry.is_rung = true;
                entry.activate(*turns).then(|| active.push_back(index));
            }
        });
    }

    fn rung(&mut self, index: u32) {
        if let Some(entry) = self.slots[index as usize].entry.as_deref_mut() {
            entry.is_rung = true;
        }
        self.activate(index);
    }

    /// From now on it is looked at.
    fn activate(&mut self, index: u32) {
        if let Some(entry) = self.slots[index as usize].entry.as_deref_mut()
            && entry.activate(self.turns)
        {
            self.active.push_back(index);
        }
    }

    /// Looks at the doorbells of idle rings without a seat; says whether one has rung.
    fn look_at_plain(&mut self) -> bool {
        let before = self.active.len();
        for at in 0..self.plain.len() {
            let index = self.plain[at];
            let entry = self.slots[index as usize].entry.as_deref();
            if entry.is_some_and(Entry::has_rung_at_ring) {
                self.activate(index);
            }
        }
        self.active.len() > before
    }

    /// Visits the active rings in turn, until one has something and may have it.
    fn pass(&mut self) -> Option<Turn> {
        loop {
            let (mut vain, mut nearest) = (0, None);
            for _ in 0..self.active.len() {
                let index = self.active.pop_front()?;
                let Slot { generation, entry } = &mut self.slots[index as usize];
                let Some(entry) = entry.as_deref_mut() else { continue };
                match entry.visit(self.quantum, self.turns) {
                    Visit::Turn { bytes, was_rung } => {
                        if entry.is_active {
                            self.active.push_back(index);
                        }
                        let key = Key { index, generation: *generation };
                        self.current = Some(index);
                        self.turns += 1;
                        self.vain += vain;
                        if self.vain >= LOOKS_FOR_BARRIER {
                            self.retire();
                        }
                        return Some(Turn { key, bytes, was_rung });
                    }
                    Visit::Nothing => vain += 1,
                    Visit::Owes { rounds } => {
                        nearest = Some(nearest.map_or(rounds, |least: u64| least.min(rounds)));
                    }
                }
                self.active.push_back(index);
            }
            // All that have something are in debt. Instead of going round until one is not, all get what they
            // would get meanwhile.
            let rounds = nearest? - 1;
            for &index in &self.active {
                if let Some(entry) = self.slots[index as usize].entry.as_deref_mut() {
                    entry.credit(rounds, self.quantum);
                }
            }
        }
    }

    /// If it is time, looks at all rings.
    fn keep_time(&mut self) {
        let now = Instant::now();
        if now >= self.next_sweep {
            self.next_sweep = now + SLICE;
            self.sweep();
        }
    }

    /// Looks at all rings, whatever their doorbells say.
    #[cold]
    fn sweep(&mut self) {
        for index in 0..self.slots.len() as u32 {
            let entry = self.slots[index as usize].entry.as_deref_mut();
            if entry.is_some_and(|entry| entry.has_work()) {
                self.activate(index);
            }
        }
        for _ in 0..ASKED_IN_SLICE.min(self.slots.len()) {
            self.next_asked = (self.next_asked + 1) % self.slots.len();
            let index = self.next_asked as u32;
            let entry = self.slots[self.next_asked].entry.as_deref_mut();
            if entry.is_some_and(|entry| entry.has_died()) {
                self.activate(index);
            }
        }
    }
}
