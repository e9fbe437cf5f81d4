//! The ends of a ring of messages.

use fanout::ends::{ConsumerCursor, Cursor};
use fanout::error::{SendError, SendTimeoutError, TrySendError};
use fanout::{Batch, Reservation, ends};

use super::{Accounted, Act, Fate, Reading, Seen, Sending, Step, settled, timed, tried};
use crate::moods::Mood;
use crate::plan::{Message, Plan};

/// A producer.
pub(crate) struct Producing(pub(crate) ends::Producer<Message, Mood>);

impl Producing {
    fn one(&mut self, at: &mut Act<'_>, message: Message) -> Result<bool, SendError> {
        match at.urgency() {
            0 => now(self.0.try_send(message)),
            1 => in_time(self.0.send_timeout(message, at.soon())),
            _ => self.0.send(message).map(Some),
        }
        .map(|sent| sent.is_some())
    }

    fn batch(&mut self, at: &mut Act<'_>, plan: &Plan, next: &mut u64) -> Result<(), SendError> {
        let capacity = self.0.capacity();
        let n = (1 + at.dice.below(3 * capacity)).min(plan.count() - *next);
        let messages: Vec<_> = (*next..*next + n).map(|number| plan.message(number)).collect();
        at.tally.add("batches sent");
        *next += match at.urgency() {
            2 => self.0.send_batch(&messages).map(|()| n)?,
            _ => now(self.0.try_send_batch(&messages))?.unwrap_or(0) as u64,
        };
        Ok(())
    }

    fn reserve(&mut self, at: &mut Act<'_>, plan: &Plan, next: &mut u64) -> Result<(), SendError> {
        let n = at.dice.below(self.0.capacity() + 1) as usize;
        let soon = at.soon();
        let reservation = match at.urgency() {
            0 if at.dice.once_in(2) => now(self.0.try_reserve_up_to(n))?,
            0 => now(self.0.try_reserve(n))?,
            1 => in_time(self.0.reserve_timeout(n, soon))?,
            _ => Some(self.0.reserve(n)?),
        };
        if let Some(reservation) = reservation {
            *next += use_up(reservation, at, plan, *next);
        }
        Ok(())
    }
}

/// Publishes some of the reserved places, or none. Returns how many.
#[expect(clippy::forget_non_drop, reason = "that it does nothing is the point")]
fn use_up(
    mut reservation: Reservation<'_, Message, Mood>,
    at: &mut Act<'_>,
    plan: &Plan,
    next: u64,
) -> u64 {
    let most = (reservation.len() as u64).min(plan.count() - next);
    let (head, tail) = reservation.slices();
    let places = head.iter_mut().chain(tail);
    for (place, number) in places.zip(next..next + most) {
        *place = plan.message(number);
    }
    let n = at.dice.below(most + 1);
    match at.dice.below(6) {
        0 => at.tally.add("reservations dropped"),
        1 => {
            at.tally.add("reservations forgotten");
            core::mem::forget(reservation);
        }
        2 if most == reservation.len() as u64 => {
            at.tally.add("reservations published");
            reservation.publish();
            return most;
        }
        _ => {
            at.tally.add("reservations published in part");
            reservation.publish_first(n as usize);
            return n;
        }
    }
    0
}

pub(super) fn now<R>(outcome: Result<R, TrySendError>) -> Result<Option<R>, SendError> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(TrySendError::Full) => Ok(None),
        Err(TrySendError::End(end)) => Err(end),
    }
}

pub(super) fn in_time<R>(outcome: Result<R, SendTimeoutError>) -> Result<Option<R>, SendError> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(SendTimeoutError::TimedOut(_)) => Ok(None),
        Err(SendTimeoutError::End(end)) => Err(end),
    }
}

