//! What a judge asks of a bridge that has lost its acknowledgements: each promise of exercise 2.

use testing::Dice;
use testing::judge::comes_back;

/// The end of the last message of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Which queue it comes from.
    pub(crate) identity: u64,
    /// The sequence behind it.
    pub(crate) end: u64,
}

/// What a bridge does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It releases so many of the lot's first messages, and sends the rest.
    Stored(usize),
    /// It stops: between what the stream has and what the queue has, messages are lost.
    Gap,
    /// It stops: the stream ends where no message of the lot ends, so it holds something else.
    Boundary,
}

/// A decision, whichever module it comes from.
pub(crate) type Decide = fn(u64, u64, &[u64], Option<Tail>) -> Answer;

pub(crate) const EMPTY: &str = "an empty stream has nothing of the lot";
pub(crate) const OTHER: &str =
    "what another queue has left in the stream says nothing about this one";
pub(crate) const NOTHING: &str = "a stream that ends where the lot begins has nothing of it";
pub(crate) const SOME: &str =
    "messages that the stream has are not sent again, and the next one is";
pub(crate) const ALL: &str = "a stream that ends where the lot ends has all of it";
pub(crate) const LOST: &str = "a stream that ends before the lot begins has a gap";
pub(crate) const CUT: &str = "a stream that ends within a message holds something else";
pub(crate) const BEYOND: &str = "a stream that ends behind the lot holds something else";
pub(crate) const ROUND: &str = "sequences go on at 0 behind the last one";

const OURS: u64 = 0x0b5e;
const OLD: u64 = 0x0ded;

/// Every promise, with a name for what breaks it.
pub(crate) fn every_promise_of_a_decision(decide: Decide) {
    comes_back("it comes to an end", move || {
        for first in [0, 72, 1 << 20, 1 << 63] {
            a_lot(decide, first, None);
        }
        for behind in [1, 8, 72, 73, 200, 231, 232] {
            a_lot(decide, u64::MAX - behind + 1, Some(ROUND));
        }
        at_random(decide);
    });
}

/// Lengths of messages, one of them as long as all the others.
const LENGTHS: [u64; 4] = [72, 8, 116, 36];

/// Checks every end that a stream can have; `promise` stands for all of them if there is one.
fn a_lot(decide: Decide, first: u64, promise: Option<&'static str>) {
    let checks = |tail: Option<(u64, u64)>, expected: Answer, plain: &str| {
        let tail = tail.map(|(identity, end)| Tail { identity, end });
        let found = decide(OURS, first, &LENGTHS, tail);
        assert_eq!(found, expected, "{}: {tail:?}", promise.unwrap_or(plain));
    };
    let whole: u64 = LENGTHS.iter().sum();
    checks(None, Answer::Stored(0), EMPTY);
    checks(Some((OURS, first)), Answer::Stored(0), NOTHING);
    let mut end = 0;
    for (count, length) in (1..).zip(LENGTHS) {
        for cut in [end + 1, end + length / 2, end + length - 1] {
            checks(Some((OURS, first.wrapping_add(cut))), Answer::Boundary, CUT);
        }
        end += length;
        let plain = if end == whole { ALL } else { SOME };
        checks(Some((OURS, first.wrapping_add(end))), Answer::Stored(count), plain);
    }
    for beyond in [1, 8, 1 << 40] {
        checks(Some((OURS, first.wrapping_add(whole + beyond))), Answer::Boundary, BEYOND);
    }
    if promise.is_some() || first > 1 << 40 {
        for before in [1, 8, 72, 1 << 40] {
            checks(Some((OURS, first.wrapping_sub(before))), Answer::Gap, LOST);
        }
    }
    for end in [0, first.wrapping_sub(8), first, first.wrapping_add(80), first.wrapping_add(81)] {
        checks(Some((OLD, end)), Answer::Stored(0), OTHER);
    }
}

fn at_random(decide: Decide) {
    let mut dice = Dice::new(16);
    for _ in 0..1000 {
        let lengths: Vec<u64> = (0..dice.below(50)).map(|_| 8 * (1 + dice.below(100))).collect();
        let (first, count) = (dice.below(u64::MAX), dice.below(lengths.len() as u64 + 1) as usize);
        let end = first.wrapping_add(lengths[..count].iter().sum());
        let found = decide(OURS, first, &lengths, Some(Tail { identity: OURS, end }));
        assert_eq!(found, Answer::Stored(count), "{SOME}");
    }
}
