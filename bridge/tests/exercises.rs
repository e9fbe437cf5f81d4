//! The exercises of the chapter "Beyond one host": each checks the same promises of your code and of the solution.
//!
//! Write yours in `bridge/exercises/`; `cargo test -p bridge --test exercises -- --ignored` checks it.
//! What lies in `bridge/exercises/wrong/` is wrong on purpose: each must fail here, for the reason that stands beside its
//! name.

mod lots;
mod streams;

#[path = "../exercises/find.rs"]
mod find_exercise;
#[path = "../solutions/find.rs"]
mod find_solution;
#[path = "../exercises/tail.rs"]
mod tail_exercise;
#[path = "../solutions/tail.rs"]
mod tail_solution;

#[path = "../exercises/wrong"]
mod wrong {
    pub(crate) mod find_answers_with_the_middle;
    pub(crate) mod find_begins_at_the_oldest;
    pub(crate) mod find_believes_in_numbers;
    pub(crate) mod find_goes_on_for_ever;
    pub(crate) mod find_leaves_out_the_last;
    pub(crate) mod find_looks_at_all;
    pub(crate) mod find_looks_behind_the_end;
    pub(crate) mod find_puts_others_behind;
    pub(crate) mod find_stops_before;
    pub(crate) mod find_takes_any_queue;
    pub(crate) mod find_takes_the_next;
    pub(crate) mod find_takes_the_old_queue;
    pub(crate) mod find_wants_the_very_sequence;
    pub(crate) mod tail_begins_anew;
    pub(crate) mod tail_believes_all_arrived;
    pub(crate) mod tail_believes_in_more;
    pub(crate) mod tail_compares_plainly;
    pub(crate) mod tail_counts_bytes;
    pub(crate) mod tail_forgets_the_whole;
    pub(crate) mod tail_one_too_few;
    pub(crate) mod tail_rounds_up;
    pub(crate) mod tail_sends_all_again;
    pub(crate) mod tail_stops_at_others;
    pub(crate) mod tail_takes_any_queue;
}

use testing::judge::breaks;

use lots::every_promise_of_a_decision;
use streams::every_promise_of_a_search;

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_where_a_copy_goes_on() {
    every_promise_of_a_search(find_exercise::find);
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_what_is_stored() {
    every_promise_of_a_decision(tail_exercise::decide);
}

#[test]
fn solution_1_where_a_copy_goes_on() {
    every_promise_of_a_search(find_solution::find);
}

#[test]
fn solution_2_what_is_stored() {
    every_promise_of_a_decision(tail_solution::decide);
}

#[test]
fn wrong_searches_fail() {
    use streams::*;
    let fails = |find: Find, promise| breaks(promise, || every_promise_of_a_search(find));
    fails(wrong::find_answers_with_the_middle::find, HOLES);
    fails(wrong::find_begins_at_the_oldest::find, NONE);
    fails(wrong::find_believes_in_numbers::find, WITHIN);
    fails(wrong::find_goes_on_for_ever::find, FEW);
    fails(wrong::find_leaves_out_the_last::find, LAST);
    fails(wrong::find_looks_at_all::find, FEW);
    fails(wrong::find_looks_behind_the_end::find, INSIDE);
    fails(wrong::find_puts_others_behind::find, OTHERS);
    fails(wrong::find_stops_before::find, FOUND);
    fails(wrong::find_takes_any_queue::find, OTHERS);
    fails(wrong::find_takes_the_next::find, FOUND);
    fails(wrong::find_takes_the_old_queue::find, OTHERS);
    fails(wrong::find_wants_the_very_sequence::find, LAST);
}

#[test]
fn wrong_decisions_fail() {
    use lots::*;
    let fails = |decide: Decide, promise| breaks(promise, || every_promise_of_a_decision(decide));
    fails(wrong::tail_begins_anew::decide, LOST);
    fails(wrong::tail_believes_all_arrived::decide, EMPTY);
    fails(wrong::tail_believes_in_more::decide, BEYOND);
    fails(wrong::tail_compares_plainly::decide, ROUND);
    fails(wrong::tail_counts_bytes::decide, SOME);
    fails(wrong::tail_forgets_the_whole::decide, ALL);
    fails(wrong::tail_one_too_few::decide, SOME);
    fails(wrong::tail_rounds_up::decide, CUT);
    fails(wrong::tail_sends_all_again::decide, CUT);
    fails(wrong::tail_stops_at_others::decide, OTHER);
    fails(wrong::tail_takes_any_queue::decide, OTHER);
}
