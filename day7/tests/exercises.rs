//! The exercises of Day 7: each checks the same promises of your code and of the solution.
//!
//! Write yours in `day7/exercises/`; `cargo test -p day7 --test 'exercises*' -- --ignored` checks it.
//! What lies in `day7/exercises/wrong/` is wrong on purpose: each must fail here, or under loom in `exercises_loom.rs`,
//! for the reason that stands beside its name.
#![cfg(not(loom))]

mod readiness;
mod turns;

#[path = "../exercises/ready.rs"]
mod ready_exercise;
#[path = "../solutions/ready.rs"]
mod ready_solution;
#[path = "../exercises/turns.rs"]
mod turns_exercise;
#[path = "../solutions/turns.rs"]
mod turns_solution;

#[path = "../exercises/wrong"]
mod wrong {
    pub(crate) mod ready_ignore_the_timeout;
    pub(crate) mod ready_never_wake;
    pub(crate) mod ready_poll;
    pub(crate) mod turns_are_stingy;
    pub(crate) mod turns_count_every_round;
    pub(crate) mod turns_favour_the_first;
    pub(crate) mod turns_forget_debts;
    pub(crate) mod turns_forgive_the_empty;
    pub(crate) mod turns_give_up;
    pub(crate) mod turns_go_on_with_the_same;
    pub(crate) mod turns_keep_credit;
    pub(crate) mod turns_pay_one;
    pub(crate) mod turns_pay_the_empty;
    pub(crate) mod turns_round_debts;
    pub(crate) mod turns_save_up;
}

use std::thread;
use std::time::{Duration, Instant};

use testing::judge::awake::{A_WHILE, Who, sleeps};
use testing::judge::{breaks, comes_back, far_away};

use readiness::Ready;
use ready_solution::CLIENTS;
use turns::{Turns, every_promise_of_turns};

turns::implement! {
    turns_exercise,
    turns_solution,
    wrong::turns_are_stingy,
    wrong::turns_count_every_round,
    wrong::turns_favour_the_first,
    wrong::turns_forget_debts,
    wrong::turns_forgive_the_empty,
    wrong::turns_give_up,
    wrong::turns_go_on_with_the_same,
    wrong::turns_keep_credit,
    wrong::turns_pay_one,
    wrong::turns_pay_the_empty,
    wrong::turns_round_debts,
    wrong::turns_save_up,
}

readiness::implement! {
    ready_exercise,
    ready_solution,
    wrong::ready_ignore_the_timeout,
    wrong::ready_never_wake,
    wrong::ready_poll,
}

const SHORT: Duration = Duration::from_millis(2);

/// What loom cannot see: time, and who burns a core. The orders are `exercises_loom.rs`'s.
fn every_promise_of_ready<R: Ready>() {
    comes_back("it waits for at most the timeout", || R::new().wait(SHORT));
    comes_back("it waits for at most the timeout", || {
        let ready = R::new();
        ready.ring(99);
        ready.wait(far_away());
        let mut taken = Vec::new();
        ready.take(|client| taken.push(client));
        assert_eq!(taken, [99], "each client that has rung is taken, once");
    });
    let ready = R::new();
    sleeps(Who::ThisThread, "a ring", || {
        let started = Instant::now();
        while let Some(left) = A_WHILE.checked_sub(started.elapsed()) {
            ready.wait(left);
        }
    });
    comes_back("each client is heard", each_client_is_heard::<R>);
}

/// Clients ring again as soon as they are taken, so that the server sleeps often.
fn each_client_is_heard<R: Ready>() {
    const ROUNDS: u64 = 200;
    let (ready, timeout) = (&R::new(), far_away());
    let (clients, rung): ([usize; 4], _) =
        ([0, 1, 64, CLIENTS - 1], &[const { Counter::new() }; 4]);
    let taken = &[const { Counter::new() }; 4];
    thread::scope(|scope| {
        for at in 0..clients.len() {
            scope.spawn(move || {
                for round in 1..=ROUNDS {
                    rung[at].set(round);
                    ready.ring(clients[at]);
                    while taken[at].get() < round {
                        thread::yield_now();
                    }
                }
            });
        }
        while taken.iter().any(|taken| taken.get() < ROUNDS) {
            ready.take(|client| {
                let at = clients.iter().position(|&one| one == client);
                let at = at.expect("only clients that have rung are taken");
                taken[at].set(rung[at].get());
            });
            if taken.iter().any(|taken| taken.get() < ROUNDS) {
                ready.wait(timeout);
            }
        }
    });
}

/// A number that one thread sets.
struct Counter(common::sync::AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(common::sync::AtomicU64::new(0))
    }

    fn set(&self, value: u64) {
        self.0.store(value, common::sync::Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(common::sync::Ordering::Relaxed)
    }
}

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_whose_turn_it_is() {
    every_promise_of_turns::<turns_exercise::Turns>();
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_ready_words_by_hand() {
    every_promise_of_ready::<ready_exercise::Ready>();
}

#[test]
fn solution_1_whose_turn_it_is() {
    every_promise_of_turns::<turns_solution::Turns>();
}

#[test]
fn solution_2_ready_words_by_hand() {
    every_promise_of_ready::<ready_solution::Ready>();
}

#[test]
fn wrong_turns_fail() {
    fn fails<T: Turns>(promise: &str) {
        breaks(promise, every_promise_of_turns::<T>);
    }
    fails::<wrong::turns_go_on_with_the_same::Turns>("one after another");
    fails::<wrong::turns_are_stingy::Turns>("whoever owes nothing has a whole turn");
    fails::<wrong::turns_favour_the_first::Turns>("one after another");
    fails::<wrong::turns_keep_credit::Turns>("what is left of a turn is lost");
    fails::<wrong::turns_save_up::Turns>("a queue saves nothing up while it is empty");
    fails::<wrong::turns_forget_debts::Turns>("whoever took too much pays it back");
    fails::<wrong::turns_round_debts::Turns>("whoever took too much pays it back");
    fails::<wrong::turns_forgive_the_empty::Turns>(
        "a queue that is empty goes on owing what it owes",
    );
    fails::<wrong::turns_pay_the_empty::Turns>("a queue that is empty goes on owing what it owes");
    fails::<wrong::turns_give_up::Turns>("something waits, so it is somebody's turn");
    fails::<wrong::turns_pay_one::Turns>("nobody gets a quantum and a message more than another");
    fails::<wrong::turns_count_every_round::Turns>("it does not count every time round");
}

#[test]
fn wrong_ready_words_fail() {
    fn fails<R: Ready>(promise: &str) {
        breaks(promise, every_promise_of_ready::<R>);
    }
    fails::<wrong::ready_ignore_the_timeout::Ready>("it waits for at most the timeout");
    fails::<wrong::ready_poll::Ready>("it sleeps while it waits for a ring");
    fails::<wrong::ready_never_wake::Ready>("each client is heard");
}
