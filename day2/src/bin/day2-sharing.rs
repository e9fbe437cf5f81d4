//! Two counters that have nothing to do with one another: on one cache line, and on two.

mod two_cores;

use std::time::Instant;

use common::sync::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use yardstick::report::{grouped, median, warn_of_debug_build};

use crate::two_cores::{Meeting, on_two_cores};

const COUNTS: u64 = 5_000_000;
const REPEATS: usize = 5;

fn main() {
    warn_of_debug_build();
    let (mut on_one, mut on_two) = (Vec::new(), Vec::new());
    for _ in 0..REPEATS {
        let one = CachePadded::new([0, 0].map(AtomicU64::new));
        on_one.push(rate(&one[0], &one[1]));
        let two = [0, 0].map(|zero| CachePadded::new(AtomicU64::new(zero)));
        on_two.push(rate(&two[0], &two[1]));
    }
    let [one, two] = [on_one, on_two].map(|rates| median(&rates).unwrap_or_default());
    let ratio = two / one;
    println!("each thread counts its own word up to {}; medians of {REPEATS}", grouped(COUNTS));
    println!("on one cache line:  {one:.1} million a second");
    println!("on two cache lines: {two:.1} million a second, {ratio:.1} times as many");
    if ratio < 1.5 {
        println!("note: this machine hardly shows it; are there two cores, and is it busy?");
    }
}

/// How often both threads together count, in millions a second.
fn rate(first: &AtomicU64, second: &AtomicU64) -> f64 {
    let meeting = Meeting::new();
    let count = |me, word: &AtomicU64| {
        meeting.meet(me, 1);
        let started = Instant::now();
        for _ in 0..COUNTS {
            word.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(word.load(Ordering::Relaxed), COUNTS, "nobody else counts here");
        started.elapsed().as_secs_f64()
    };
    let (first, second) = on_two_cores(|| count(0, first), || count(1, second));
    2.0 * COUNTS as f64 / first.max(second) / 1e6
}
