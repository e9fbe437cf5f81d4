//! The exercises of Day 8: each checks the same promises of your code and of the solution.
//!
//! Write yours in `day8/exercises/`; `cargo test -p day8 --test exercises -- --ignored` checks it.
//! What lies in `day8/exercises/wrong/` is wrong on purpose: each must fail here, for the reason that stands beside its
//! name.

mod ring_buffers;
mod run_queues;

#[path = "../exercises/queue.rs"]
#[allow(dead_code, reason = "a stub polls nothing")]
mod queue_exercise;
#[path = "../solutions/queue.rs"]
mod queue_solution;
#[path = "../exercises/ring_buffer.rs"]
mod ring_buffer_exercise;
#[path = "../solutions/ring_buffer.rs"]
mod ring_buffer_solution;

#[path = "../exercises/wrong"]
mod wrong {
    pub(crate) mod queue_always_sleeps;
    pub(crate) mod queue_asks_between;
    pub(crate) mod queue_clears_after_the_poll;
    pub(crate) mod queue_counts_on;
    pub(crate) mod queue_counts_those_who_wait;
    pub(crate) mod queue_dead_for_good;
    pub(crate) mod queue_forgets_the_last_wake;
    pub(crate) mod queue_forgets_the_new_one;
    pub(crate) mod queue_free_too_early;
    pub(crate) mod queue_itself_first;
    pub(crate) mod queue_last_first;
    pub(crate) mod queue_last_wake_sticks;
    pub(crate) mod queue_late_wake_sticks;
    pub(crate) mod queue_loses_its_place;
    pub(crate) mod queue_lowest_first;
    pub(crate) mod queue_marks_for_good;
    pub(crate) mod queue_never_asks;
    pub(crate) mod queue_never_sleeps;
    pub(crate) mod queue_new_numbers;
    pub(crate) mod queue_one_round;
    pub(crate) mod queue_polls_on;
    pub(crate) mod queue_polls_the_dead;
    pub(crate) mod queue_skips_one_too_many;
    pub(crate) mod queue_sleeps_unless_it_is_time;
    pub(crate) mod queue_takes_each_wake;
    pub(crate) mod queue_waits_itself;
    pub(crate) mod ring_cleans_up;
    pub(crate) mod ring_commits_and_refuses;
    pub(crate) mod ring_commits_one_slice;
    pub(crate) mod ring_commits_what_fits;
    pub(crate) mod ring_consumes_one_slice;
    pub(crate) mod ring_consumes_what_is_there;
    pub(crate) mod ring_counts_too_far;
    pub(crate) mod ring_cuts_in_the_middle;
    pub(crate) mod ring_empties_and_refuses;
    pub(crate) mod ring_front_first;
    pub(crate) mod ring_full_is_empty;
    pub(crate) mod ring_goes_on_when_empty;
    pub(crate) mod ring_goes_to_the_front_early;
    pub(crate) mod ring_grows;
    pub(crate) mod ring_keeps_one_free;
    pub(crate) mod ring_makes_one_slice;
    pub(crate) mod ring_moves_to_the_front;
    pub(crate) mod ring_newest_first;
    pub(crate) mod ring_offers_one_slice;
    pub(crate) mod ring_offers_what_lies_there;
    pub(crate) mod ring_panics;
    pub(crate) mod ring_rounds_up;
    pub(crate) mod ring_says_what_was_asked;
    pub(crate) mod ring_shows_one_slice;
    pub(crate) mod ring_stays_at_the_end;
    pub(crate) mod ring_stops_at_the_end;
    pub(crate) mod ring_takes_new_memory;
}

use testing::judge::breaks;

use ring_buffers::every_promise_of_a_ring_buffer;
use run_queues::every_promise_of_a_run_queue;

