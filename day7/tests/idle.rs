//! Idle rings are not looked at, and are heard when they ring.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use day3::{RecvError, Start, TryRecvError};
use day4::reader::Reader as Waiting;
use day4::{Reader, Writer, writer};
use day5::{Adaptive, Sleep, Spin};
use day7::ready::{MOST_SEATS, Posting};
use day7::selector::{Key, Selector, SelectorOptions, Turn};
use testing::promptly;

const CLOSED: TryRecvError = TryRecvError::End(RecvError::Closed);

type Sender = writer::Writer<Posting>;

/// A ring with a seat, in a memfd.
fn seated(selector: &mut Selector) -> (Key, Sender, Reader) {
    let writer = Writer::anonymous(4096).unwrap();
    let descriptor = writer.offer().descriptor(day2::Mode::Reader).unwrap();
    let reader: Waiting = Reader::from_fd(descriptor, Start::Oldest, &Default::default()).unwrap();
    let key = selector.add_seated(reader.outlook()).unwrap();
    let posting = Posting::new(selector.seat(key).unwrap(), Adaptive::default());
    (key, writer.waiting(posting), reader)
}

fn serve(turn: Turn, reader: &mut Reader) -> usize {
    match reader.try_recv_batch(turn.bytes as usize) {
        Ok(records) => records.iter().count(),
        Err(why) => {
            assert!(matches!(why, TryRecvError::Empty | CLOSED), "{why}");
            0
        }
    }
}

#[test]
fn beside_a_busy_ring_idle_ones_are_not_looked_at() {
    let mut selector = Selector::with_options(&SelectorOptions::new().seats(100)).unwrap();
    let mut rings: HashMap<_, _> = (0..100)
        .map(|_| seated(&mut selector))
        .map(|(key, writer, reader)| (key, (writer, reader)))
        .collect();
    let keys: Vec<_> = rings.keys().copied().collect();
    let busy = keys[0];
    let mut round = |selector: &mut Selector, who: Key| {
        rings.get_mut(&who).unwrap().0.send(b"hello").unwrap();
        let turn = selector.wait();
        // An idle ring was rung for a message that it has been served already.
        let count = serve(turn, &mut rings.get_mut(&turn.key).unwrap().1);
        assert!(count == 1 || turn.was_rung, "{turn:?}");
        turn.key
    };
    assert_eq!(selector.active(), 100);
    for _ in 0..1000 {
        assert_eq!(round(&mut selector, busy), busy);
    }
    assert_eq!((selector.active(), selector.sleeps()), (1, 0), "without a sleep");
    let others: Vec<_> = keys.into_iter().filter(|key| *key != busy).collect();
    for other in others {
        assert_eq!(round(&mut selector, other), other, "an idle one is heard");
    }
}

#[test]
fn a_ring_that_went_idle_is_heard_at_once() {
    let mut selector = Selector::new().unwrap();
    let mut rings: Vec<_> = (0..20).map(|_| seated(&mut selector)).collect();
    // A sleep lets all of them go idle.
    while selector.sleeps() == 0 {
        assert_eq!(selector.wait_timeout(Duration::from_millis(1)), None);
    }
    assert_eq!(selector.active(), 0);
    for (key, writer, reader) in rings.iter_mut().rev() {
        writer.send(b"one").unwrap();
        // Not after a slice: the first try finds it.
        let turn = selector.try_wait().expect("it was rung");
        assert!(turn.key == *key && turn.was_rung, "{turn:?}");
        assert_eq!(serve(turn, reader), 1);
        assert_eq!(selector.try_wait(), None);
    }
}

/// Clients that ask and wait, and a server that sleeps in between: a wake-up that is lost costs 100 ms, so many
/// that are lost never end.
#[test]
fn a_server_that_sleeps_answers_all() {
    const ROUNDS: usize = 3_000;
    promptly("asking and answering", || {
        let mut selector = Selector::new().unwrap();
        let mut ends = HashMap::new();
        let clients: Vec<_> = (0..3)
            .map(|_| {
                let (key, mut writer, reader) = seated(&mut selector);
                let answers = Writer::anonymous(4096).unwrap();
                let descriptor = answers.offer().descriptor(day2::Mode::Reader).unwrap();
                let heard: Waiting<Sleep> =
                    Waiting::from_fd(descriptor, Start::Oldest, &Default::default()).unwrap();
                ends.insert(key, (reader, answers.waiting::<Spin>(Spin)));
                thread::spawn(move || {
                    let mut heard = heard;
                    for _ in 0..ROUNDS {
                        writer.send(b"question").unwrap();
                        assert_eq!(&*heard.recv().unwrap(), b"answer");
                    }
                })
            })
            .collect();
        let mut left = 3 * ROUNDS;
        while left > 0 {
            let turn = selector.wait();
            let (reader, answers) = ends.get_mut(&turn.key).unwrap();
            for _ in 0..serve(turn, reader) {
                answers.send(b"answer").unwrap();
                left -= 1;
            }
        }
        clients.into_iter().for_each(|client| client.join().unwrap());
        println!("{} sleeps for {} answers", selector.sleeps(), 3 * ROUNDS);
    });
}

/// As many as there are seats: the memory is there, and each of them is heard.
#[test]
fn a_thousand_rings() {
    promptly("a thousand rings", || {
        let mut selector = Selector::new().unwrap();
        // One producer of rings each; the readers' descriptors would be many.
        let bells: Vec<_> = (0..MOST_SEATS).map(|_| selector.add_bell().unwrap()).collect();
        assert!(selector.add_bell().is_err());
        let seats: Vec<_> = bells.iter().map(|&bell| selector.seat(bell).unwrap()).collect();
        let ringer = thread::spawn(move || {
            for seat in seats {
                seat.ring();
            }
        });
        let mut heard: Vec<_> = bells.iter().map(|_| selector.wait().key).collect();
        ringer.join().unwrap();
        let place = |key: &Key| bells.iter().position(|bell| bell == key).unwrap();
        heard.sort_by_key(place);
        assert_eq!(heard, bells, "each once");
        assert_eq!(selector.wait_timeout(Duration::ZERO), None);
    });
}
