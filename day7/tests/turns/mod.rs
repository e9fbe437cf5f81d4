//! What a judge asks of turns: each promise of exercise 1, one after the other.

use testing::judge::comes_back;

/// The methods of all turns, whichever module they come from.
pub(crate) trait Turns: Send + 'static {
    fn new(queues: usize, quantum: u64) -> Self;
    fn next(&mut self, waits: &[bool]) -> Option<(usize, u64)>;
    fn took(&mut self, bytes: u64);
}

/// Implements [`Turns`] for the `Turns` of each of these modules.
macro_rules! implement {
    ($($module:ident)::+ $(, $($more:tt)*)?) => {
        impl $crate::turns::Turns for $($module)::+::Turns {
            fn new(queues: usize, quantum: u64) -> Self {
                Self::new(queues, quantum)
            }

            fn next(&mut self, waits: &[bool]) -> Option<(usize, u64)> {
                self.next(waits)
            }

            fn took(&mut self, bytes: u64) {
                self.took(bytes)
            }
        }
        $($crate::turns::implement!($($more)*);)?
    };
    () => {};
}

pub(crate) use implement;

/// Every promise, with a name for what breaks it.
pub(crate) fn every_promise_of_turns<T: Turns>() {
    comes_back("it comes to an end", || {
        only_those_have_turns_where_something_waits::<T>();
        a_turn_is_a_quantum::<T>();
        what_is_left_is_lost::<T>();
        nobody_saves_up::<T>();
        debts_are_paid::<T>();
        debts_outlast_an_empty_queue::<T>();
        everybody_has_a_turn_before_anybody_has_two::<T>();
    });
    for quantum in [1, 7, 64, 1000, 1 << 16] {
        comes_back("it comes to an end", move || shares_are_fair::<T>(quantum));
    }
    comes_back("it does not count every time round", || deep_debts_cost_no_time::<T>());
}

const ALL: [bool; 3] = [true; 3];

fn turn<T: Turns>(turns: &mut T, waits: &[bool]) -> (usize, u64) {
    let turn = turns.next(waits).expect("something waits, so it is somebody's turn");
    assert!(waits[turn.0], "a queue in which nothing waits has no turn");
    turn
}

fn only_those_have_turns_where_something_waits<T: Turns>() {
    let mut turns = T::new(3, 10);
    for at in 0..3 {
        assert_eq!(turns.next(&[false; 3]), None, "nothing waits, so it is nobody's turn");
        let mut waits = [false; 3];
        waits[at] = true;
        for _ in 0..3 {
            assert_eq!(turn(&mut turns, &waits).0, at);
            turns.took(10);
        }
    }
}

fn a_turn_is_a_quantum<T: Turns>() {
    let mut turns = T::new(3, 10);
    for at in 0..9 {
        let found = turn(&mut turns, &ALL);
        assert_eq!(found, (at % 3, 10), "whoever owes nothing has a whole turn, one after another");
        turns.took(10);
    }
}

fn what_is_left_is_lost<T: Turns>() {
    const LOST: &str = "what is left of a turn is lost";
    let mut turns = T::new(1, 10);
    for taken in [Some(3), Some(0), None, Some(10), None] {
        assert_eq!(turn(&mut turns, &[true]), (0, 10), "{LOST}");
        if let Some(bytes) = taken {
            turns.took(bytes);
        }
    }
}

fn nobody_saves_up<T: Turns>() {
    let mut turns = T::new(2, 10);
    for _ in 0..20 {
        assert_eq!(turn(&mut turns, &[true, false]).0, 0);
        turns.took(10);
    }
    for _ in 0..2 {
        let (_, bytes) = turn(&mut turns, &[true, true]);
        assert_eq!(bytes, 10, "a queue saves nothing up while it is empty");
        turns.took(10);
    }
}

/// With a quantum of 10, queue 0 takes 35, and so owes 25.
fn in_debt<T: Turns>() -> T {
    let mut turns = T::new(2, 10);
    assert_eq!(turn(&mut turns, &[true, true]), (0, 10));
    turns.took(35);
    turns
}

const PAYS: &str = "whoever took too much pays it back";

