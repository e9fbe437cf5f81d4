//! What goes over the two rings of a client, byte for byte.
//!
//! A request is one record: a [`RequestHead`], a [`Span`] for each input and then for each output, the arguments. An
//! answer is one record: an [`AnswerHead`], and the answer or the reason. Both sides are on one host, so numbers are
//! as the processor has them.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

/// The first bytes of a request.
///
/// A change raises the version of the [protocol](super::wire): no segment has it, so not
/// [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct RequestHead {
    /// Which of the client's places for tickets: below [`MOST_OUTSTANDING`].
    pub(super) place: u32,
    /// How often the place was used.
    pub(super) turn: u32,
    /// What is to be done; 0 asks for a procedure's number.
    pub(super) procedure: u32,
    pub(super) inputs: u16,
    pub(super) outputs: u16,
    /// When it was issued: nanoseconds of `CLOCK_MONOTONIC`, to some milliseconds.
    pub(super) issued: u64,
}

/// Part of the client's arena.
///
/// A change raises the version of the [protocol](super::wire): no segment has it, so not
/// [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Span {
    /// In bytes, from the arena's first.
    pub(super) offset: u64,
    /// In bytes.
    pub(super) len: u64,
}

/// The first bytes of an answer.
///
/// A change raises the version of the [protocol](super::wire): no segment has it, so not
/// [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct AnswerHead {
    pub(super) place: u32,
    pub(super) turn: u32,
    /// One of the numbers below.
    pub(super) status: u32,
    pub(super) unused: u32,
}

pub(super) const REQUEST: usize = size_of::<RequestHead>();
pub(super) const SPAN: usize = size_of::<Span>();
pub(super) const ANSWER: usize = size_of::<AnswerHead>();
const _: () = {
    assert!(offset_of!(RequestHead, place) == 0);
    assert!(offset_of!(RequestHead, turn) == 4);
    assert!(offset_of!(RequestHead, procedure) == 8);
    assert!(offset_of!(RequestHead, inputs) == 12);
    assert!(offset_of!(RequestHead, outputs) == 14);
    assert!(offset_of!(RequestHead, issued) == 16);
    assert!(size_of::<RequestHead>() == 24);
    assert!(offset_of!(Span, offset) == 0);
    assert!(offset_of!(Span, len) == 8);
    assert!(offset_of!(AnswerHead, place) == 0);
    assert!(offset_of!(AnswerHead, turn) == 4);
    assert!(offset_of!(AnswerHead, status) == 8);
    assert!(size_of::<AnswerHead>() == 16);
};

/// The procedure that answers with another's number.
pub(super) const LOOKUP: u32 = 0;

/// It is done: the answer follows.
pub(super) const DONE: u32 = 0;
/// The server has not begun it: the reason follows.
pub(super) const REFUSED: u32 = 1;
/// The procedure says that it failed: the reason follows.
pub(super) const FAILED: u32 = 2;
/// The procedure panicked: the message follows.
pub(super) const PANICKED: u32 = 3;
/// The client had cancelled it before it was begun.
pub(super) const CANCELLED: u32 = 4;

/// The most tasks that a client can have outstanding.
pub const MOST_OUTSTANDING: usize = 1024;

/// The most buffers of a task, inputs and outputs together.
pub const MOST_BUFFERS: usize = 64;

/// A request, as the server has copied it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) head: RequestHead,
    spans: &'a [u8],
    pub(super) args: &'a [u8],
}

impl<'a> Request<'a> {
    /// `None` if these bytes are no request.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(REQUEST)?;
        let head: RequestHead = bytemuck::pod_read_unaligned(head);
        let buffers = usize::from(head.inputs) + usize::from(head.outputs);
        if head.place as usize >= MOST_OUTSTANDING || buffers > MOST_BUFFERS {
            return None;
        }
        let (spans, args) = rest.split_at_checked(buffers * SPAN)?;
        Some(Self { head, spans, args })
    }

    /// Its inputs, then its outputs.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> + use<'a> {
        self.spans.chunks_exact(SPAN).map(bytemuck::pod_read_unaligned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written_and_nothing_shorter_is_one() {
        let head =
            RequestHead { place: 3, turn: 9, procedure: 7, inputs: 2, outputs: 1, issued: 11 };
        let spans = [1, 2, 3].map(|n| Span { offset: n, len: 10 * n });
        let mut bytes = bytemuck::bytes_of(&head).to_vec();
        bytes.extend(bytemuck::cast_slice::<_, u8>(&spans));
        let without = bytes.len();
        bytes.extend(b"args");
        let request = Request::parse(&bytes).unwrap();
        assert_eq!((request.head, request.args), (head, &b"args"[..]));
        assert_eq!(request.spans().collect::<Vec<_>>(), spans);
        for len in 0..without {
            assert!(Request::parse(&bytes[..len]).is_none(), "{len}");
        }
        assert_eq!(Request::parse(&bytes[..without]).unwrap().args, b"");
    }

    #[test]
    fn a_place_that_no_client_has_is_no_request() {
        let head = RequestHead { place: MOST_OUTSTANDING as u32, ..Zeroable::zeroed() };
        assert!(Request::parse(bytemuck::bytes_of(&head)).is_none());
        let head = RequestHead { inputs: u16::MAX, outputs: u16::MAX, ..Zeroable::zeroed() };
        assert!(Request::parse(&[bytemuck::bytes_of(&head), &[0; 1 << 16]].concat()).is_none());
    }
}
