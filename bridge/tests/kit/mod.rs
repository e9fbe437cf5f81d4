//! What the tests with real servers share: servers and clusters that can be killed, frozen and started again, bridges,
//! and processes that send and receive messages which can be checked.
//!
//! Every process here is killed when its owner is dropped, and when the thread that started it ends. So a process is
//! started in the thread of the test, and not in a helper thread that ends before the test does.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod bound;
mod bridges;
mod cluster;
mod jet;
mod message;
mod order;
mod peer;
mod roles;
mod server;

pub(crate) use bound::{DEADLINE, Ended};
pub(crate) use bridges::Bridge;
pub(crate) use cluster::Cluster;
pub(crate) use jet::{Jet, Stored};
pub(crate) use message::{FIXED_TYPE, Fixed, Shape};
pub(crate) use order::Taken;
pub(crate) use peer::{Consumer, Producer, Received};
pub(crate) use server::{Server, Setup, nats_server};

/// Whether to run the scenarios in full: with `FANOUT_BRIDGE_FULL=1`, in a release build.
pub(crate) fn is_full() -> bool {
    testing::number_from_environment("FANOUT_BRIDGE_FULL").is_some_and(|full| full != 0)
}

/// The first number in a full run, the second one otherwise.
pub(crate) fn in_full_or(full: u64, share: u64) -> u64 {
    if is_full() { full } else { share }
}

/// Dice seeded by `FANOUT_BRIDGE_SEED`, or else by the clock. The seed is printed, so that a run can be repeated.
pub(crate) fn dice() -> testing::Dice {
    let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = testing::number_from_environment("FANOUT_BRIDGE_SEED").unwrap_or_else(clock);
    println!("FANOUT_BRIDGE_SEED={seed}");
    testing::Dice::new(seed)
}
