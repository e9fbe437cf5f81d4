//! Work and answers: a client has tasks done, a server does them.
//!
//! A [`Server`] has procedures, which clients find by name. A [`Client`] issues tasks, and has a [`Ticket`] for each:
//! many may be outstanding. A task has arguments, inputs and outputs; inputs and outputs are [`Buffer`]s, which lie in
//! memory that client and server share, so that they are not sent.
//!
//! # What is there
//!
//! A client and its server share one object without a name: two rings, one for requests, one for answers. The server
//! makes it, and hands it to the client over a Unix socket; nothing but that socket has a name, so the kernel frees
//! everything that the last one leaves. The connection stays: it is the sign of life, both ways.
//!
//! # Who can harm whom
//!
//! A client can write all of its own rings and its own arena, and the ready words of its shard. The server copies each
//! request before it looks at it, checks every offset, and reaches a client's buffers only by atomic operations. So
//! whatever a client writes, it harms itself. By the ready words it can take wake-ups from the others: the server looks at
//! all rings without being woken every 100 ms. A server can write into a client's buffers at any time: a client trusts its
//! server, which runs as its own user unless it was told to trust another.

mod arena;
mod client;
mod clock;
mod core;
mod error;
mod local;
mod message;
mod reception;
mod server;
mod shard;
mod task;
#[cfg(test)]
mod tests;
mod ticket;
mod trace;
mod wire;
mod words;

pub use arena::{Buffer, Input, MOST_ARENA, Output};
pub use client::{Client, ClientOptions, Procedure, clients};
pub use error::{
    AnswerTooLong, ArenaFull, BindError, CallError, ConnectError, Failed, NameTaken, NotSubmitted,
    OutOfBounds, ShardError, SubmitError,
};
pub use local::Local;
pub use message::{MOST_BUFFERS, MOST_OUTSTANDING};
pub use server::{CLIENTS, Server, ServerOptions, Serving};
pub use shard::{PollableShard, Shard};
pub use task::{MOST_NAME, Outcome, ProcedureId, Task};
pub use ticket::{Completed, Ticket, TicketState};
pub use wire::ClientInfo;
