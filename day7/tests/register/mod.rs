//! Models of the register of topics: a place is read whole, and between a subscriber and a publisher nothing is missed.

use common::sync::{Arc, AtomicU64, Ordering, explore_model, thread};
use day7::topics::words;

const WORDS: usize = 2;

/// A register with one place, whose words tell which registration they belong to.
struct Register {
    generation: AtomicU64,
    state: AtomicU64,
    words: [AtomicU64; WORDS],
    joined: AtomicU64,
    /// What a publisher keeps, or what a ring knows.
    other: AtomicU64,
}

impl Register {
    fn new() -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        let (generation, state, joined, other) = (zero(), zero(), zero(), zero());
        Arc::new(Self { generation, state, words: [zero(), zero()], joined, other })
    }

    fn register(&self, number: u64) {
        words::renew();
        self.words.iter().for_each(|word| word.store(number, Ordering::Relaxed));
        words::announce(&self.state, &self.generation, number);
    }

    /// Which registration is there. Its words must be whole.
    fn read(&self) -> Option<u64> {
        let read =
            |number| (number, self.words.each_ref().map(|word| word.load(Ordering::Relaxed)));
        let (number, words) = words::steady(&self.state, read)?;
        assert_eq!(words, [number; WORDS], "the words are another registration's");
        Some(number)
    }
}

#[test]
fn a_place_is_read_whole_or_not_at_all() {
    explore_model("a_place_is_read_whole_or_not_at_all", None, || {
        let register = Register::new();
        let other = register.clone();
        let thread = thread::spawn(move || other.register(1));
        register.read();
        thread.join().unwrap();
        assert_eq!(register.read(), Some(1));
    });
}

#[test]
fn a_place_that_is_renewed_is_one_or_the_other() {
    explore_model("a_place_that_is_renewed_is_one_or_the_other", Some(3), || {
        let register = Register::new();
        register.register(1);
        let other = register.clone();
        let thread = thread::spawn(move || {
            words::withdraw(&other.state, &other.generation);
            other.register(3);
        });
        register.read();
        thread.join().unwrap();
        assert_eq!(register.read(), Some(3));
    });
}

/// A publisher looks at the register once for each generation.
#[test]
fn a_publisher_that_sees_the_generation_sees_the_pattern() {
    explore_model("a_publisher_that_sees_the_generation_sees_the_pattern", None, || {
        let register = Register::new();
        let other = register.clone();
        let thread = thread::spawn(move || other.register(1));
        if words::generation(&register.generation) == 1 {
            assert_eq!(register.read(), Some(1), "it does not look again");
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_last_value_is_in_the_table_or_in_the_ring() {
    explore_model("a_last_value_is_in_the_table_or_in_the_ring", None, || {
        let register = Register::new();
        let publisher = register.clone();
        let thread = thread::spawn(move || {
            publisher.other.store(1, Ordering::Release);
            words::kept();
            words::generation(&publisher.generation) == 1
        });
        register.register(1);
        words::subscribed();
        let is_in_table = register.other.load(Ordering::Acquire) == 1;
        let is_in_ring = thread.join().unwrap();
        assert!(is_in_table || is_in_ring, "the message is lost");
    });
}

#[test]
fn nothing_is_overwritten_before_a_subscriber_has_joined() {
    explore_model("nothing_is_overwritten_before_a_subscriber_has_joined", None, || {
        let register = Register::new();
        let subscriber = register.clone();
        let thread = thread::spawn(move || {
            // The ring knows the consumer.
            subscriber.other.store(1, Ordering::Relaxed);
            words::join(&subscriber.joined, 1);
        });
        if words::joined(&register.joined) >= 1 {
            assert_eq!(register.other.load(Ordering::Relaxed), 1, "the ring does not know it");
        }
        thread.join().unwrap();
    });
}
