//! What it costs a producer that there could be sleepers: count the instructions of both variants.
//!
//! ```sh
//! cargo build --release -p day5 --example cost
//! for how in silent ringing; do
//!     valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/cost $how 2>&1 |
//!         grep refs
//! done
//! ```
//!
//! The difference, divided by the million words that each variant publishes, is the price of one
//! ring.

use std::hint::black_box;

use common::sync::{AtomicU32, AtomicU64, Ordering};
use day5::doorbell;

/// How many words are published.
const WORDS: u64 = 1_000_000;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("silent") => publish(|_| ()),
        Some("ringing") => publish(|word| {
            doorbell::wake(word);
        }),
        other => panic!("expected `silent` or `ringing`, found {other:?}"),
    }
}

/// Publishes while no thread sleeps, and rings each time or not.
#[inline(always)]
fn publish(ring: impl Fn(&AtomicU32)) {
    let (published, word) = (AtomicU64::new(0), AtomicU32::new(0));
    // To the compiler, another thread could see both.
    let (published, word) = (black_box(&published), black_box(&word));
    for number in 1..=WORDS {
        published.store(number, Ordering::Release);
        ring(word);
    }
}
