//! Day 2: a segment with a header.
//!
//! Day 1 shared a hundred bytes and hoped. Here the memory says what it is: a [`Segment`] begins with
//! a [`Header`](header::Header) that names its layout. An opener checks every word of the header
//! before it touches a message. A [`log`] shows the protocol at work: a bounded list of messages, one
//! writer, many readers, no wraparound yet.

// A model needs only the words that ends share, and the roles that they have.
pub mod role;
pub mod vital;

#[cfg(not(loom))]
pub mod error;
#[cfg(not(loom))]
pub mod header;
#[cfg(not(loom))]
pub mod lease;
#[cfg(not(loom))]
pub mod log;
#[cfg(not(loom))]
pub mod segment;
#[cfg(not(loom))]
mod unshared;

#[cfg(not(loom))]
pub use error::{
    CreateError, DescriptorError, LeaseError, LockError, OpenError, RemoveError, SucceedError,
};
#[cfg(not(loom))]
pub use header::{Geometry, Kind};
#[cfg(not(loom))]
pub use lease::Lease;
pub use role::Role;
#[cfg(not(loom))]
pub use log::{LogFull, LogReader, LogWriter};
#[cfg(not(loom))]
pub use segment::{Mode, Segment};
