//! What a judge asks of a search: each promise of exercise 1. The judge is the server. It has the stream, counts each look, and
//! knows the answer because it reads the stream from end to end.

use testing::Dice;
use testing::judge::comes_back;

/// What a message of the stream says about the first message of the queue that it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The stream's number of it.
    pub(crate) number: u64,
    /// Which queue it comes from.
    pub(crate) identity: u64,
    /// Where in the queue it begins.
    pub(crate) sequence: u64,
}

/// A search, whichever module it comes from.
pub(crate) type Find =
    fn(u64, u64, u64, u64, &mut dyn FnMut(u64) -> Option<Envelope>) -> Option<u64>;

pub(crate) const ENDS: &str = "it comes to an end";
pub(crate) const FOUND: &str = "a copy goes on with the message that begins where it stands";
pub(crate) const WITHIN: &str = "a copy that stands within a pack goes on with that pack";
pub(crate) const LAST: &str = "behind the last message that is there it goes on with that one";
pub(crate) const HOLES: &str = "numbers that are missing make no difference";
pub(crate) const OTHERS: &str = "a message of another queue is never the answer";
pub(crate) const NONE: &str = "where the stream has nothing to go on with, it says so";
pub(crate) const FEW: &str = "it looks about as often as the number of messages has binary digits";
pub(crate) const INSIDE: &str = "it looks only where the stream is";

/// The queue whose place is looked for.
const OURS: u64 = 0x0b5e;
/// One that had the name before.
const OLD: u64 = 0x0ded;

/// Every promise, with a name for what breaks it.
pub(crate) fn every_promise_of_a_search(find: Find) {
    comes_back(ENDS, move || {
        let plain: Vec<_> = (0..100).map(|at| message(at + 1, OURS, 100 + at)).collect();
        for at in [0, 1, 49, 98] {
            asks(find, &plain, 100 + at, FOUND);
        }
        for beyond in [99, 100, 1000] {
            asks(find, &plain, 100 + beyond, LAST);
        }
        asks(find, &plain, 99, NONE);
        asks(find, &[], 5, NONE);
        let packs: Vec<_> = (0..100).map(|at| message(at + 1, OURS, 1000 * at)).collect();
        for wanted in [1, 999, 1001, 50_500, 98_999] {
            asks(find, &packs, wanted, WITHIN);
        }
        let purged: Vec<_> = plain[60..].to_vec();
        asks(find, &purged, 170, FOUND);
        asks(find, &purged, 120, NONE);
    });
    comes_back(ENDS, move || holes(find));
    comes_back(ENDS, move || queues_before(find));
    comes_back(ENDS, move || long_streams(find));
    comes_back(ENDS, move || at_random(find));
}

fn message(number: u64, identity: u64, sequence: u64) -> Envelope {
    Envelope { number, identity, sequence }
}

/// Has it looked for, and checks the answer and the looks.
#[track_caller]
fn asks(find: Find, stream: &[Envelope], wanted: u64, promise: &str) {
    let first = stream.first().map_or(1, |message| message.number);
    let last = stream.last().map_or(first - 1, |message| message.number);
    let mut looks = 0;
    let most = 2 + u64::BITS - (last + 1 - first).leading_zeros();
    let mut look = |number| {
        looks += 1;
        assert!((first..=last).contains(&number), "{INSIDE}: {number} is not in {first} to {last}");
        assert!(looks <= most, "{FEW}: {looks} times for {} numbers", last + 1 - first);
        stream.get(stream.partition_point(|message| message.number < number)).copied()
    };
    let found = find(first, last, OURS, wanted, &mut look);
    let begins_early = |message: &&Envelope| message.identity == OURS && message.sequence <= wanted;
    let expected = stream.iter().rfind(begins_early).map(|message| message.number);
    let strange =
        stream.iter().any(|message| Some(message.number) == found && message.identity != OURS);
    assert!(!strange, "{OTHERS}: it found message {found:?}");
    assert_eq!(found, expected, "{promise}");
}

fn holes(find: Find) {
    for step in [2, 3, 7, 1000] {
        let stream: Vec<_> = (0..50).map(|at| message(5 + at * step, OURS, at)).collect();
        for wanted in 0..50 {
            asks(find, &stream, wanted, HOLES);
        }
    }
    // One half of the stream is gone.
    let stream: Vec<_> = (0..20).chain(5000..5020).map(|at| message(at, OURS, at)).collect();
    for wanted in [0, 7, 19, 20, 4999, 5000, 5019] {
        asks(find, &stream[1..], wanted + 1, HOLES);
    }
}

fn queues_before(find: Find) {
    // The old queue has got further than ours, or not as far.
    for ahead in [0, 1 << 40] {
        let old = (1..=64).map(|at| message(at, OLD, ahead + at));
        let ours = (65..=90).map(|at| message(at, OURS, 1000 + at));
        let stream: Vec<_> = old.chain(ours).collect();
        for wanted in [1065, 1066, 1080, 1090] {
            asks(find, &stream, wanted, OTHERS);
        }
        asks(find, &stream, 1064, NONE);
        asks(find, &stream, 3, NONE);
        asks(find, &stream[..64], 1080, NONE);
    }
}

fn long_streams(find: Find) {
    let stream: Vec<_> = (0..100_000).map(|at| message(1 + at, OURS, 72 * at)).collect();
    for wanted in [0, 72, 71, 72 * 99_999, 72 * 31_234] {
        asks(find, &stream, wanted, FOUND);
    }
}

fn at_random(find: Find) {
    let mut dice = Dice::new(16);
    for _ in 0..500 {
        let (mut number, mut sequence) = (1 + dice.below(1000), dice.below(1000));
        let change = dice.below(60);
        let stream: Vec<_> = (0..dice.below(100))
            .map(|at| {
                number += 1 + dice.below(4);
                sequence += 1 + dice.below(300);
                message(number, if at < change { OLD } else { OURS }, sequence)
            })
            .collect();
        asks(find, &stream, dice.below(sequence + 100), FOUND);
    }
}
