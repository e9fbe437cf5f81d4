//! Models of a latest value: no copy is torn, none is older than the one before, and no wake-up is lost.
//!
//! Here it has two slots instead of four, so that few sets overtake a reader.

use common::sync::{Arc, AtomicU32, Mutex, Ordering, dying_at, explore_model, thread, yield_now};
use day5::doorbell::{self, Ticket};
use day7::latest::cells::{HeapCells, Look};

/// A value's words. Each tells the version that they belong to.
const WORDS: usize = 2;

fn set(cells: &HeapCells, version: u64) -> bool {
    cells.cells().set(version, [version; WORDS].into_iter())
}

/// A value that is set for the first time.
fn begun() -> Arc<HeapCells> {
    let cells = Arc::new(HeapCells::new(2, WORDS));
    set(&cells, 1);
    cells
}

/// Copies the newest value. It must be whole, and not older than what was seen before.
fn get(cells: &HeapCells, seen: u64) -> u64 {
    let mut words = [0; WORDS];
    let version = cells.cells().copy(|at, word| words[at] = word);
    assert_eq!(words, [version; WORDS], "a copy is torn");
    assert!(version >= seen, "version {version} is older than {seen}, which was seen before");
    version
}

#[test]
fn a_copy_is_whole_and_never_older() {
    explore_model("a_copy_is_whole_and_never_older", Some(3), || {
        let cells = begun();
        let writer = cells.clone();
        let thread = thread::spawn(move || {
            for version in 2..=4 {
                set(&writer, version);
            }
        });
        let seen = get(&cells, 1);
        let seen = get(&cells, seen);
        thread.join().unwrap();
        assert_eq!(get(&cells, seen), 4, "the newest");
    });
}

/// Whatever was set before the writer closed is seen before its end is.
#[test]
fn the_last_value_is_seen_before_the_end() {
    explore_model("the_last_value_is_seen_before_the_end", Some(3), || {
        let cells = begun();
        let writer = cells.clone();
        let thread = thread::spawn(move || {
            set(&writer, 2);
            writer.cells().close(false);
        });
        let mut seen = 1;
        loop {
            match cells.cells().look(seen) {
                Look::Newer => seen = get(&cells, seen + 1),
                Look::Nothing => yield_now(),
                Look::Closed => break,
                Look::Aborted => panic!("nobody has panicked"),
            }
        }
        assert_eq!(seen, 2, "the writer had set another value before it closed");
        thread.join().unwrap();
    });
}

/// A writer dies between two stores, and its successor goes on: no reader sees half of a value.
fn a_writer_dies_at(step: &'static str) {
    explore_model(step, Some(3), move || {
        let cells = begun();
        let writer = cells.clone();
        let thread = thread::spawn(move || {
            assert!(dying_at(step, || set(&writer, 2)).is_none() || cfg!(not(loom)));
            // The kernel gives the lease to the next writer when the first is gone.
            let next = writer.cells().version() + 1;
            set(&writer, next);
            next
        });
        let seen = get(&cells, 1);
        let last = thread.join().unwrap();
        assert_eq!(get(&cells, seen), last);
    });
}

#[test]
fn a_writer_that_dies_in_a_value_leaves_the_last_one() {
    a_writer_dies_at("latest-word");
}

#[test]
fn a_writer_that_dies_before_it_rings_has_set_the_value() {
    a_writer_dies_at("latest-set");
}

/// A kernel with one futex, and at most one sleeper.
#[derive(Default)]
struct Kernel {
    is_asleep: Mutex<bool>,
}

impl Kernel {
    fn wait(&self, word: &AtomicU32, ticket: Ticket) {
        let mut is_asleep = self.is_asleep.lock().unwrap();
        *is_asleep = word.load(Ordering::Relaxed) == ticket.word();
    }

    fn wake_if(&self, rung: bool) {
        if rung {
            *self.is_asleep.lock().unwrap() = false;
        }
    }
}

fn a_sleeper_is_woken(
    name: &str,
    change: impl Fn(&HeapCells) -> bool + Copy + Send + Sync + 'static,
) {
    #[cfg(loom)]
    day3::doorbell::model_sleepers();
    explore_model(name, Some(3), move || {
        let (cells, kernel) = (begun(), Arc::new(Kernel::default()));
        let (reader, bed) = (cells.clone(), kernel.clone());
        let thread = thread::spawn(move || {
            let look = || (reader.cells().look(1) != Look::Nothing).then_some(());
            if look().is_none() {
                let word = reader.cells().bell();
                doorbell::rest(word, look, |ticket| bed.wait(word, ticket));
            }
        });
        kernel.wake_if(change(&cells));
        thread.join().unwrap();
        assert!(!*kernel.is_asleep.lock().unwrap(), "a reader sleeps, and nobody wakes it");
    });
}

#[test]
fn a_set_wakes_a_reader() {
    a_sleeper_is_woken("a_set_wakes_a_reader", |cells| set(cells, 2));
}

#[test]
fn the_end_wakes_a_reader() {
    a_sleeper_is_woken("the_end_wakes_a_reader", |cells| cells.cells().close(false));
}
