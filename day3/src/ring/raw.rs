//! The ends for messages whose type the program does not know: it knows their name, size and alignment from the ring's
//! header, and sees bytes.

mod member;
mod producer;
mod tap;

pub use member::{RawBatch, RawMember};
pub use producer::RawProducer;
pub use tap::RawTap;
