//! A death, or an eviction, in words, for the operator.

use core::fmt;

use day3::recovery::Death;
use day3::rooms::Eviction;
use day3::roster::{ConsumerInfo, ConsumerKind};

/// Says who has died, and what becomes of the messages that it had not read or not given back.
///
/// ```
/// # use day3 as fanout;
/// use day6::Obituary;
/// use fanout::{Consumer, Producer, Start};
///
/// let name = format!("/doc-obituary-{}", std::process::id());
/// let mut producer = Producer::<u64>::create(&name, 8)?;
/// // Each of these consumers was found dead while the producer waited for a place.
/// for death in producer.take_deaths() {
///     eprintln!("{}", Obituary { death: &death, unit: "messages" });
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Obituary<'a> {
    /// The death.
    pub death: &'a Death,
    /// What the queue counts: `messages`, or `bytes` in a ring of records.
    pub unit: &'a str,
}

impl fmt::Display for Obituary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { death: Death { consumer, held, .. }, unit } = self;
        write!(f, "{} has died; ", Named(consumer))?;
        match &consumer.kind {
            ConsumerKind::Broadcast => {
                write!(f, "{unit} that it had not read: {}", consumer.lag)
            }
            ConsumerKind::Member { .. } => {
                write!(f, "{unit} that go to another member: {held}")
            }
        }
    }
}

/// Says which consumer the producer has turned out, and why.
#[derive(Clone, Copy, Debug)]
pub struct Dismissal<'a> {
    /// The eviction.
    pub eviction: &'a Eviction,
}

impl fmt::Display for Dismissal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Eviction { consumer, reason, .. } = self.eviction;
        write!(f, "{} was turned out: {reason}", Named(consumer))
    }
}

/// A consumer, by its slot, its process and its label.
struct Named<'a>(&'a ConsumerInfo);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConsumerInfo { slot, owner, label, kind, .. } = self.0;
        match kind {
            ConsumerKind::Broadcast => write!(f, "consumer {slot} (process {owner}")?,
            ConsumerKind::Member { group } => {
                write!(f, "member {slot} of group {group} (process {owner}")?;
            }
        }
        if !label.is_empty() {
            write!(f, ", {label:?}")?;
        }
        f.write_str(")")
    }
}
