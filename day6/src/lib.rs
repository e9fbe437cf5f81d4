//! Day 6: nobody's death stops the queue.
//!
//! A process can die between any two of its instructions, and it says nothing when it does. The kernel
//! knows. So each end of a queue has a lease, which is a kernel lock that ends with its process; see
//! [`lease`]. An end that waits, and no other, asks whether the ends that it waits for still have
//! their leases.
//!
//! Much of this day stands on lower floors, because that is where the lines are that the dead leave:
//!
//! - [`lease`]: who is alive; [`vital`]: who is dying, which is known sooner;
//! - [`recovery`]: what a dead consumer leaves, and who gets it;
//! - [`Producer::resume`](day3::ring::Producer::resume): a producer takes over from a dead one;
//! - [`rooms`]: consumers that can harm nobody but themselves;
//! - [`obituary`]: a death, or an eviction, in words.
//!
//! The locks are Linux's open-file-description locks (Jeff Layton, 2014), the vital words its robust
//! futexes (Ingo Molnar, Thomas Gleixner, 2006). To complete what another process has begun, instead of
//! waiting for it, is *helping* (M. Herlihy, *Wait-Free Synchronization*, 1991).

#[cfg(not(loom))]
pub mod obituary;

#[cfg(not(loom))]
pub use {
    day2::lease::{self, Lease},
    day2::{Holder, LeaseError, SucceedError},
    day3::ResumeError,
    obituary::{Dismissal, Obituary},
};

pub use day2::Role;
pub use day2::vital::{self, Vital};
pub use day3::recovery::{self, Death};
pub use day3::rooms::{self, Eviction, EvictionReason};
