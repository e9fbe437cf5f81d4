//! The words in which producers say whose ring is worth a look.
//!
//! A selector and its producers share one page, the *board*. Each producer has a *seat* there, which is one bit.
//!
//! | offset | line | written by |
//! |---:|---|---|
//! | 0 | what this is, and how many seats it has | the selector, once |
//! | 128 | any: a bit for each of the words below that is not 0 | all |
//! | 256 | doorbell: whether the selector sleeps | all |
//! | 384 | 17 words of 64 seats each, on lines of their own | all |
//!
//! To ring is: set the seat's bit, set the bit of its word in *any*, ring the doorbell. To take is: swap *any* for 0,
//! swap each word that it names for 0, look at the rings whose bits were set. A selector that is busy looks at *any*
//! alone, which is one load of a line that does not change.
//!
//! # No ring is lost
//!
//! - *any* is taken before the words, and set after them. So if the selector takes the bit in *any*, it finds the seat's
//!   bit behind it (edge set -> take), and if it takes *any* too early, the bit there stays for the next time. A seat's
//!   bit may be taken early, with another seat's: then the word is empty next time, which costs a look.
//! - A selector that finds a seat's bit sees what the producer wrote before it rang (edge ring -> turn).
//! - A selector that goes to sleep announces that in the doorbell, makes the heavy barrier, and looks at *any*: either
//!   it sees the bit, or the producer sees the announcement (edge announce <-> ring, as for every sleeper: see
//!   [`doorbell`]).
//! - A producer rings its seat only when the ring's own doorbell said that somebody slept there. So the selector
//!   announces itself at a ring before it stops looking at it, and looks once more after the barrier:
//!   [`announce_and_look`].
//!
//! # Distrust
//!
//! A process that has the board can write all of it. Bits that are set without reason cost the selector a look each. Bits
//! that are taken away, and a doorbell that is spoilt, make it late, by one slice (100 ms) at most: a selector
//! looks at all its rings that often, whatever the board says. No word of the board is an index or a length to it.

#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod posting;

use common::ordering;
use common::sync::{Arc, AtomicU32, AtomicU64, Ordering, mutant};
use crossbeam_utils::CachePadded;
use day5::doorbell::{self, Ticket};

#[cfg(not(loom))]
use memory::Place;
#[cfg(not(loom))]
pub use memory::{BoardError, SeatError};
#[cfg(not(loom))]
pub use posting::Posting;

/// The most seats of a board: for 1,024 producers, and some bells.
pub const MOST_SEATS: usize = 1088;

/// How many seats there are in a word.
const SEATS_OF_WORD: usize = 64;
const WORDS: usize = MOST_SEATS / SEATS_OF_WORD;

/// What a board's page begins with.
#[cfg(not(loom))]
const MAGIC: u64 = u64::from_le_bytes(*b"fanoutR1");

/// The board: see the [module](self).
///
/// No segment has it: it has a page of its own, whose first word says what it is instead of
/// [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION). A change changes that word.
#[derive(Debug)]
#[repr(C)]
struct Lines {
    head: CachePadded<Head>,
    any: CachePadded<AtomicU32>,
    doorbell: CachePadded<AtomicU32>,
    words: [CachePadded<AtomicU64>; WORDS],
}

/// What a board says of itself.
///
/// A change changes its first word; see [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION) for segments.
#[derive(Debug)]
#[repr(C)]
struct Head {
    magic: AtomicU64,
    seats: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Head, magic) == 0);
    assert!(offset_of!(Head, seats) == 8);
    assert!(offset_of!(Lines, head) == 0);
    assert!(offset_of!(Lines, any) == 128);
    assert!(offset_of!(Lines, doorbell) == 256);
    assert!(offset_of!(Lines, words) == 384);
    assert!(size_of::<Lines>() == 384 + 128 * WORDS);
    assert!(size_of::<Lines>() <= 4096);
};

/// A model's board is on the heap.
#[cfg(loom)]
#[derive(Debug)]
struct Place(Lines);

#[cfg(loom)]
impl core::ops::Deref for Place {
    type Target = Lines;

