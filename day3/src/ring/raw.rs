//! The ends for messages whose type the program does not know: it knows their name, size and alignment from the ring's
//! header, and sees bytes.

mod member;
mod producer;
mod tap;

pub use member::{RawBatch, RawMember};
pub use producer::RawProducer;
pub use tap::RawTap;

use common::QueueName;
use day2::{Geometry, Mode};

use crate::error::JoinError;
use crate::memory::{Memory, NamedMemory};
use crate::options::JoinOptions;
use crate::ring::MessageType;
use crate::ring::element::as_found;

/// Opens the ring `name` to join it, whatever its messages are. If the options name a message type, the ring's has to be
/// called so.
fn open(name: &QueueName, options: &JoinOptions) -> Result<NamedMemory, JoinError> {
    options.when_there(|| {
        NamedMemory::open_if(name, Mode::Reader, options, |found| {
            let called = options.message_type_or(found.message_type());
            found.check(name, &as_found(found, called))
        })
    })
}

/// What the messages of this memory are, which have so many bytes each.
fn messages_of(memory: &dyn Memory, size: usize) -> MessageType {
    let found = memory.geometry();
    let name = found.map_or("", Geometry::message_type).to_owned();
    MessageType { name, size, align: found.map_or(1, |found| found.element_align() as usize) }
}
