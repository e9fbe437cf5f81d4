//! What it costs a producer that there could be sleepers: count the instructions of both.
//!
//! ```sh
//! cargo build --release -p day5 --example cost
//! for how in nobody sleepers; do
//!     valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/cost $how 2>&1 |
//!         grep refs
//! done
//! ```
//!
//! The difference, divided by the million messages that each sends, is the price of one ring.

use std::sync::Arc;

use day3::ring::{Consumer, Producer};
use day3::{Heap, JoinOptions, Memory, Start, Wait};

/// How many messages are sent.
const MESSAGES: u64 = 1_000_000;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("nobody") => send::<day3::Yield>(),
        Some("sleepers") => send::<day5::Sleep>(),
        other => panic!("expected `nobody` or `sleepers`, found {other:?}"),
    }
}

/// One thread that sends and receives by turns, so that nobody ever waits.
fn send<W: Wait>() {
    let memory: Arc<dyn Memory> = Heap::<u64>::new(1024, 0).expect("a ring");
    // SAFETY: made for this type just now, and this is its only producer.
    let mut producer = unsafe { Producer::<u64, W>::over(memory.clone()) };
    let options = JoinOptions::new();
    // SAFETY: made for this type.
    let consumer = unsafe { Consumer::<u64, day3::Yield>::over(memory, Start::Oldest, &options) };
    let mut consumer = consumer.expect("a slot");
    for message in 0..MESSAGES {
        producer.send(message);
        if message % 512 == 511 {
            while consumer.try_recv_batch(512).is_ok() {}
        }
    }
    assert_eq!(producer.next_sequence().get(), MESSAGES);
}
