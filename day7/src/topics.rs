//! Publishing under a name, subscribing with patterns.
//!
//! A publisher sends messages under topics: `orders.eu.17`. A subscriber says which it wants: `orders.*.17`, `orders.>`.
//! There may be many of both, in many processes, and there is no daemon. They find one another in a [`Space`]: a named
//! segment in which publishers and subscribers register, and which nobody owns.
//!
//! Each publisher has a ring of records of its own, and each subscriber joins each publisher's ring. So a message is
//! copied once, however many subscribers want it. If nobody wants it, it is not copied at all: the publisher remembers
//! for each topic whether some pattern matches, until the register changes. That costs one load of a word that does not
//! change while nobody comes or goes.
//!
//! # What a subscription promises
//!
//! - It counts from the moment in which [`Subscriber::subscribe`] returns: what is published after that is heard, also
//!   from publishers that start later, as long as they live or until they [`finish`](Publisher::finish).
//! - The messages of one publisher come in order, and each comes once. Between publishers, there are turns.
//! - What the subscriber has promised about its lagging ([`Policy`](day3::Policy)) holds for each publisher's ring: with
//!   `block` it loses nothing, with `lossy` it is told how many messages it has missed, and with `evict` it may be turned
//!   out by a publisher that it has kept waiting.
//! - A publisher that dies loses nothing that it had published: subscribers read its ring to the end.

pub mod words;

#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod last;
#[cfg(not(loom))]
mod names;
#[cfg(not(loom))]
mod publisher;
#[cfg(not(loom))]
mod space;
#[cfg(not(loom))]
mod subscriber;

#[cfg(not(loom))]
pub use error::{JoinSpaceError, PublishError, RecvError, RecvTimeoutError, TryPublishError};
#[cfg(not(loom))]
pub use last::KeepLast;
#[cfg(not(loom))]
pub use names::{MOST_BYTES, Pattern, PatternError, Topic, TopicError};
#[cfg(not(loom))]
pub use publisher::{Publisher, PublisherOptions};
#[cfg(not(loom))]
pub use space::{
    DEFAULT_SPACE, MOST_PATTERNS, MOST_PUBLISHERS, PublisherInfo, Space, SubscriberInfo,
};
#[cfg(not(loom))]
pub use subscriber::{Departed, Departure, Published, SubscribeOptions, Subscriber};