fn debts_are_paid<T: Turns>() {
    let mut turns = in_debt::<T>();
    for expected in [(1, 10), (1, 10), (1, 10), (0, 5), (1, 10), (0, 10)] {
        let found = turn(&mut turns, &[true, true]);
        assert_eq!(found, expected, "{PAYS}");
        turns.took(found.1);
    }
    let mut turns = in_debt::<T>();
    assert_eq!(
        turn(&mut turns, &[true, false]),
        (0, 5),
        "{PAYS}, and has a turn if nobody else has"
    );
    turns.took(15);
    assert_eq!(turn(&mut turns, &[true, false]), (0, 10), "{PAYS}, to the last byte");
}

fn debts_outlast_an_empty_queue<T: Turns>() {
    const STILL: &str = "a queue that is empty goes on owing what it owes";
    let mut turns = in_debt::<T>();
    for _ in 0..5 {
        assert_eq!(turn(&mut turns, &[false, true]), (1, 10));
        turns.took(10);
    }
    assert_eq!(turns.next(&[false, false]), None);
    // Queue 1 has a debt that only time pays, and queue 0 is empty all that time.
    assert_eq!(turn(&mut turns, &[false, true]), (1, 10));
    turns.took(1010);
    assert_eq!(turn(&mut turns, &[false, true]), (1, 10), "{PAYS}");
    turns.took(10);
    for expected in [(1, 10), (1, 10), (0, 5)] {
        let found = turn(&mut turns, &[true, true]);
        assert_eq!(found, expected, "{STILL}");
        turns.took(found.1);
    }
}

fn everybody_has_a_turn_before_anybody_has_two<T: Turns>() {
    let mut random = Random(1);
    let (mut turns, mut waits) = (T::new(5, 10), [true; 5]);
    // For each queue: who has had a turn since something waits there, and it has had none.
    let mut since = [[false; 5]; 5];
    for _ in 0..10_000 {
        let (queue, bytes) = turn(&mut turns, &waits);
        turns.took(random.up_to(bytes));
        for other in (0..5).filter(|&other| waits[other] && other != queue) {
            let again = std::mem::replace(&mut since[other][queue], true);
            assert!(!again, "everybody has a turn before anybody has two");
        }
        since[queue] = [false; 5];
        for (waits, since) in waits.iter_mut().zip(&mut since) {
            *waits = random.up_to(4) > 0;
            if !*waits {
                *since = [false; 5];
            }
        }
        waits[queue] = true;
    }
}

/// Something waits everywhere, messages have any length, and nobody stops before its turn is used up.
fn shares_are_fair<T: Turns>(quantum: u64) {
    const QUEUES: usize = 4;
    for longest in [1, 10, 4096] {
        let mut random = Random(quantum ^ longest);
        let (mut turns, mut served) = (T::new(QUEUES, quantum), [0u64; QUEUES]);
        let pieces = quantum.div_ceil(longest / 2 + 1);
        for _ in 0..(100_000 / pieces).max(50) {
            let (queue, bytes) = turn(&mut turns, &[true; QUEUES]);
            assert!((1..=quantum).contains(&bytes), "a turn is worth 1 byte to a quantum: {bytes}");
            let mut taken = 0;
            while taken < bytes {
                // The first queue's messages are the longest.
                taken += if queue == 0 { longest } else { 1 + random.up_to(longest - 1) };
            }
            turns.took(taken);
            served[queue] += taken;
            let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
            assert!(
                most - least < quantum + longest,
                "nobody gets a quantum and a message more than another: {served:?}, with a quantum of {quantum} and \
                 messages of up to {longest}"
            );
        }
    }
}

fn deep_debts_cost_no_time<T: Turns>() {
    const DEEP: u64 = 1 << 50;
    let mut turns = T::new(3, 1);
    for more in [5, 0, 2] {
        let (_, bytes) = turn(&mut turns, &ALL);
        turns.took(bytes + DEEP + more);
    }
    for expected in [1, 1, 1, 2, 1, 2, 1, 2, 0, 1, 2] {
        let found = turn(&mut turns, &ALL);
        assert_eq!(found, (expected, 1), "the least in debt comes first");
        turns.took(1);
    }
}

/// Numbers that look random, the same each time.
struct Random(u64);

impl Random {
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % (most + 1)
    }
}
