//! What Fanout's programs, benchmarks and tests share, and no library user builds: what benchmarks move,
//! where their threads run, what they are measured by, and how their figures are written.

pub mod affinity;
pub mod bytes;
#[cfg(feature = "benchmarks")]
pub mod crew;
pub mod descriptors;
// Two processes and a clock: nothing that loom could explore.
#[cfg(not(loom))]
pub mod limits;
#[cfg(feature = "benchmarks")]
pub mod machine;
pub mod memory;
pub mod payload;
#[cfg(feature = "benchmarks")]
pub mod progress;
pub mod report;
