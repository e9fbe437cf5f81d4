//! Day 8: services: one thread, ten thousand conversations.
//!
//! A [`Runtime`] runs coroutines: one for each connection, in one thread. A [`Service`] is written once against
//! [`Socket`], as if it blocked, and runs over TCP, Unix sockets, channels between coroutines, and shared-memory rings.

pub mod echo;
pub mod heap;
pub mod http;
pub mod listener;
#[cfg(feature = "programs")]
pub mod programs;
pub mod redis;
pub mod rings;
pub mod runtime;
pub mod service;
pub mod socket;

pub use heap::{Heap, HeapBox, Isolation};
pub use listener::{Address, Connector, Listener};
pub use runtime::{
    NotInRuntime, Runtime, RuntimeError, RuntimeOptions, Shutdown, Spawned, is_shutting_down,
    readable, sleep, spawn, timeout, yield_now,
};
pub use service::Service;
pub use socket::{Input, Output, Socket, SocketError};
