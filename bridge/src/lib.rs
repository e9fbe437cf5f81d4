//! Beyond one host: a queue carried by NATS JetStream.
//!
//! [`Outbound`](outbound) reads a queue on one host and publishes its messages to a stream. [`Inbound`](inbound) reads
//! the stream and publishes its messages in a queue of another host. Each message has the sequence there that it had here,
//! so that after a crash both sides know from the queues and the stream alone where to go on.

mod address;
pub mod envelope;
pub mod error;
pub mod inbound;
mod login;
pub mod metrics;
pub mod outbound;
pub mod pack;
pub mod progress;
mod retry;
mod runtime;
pub mod server;
mod sink;
mod source;
pub mod stop;
pub mod stream;
mod tls;
