//! Exercise 2 of Day 7 under every schedule.
//!
//! `cargo test -p day7 --test 'exercises*' -- --ignored` checks yours.
#![cfg(not(loom))]

// In an exercise, the names `common` and `day5` mean this crate, as in Day 5's judge: the atomics are loom's here, and
// the futex is a kernel that loom can watch.
extern crate self as common;
extern crate self as day5;

#[path = "../../day5/tests/futex/mod.rs"]
pub(crate) mod futex;
mod readiness;
#[path = "../../day5/tests/sync/mod.rs"]
pub(crate) mod sync;

#[path = "../exercises/ready.rs"]
mod ready_exercise;
#[path = "../solutions/ready.rs"]
mod ready_solution;

#[path = "../exercises/wrong"]
mod wrong {
    pub(crate) mod ready_always_ask;
    pub(crate) mod ready_any_before_the_bit;
    pub(crate) mod ready_any_cleared_last;
    pub(crate) mod ready_bit_after_the_ring;
    pub(crate) mod ready_clear_after_look;
    pub(crate) mod ready_half_of_the_clients;
    pub(crate) mod ready_lie;
    pub(crate) mod ready_look_then_announce;
    pub(crate) mod ready_never_clear;
    pub(crate) mod ready_never_wake;
    pub(crate) mod ready_no_fence_of_the_client;
    pub(crate) mod ready_no_fence_of_the_server;
    pub(crate) mod ready_no_second_look;
    pub(crate) mod ready_one_at_a_time;
    pub(crate) mod ready_relaxed;
    pub(crate) mod ready_relaxed_bit;
    pub(crate) mod ready_relaxed_take;
    pub(crate) mod ready_wake_before_taking_back;
}

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
// Not loom's Arc: a panic cannot drop it, so a model that fails would abort. All threads of a model
// run on one thread of the system.
use std::rc::Rc;
use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::thread;
use readiness::{Ready, implement};
use ready_solution::CLIENTS;
use sync::{AtomicU64, Ordering};
use testing::judge::breaks;
use testing::message;

/// No time passes in a model: a server with this timeout is woken, or sleeps for ever.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

implement! {
    ready_exercise,
    ready_solution,
    wrong::ready_always_ask,
    wrong::ready_any_before_the_bit,
    wrong::ready_any_cleared_last,
    wrong::ready_bit_after_the_ring,
    wrong::ready_clear_after_look,
    wrong::ready_half_of_the_clients,
    wrong::ready_lie,
    wrong::ready_look_then_announce,
    wrong::ready_never_clear,
    wrong::ready_never_wake,
    wrong::ready_no_fence_of_the_client,
    wrong::ready_no_fence_of_the_server,
    wrong::ready_no_second_look,
    wrong::ready_one_at_a_time,
    wrong::ready_relaxed,
    wrong::ready_relaxed_bit,
    wrong::ready_relaxed_take,
    wrong::ready_wake_before_taking_back,
}

const WRITTEN: &str = "what a client wrote before it rang can be read when it is taken";
const LOST: &str = "the server sleeps, a client has rung, and nobody wakes it";
const ASKED: &str = "it says whether it called the kernel";
const IDLE: &str = "the kernel is called only if the server has said that it is going to sleep";
const EACH: &str = "each client that has rung is taken, once";

fn every_promise_of_ready<R: Ready>() {
    every_schedule(in_one_thread::<R>);
    // Clients that share a word, and clients that may not.
    for clients in [&[0][..], &[63, 0], &[3, 100]] {
        every_schedule(move || each_client_is_heard::<R>(clients));
    }
    every_schedule(a_client_rings_again::<R>);
}

fn in_one_thread<R: Ready>() {
    futex::restart(1);
    let ready = R::new();
    let taken = || {
        let mut taken = Vec::new();
        ready.take(|client| taken.push(client));
        taken.sort();
        taken
    };
    assert_eq!(taken(), [], "nobody has rung");
    for clients in [&[5][..], &[0, 1, 63, 64, 127], &[5, 127], &[]] {
        for &client in clients {
            let asked = ready.ring(client);
            assert_eq!(futex::wakes(), 0, "{IDLE}");
            assert!(!asked, "{ASKED}");
        }
        assert_eq!(taken(), clients, "{EACH}");
    }
    for _ in 0..2 {
        (0..CLIENTS).for_each(|client| assert!(!ready.ring(client), "{ASKED}"));
    }
    assert!(taken().into_iter().eq(0..CLIENTS), "{EACH}");
    assert_eq!(taken(), [], "{EACH}");
}

/// What the clients of a model have in common.
struct Model<R> {
    ready: R,
    /// How many clients are not done yet.
    left: Cell<usize>,
    /// How many said that they called the kernel.
    asked: Cell<usize>,
}

impl<R: Ready> Model<R> {
    fn new(clients: usize) -> Rc<Self> {
        futex::restart(1);
        Rc::new(Self { ready: R::new(), left: Cell::new(clients), asked: Cell::new(0) })
    }