run_queues::implement! {
    queue_exercise,
    queue_solution,
    wrong::queue_always_sleeps,
    wrong::queue_asks_between,
    wrong::queue_clears_after_the_poll,
    wrong::queue_counts_on,
    wrong::queue_counts_those_who_wait,
    wrong::queue_dead_for_good,
    wrong::queue_forgets_the_last_wake,
    wrong::queue_forgets_the_new_one,
    wrong::queue_free_too_early,
    wrong::queue_itself_first,
    wrong::queue_last_first,
    wrong::queue_last_wake_sticks,
    wrong::queue_late_wake_sticks,
    wrong::queue_loses_its_place,
    wrong::queue_lowest_first,
    wrong::queue_marks_for_good,
    wrong::queue_never_asks,
    wrong::queue_never_sleeps,
    wrong::queue_new_numbers,
    wrong::queue_one_round,
    wrong::queue_polls_on,
    wrong::queue_polls_the_dead,
    wrong::queue_skips_one_too_many,
    wrong::queue_sleeps_unless_it_is_time,
    wrong::queue_takes_each_wake,
    wrong::queue_waits_itself,
}

ring_buffers::implement! {
    ring_buffer_exercise,
    ring_buffer_solution,
    wrong::ring_cleans_up,
    wrong::ring_commits_and_refuses,
    wrong::ring_commits_one_slice,
    wrong::ring_commits_what_fits,
    wrong::ring_consumes_one_slice,
    wrong::ring_consumes_what_is_there,
    wrong::ring_counts_too_far,
    wrong::ring_cuts_in_the_middle,
    wrong::ring_empties_and_refuses,
    wrong::ring_front_first,
    wrong::ring_full_is_empty,
    wrong::ring_goes_on_when_empty,
    wrong::ring_goes_to_the_front_early,
    wrong::ring_grows,
    wrong::ring_keeps_one_free,
    wrong::ring_makes_one_slice,
    wrong::ring_moves_to_the_front,
    wrong::ring_newest_first,
    wrong::ring_offers_one_slice,
    wrong::ring_offers_what_lies_there,
    wrong::ring_panics,
    wrong::ring_rounds_up,
    wrong::ring_says_what_was_asked,
    wrong::ring_shows_one_slice,
    wrong::ring_stays_at_the_end,
    wrong::ring_stops_at_the_end,
    wrong::ring_takes_new_memory,
}

#[test]
#[ignore = "exercise 1, yours to solve"]
fn exercise_1_what_is_polled_next() {
    every_promise_of_a_run_queue::<queue_exercise::RunQueue>();
}

#[test]
#[ignore = "exercise 2, yours to solve"]
fn exercise_2_one_slice_or_two() {
    every_promise_of_a_ring_buffer::<ring_buffer_exercise::RingBuffer>();
}

#[test]
fn solution_1_what_is_polled_next() {
    every_promise_of_a_run_queue::<queue_solution::RunQueue>();
}

#[test]
fn solution_2_one_slice_or_two() {
    every_promise_of_a_ring_buffer::<ring_buffer_solution::RingBuffer>();
}

