//! Day 2: a segment with a header.
//!
//! Day 1 shared a hundred bytes and hoped. Here the memory says what it is: a [`Segment`] begins with
//! a [`Header`](header::Header) that names its layout. An opener checks every word of the header
//! before it touches a message. A [`log`] shows the protocol at work: a bounded list of messages, one
//! writer, many readers, no wraparound yet.
//!
//! Two more things say who is alive: a [`lease`] is a kernel lock that ends with its holder, and a
//! [`vital`] word says early that its owner is dying.
//!
//! Under loom, which has no shared memory, there are only the vital word and the roles.

#[cfg(not(loom))]
pub mod error;
#[cfg(not(loom))]
mod guard;
#[cfg(not(loom))]
pub mod header;
#[cfg(not(loom))]
pub mod identity;
#[cfg(not(loom))]
pub mod lease;
#[cfg(not(loom))]
pub mod log;
#[cfg(not(loom))]
pub mod page;
pub mod role;
#[cfg(not(loom))]
pub mod segment;
#[cfg(not(loom))]
mod trust;
#[cfg(not(loom))]
mod unshared;
pub mod vital;

#[cfg(not(loom))]
pub use error::{
    CreateError, DescriptorError, Holder, LeaseError, LockError, OpenError, RemoveError,
    SucceedError,
};
#[cfg(not(loom))]
pub use header::{Geometry, Kind};
#[cfg(not(loom))]
pub use lease::Lease;
#[cfg(not(loom))]
pub use log::{LogFull, LogReader, LogWriter};
pub use role::Role;
#[cfg(not(loom))]
pub use segment::{Mode, Segment};
#[cfg(not(loom))]
pub use trust::Trust;
pub use vital::{Vital, Watch, watch};
