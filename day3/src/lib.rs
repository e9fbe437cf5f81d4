//! Day 3: the ring.
//!
//! One producer, many consumers, messages of one size, no locks on the way. The [`sequencer`] decides
//! who may touch which sequence; the [`ring`] puts messages of a type `T` into the places that it
//! grants. Three kinds of consumer share one ring in any mix:
//!
//! - a broadcast [`Consumer`] sees every message, and the slowest of them gates the producer;
//! - [`Member`]s of a group share the work: each message goes to exactly one of them;
//! - a [`Tap`] is registered nowhere, slows no producer, and learns exactly how many messages it missed.
//!
//! The idea of counting sequences, gating on the slowest consumer and publishing with one store is the
//! LMAX Disruptor's (Thompson, Farley, Barker, Gee, Stewart, 2011). The tap is a sequence lock
//! (Lameter, 2005) with the order of its reads from Boehm, *Can seqlocks get along with programming
//! language memory models?* (2012).

pub mod control;
pub mod doorbell;
pub mod gate;
pub mod group;
pub mod landing;
pub mod link;
pub mod measured;
pub mod policy;
pub mod recovery;
pub mod rooms;
pub mod roster;
pub mod sequencer;
pub mod tap;
pub mod vigil;

#[cfg(not(loom))]
pub mod error;
#[cfg(not(loom))]
pub mod inspect;
#[cfg(not(loom))]
pub mod memory;
#[cfg(not(loom))]
pub mod options;
#[cfg(not(loom))]
pub mod outlook;
mod pace;
#[cfg(not(loom))]
pub mod ring;
#[cfg(not(loom))]
pub mod wait;

#[cfg(not(loom))]
pub use {
    error::{
        Corrupt, CreateError, Evicted, JoinError, RecvError, RecvTimeoutError, ResumeError,
        SendError, SendTimeoutError, TimedOut, TooLarge, TryRecvError, TrySendError,
    },
    memory::{Heap, Memory, NamedMemory, Shared},
    options::{JoinOptions, QueueOptions},
    ring::{Batch, Receiver, Reservation},
    wait::{Spin, Wait, Yield},
};

pub use control::Ending;
pub use policy::{Policy, UnknownPolicy};
pub use roster::Start;
pub use sequencer::Unattended;

/// [`ring::Producer`] that yields while it waits.
#[cfg(not(loom))]
pub type Producer<T> = ring::Producer<T, Yield>;
/// [`ring::Consumer`] that yields while it waits.
#[cfg(not(loom))]
pub type Consumer<T> = ring::Consumer<T, Yield>;
/// [`ring::Member`] that yields while it waits.
#[cfg(not(loom))]
pub type Member<T> = ring::Member<T, Yield>;
/// [`ring::Evictable`] that yields while it waits.
#[cfg(not(loom))]
pub type Evictable<T> = ring::Evictable<T, Yield>;
/// [`ring::Tap`] that yields while it waits.
#[cfg(not(loom))]
pub type Tap<T> = ring::Tap<T, Yield>;
