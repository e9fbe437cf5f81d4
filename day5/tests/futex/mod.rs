//! The stand-in for `day5::futex` under loom: a kernel that puts threads to sleep.
//!
//! loom runs one thread at a time, and switches only at loom's own operations. So the kernel's list
//! needs no lock. A lock would order what the exercise itself has to order.
//!
//! A single sleeper yields until it is woken, which orders nothing. Several sleepers would yield to
//! one another for ever, so they park. Waking them in loom orders more than a kernel promises.

use std::cell::RefCell;
use std::time::Duration;

use loom::thread::{self, Thread, yield_now};

use crate::sync::{AtomicU32, Ordering};

/// Why a sleep ended. Here no sleep ends because its time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "what an exercise needs is its own affair")]
pub(crate) enum Wake {
    /// The sleeper was woken, or the word differed from the beginning. Look again.
    Woken,
    /// The time is up.
    TimedOut,
}

#[derive(Default)]
struct Kernel {
    alone: bool,
    sleepers: Vec<Thread>,
    wakes: usize,
    over: bool,
    left_asleep: bool,
}

thread_local! {
    static KERNEL: RefCell<Kernel> = RefCell::default();
}

fn kernel<R>(f: impl FnOnce(&mut Kernel) -> R) -> R {
    KERNEL.with_borrow_mut(f)
}

/// Forgets the schedule before this one. In this one, so many threads will wait.
pub(crate) fn restart(waiting: usize) {
    kernel(|kernel| *kernel = Kernel { alone: waiting == 1, ..Kernel::default() });
}

/// How often the kernel was asked to wake threads.
pub(crate) fn wakes() -> usize {
    kernel(|kernel| kernel.wakes)
}

/// From now on no thread will wake a sleeper. If there is a sleeper, that is noted, and it is woken
/// after all, so that the model comes to its end.
pub(crate) fn nobody_wakes_any_more() {
    rouse(|kernel| {
        kernel.over = true;
        kernel.left_asleep = !kernel.sleepers.is_empty();
    });
}

/// Whether there was such a sleeper.
pub(crate) fn left_asleep() -> bool {
    kernel(|kernel| kernel.left_asleep)
}

pub(crate) fn wait(word: &AtomicU32, value: u32, _: Duration) -> Wake {
    // The kernel reads the word's newest value; a load might not. It orders nothing else.
    if word.fetch_add(0, Ordering::Relaxed) != value {
        yield_now();
        return Wake::Woken;
    }
    let me = thread::current();
    let (over, alone) = kernel(|kernel| {
        if kernel.over {
            kernel.left_asleep = true;
        } else {
            kernel.sleepers.push(me);
        }
        (kernel.over, kernel.alone)
    });
    if over {
        yield_now();
    } else if !alone {
        thread::park();
    }
    while kernel(|kernel| alone && !kernel.sleepers.is_empty()) {
        yield_now();
    }
    Wake::Woken
}

pub(crate) fn wake(_: &AtomicU32) -> usize {
    rouse(|kernel| kernel.wakes += 1)
}

/// Wakes all sleepers, and returns how many there were.
fn rouse(note: impl FnOnce(&mut Kernel)) -> usize {
    let (alone, sleepers) = kernel(|kernel| {
        note(kernel);
        (kernel.alone, std::mem::take(&mut kernel.sleepers))
    });
    if !alone {
        sleepers.iter().for_each(Thread::unpark);
    }
    sleepers.len()
}
