//! What a judge asks of a ring buffer: each promise of exercise 2, one after the other.
//!
//! The judge writes into the room, and remembers where each byte lies. It never moves the buffer itself.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use testing::Dice;
use testing::judge::comes_back;

/// How many bytes there are, if more were named.
type Counted = Result<(), usize>;

/// The methods of all ring buffers, whichever module they come from.
pub(crate) trait RingBuffer: Send + 'static {
    fn new(capacity: usize) -> Self;
    fn room(&mut self) -> [&mut [u8]; 2];
    fn commit(&mut self, bytes: usize) -> Counted;
    fn parts(&self) -> [&[u8]; 2];
    fn consume(&mut self, bytes: usize) -> Counted;
}

/// Implements [`RingBuffer`] for the `RingBuffer` of each of these modules.
macro_rules! implement {
    ($($module:ident)::+ $(, $($more:tt)*)?) => {
        impl $crate::ring_buffers::RingBuffer for $($module)::+::RingBuffer {
            fn new(capacity: usize) -> Self {
                Self::new(capacity)
            }

            fn room(&mut self) -> [&mut [u8]; 2] {
                self.room()
            }

            fn commit(&mut self, bytes: usize) -> Result<(), usize> {
                self.commit(bytes).map_err(|refused| refused.there_are)
            }

            fn parts(&self) -> [&[u8]; 2] {
                self.parts()
            }

            fn consume(&mut self, bytes: usize) -> Result<(), usize> {
                self.consume(bytes).map_err(|refused| refused.there_are)
            }
        }
        $($crate::ring_buffers::implement!($($more)*);)?
    };
    () => {};
}

pub(crate) use implement;

pub(crate) const ENDS: &str = "each call comes to an end";
pub(crate) const ALL: &str = "all of the room is offered";
pub(crate) const FIXED: &str = "the capacity is what was asked for, and stays so";
pub(crate) const KEPT: &str = "what was committed, and not consumed, is in the buffer";
pub(crate) const FULL: &str = "a full buffer is told from an empty one";
pub(crate) const ORDER: &str = "bytes come out as they went in";
pub(crate) const STAYS: &str = "nothing is moved";
pub(crate) const FREE: &str = "the room is where nothing lies";
pub(crate) const ASKED: &str = "asking for the room changes nothing";
pub(crate) const FRONT: &str = "an empty buffer begins at the front";
pub(crate) const FIRST: &str = "the first slice is not empty if the second is not";
pub(crate) const WHOLE: &str = "what lies in one piece is one slice";
pub(crate) const FITS: &str = "what fits into the room may be committed";
pub(crate) const HELD: &str = "what is in the buffer may be consumed";
pub(crate) const TOO_MUCH_IN: &str = "a commit of more than the room is refused";
pub(crate) const TOO_MUCH_OUT: &str = "more than is in the buffer is not consumed";
pub(crate) const SAYS: &str = "a refusal says how many there are";

/// Every promise, with a name for what breaks it.
pub(crate) fn every_promise_of_a_ring_buffer<R: RingBuffer>() {
    comes_back(ENDS, || {
        fills_and_empties::<R>();
        goes_round::<R>();
        begins_again::<R>();
        refuses::<R>();
    });
    comes_back(ENDS, || {
        for capacity in [1, 2, 3, 5, 8] {
            from_every_place::<R>(capacity);
        }
        for (seed, capacity) in [1, 2, 3, 4, 7, 10, 64, 1000].into_iter().enumerate() {
            anything_goes::<R>(capacity, seed as u64);
        }
    });
}

/// A buffer, and what has to be in it.
struct Watched<R> {
    ring: Box<R>,
    capacity: usize,
    /// The address of the room's first byte, when it was new.
    front: usize,
    /// What is in it, and where that was written.
    lies: VecDeque<(u8, usize)>,
    next: u8,
}

fn addresses(slice: &[u8]) -> impl Iterator<Item = usize> {
    (0..slice.len()).map(|at| slice[at..].as_ptr().addr())
}