    fn ring(&self, client: usize) {
        if self.ready.ring(client) {
            self.asked.set(self.asked.get() + 1);
        }
    }

    /// A client is done. When all are, nobody is left to wake the server.
    fn is_done(&self) {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            futex::nobody_wakes_any_more();
        }
    }

    /// The server: takes and sleeps until `is_over`.
    fn serve(&self, mut look: impl FnMut(usize), is_over: impl Fn() -> bool) {
        loop {
            self.ready.take(&mut look);
            assert!(!futex::left_asleep(), "{LOST}");
            if is_over() {
                return;
            }
            self.ready.wait(FOR_EVER);
        }
    }
}

fn each_client_is_heard<R: Ready>(clients: &'static [usize]) {
    let model = Model::<R>::new(clients.len());
    let letters: Vec<_> = clients.iter().map(|_| Rc::new(UnsafeCell::new(0))).collect();
    let threads = clients.iter().zip(&letters).map(|(&client, letter)| {
        let (model, letter) = (model.clone(), letter.clone());
        thread::spawn(move || {
            // SAFETY: loom's cell watches the place, and fails if nothing orders this and the read.
            letter.with_mut(|place| unsafe { *place = 1 });
            model.ring(client);
            model.is_done();
        })
    });
    let threads: Vec<_> = threads.collect();
    let read = Cell::new(0);
    let look = |client| {
        let at = clients.iter().position(|&one| one == client).expect(EACH);
        // SAFETY: as above.
        assert_eq!(letters[at].with(|place| unsafe { *place }), 1, "{WRITTEN}");
        read.set(read.get() + 1);
    };
    model.serve(look, || read.get() == clients.len());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(model.asked.get(), futex::wakes(), "{ASKED}");
    let mut more = 0;
    model.ready.take(|_| more += 1);
    assert_eq!(more, 0, "{EACH}");
}

/// The second ring may come while the first is being taken.
fn a_client_rings_again<R: Ready>() {
    let model = Model::<R>::new(1);
    let sent = Rc::new(AtomicU64::new(0));
    let client = thread::spawn({
        let (model, sent) = (model.clone(), sent.clone());
        move || {
            for message in 1..=2 {
                sent.store(message, Ordering::Relaxed);
                model.ring(70);
            }
            model.is_done();
        }
    });
    let seen = Cell::new(0);
    model.serve(|_| seen.set(sent.load(Ordering::Relaxed)), || seen.get() == 2);
    client.join().unwrap();
}

/// Checks a promise under every schedule, and reports loom's findings in the exercise's words.
#[track_caller]
fn every_schedule(ask: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.location = true;
    builder.preemption_bound = Some(2);
    builder.max_branches = 5000;
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| builder.check(ask))) else { return };
    let said = message(&*panic);
    let promise = if said.contains("Causality violation") {
        WRITTEN
    } else if said.contains("exceeded maximum number of branches") {
        "it sleeps until somebody rings: loom saw it look again and again"
    } else {
        "under every schedule"
    };
    panic!("{promise}; loom has found a schedule: {said}");
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_under_every_schedule() {
    every_promise_of_ready::<ready_exercise::Ready>();
}

#[test]
fn solution_2_under_every_schedule() {
    every_promise_of_ready::<ready_solution::Ready>();
}

#[test]
fn ready_words_that_are_wrong_fail() {
    fn fails<R: Ready>(promise: &str) {
        breaks(promise, every_promise_of_ready::<R>);
    }
    fails::<wrong::ready_half_of_the_clients::Ready>(EACH);
    fails::<wrong::ready_one_at_a_time::Ready>(EACH);
    fails::<wrong::ready_never_clear::Ready>(EACH);
    fails::<wrong::ready_always_ask::Ready>(IDLE);
    fails::<wrong::ready_lie::Ready>(ASKED);
    fails::<wrong::ready_never_wake::Ready>(LOST);
}

#[test]
fn ready_words_that_only_loom_sees_through_fail() {
    fn fails<R: Ready>(promise: &str) {
        breaks(promise, every_promise_of_ready::<R>);
    }
    fails::<wrong::ready_bit_after_the_ring::Ready>(LOST);
    fails::<wrong::ready_any_before_the_bit::Ready>(LOST);
    fails::<wrong::ready_clear_after_look::Ready>(LOST);
    fails::<wrong::ready_any_cleared_last::Ready>(LOST);
    fails::<wrong::ready_no_second_look::Ready>(LOST);
    fails::<wrong::ready_look_then_announce::Ready>(LOST);
    fails::<wrong::ready_no_fence_of_the_client::Ready>(LOST);
    fails::<wrong::ready_no_fence_of_the_server::Ready>(LOST);
    fails::<wrong::ready_wake_before_taking_back::Ready>(LOST);
    fails::<wrong::ready_relaxed::Ready>(WRITTEN);
    fails::<wrong::ready_relaxed_bit::Ready>(WRITTEN);
    fails::<wrong::ready_relaxed_take::Ready>(WRITTEN);
}
