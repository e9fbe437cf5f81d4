//! Models of Day 7. `cargo model -p day7` explores them; an ordinary `cargo test` runs each once on real threads.
//! `FANOUT_PREEMPTIONS` and `FANOUT_MUTANT` work as on Day 3.

mod newest;
