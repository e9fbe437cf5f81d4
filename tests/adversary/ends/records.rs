//! The ends of a ring of records.

use std::io::{IoSlice, IoSliceMut};

use fanout::error::{SendError, SendTimeoutError};
use fanout::records::ends::{ConsumerCursor, Cursor};
use fanout::records::error::ReadError;
use fanout::records::{self, Record, Records, Reservation, WriteBatch, record_len};

use super::messages::{in_time, now};
use super::{Accounted, Act, Fate, Reading, Seen, Sending, Step, settled, timed, tried};
use crate::moods::Mood;
use crate::plan::Plan;

/// A writer.
pub(crate) struct Writing(pub(crate) records::ends::Writer<Mood>);

impl Writing {
    fn one(&mut self, at: &mut Act<'_>, message: &[u8]) -> Result<bool, SendError> {
        let (head, tail) = message.split_at(at.dice.below(message.len() as u64 + 1) as usize);
        let parts = [IoSlice::new(head), IoSlice::new(tail)];
        let (urgency, soon) = (at.urgency(), at.soon());
        match (urgency, at.dice.once_in(2)) {
            (0, true) => now(self.0.try_send(message)),
            (0, false) => now(self.0.try_send_vectored(&parts)),
            (1, true) => in_time(self.0.send_timeout(message, soon)),
            (1, false) => in_time(self.0.send_vectored_timeout(&parts, soon)),
            (_, true) => self.0.send(message).map(Some),
            (_, false) => self.0.send_vectored(&parts).map(Some),
        }
        .map(|sent| sent.is_some())
    }

    fn reserve(&mut self, at: &mut Act<'_>, plan: &Plan, next: &mut u64) -> Result<(), SendError> {
        let mut message = Vec::new();
        plan.record(*next, &mut message);
        let spare = self.0.largest() - message.len();
        let most = message.len() + at.dice.below(spare as u64 + 1) as usize;
        let soon = at.soon();
        let reservation = match at.urgency() {
            0 => now(self.0.try_reserve(most))?,
            1 => in_time(self.0.reserve_timeout(most, soon))?,
            _ => Some(self.0.reserve(most)?),
        };
        if let Some(reservation) = reservation {
            *next += u64::from(use_up(reservation, at, &message));
        }
        Ok(())
    }

    fn batch(&mut self, at: &mut Act<'_>, plan: &Plan, next: &mut u64) -> Result<(), SendError> {
        let lap = self.0.capacity();
        let bytes = at.dice.below(lap + 1) as usize;
        let soon = at.soon();
        let batch = match at.urgency() {
            0 if at.dice.once_in(2) => now(self.0.try_batch_up_to(2 * bytes))?,
            0 => now(self.0.try_batch(bytes))?,
            1 => in_time(self.0.batch_timeout(bytes, soon))?,
            _ => Some(self.0.batch(bytes)?),
        };
        if let Some(batch) = batch {
            *next += fill(batch, at, plan, *next);
        }
        Ok(())
    }
}

/// Sends a message in place, or not. Returns whether it did.
#[expect(clippy::forget_non_drop, reason = "that it does nothing is the point")]
fn use_up(mut reservation: Reservation<'_, Mood>, at: &mut Act<'_>, message: &[u8]) -> bool {
    reservation[..message.len()].copy_from_slice(message);
    match at.dice.below(6) {
        0 => at.tally.add("reservations dropped"),
        1 => {
            at.tally.add("reservations forgotten");
            core::mem::forget(reservation);
        }
        _ => {
            at.tally.add("reservations published");
            reservation.publish_as(message.len(), at.dice.word() as u16);
            return true;
        }
    }
    false
}

