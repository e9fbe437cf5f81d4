//! What Fanout's programs, benchmarks and tests share, and no library user builds: the messages that
//! benchmarks move, the cores that their threads run on, the limits that they are compared with, the
//! format of their figures, and how commands read what a user types and are told to stop.

pub mod affinity;
pub mod bytes;
#[cfg(feature = "benchmarks")]
pub mod crew;
pub mod descriptors;
// Two processes and a clock: loom could not explore them.
#[cfg(not(loom))]
pub mod limits;
#[cfg(feature = "benchmarks")]
pub mod machine;
pub mod memory;
pub mod payload;
#[cfg(feature = "benchmarks")]
pub mod progress;
pub mod report;
// The kernel writes their flags: loom could not.
#[cfg(all(feature = "commands", not(loom)))]
pub mod signals;
#[cfg(feature = "commands")]
pub mod value;