impl<R: RingBuffer> Watched<R> {
    fn new(capacity: usize) -> Self {
        let mut ring = Box::new(R::new(capacity));
        let front = ring.room()[0].as_ptr().addr();
        Self { ring, capacity, front, lies: VecDeque::new(), next: 0 }
    }

    fn room(&self) -> usize {
        self.capacity - self.lies.len()
    }

    /// Writes and commits so many bytes, which fit.
    fn put(&mut self, bytes: usize) {
        let mut written = 0;
        for slice in self.ring.room() {
            for byte in slice.iter_mut().take(bytes - written) {
                self.next = self.next.wrapping_add(1);
                *byte = self.next;
                self.lies.push_back((self.next, std::ptr::from_mut(byte).addr()));
                written += 1;
            }
        }
        assert_eq!(written, bytes, "{ALL}");
        let answer = self.ring.commit(bytes);
        assert_eq!(answer, Ok(()), "{FITS}: {bytes} of {}", self.room() + bytes);
        self.look();
    }

    /// Consumes so many bytes, which are there.
    fn take(&mut self, bytes: usize) {
        let answer = self.ring.consume(bytes);
        assert_eq!(answer, Ok(()), "{HELD}: {bytes} of {}", self.lies.len());
        self.lies.drain(..bytes);
        self.look();
    }

    /// What is in it is what has to be there, and the rest is free.
    fn look(&mut self) {
        self.parts_are_right();
        self.room_is_right();
        let again = self.ring.parts().concat();
        assert!(self.lies.iter().map(|&(byte, _)| byte).eq(again), "{ASKED}");
    }

    fn parts_are_right(&self) {
        let (parts, expected) = (self.ring.parts(), self.lies.len());
        let found = parts[0].len() + parts[1].len();
        let mistaken = found != expected && expected.abs_diff(found) == self.capacity;
        assert!(!mistaken, "{FULL}: {expected} bytes are in it, found {found}");
        assert_eq!(found, expected, "{KEPT}");
        assert!(self.lies.iter().map(|&(byte, _)| byte).eq(parts.concat()), "{ORDER}");
        let places = parts.into_iter().flat_map(addresses);
        assert!(self.lies.iter().map(|&(_, place)| place).eq(places), "{STAYS}");
        in_few_pieces(parts);
    }

    fn room_is_right(&mut self) {
        let expected = self.room();
        let (lies, front, capacity) = (&self.lies, self.front, self.capacity);
        let [first, second] = self.ring.room();
        let room = [&*first, &*second];
        let found = room[0].len() + room[1].len();
        assert!(found <= expected, "{FIXED}: {expected} bytes are free, found {found}");
        assert_eq!(found, expected, "{ALL}");
        let mut places: Vec<usize> = room.into_iter().flat_map(addresses).collect();
        let begins = room[0].as_ptr().addr();
        in_few_pieces(room);
        // With what lies in it, that is all of its memory, each byte once.
        places.extend(lies.iter().map(|&(_, place)| place));
        places.sort_unstable();
        assert!(places.windows(2).all(|pair| pair[0] != pair[1]), "{FREE}");
        assert!(places.into_iter().eq(front..front + capacity), "{STAYS}: its memory is another");
        let is_whole = begins == front && room[0].len() == capacity;
        assert!(!lies.is_empty() || is_whole, "{FRONT}, so all of its room is one slice");
    }

    /// Whatever is too much changes nothing.
    fn ask_too_much(&mut self) {
        let (room, len) = (self.room(), self.lies.len());
        // Some of these numbers are so large that a sum with them overflows.
        for more in [1, 2, self.capacity, usize::MAX / 2, usize::MAX - self.capacity] {
            self.refuses(TOO_MUCH_IN, room, |ring| ring.commit(room + more));
            self.refuses(TOO_MUCH_OUT, len, |ring| ring.consume(len + more));
        }
        self.refuses(TOO_MUCH_IN, room, |ring| ring.commit(usize::MAX));
        self.refuses(TOO_MUCH_OUT, len, |ring| ring.consume(usize::MAX));
    }

