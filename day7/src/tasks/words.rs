//! What a client of tasks says beside its ring of requests.

use core::mem::offset_of;

use common::sync::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;

use crate::line::{Line, ROOM};

use super::message::MOST_OUTSTANDING;

/// What the client says beside its ring, in the [room](Line::room) that a line has for that.
///
/// A change raises the version of the [protocol](super::wire): no segment has it, so not
/// [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[repr(C)]
pub(super) struct Words {
    /// How many tasks it has issued.
    pub(super) issued: CachePadded<AtomicU64>,
    /// A bit for each place whose task it has cancelled.
    pub(super) cancelled: [AtomicU64; MOST_OUTSTANDING / 64],
}

const _: () = {
    assert!(offset_of!(Words, issued) == 0);
    assert!(offset_of!(Words, cancelled) == 128);
    assert!(size_of::<Words>() <= ROOM);
};

impl Line {
    /// What the client says.
    pub(super) fn words(&self) -> &Words {
        // SAFETY: long enough (asserted), aligned, all atomics, for as long as the mapping is there.
        unsafe { self.room().cast().as_ref() }
    }

    /// Whether the client has cancelled the task in this place.
    pub(super) fn is_cancelled(&self, place: u32) -> bool {
        let (word, bit) = (place as usize / 64, place % 64);
        let word = self.words().cancelled.get(word);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> bit & 1 != 0)
    }

    /// Says whether the task in this place is cancelled.
    pub(super) fn set_cancelled(&self, place: u32, is_cancelled: bool) {
        let (word, bit) = (&self.words().cancelled[place as usize / 64], 1 << (place % 64));
        // Relaxed: what a server sees too late is a task that is done all the same.
        if is_cancelled {
            word.fetch_or(bit, Ordering::Relaxed);
        } else if word.load(Ordering::Relaxed) & bit != 0 {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}
