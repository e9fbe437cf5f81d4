//! The last value only.
//!
//! A price, a position, a configuration: a reader wants to know what is, not what was. A [`LatestWriter`] sets the
//! value, and never waits: not for a reader that is slow, nor for one that is dead. A [`LatestReader`] gets a
//! consistent copy of the newest value, whenever it wants one, or sleeps until there is a newer one. Values in between
//! are skipped. For every value, there are queues.
//!
//! A lock around the value would let a reader that is stopped stop the writer. A sequence lock around one value would
//! let a writer that writes all the time starve its readers: a reader begins again whenever the value changes under it.
//! So there are four slots, which the writer uses in turn. A reader copies from the newest, which the writer leaves
//! alone for three sets. See [`cells`].

pub mod cells;

#[cfg(not(loom))]
mod ends;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod memory;

#[cfg(not(loom))]
pub use ends::{LatestReader, LatestWriter, local};
#[cfg(not(loom))]
pub use error::{ChangedTimeoutError, Ended};
