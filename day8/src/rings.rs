//! Connections over shared memory.
//!
//! A service that listens at `ring:PATH` has a Unix socket there. A client connects to it, and gets a [line](day7::line)
//! of its own: two rings, one each way, in an object without a name. From then on bytes go through the rings, and no
//! system call is made while both sides are awake. The Unix socket stays open, and is the sign of life.
//!
//! # A stream over records
//!
//! A record is a chunk of the stream, of any length that suits the writer. An empty record, or the end of the ring, is
//! the end of that direction; the other one goes on. What was read of a record in part stays in the ring.
//!
//! # Who can harm whom
//!
//! A client can write over all of its line, forge its cursors and lengths, and die in the middle of a record. The
//! service copies each record before anything looks at it, and its ends check every cursor and length: what a client
//! writes harms its own connection. By the ready words, which all clients of a runtime share, it can take wake-ups
//! from others: the runtime looks at all rings without being woken every 100 ms. A client that has connected and
//! says nothing costs a descriptor for a second. A client trusts its service, which runs as its own user unless it was
//! told to trust another.

mod chunks;
mod client;
mod listener;
mod set;
mod spin;
mod transport;

pub use client::{RingOptions, RingReader, RingStream, RingWriter};
pub use day5::Strategy;
pub use day7::line::ConnectError;
pub(crate) use listener::RingListener;
pub(crate) use set::{Rest, Rings};
use transport::RingTransport;

/// How many bytes each ring of a connection has.
const RING: u64 = 32 << 10;
