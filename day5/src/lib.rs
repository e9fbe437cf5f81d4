//! Day 5: waiting without burning a core.
//!
//! An end that waits has a choice: look again at once, give the core away, or sleep until it is woken.
//! The last one seems to cost the other side: it has to ask, after each message, whether somebody
//! sleeps, and for a true answer it needs a full fence between its message and its question. Here the
//! sleeper pays for both: see [`doorbell`]. The producer's question is one plain load of a word that
//! nobody writes while traffic flows.
//!
//! - [`doorbell`]: how an end says that it sleeps, and is woken; [`barrier`]: the fence that one side makes for both;
//! - [`futex`]: the kernel's half of it;
//! - [`strategy`]: [`Spin`], [`Yield`], [`Sleep`], [`Adaptive`], for Day 3 and Day 4 alike;
//! - [`pollable`]: ends that are waited for beside sockets; [`arm`]: their half of a sleep;
//!   [`notifier`]: how the producer signals them;
//! - `stream` (feature `tokio`): the same as `Stream` and `send().await`.
//!
//! The fence that one side makes for both is `membarrier(2)` (Mathieu Desnoyers, 2015); that two
//! threads which each write and then read need one is Dekker's (E. W. Dijkstra, *EWD 123*, 1965). A
//! word that counts rings, so that a ring between the last look and the sleep is not lost, is an event
//! count (D. Reed, R. Kanodia, 1979); on futexes, U. Drepper, *Futexes Are Tricky* (2011).

pub mod arm;
pub mod barrier;
pub mod doorbell;

#[cfg(not(loom))]
mod bridge;
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
