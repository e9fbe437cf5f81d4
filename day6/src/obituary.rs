//! A death in words, for the operator.

use core::fmt;

use day3::recovery::Death;
use day3::roster::ConsumerKind;

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
        let (slot, owner, lag) = (consumer.slot, consumer.owner, consumer.lag);
        match &consumer.kind {
            ConsumerKind::Broadcast => write!(f, "consumer {slot} (process {owner}")?,
            ConsumerKind::Member { group } => {
                write!(f, "member {slot} of group {group} (process {owner}")?;
            }
        }
        if !consumer.label.is_empty() {
            write!(f, ", {:?}", consumer.label)?;
        }
        f.write_str(") has died; ")?;
        match &consumer.kind {
            ConsumerKind::Broadcast => write!(f, "{unit} that it had not read: {lag}"),
            ConsumerKind::Member { .. } => {
                write!(f, "{unit} that go to another member: {held}")
            }
        }
    }
}
