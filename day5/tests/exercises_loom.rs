//! Exercise 1 of Day 5 under every schedule. Ordinary threads on x86 do not find a missing ordering,
//! nor a wake-up that is lost once in a million times.
//!
//! `cargo test -p day5 --test 'exercises*' -- --ignored` checks yours.
#![cfg(not(loom))]

// In an exercise, the names `common` and `day5` mean this crate: the atomics are loom's here, and
// the futex is a kernel that loom can watch. So both judges take the same source of the exercise.
extern crate self as common;
extern crate self as day5;

pub(crate) mod futex;
mod latch;
pub(crate) mod sync;

#[path = "../exercises/latch.rs"]
#[allow(dead_code, reason = "a stub does not look at its word")]
mod latch_exercise;
#[path = "../solutions/latch.rs"]
mod latch_solution;

#[path = "../exercises/wrong"]
mod wrong {
    pub(crate) mod latch_lies;
    pub(crate) mod latch_looks_then_opens;
    pub(crate) mod latch_never_wakes;
    pub(crate) mod latch_polls;
    pub(crate) mod latch_relaxed;
    pub(crate) mod latch_relaxed_open;
    pub(crate) mod latch_relaxed_wait;
    pub(crate) mod latch_trusts_a_relaxed_look;
    pub(crate) mod latch_wakes_then_opens;
}

use std::panic::{AssertUnwindSafe, catch_unwind};
// Not loom's Arc: a panic cannot drop it, so a model that fails would abort. All threads of a model
// run on one thread of the system.
use std::rc::Rc;
use std::time::Duration;

use latch::{Latch, implement};
use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::thread;
use testing::judge::breaks;
use testing::message;

/// No time passes in a model: a thread with this timeout is woken, or sleeps for ever.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

implement! {
    latch_exercise,
    latch_solution,
    wrong::latch_lies,
    wrong::latch_looks_then_opens,
    wrong::latch_never_wakes,
    wrong::latch_polls,
    wrong::latch_relaxed,
    wrong::latch_relaxed_open,
    wrong::latch_relaxed_wait,
    wrong::latch_trusts_a_relaxed_look,
    wrong::latch_wakes_then_opens,
}

fn every_promise_of_a_latch<L: Latch>() {
    for waiting in [1, 2] {
        every_schedule(move || one_opens_for::<L>(waiting));
    }
}

fn one_opens_for<L: Latch>(waiting: usize) {
    futex::restart(waiting);
    let latch = Rc::new(L::new());
    let written = Rc::new(UnsafeCell::new(0));
    let waiting = (0..waiting).map(|_| {
        let (latch, written) = (latch.clone(), written.clone());
        thread::spawn(move || {
            // SAFETY: loom's cell watches the place, and fails if nothing orders this and the write.
            latch.wait(FOR_EVER).then(|| written.with(|place| unsafe { *place }))
        })
    });
    let waiting: Vec<_> = waiting.collect();
    // SAFETY: as above.
    written.with_mut(|place| unsafe { *place = 1 });
    let asked = latch.open();
    let wakes = futex::wakes();
    futex::nobody_wakes_any_more();
    let found: Vec<_> = waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect();
    assert!(found.iter().all(Option::is_some), "it waits until it is open");
    assert!(found.iter().all(|found| *found == Some(1)), "{WRITTEN}: {found:?}");
    assert!(!futex::left_asleep(), "the latch is open, a thread sleeps, and nobody wakes it");
    assert_eq!(asked, wakes > 0, "it says whether it asked the kernel");
}

const WRITTEN: &str = "what was written before open can be read after wait";

/// Checks a promise under every schedule, and reports loom's findings in the exercise's words.
#[track_caller]
fn every_schedule(ask: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.location = true;
    builder.preemption_bound = Some(3);
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| builder.check(ask))) else { return };
    let said = message(&*panic);
    let promise = if said.contains("Causality violation") {
        WRITTEN
    } else if said.contains("exceeded maximum number of branches") {
        "it sleeps until it is open: loom saw it look again and again"
    } else {
        "under every schedule"
    };
    panic!("{promise}; loom has found a schedule: {said}");
}

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_under_every_schedule() {
    every_promise_of_a_latch::<latch_exercise::Latch>();
}

#[test]
fn solution_1_under_every_schedule() {
    every_promise_of_a_latch::<latch_solution::Latch>();
}

#[test]
fn latches_that_only_loom_sees_through_fail() {
    use wrong::*;
    fn fails<L: Latch>(promise: &str) {
        breaks(promise, every_promise_of_a_latch::<L>);
    }
    fails::<latch_relaxed::Latch>(WRITTEN);
    fails::<latch_relaxed_open::Latch>(WRITTEN);
    fails::<latch_relaxed_wait::Latch>(WRITTEN);
    fails::<latch_trusts_a_relaxed_look::Latch>(WRITTEN);
    fails::<latch_looks_then_opens::Latch>("nobody wakes it");
    fails::<latch_wakes_then_opens::Latch>("nobody wakes it");
    fails::<latch_never_wakes::Latch>("nobody wakes it");
    fails::<latch_polls::Latch>("it sleeps until it is open");
    fails::<latch_lies::Latch>("it says whether it asked the kernel");
}
