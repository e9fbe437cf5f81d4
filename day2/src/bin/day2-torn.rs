//! One thread writes a message of several words while another copies it. Is each copy one message?

mod two_cores;

use common::sync::{AtomicBool, AtomicU64, Ordering, fence, spin_loop};
use crossbeam_utils::CachePadded;
use yardstick::report::grouped;

use crate::two_cores::{Meeting, on_two_cores};

const COPIES: u64 = 2_000_000;

/// How many words a message has.
const WORDS: usize = 8;

/// How long the writer rests between two messages, in turns of a busy wait.
const REST: u32 = 8;

/// Where the message lies, between two copies of its number. A word is an atomic, because two
/// threads use it at once. A single atomic is never torn, but eight of them together can be.
#[derive(Default)]
struct Place {
    begun: CachePadded<AtomicU64>,
    words: CachePadded<[AtomicU64; WORDS]>,
    ended: CachePadded<AtomicU64>,
}

/// How the copies turned out.
#[derive(Default)]
struct Copies {
    torn: u64,
    /// Copies before and after which the numbers differ.
    suspect: u64,
    /// Copies that are torn although the numbers agree.
    missed: u64,
}

fn main() {
    let (place, stop, meeting) = (Place::default(), AtomicBool::new(false), Meeting::new());
    let (written, copies) = on_two_cores(
        || {
            meeting.meet(0, 1);
            write(&place, &stop)
        },
        || {
            meeting.meet(1, 1);
            let copies = copy(&place);
            stop.store(true, Ordering::Relaxed);
            copies
        },
    );
    let Copies { torn, suspect, missed } = copies;
    let (written, kept) = (grouped(written), grouped(COPIES - suspect));
    println!("{written} messages of {WORDS} words written, {} copies made", grouped(COPIES));
    println!("torn:        {} copies hold words of two messages or more", grouped(torn));
    println!("thrown away: {} copies, before and after which the numbers differ", grouped(suspect));
    println!("kept:        {kept} copies, {missed} of them torn");
    assert_eq!(missed, 0, "what was copied while nobody wrote is whole");
    if torn == 0 {
        println!(
            "note: this machine tore no message this time; the language allows it all the same"
        );
    }
}

/// Writes one message after another until `stop` is set, and returns how many. All words of a message
/// are its number.
fn write(place: &Place, stop: &AtomicBool) -> u64 {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        place.begun.store(number, Ordering::Relaxed);
        // A reader of a word that was stored below sees `begun`, after its own fence.
        fence(Ordering::Release);
        for word in place.words.iter() {
            word.store(number, Ordering::Relaxed);
        }
        // A reader that sees this number sees all the words.
        place.ended.store(number, Ordering::Release);
        (0..REST).for_each(|_| spin_loop());
    }
    number
}

fn copy(place: &Place) -> Copies {
    let mut copies = Copies::default();
    for _ in 0..COPIES {
        let ended = place.ended.load(Ordering::Acquire);
        let words = place.words.each_ref().map(|word| word.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let begun = place.begun.load(Ordering::Relaxed);

        let (torn, suspect) = (words.iter().any(|word| *word != words[0]), begun != ended);
        copies.torn += u64::from(torn);
        copies.suspect += u64::from(suspect);
        copies.missed += u64::from(torn && !suspect);
    }
    copies
}