#[test]
fn wrong_run_queues_fail() {
    use run_queues::*;
    fn fails<Q: RunQueue>(promise: &str) {
        breaks(promise, every_promise_of_a_run_queue::<Q>);
    }
    fails::<wrong::queue_marks_for_good::RunQueue>(WOKEN);
    fails::<wrong::queue_polls_on::RunQueue>(UNASKED);
    fails::<wrong::queue_waits_itself::RunQueue>(ENDS);
    fails::<wrong::queue_clears_after_the_poll::RunQueue>(AGAIN);
    fails::<wrong::queue_takes_each_wake::RunQueue>(ONCE);
    fails::<wrong::queue_last_first::RunQueue>(ORDER);
    fails::<wrong::queue_lowest_first::RunQueue>(ORDER);
    fails::<wrong::queue_loses_its_place::RunQueue>(ORDER);
    fails::<wrong::queue_itself_first::RunQueue>(ORDER);
    fails::<wrong::queue_one_round::RunQueue>(DRAINS);
    fails::<wrong::queue_asks_between::RunQueue>(DRAINS);
    fails::<wrong::queue_never_asks::RunQueue>(ASKED);
    fails::<wrong::queue_counts_those_who_wait::RunQueue>(ASKED);
    fails::<wrong::queue_counts_on::RunQueue>(DRAINS);
    fails::<wrong::queue_always_sleeps::RunQueue>(AWAKE);
    fails::<wrong::queue_never_sleeps::RunQueue>(ASLEEP);
    fails::<wrong::queue_sleeps_unless_it_is_time::RunQueue>(ASLEEP);
    fails::<wrong::queue_polls_the_dead::RunQueue>(ENDED);
    fails::<wrong::queue_forgets_the_last_wake::RunQueue>(ENDED);
    fails::<wrong::queue_new_numbers::RunQueue>(NUMBERS);
    fails::<wrong::queue_free_too_early::RunQueue>(OWN);
    fails::<wrong::queue_dead_for_good::RunQueue>(HEIR);
    fails::<wrong::queue_late_wake_sticks::RunQueue>(LATE);
    fails::<wrong::queue_last_wake_sticks::RunQueue>(LATE);
    fails::<wrong::queue_skips_one_too_many::RunQueue>(HEIR);
    fails::<wrong::queue_forgets_the_new_one::RunQueue>(LATE);
}

#[test]
fn wrong_ring_buffers_fail() {
    use ring_buffers::*;
    fn fails<R: RingBuffer>(promise: &str) {
        breaks(promise, every_promise_of_a_ring_buffer::<R>);
    }
    fails::<wrong::ring_shows_one_slice::RingBuffer>(KEPT);
    fails::<wrong::ring_moves_to_the_front::RingBuffer>(STAYS);
    fails::<wrong::ring_makes_one_slice::RingBuffer>(STAYS);
    fails::<wrong::ring_takes_new_memory::RingBuffer>(STAYS);
    fails::<wrong::ring_grows::RingBuffer>(STAYS);
    fails::<wrong::ring_rounds_up::RingBuffer>(FIXED);
    fails::<wrong::ring_stops_at_the_end::RingBuffer>(ALL);
    fails::<wrong::ring_offers_one_slice::RingBuffer>(ALL);
    fails::<wrong::ring_keeps_one_free::RingBuffer>(ALL);
    fails::<wrong::ring_offers_what_lies_there::RingBuffer>(FREE);
    fails::<wrong::ring_commits_one_slice::RingBuffer>(FITS);
    fails::<wrong::ring_consumes_one_slice::RingBuffer>(HELD);
    fails::<wrong::ring_full_is_empty::RingBuffer>(FULL);
    fails::<wrong::ring_goes_on_when_empty::RingBuffer>(FRONT);
    fails::<wrong::ring_goes_to_the_front_early::RingBuffer>(ORDER);
    fails::<wrong::ring_front_first::RingBuffer>(ORDER);
    fails::<wrong::ring_newest_first::RingBuffer>(ORDER);
    fails::<wrong::ring_stays_at_the_end::RingBuffer>(FIRST);
    fails::<wrong::ring_cuts_in_the_middle::RingBuffer>(WHOLE);
    fails::<wrong::ring_cleans_up::RingBuffer>(ASKED);
    fails::<wrong::ring_commits_what_fits::RingBuffer>(TOO_MUCH_IN);
    fails::<wrong::ring_commits_and_refuses::RingBuffer>(TOO_MUCH_IN);
    fails::<wrong::ring_counts_too_far::RingBuffer>(TOO_MUCH_IN);
    fails::<wrong::ring_panics::RingBuffer>(TOO_MUCH_IN);
    fails::<wrong::ring_consumes_what_is_there::RingBuffer>(TOO_MUCH_OUT);
    fails::<wrong::ring_empties_and_refuses::RingBuffer>(TOO_MUCH_OUT);
    fails::<wrong::ring_says_what_was_asked::RingBuffer>(SAYS);
}
