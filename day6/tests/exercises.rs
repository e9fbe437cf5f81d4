//! The exercises of Day 6: each checks the same promises of your code and of the solution.
//!
//! Write yours in `day6/exercises/`; `cargo test -p day6 --test exercises -- --ignored` checks it.
//! What lies in `day6/exercises/wrong/` is wrong on purpose: each must fail here, for the reason that stands beside its
//! name.
#![cfg(not(loom))]

mod claims;
mod seats;

#[path = "../exercises/last_claim.rs"]
#[allow(dead_code, reason = "a stub looks at nothing")]
mod last_claim_exercise;
#[path = "../solutions/last_claim.rs"]
mod last_claim_solution;
#[path = "../exercises/seat.rs"]
mod seat_exercise;
#[path = "../solutions/seat.rs"]
mod seat_solution;

#[path = "../exercises/wrong"]
mod wrong {
    pub(crate) mod claim_gives_back_too_much;
    pub(crate) mod claim_of_anybody;
    pub(crate) mod claim_skips_the_help;
    pub(crate) mod claim_skips_the_logs;
    pub(crate) mod claim_skips_the_word;
    pub(crate) mod claim_trusts_the_dead;
    pub(crate) mod claim_trusts_the_try;
    pub(crate) mod seat_asks_by_taking;
    pub(crate) mod seat_by_a_note;
    pub(crate) mod seat_by_number;
    pub(crate) mod seat_closes_only;
    pub(crate) mod seat_keeps;
    pub(crate) mod seat_of_the_process;
    pub(crate) mod seat_of_the_whole_file;
    pub(crate) mod seat_waits;
}

use std::ops::Range;

use testing::judge::breaks;

use claims::every_promise_of_held;
use last_claim_solution::{Claim, Left};
use seats::{Seat, every_promise_of_a_seat, implement};

implement! {
    seat_exercise,
    seat_solution,
    wrong::seat_asks_by_taking,
    wrong::seat_by_a_note,
    wrong::seat_by_number,
    wrong::seat_closes_only,
    wrong::seat_keeps,
    wrong::seat_of_the_process,
    wrong::seat_of_the_whole_file,
    wrong::seat_waits,
}

/// Your function, with the solution's types.
fn held_of_yours(left: &Left<'_>) -> Range<u64> {
    use last_claim_exercise as yours;
    let claim = |Claim { winner, end }| yours::Claim { winner, end };
    let logs: Vec<_> = left.logs.iter().copied().map(claim).collect();
    yours::held(&yours::Left {
        dead: left.dead,
        cursor: left.cursor,
        intent: left.intent,
        won: left.won,
        helped: left.helped.map(claim),
        word: claim(left.word),
        logs: &logs,
    })
}

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_a_seat_that_the_kernel_takes_back() {
    every_promise_of_a_seat::<seat_exercise::Seat>();
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_who_won_the_last_claim() {
    every_promise_of_held(held_of_yours);
}

#[test]
fn solution_1_a_seat_that_the_kernel_takes_back() {
    every_promise_of_a_seat::<seat_solution::Seat>();
}

#[test]
fn solution_2_who_won_the_last_claim() {
    every_promise_of_held(last_claim_solution::held);
}

#[test]
fn wrong_seats_fail() {
    fn fails<S: Seat>(promise: &str) {
        breaks(promise, every_promise_of_a_seat::<S>);
    }
    fails::<wrong::seat_of_the_process::Seat>("a seat that is taken is refused");
    fails::<wrong::seat_of_the_whole_file::Seat>("each number is a seat of its own");
    fails::<wrong::seat_asks_by_taking::Seat>("a question takes nothing");
    fails::<wrong::seat_waits::Seat>(
        "an attempt that comes too late is refused, and does not wait",
    );
    fails::<wrong::seat_closes_only::Seat>(
        "a seat that is given back is free, also while a child lives that was forked meanwhile",
    );
    fails::<wrong::seat_keeps::Seat>("a seat that is given back is free");
    fails::<wrong::seat_by_number::Seat>("a process that was killed has no seat");
    fails::<wrong::seat_by_a_note::Seat>("a process that was killed has no seat");
}

#[test]
fn wrong_heirs_fail() {
    const TOO_FEW: &str = "what it had won goes to another member";
    const TOO_MANY: &str = "nothing else is delivered again";
    let fails =
        |promise: &str, wrong: claims::Held| breaks(promise, || every_promise_of_held(wrong));
    fails(TOO_FEW, wrong::claim_trusts_the_dead::held);
    fails(TOO_FEW, wrong::claim_skips_the_word::held);
    fails(TOO_FEW, wrong::claim_skips_the_logs::held);
    fails(TOO_FEW, wrong::claim_skips_the_help::held);
    fails(TOO_MANY, wrong::claim_trusts_the_try::held);
    fails(TOO_MANY, wrong::claim_of_anybody::held);
    fails(TOO_MANY, wrong::claim_gives_back_too_much::held);
}
