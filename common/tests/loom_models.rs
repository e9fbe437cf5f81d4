//! The smallest promise between two threads, under every schedule: one word carries the message,
//! and another says that the message is there.
//!
//! `cargo model -p common` explores it; an ordinary `cargo test` runs it once on real threads.

use common::ordering;
use common::sync::{Arc, AtomicU64, Ordering, explore_model, thread};

const MESSAGE: u64 = 42;

#[derive(Default)]
struct Page {
    message: AtomicU64,
    ready: AtomicU64,
}

/// One thread writes the message and then says `ready`; a thread that sees that must see the message, too.
fn hand_over(name: &str, say: fn() -> Ordering, ask: fn() -> Ordering) {
    explore_model(name, None, move || {
        let page = Arc::new(Page::default());
        let writer = page.clone();
        let writer = thread::spawn(move || {
            writer.message.store(MESSAGE, Ordering::Relaxed);
            writer.ready.store(1, say());
        });
        if page.ready.load(ask()) == 1 {
            let message = page.message.load(Ordering::Relaxed);
            assert_eq!(message, MESSAGE, "ready, and the message is not there");
        }
        writer.join().unwrap();
    });
}

#[test]
fn release_and_acquire() {
    // edge: ready -> read
    let say = || ordering!("ready-release", Release);
    let ask = || ordering!("ready-acquire", Acquire);
    hand_over("release_and_acquire", say, ask);
}

/// If this model passed, no other model would prove anything.
#[cfg(loom)]
#[test]
#[should_panic(expected = "ready, and the message is not there")]
fn relaxed() {
    hand_over("relaxed", || Ordering::Relaxed, || Ordering::Relaxed);
}
