//! Models of guests: consumers whose cursors lie in pages of their own, which the host collects.

use crate::model::{FIRST, Rig, explore, follows, spawn};
use day3::Start;
use day3::sequencer::Unavailable;

/// The third message waits until the guest has read the first and said so in its page, and then takes its place.
#[test]
fn a_place_is_reused_after_a_guest_has_released_it() {
    explore("a_place_is_reused_after_a_guest_has_released_it", None, || {
        let rig = Rig::with_rooms(2);
        let mut guest = rig.guest(Start::Latest);
        let mut producer = rig.producer().send_now(2);
        let sender = spawn(move || {
            let sent = producer.send();
            (producer, sent)
        });
        let reader = spawn(move || {
            let read = guest.try_read(1).unwrap();
            assert_eq!(read, [FIRST]);
            guest
        });
        let mut guest = reader.join().unwrap();
        let (mut producer, sent) = sender.join().unwrap();
        assert!(sent || producer.try_send(), "there is room for the third");
        assert!(!producer.try_send(), "there is no room for a fourth");
        assert_eq!(guest.drain(), [FIRST.plus(1), FIRST.plus(2)]);
    });
}

/// A guest reads a message and leaves without releasing it: its place is written again only when it has read.
#[test]
fn a_place_is_reused_after_its_guest_has_left() {
    explore("a_place_is_reused_after_its_guest_has_left", None, || {
        let rig = Rig::with_rooms(2);
        let mut guest = rig.guest(Start::Latest);
        let mut producer = rig.producer().send_now(2);
        let sender = spawn(move || {
            let sent = producer.send();
            (producer, sent)
        });
        let reader = spawn(move || {
            assert_eq!(guest.take(2).unwrap(), [FIRST, FIRST.plus(1)]);
            drop(guest);
        });
        reader.join().unwrap();
        let (mut producer, sent) = sender.join().unwrap();
        assert!(sent || producer.try_send(), "there is nobody to wait for");
    });
}

/// A guest is let in while messages are sent: what it is promised, it sees whole, and nobody turns it out.
#[test]
fn a_guest_is_let_in_while_messages_are_sent() {
    explore("a_guest_is_let_in_while_messages_are_sent", None, || {
        let rig = Rig::with_rooms(2);
        let mut producer = rig.producer().send_now(2);
        let host = rig.clone();
        let joining = spawn(move || {
            let mut guest = host.guest(Start::Oldest);
            let (first, read) = (guest.first(), guest.try_read(1));
            (guest, first, read)
        });
        let sender = spawn(move || {
            let sent = producer.try_send();
            (producer, sent)
        });
        let (mut producer, _) = sender.join().unwrap();
        let (mut guest, first, read) = joining.join().unwrap();
        let mut all = read.unwrap_or_default();
        producer.try_send();
        all.extend(guest.drain());
        assert!(follows(first, &all), "{all:?} from {first} on");
        assert_ne!(guest.try_read(1), Err(Unavailable::Evicted));
        assert_eq!(producer.cursor.take_evictions(), []);
        assert_eq!(guest.cursor.next(), first.plus(all.len() as u64));
    });
}
