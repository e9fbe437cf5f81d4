//! Day 5: waiting without burning a core.
//!
//! An end that waits has a choice: look again at once, yield the core, or sleep until it is woken.
//! Sleeping seems to cost the other side: after each message it has to ask whether an end sleeps, and
//! a reliable answer needs a full fence between the message and the question. Here the sleeper pays
//! for both: see [`doorbell`]. The producer's question is one plain load of a word that does not
//! change while traffic flows.
//!
//! - [`doorbell`]: how an end announces that it sleeps, and how it is woken; [`barrier`]: the fence that one
//!   side makes for both sides;
//! - [`futex`]: the kernel's part of it;
//! - [`strategy`]: [`Spin`], [`Yield`], [`Sleep`], [`Adaptive`], for Day 3 and Day 4 alike;
//! - [`pollable`]: ends that are waited for beside sockets; [`arm`]: their half of a sleep;
//!   [`notifier`]: how the producer signals them;
//! - `stream` (feature `tokio`): the same as `Stream` and `send().await`.
//!
//! The fence that one side makes for both is `membarrier(2)` (Mathieu Desnoyers, 2015). Two threads
//! that each write a word and then read the other's need such a fence: that is Dekker's algorithm (E.
//! W. Dijkstra, *EWD 123*, 1965). A word that counts rings, so that a ring between the last look and
//! the sleep is not lost, is an event count (D. Reed, R. Kanodia, 1979). For event counts on futexes
//! see U. Drepper, *Futexes Are Tricky* (2011).

pub mod arm;
pub mod barrier;
pub mod doorbell;

#[cfg(not(loom))]
pub mod bridge;
#[cfg(not(loom))]
mod closer;
#[cfg(not(loom))]
pub mod eventfd;
#[cfg(not(loom))]
pub mod futex;
#[cfg(not(loom))]
pub mod notifier;
#[cfg(not(loom))]
pub mod pollable;
#[cfg(not(loom))]
pub mod strategy;
#[cfg(all(not(loom), feature = "tokio"))]
pub mod stream;

#[cfg(not(loom))]
pub use notifier::{Connection, Notifier, Notify};
#[cfg(not(loom))]
pub use pollable::Pollable;
#[cfg(not(loom))]
pub use strategy::{Adaptive, AnyStrategy, Sleep, Spin, Strategy, Yield};
