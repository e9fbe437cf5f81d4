//! A line: two rings between a client and its server, in one object without a name.
//!
//! The server listens at a Unix socket ([`Visitors`]). A client [connects](connect) there, says [hello](wire), and gets
//! a descriptor of its line, and one of the ready words with a [seat](crate::ready::Seat) among them. One ring leads to the server, one
//! back. The [connection] stays: it is the sign of life, both ways.
//!
//! [`tasks`](crate::tasks) send tasks and answers over lines; a service can send two streams of bytes.
//!
//! # Who can harm whom
//!
//! A client can write all of its line but the answers, and the server reads it with that in mind: its ends check every
//! cursor and every length, and a record is to be copied before it is looked at. What a client writes harms itself.

mod client;
pub mod connection;
mod error;
mod memory;
mod server;
pub mod wire;

pub use client::{ClientEnds, ConnectOptions, Connected, connect};
pub(crate) use client::{ask, read};
pub use connection::{Connection, HangsUp};
pub use error::ConnectError;
pub(crate) use memory::{Lane, Party, ROOM, Which, errno_of, sealed, sealed_len};
pub use memory::{Line, Plan};
pub use server::{Caller, HELLO_TIMEOUT, ServerEnds, Visitors};
