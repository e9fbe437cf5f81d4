//! Two threads, two words: each stores its own word, then loads the other's. Can both read the old
//! value?

mod two_cores;

use common::sync::{AtomicU64, Ordering, fence};
use crossbeam_utils::CachePadded;
use yardstick::report::grouped;

use crate::two_cores::{Meeting, on_two_cores};

const ROUNDS: u64 = 500_000;

fn main() {
    let (without, with) = (both_old::<false>(), both_old::<true>());
    println!("{} rounds: each thread stores its word, then loads the other's", grouped(ROUNDS));
    println!("without a fence, both read the old word in {} rounds", grouped(without));
    println!("with a fence,    both read the old word in {} rounds", grouped(with));
    assert_eq!(
        with, 0,
        "one of two fences comes first, and the other thread sees what preceded it"
    );
    if without == 0 {
        println!(
            "note: this machine did not show it this time; the language allows it all the same"
        );
    }
}

/// In how many rounds both threads read the old word.
fn both_old<const FENCED: bool>() -> u64 {
    let words = [0, 0].map(|old| CachePadded::new(AtomicU64::new(old)));
    let meeting = Meeting::new();
    let (first, second) = on_two_cores(
        || rounds::<FENCED>(0, &words, &meeting), //
        || rounds::<FENCED>(1, &words, &meeting),
    );
    first.iter().zip(&second).filter(|(first, second)| **first && **second).count() as u64
}

/// All rounds of thread `me`: for each, whether the thread read the old word.
fn rounds<const FENCED: bool>(
    me: usize,
    words: &[CachePadded<AtomicU64>; 2],
    meeting: &Meeting,
) -> Vec<bool> {
    let (own, other) = (&words[me], &words[1 - me]);
    let round = |round| {
        meeting.meet(me, round);
        own.store(round, Ordering::Relaxed);
        if FENCED {
            fence(Ordering::SeqCst);
        }
        other.load(Ordering::Relaxed) < round
    };
    (1..=ROUNDS).map(round).collect()
}
