//! Day 8: services: one thread, ten thousand conversations.
//!
//! A [`Runtime`] runs coroutines: one for each connection, in one thread. A [`Service`] is written once against
//! [`Socket`], as if it blocked, and runs over TCP, Unix sockets, channels between coroutines, and shared-memory rings.

#[cfg(not(loom))]
pub mod echo;
#[cfg(not(loom))]
pub mod heap;
#[cfg(not(loom))]
pub mod http;
#[cfg(not(loom))]
pub mod listener;
#[cfg(all(not(loom), feature = "programs"))]
pub mod programs;
#[cfg(not(loom))]
pub mod redis;
#[cfg(not(loom))]
pub mod rings;
#[cfg(not(loom))]
pub mod runtime;
/// What loom can run of it.
#[cfg(loom)]
pub mod runtime {
    pub mod remote;
}
#[cfg(not(loom))]
pub mod service;
#[cfg(not(loom))]
pub mod socket;

#[cfg(not(loom))]
pub use heap::{Heap, HeapBox, Isolation};
#[cfg(not(loom))]
pub use listener::{Address, Connector, Listener};
#[cfg(not(loom))]
pub use runtime::{
    NotInRuntime, Runtime, RuntimeError, RuntimeOptions, Shutdown, Spawned, is_shutting_down,
    readable, sleep, spawn, timeout, yield_now,
};
#[cfg(not(loom))]
pub use service::Service;
#[cfg(not(loom))]
pub use socket::{Input, Output, Socket, SocketError};