/// Sends as many messages as there is room for, or none. Returns how many.
#[expect(clippy::forget_non_drop, reason = "that it does nothing is the point")]
fn fill(mut batch: WriteBatch<'_, Mood>, at: &mut Act<'_>, plan: &Plan, next: u64) -> u64 {
    let mut message = Vec::new();
    let mut added = 0;
    while next + added < plan.count() {
        plan.record(next + added, &mut message);
        let pushed = if at.dice.once_in(2) {
            batch.push_as(&message, at.dice.word() as u16)
        } else {
            batch.push_with(message.len(), |place| {
                place.copy_from_slice(&message);
                message.len()
            })
        };
        if pushed.is_err() {
            break;
        }
        added += 1;
    }
    match at.dice.below(6) {
        0 => at.tally.add("batches of records dropped"),
        1 => {
            at.tally.add("batches of records forgotten");
            core::mem::forget(batch);
        }
        _ => {
            at.tally.add("batches of records sent");
            batch.publish();
            return added;
        }
    }
    0
}

impl Sending for Writing {
    fn act(&mut self, at: &mut Act<'_>, plan: &Plan, next: &mut u64) -> Result<(), SendError> {
        match at.dice.below(8) {
            0..4 => {
                let mut message = Vec::new();
                plan.record(*next, &mut message);
                *next += u64::from(self.one(at, &message)?);
            }
            4 | 5 => self.reserve(at, plan, next)?,
            6 => self.batch(at, plan, next)?,
            _ => {
                let most = self.0.largest();
                at.tally.add("sends that were too large");
                let refused = self.0.reserve_timeout(most + 1, at.soon());
                assert!(
                    matches!(refused, Err(SendTimeoutError::End(SendError::TooLarge(_)))),
                    "{} bytes of {most} were lent",
                    most + 1
                );
            }
        }
        Ok(())
    }

    fn survey(&mut self, at: &mut Act<'_>) {
        let (consumers, groups) = (self.0.consumers().len(), self.0.groups().len());
        let (some, soon) = (at.dice.below(4) as usize, at.soon());
        core::hint::black_box((self.0.is_abandoned(), self.0.drain(soon).is_ok()));
        let came = self.0.wait_for_consumers(some, soon).is_ok();
        let forgotten = self.0.forget_group("nobody's", soon).is_ok_and(|done| done);
        at.tally.add("looks around");
        core::hint::black_box((consumers, groups, came, forgotten));
    }

    fn next_sequence(&self) -> u64 {
        self.0.next_sequence().get()
    }

    fn end(&mut self, abort: bool) {
        if abort { self.0.abort("the adversary wants it") } else { self.0.close() }
    }
}

/// What a broadcast reader can do, and a member cannot.
#[derive(Clone, Copy)]
pub(crate) struct GiveBack<K: Cursor> {
    one: fn(Record<'_, K, Mood>),
    many: fn(Records<'_, K, Mood>),
}

/// How a broadcast reader gives back what it has borrowed.
pub(crate) fn give_back() -> GiveBack<ConsumerCursor> {
    GiveBack { one: |record| record.give_back(), many: |records| records.give_back() }
}

/// A registered reader.
pub(crate) struct RecordEnd<K: Cursor> {
    pub(crate) receiver: records::ends::Receiver<K, Mood>,
    pub(crate) give_back: Option<GiveBack<K>>,
}

impl<K: Cursor> RecordEnd<K> {
    fn one(&mut self, at: &mut Act<'_>, see: &mut dyn FnMut(Seen<'_>)) -> Result<(), Step> {
        let (urgency, soon) = (at.urgency(), at.soon());
        let record = match urgency {
            0 => tried(self.receiver.try_recv())?,
            1 => timed(self.receiver.recv_timeout(soon))?,
            _ => self.receiver.recv().map_err(settled)?,
        };
        let fate = Fate::draw(at.dice, self.give_back.is_some());
        fate.count(at.tally);
        let comes_again = fate.comes_again();
        let at = Some(record.sequence().get());
        see(Seen { at, bytes: &record, is_final: !comes_again });
        fate.befall(record, self.give_back.as_ref().map(|give_back| give_back.one));
        Ok(())
    }

    fn batch(&mut self, at: &mut Act<'_>, see: &mut dyn FnMut(Seen<'_>)) -> Result<(), Step> {
        let lap = self.receiver.capacity() as usize;
        let bytes = at.dice.pick(&[0, 8, lap / 4, lap, 2 * lap, usize::MAX]);
        let (urgency, soon) = (at.urgency(), at.soon());
        let mut batch = match urgency {
            0 => tried(self.receiver.try_recv_batch(bytes))?,
            1 => timed(self.receiver.recv_batch_timeout(bytes, soon))?,
            _ => self.receiver.recv_batch(bytes).map_err(settled)?,
        };
        let fate = Fate::draw(at.dice, self.give_back.is_some());
        fate.count(at.tally);
        if at.dice.once_in(3) {
            let released = at.dice.below(batch.len() as u64 + 1) as usize;
            show(batch.first().get(), batch.iter().take(released), true, see);
            at.tally.add("batches released in part");
            // A hostile process may have changed the headers meanwhile.
            let released = released.min(batch.len());
            batch.release_first(released);
        }
        let comes_again = fate.comes_again();
        if !comes_again || self.give_back.is_none() || at.dice.once_in(2) {
            show(batch.first().get(), batch.iter(), !comes_again, see);
        }
        fate.befall(batch, self.give_back.as_ref().map(|give_back| give_back.many));
        Ok(())
    }