    fn deref(&self) -> &Lines {
        &self.0
    }
}

/// The selector's end of the ready words.
#[derive(Debug)]
pub struct Board {
    place: Arc<Place>,
    seats: usize,
}

impl Board {
    /// A model's board.
    #[cfg(loom)]
    pub fn on_heap(seats: usize) -> Self {
        let head = Head { magic: AtomicU64::new(0), seats: AtomicU64::new(seats as u64) };
        let lines = Lines {
            head: CachePadded::new(head),
            any: CachePadded::new(AtomicU32::new(0)),
            doorbell: CachePadded::new(AtomicU32::new(0)),
            words: core::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))),
        };
        Self { place: Arc::new(Place(lines)), seats }
    }

    /// How many seats it has.
    pub fn seats(&self) -> usize {
        self.seats
    }

    /// The seat of this number, for a producer in this process; `None` if there are not as many.
    pub fn seat(&self, number: usize) -> Option<Seat> {
        (number < self.seats).then(|| Seat::new(Arc::clone(&self.place), number))
    }

    /// Where the selector announces that it sleeps.
    pub fn word(&self) -> &AtomicU32 {
        &self.place.doorbell
    }

    /// Whether a seat may have been rung since the last [`take`](Self::take): one load.
    #[inline(always)]
    pub fn has_rung(&self) -> bool {
        // Relaxed: `take` finds out what it means. Before a sleep the barrier comes first.
        self.place.any.load(Ordering::Relaxed) != 0
    }

    /// Calls `each` with the number of each seat that was rung since the last call. It may be one that was not.
    pub fn take(&self, mut each: impl FnMut(usize)) {
        // edge: set -> take. (The models do not miss it: their swap always finds the newest value.)
        let mut any = self.place.any.swap(0, Ordering::Acquire);
        for (word, line) in self.place.words.iter().enumerate() {
            if any == 0 {
                return;
            }
            let is_set = any & 1 != 0;
            any >>= 1;
            if !is_set {
                continue;
            }
            let late = mutant("clear-after-look");
            let mut bits = if late {
                line.load(Ordering::Relaxed)
            } else {
                // edge: ring -> turn
                line.swap(0, ordering!("ready-bit-acquire", Acquire))
            };
            while bits != 0 {
                let number = word * SEATS_OF_WORD + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if number < self.seats {
                    each(number);
                }
            }
            if late {
                line.store(0, Ordering::Relaxed);
            }
        }
    }
}

/// A producer's end of the ready words: one bit of them.
#[derive(Clone, Debug)]
pub struct Seat {
    place: Arc<Place>,
    number: usize,
}

impl Seat {
    fn new(place: Arc<Place>, number: usize) -> Self {
        doorbell::attach(&place.doorbell);
        Self { place, number }
    }

    /// Its number.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Says that the ring behind this seat is worth a look, and wakes the selector if it sleeps; says whether it did.
    pub fn ring(&self) -> bool {
        let (word, bit) = (self.number / SEATS_OF_WORD, self.number % SEATS_OF_WORD);
        if !mutant("skip-ready-bit") {
            // edge: ring -> turn
            let order = ordering!("ready-bit-release", Release);
            self.place.words[word].fetch_or(1 << bit, order);
        }
        // edge: set -> take. The seat's bit is set before.
        self.place.any.fetch_or(1 << word, Ordering::Release);
        // Its fence is the doorbell's: either we see that the selector sleeps, or it sees the bits.
        day3::doorbell::wake_from(&self.place.doorbell)
    }
}

/// Announces a sleep at all of these words with one barrier, and then calls `look` for each: what has changed before
/// the announcement is seen there, and for what changes after it the word is rung. Returns the words' tickets.
///
/// One barrier interrupts every core, however many words there are. So a selector does this for many at once.
pub fn announce_and_look(words: &[&AtomicU32], look: impl FnMut(usize)) -> Vec<Ticket> {
    let tickets = doorbell::announce_at(words);
    if !mutant("skip-second-look") {
        (0..words.len()).for_each(look);
    }
    tickets
}
