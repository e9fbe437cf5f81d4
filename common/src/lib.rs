//! What every floor of Fanout stands on and no floor teaches: the one door to atomics, sequence
//! arithmetic, queue names, the kernel's errors, reports, thread placement, what benchmarks
//! move, and what they are measured by.

pub mod affinity;
pub mod bytes;
#[cfg(not(loom))]
pub mod limits;
pub mod name;
pub mod os;
pub mod payload;
pub mod process;
pub mod report;
pub mod sequence;
pub mod sync;

pub use name::{NameError, QueueName};
pub use os::OsError;
pub use sequence::{Capacity, CapacityError, Sequence};