impl Sending for Producing {
    fn act(&mut self, at: &mut Act<'_>, plan: &Plan, next: &mut u64) -> Result<(), SendError> {
        match at.dice.below(8) {
            0..4 => {
                *next += u64::from(self.one(at, plan.message(*next))?);
            }
            4 => self.batch(at, plan, next)?,
            5 | 6 => self.reserve(at, plan, next)?,
            _ => {
                let most = self.0.capacity() as usize;
                at.tally.add("sends that were too large");
                let refused = self.0.reserve_timeout(most + 1, at.soon());
                assert!(
                    matches!(refused, Err(SendTimeoutError::End(SendError::TooLarge(_)))),
                    "{} places of {most} were lent",
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

/// How a batch is given back.
pub(crate) type GiveBack<K> = fn(Batch<'_, Message, K, Mood>);

/// A registered consumer. A broadcast consumer can give back what it has borrowed.
pub(crate) struct MessageEnd<K: Cursor> {
    pub(crate) receiver: ends::Receiver<Message, K, Mood>,
    pub(crate) give_back: Option<GiveBack<K>>,
    pub(crate) capacity: u64,
}

/// How a broadcast consumer gives a batch back.
pub(crate) fn give_back(batch: Batch<'_, Message, ConsumerCursor, Mood>) {
    batch.give_back();
}

impl<K: Cursor> MessageEnd<K> {
    fn one(&mut self, at: &mut Act<'_>) -> Result<Message, Step> {
        match at.urgency() {
            0 => tried(self.receiver.try_recv()),
            1 => timed(self.receiver.recv_timeout(at.soon())),
            _ => self.receiver.recv().map_err(settled),
        }
    }

    fn batch(&mut self, at: &mut Act<'_>, see: &mut dyn FnMut(Seen<'_>)) -> Result<(), Step> {
        let lap = self.capacity as usize;
        let most = at.dice.pick(&[0, 1, 2, lap / 2, lap, lap + 1, 3 * lap, usize::MAX]);
        let (urgency, soon) = (at.urgency(), at.soon());
        let mut batch = match urgency {
            0 => tried(self.receiver.try_recv_batch(most))?,
            1 => timed(self.receiver.recv_batch_timeout(most, soon))?,
            _ => self.receiver.recv_batch(most).map_err(settled)?,
        };
        let fate = Fate::draw(at.dice, self.give_back.is_some());
        fate.count(at.tally);
        let released = if at.dice.once_in(3) { at.dice.below(batch.len() as u64 + 1) } else { 0 };
        show(batch.iter().take(released as usize), true, see);
        if released > 0 {
            at.tally.add("batches released in part");
            batch.release_first(released as usize);
        }
        let comes_again = fate.comes_again();
        show(&batch, !comes_again, see);
        fate.befall(batch, self.give_back);
        Ok(())
    }
}

fn show<'m>(
    messages: impl IntoIterator<Item = &'m Message>,
    is_final: bool,
    see: &mut dyn FnMut(Seen<'_>),
) {
    for message in messages {
        see(Seen { at: None, bytes: bytemuck::bytes_of(message), is_final });
    }
}

impl<K: Cursor + Send> Reading for MessageEnd<K> {
    fn act(&mut self, at: &mut Act<'_>, see: &mut dyn FnMut(Seen<'_>)) -> Step {
        // One that is copied out of the ring is released at once.
        let copies = at.style != super::Style::WrittenDown && at.dice.once_in(3);
        let outcome = if copies {
            self.one(at).map(|message| show(&[message], true, see))
        } else {
            self.batch(at, see)
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
pub(crate) struct MessageTap {
    pub(crate) tap: ends::Tap<Message, Mood>,
    pub(crate) took_one: bool,
}

impl Reading for MessageTap {
    fn act(&mut self, at: &mut Act<'_>, see: &mut dyn FnMut(Seen<'_>)) -> Step {
        let mut into = vec![[0; 4]; at.dice.pick(&[1, 1, 2, 5, 64, 1000])];
        self.took_one = into.len() == 1;
        let (urgency, soon) = (at.urgency(), at.soon());
        let received = match urgency {
            0 => tried(self.tap.try_recv_into(&mut into)),
            1 => timed(self.tap.recv_into_timeout(&mut into, soon)),
            _ => self.tap.recv_into(&mut into).map_err(settled),
        };
        match received {
            Ok(received) => show(&into[..received], true, see),
            Err(step) => return step,
        }
        Step::Went
    }

    fn accounted(&self) -> Option<Accounted> {
        let messages = self.tap.received().wrapping_add(self.tap.lost());
        Some(Accounted { messages, is_exact: self.took_one })
    }
}
