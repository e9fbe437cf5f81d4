//! What the messages of a ring are to an end: a type that the program knows, or bytes.

use bytemuck::Pod;
use day2::Kind;
use day2::header::{Expected, Geometry};

mod sealed {
    pub trait Sealed {}
}

/// What the messages of a ring are to an end: a type that the program knows, or bytes.
pub trait Element: sealed::Sealed {
    /// What slices of messages are made of: of messages; or of bytes, where the type is not known.
    type Unit: Pod;

    /// How many units a message of so many bytes has.
    fn units(bytes: usize) -> usize;
}

impl<T: Pod> sealed::Sealed for T {}

impl<T: Pod> Element for T {
    type Unit = T;

    /// One, whatever its size is: so the compiler knows how far the next message is.
    #[inline(always)]
    fn units(_: usize) -> usize {
        1
    }
}

/// A message of a type that the program does not know. How many bytes it has is known when the ring is open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Raw {}

impl sealed::Sealed for Raw {}

impl Element for Raw {
    type Unit = u8;

    #[inline(always)]
    fn units(bytes: usize) -> usize {
        bytes
    }
}

/// What the messages of a ring are, for a program that does not know their type: what the ring's header says of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageType {
    /// What they are called.
    pub name: String,
    /// How many bytes each of them has.
    pub size: usize,
    /// To how many bytes they are aligned.
    pub align: usize,
}

impl MessageType {
    /// What an opener of a ring of these messages expects.
    pub(super) fn expected(&self) -> Expected<'_> {
        Expected {
            kind: Kind::Ring,
            element_size: self.size as u64,
            element_align: self.align as u64,
            capacity: None,
            message_type: &self.name,
        }
    }
}

/// What an opener expects who takes the messages as they are; only their name may be given.
pub(super) fn as_found<'a>(geometry: &Geometry, name: &'a str) -> Expected<'a> {
    Expected {
        kind: Kind::Ring,
        element_size: geometry.element_size(),
        element_align: geometry.element_align(),
        capacity: None,
        message_type: name,
    }
}