    /// Calls without a timeout.
    fn copy(&mut self, at: &mut Act<'_>, see: &mut dyn FnMut(Seen<'_>)) -> Result<(), Step> {
        let mut into = vec![0; at.dice.pick(&[0, 7, 100, 5000, 70_000])];
        let middle = into.len().min(3);
        let (head, tail) = into.split_at_mut(middle);
        let mut parts = [IoSliceMut::new(head), IoSliceMut::new(tail)];
        match self.receiver.read_vectored(&mut parts) {
            Ok(len) => see(Seen { at: None, bytes: &into[..len], is_final: true }),
            Err(ReadError::NoRoom { len, room }) => {
                at.tally.add("reads without room");
                assert!(len > room, "a message of {len} had no room in {room}");
            }
            Err(ReadError::End(end)) => return Err(settled(end)),
            Err(_) => {}
        }
        Ok(())
    }
}

fn show<'m>(
    first: u64,
    messages: impl Iterator<Item = &'m [u8]>,
    is_final: bool,
    see: &mut dyn FnMut(Seen<'_>),
) {
    let mut at = first;
    for bytes in messages {
        see(Seen { at: Some(at), bytes, is_final });
        at = at.wrapping_add(record_len(bytes.len()) as u64);
    }
}

impl<K: Cursor + Send> Reading for RecordEnd<K> {
    fn act(&mut self, at: &mut Act<'_>, see: &mut dyn FnMut(Seen<'_>)) -> Step {
        let outcome = match at.dice.below(6) {
            // Only a broadcast reader can tell which record it gets from a call that does not give
            // the sequence.
            0 if at.style == super::Style::Free && self.give_back.is_some() => self.copy(at, see),
            0..3 => self.one(at, see),
            _ => self.batch(at, see),
        };
        outcome.err().unwrap_or(Step::Went)
    }

    fn first(&self) -> Option<u64> {
        Some(self.receiver.first_sequence().get())
    }

    fn slot(&self) -> Option<usize> {
        Some(self.receiver.slot())
    }
}

/// A tap.
pub(crate) struct RecordTap(pub(crate) records::ends::Tap<Mood>);

impl Reading for RecordTap {
    fn act(&mut self, at: &mut Act<'_>, see: &mut dyn FnMut(Seen<'_>)) -> Step {
        let mut into = Vec::new();
        let (urgency, soon) = (at.urgency(), at.soon());
        let received = match urgency {
            0 => tried(self.0.try_recv(&mut into)),
            1 => timed(self.0.recv_timeout(&mut into, soon)),
            _ => self.0.recv(&mut into).map_err(settled),
        };
        if let Err(step) = received {
            return step;
        }
        let size = record_len(into.len()) as u64;
        let at = Some(self.0.next_sequence().get().wrapping_sub(size));
        see(Seen { at, bytes: &into, is_final: true });
        Step::Went
    }

    fn accounted(&self) -> Option<Accounted> {
        let messages = self.0.received().wrapping_add(self.0.lost());
        Some(Accounted { messages, is_exact: true })
    }
}
