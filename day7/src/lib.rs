//! Day 7: many queues, one server.
//!
//! One ring has one producer. Many producers are many rings, and one thread that looks only at the rings that rang.
//! There is no ring with many producers here: in such a ring a producer that dies between its claim and its publish
//! stops all others.
//!
//! - [`ready`]: the words in which producers say whose ring is worth a look;
//! - `line`: two rings between a client and a server, and how they come together;
//! - `selector`: one thread, thousands of rings, turns by deficit round robin;
//! - `tasks`: work and answers: a client submits, a server's shard answers;
//! - [`topics`]: publishing under a name, subscribing with patterns;
//! - [`latest`]: the last value only;
//! - `listing`: what there is on this host.

pub mod latest;
pub mod ready;

#[cfg(not(loom))]
pub mod line;
#[cfg(not(loom))]
pub mod listing;
#[cfg(not(loom))]
pub mod selector;
#[cfg(not(loom))]
pub mod tasks;
pub mod topics;