    #[track_caller]
    fn refuses(&mut self, promise: &str, there_are: usize, ask: impl FnOnce(&mut R) -> Counted) {
        let before = self.contents();
        let answer = catch_unwind(AssertUnwindSafe(|| ask(&mut self.ring)));
        let Ok(answer) = answer else { panic!("{promise}, by an error: it panicked") };
        let Err(said) = answer else { panic!("{promise}: it was done") };
        assert!(before == self.contents(), "{promise}, and then nothing changes");
        assert_eq!(said, there_are, "{SAYS}");
    }

    /// All that can be seen of it.
    fn contents(&mut self) -> (Vec<u8>, Vec<usize>, Vec<usize>) {
        let parts = self.ring.parts();
        let (bytes, places) = (parts.concat(), parts.into_iter().flat_map(addresses).collect());
        let room = self.ring.room();
        (bytes, places, room.into_iter().flat_map(|slice| addresses(slice)).collect())
    }
}

fn in_few_pieces([first, second]: [&[u8]; 2]) {
    if !second.is_empty() {
        assert!(!first.is_empty(), "{FIRST}");
        assert!(first.as_ptr_range().end != second.as_ptr(), "{WHOLE}");
    }
}

fn fills_and_empties<R: RingBuffer>() {
    let mut watched = Watched::<R>::new(10);
    watched.look();
    for bytes in [1, 0, 3, 4, 2] {
        watched.put(bytes);
    }
    for bytes in [4, 0, 5, 1] {
        watched.take(bytes);
    }
    // More than 8 bits count, and no power of two.
    let mut watched = Watched::<R>::new(1000);
    watched.put(1000);
    watched.take(1000);
}

fn goes_round<R: RingBuffer>() {
    let mut watched = Watched::<R>::new(10);
    watched.put(7);
    watched.take(5);
    // Across the end, by one commit, until it is full.
    watched.put(8);
    watched.take(1);
    // And out again, by one consume.
    watched.take(7);
    // Two bytes stay in it, wherever the others go.
    for _ in 0..30 {
        watched.put(3);
        watched.take(3);
    }
}

fn begins_again<R: RingBuffer>() {
    let mut watched = Watched::<R>::new(10);
    for bytes in 1..=10 {
        watched.put(bytes);
        watched.take(bytes);
    }
    // Across the end, too.
    watched.put(6);
    watched.take(5);
    watched.put(7);
    watched.take(8);
    // And when it ends at the very end.
    watched.put(10);
    watched.take(9);
    watched.take(1);
}

fn refuses<R: RingBuffer>() {
    let mut watched = Watched::<R>::new(10);
    watched.ask_too_much();
    watched.put(7);
    watched.ask_too_much();
    watched.take(5);
    watched.put(6);
    watched.ask_too_much();
    watched.put(2);
    watched.ask_too_much();
    watched.take(10);
    watched.ask_too_much();
    watched.look();
}

/// Wherever the bytes lie, and however many: any number more, and then any number less.
fn from_every_place<R: RingBuffer>(capacity: usize) {
    for head in 0..capacity {
        for len in 1..=capacity {
            for (put, take) in
                (0..=capacity - len).flat_map(|put| (0..=len + put).map(move |take| (put, take)))
            {
                let mut watched = Watched::<R>::new(capacity);
                watched.put(head + 1);
                watched.take(head);
                watched.put(len - 1);
                watched.put(put);
                watched.take(take);
            }
        }
    }
}

fn anything_goes<R: RingBuffer>(capacity: usize, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut watched = Watched::<R>::new(capacity);
    for _ in 0..200 {
        match dice.below(5) {
            0 | 1 => watched.put(dice.below(watched.room() as u64 + 1) as usize),
            2 | 3 => watched.take(dice.below(watched.lies.len() as u64 + 1) as usize),
            _ => watched.ask_too_much(),
        }
    }
}
