//! Day 2: a segment with a header.
//!
//! Day 1 shared a hundred bytes and hoped. Here the memory says what it is: a [`Segment`] begins with
//! a [`Header`](header::Header) that names its layout. An opener checks every word of the header
//! before it touches a message. A [`log`] shows the protocol at work: a bounded list of messages, one
//! writer, many readers, no wraparound yet.
#![cfg(not(loom))]

pub mod error;
pub mod header;
pub mod lease;
pub mod log;
pub mod segment;
mod unshared;

pub use error::{
    CreateError, DescriptorError, LeaseError, LockError, OpenError, RemoveError, SucceedError,
};
pub use header::{Geometry, Kind};
pub use lease::{Lease, Role};
pub use log::{LogFull, LogReader, LogWriter};
pub use segment::{Mode, Segment};
