//! Requests and answers, several of them at a time: the client keeps a number of requests out, and
//! checks each answer by itself, in whatever order the answers come.
//!
//! All ends may send at once what was asked at once, so no row counts as one of batches.

use std::time::Instant;

use anyhow::ensure;
use hdrhistogram::Histogram;
use yardstick::payload::{Payload, Tally};

use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Times};
use crate::line::timed;
use crate::load::Job;

/// The client's end.
pub trait Asking {
    /// Work that needs both sides to be set up.
    ///
    /// # Errors
    ///
    /// If the other side is not there.
    fn meet(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Makes a request, which `write` writes. It may wait for [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// If it cannot be sent.
    fn ask(&mut self, write: impl FnOnce(&mut Packet)) -> anyhow::Result<()>;

    /// Sends what was asked.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Waits for an answer. Gives that answer, and whatever others are there, to `take`.
    ///
    /// # Errors
    ///
    /// If it cannot be received.
    fn collect(&mut self, take: impl FnMut(&Packet)) -> anyhow::Result<()>;
}

/// The server's end.
pub trait Answering {
    /// As [`Asking::meet`].
    ///
    /// # Errors
    ///
    /// If the other side is not there.
    fn meet(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Waits for a request. Answers that request, and whatever others are there, with what `work`
    /// makes of each.
    ///
    /// # Errors
    ///
    /// If a request cannot be received, or its answer not sent.
    fn serve(&mut self, work: impl FnMut(&Packet, &mut Packet)) -> anyhow::Result<()>;

    /// After the last answer: does what the client needs to get it.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A server, and a client that keeps `outstanding` requests out. The server is set up first.
pub fn tasks<A, B>(
    job: &Job,
    outstanding: usize,
    server: impl FnOnce() -> anyhow::Result<A> + Send + 'static,
    client: impl FnOnce() -> anyhow::Result<B> + Send + 'static,
) -> Crew
where
    A: Answering + 'static,
    B: Asking + 'static,
{
    let all = job.messages;
    served(job, outstanding, server, move |end| answer(end, all), client)
}

/// The same, for a server that has a loop of its own.
pub fn served<A, B>(
    job: &Job,
    outstanding: usize,
    server: impl FnOnce() -> anyhow::Result<A> + Send + 'static,
    serve: impl FnOnce(A) -> anyhow::Result<Done> + Send + 'static,
    client: impl FnOnce() -> anyhow::Result<B> + Send + 'static,
) -> Crew
where
    A: 'static,
    B: Asking + 'static,
{
    let all = job.messages;
    Crew::new(Delivery::Around)
        .side(move || {
            let end = server()?;
            Ok(Box::new(move || serve(end)))
        })
        .side(move || {
            let end = client()?;
            Ok(Box::new(move || ask(end, all, outstanding)))
        })
}

/// Answers all requests: every byte of each is read, and every byte of its answer is written.
#[inline(never)]
fn answer<A: Answering>(mut end: A, all: u64) -> anyhow::Result<Done> {
    end.meet()?;
    let (mut received, mut sent) = (Tally::default(), Tally::default());
    while sent.count < all {
        end.serve(|request, place| work(request, place, (&mut received, &mut sent)))?;
    }
    end.finish()?;
    Ok(Done { sent: sent.into(), received: received.into(), ..Done::default() })
}

/// The task itself: the answer is numbered by the sum of the request's words.
#[inline(always)]
pub(crate) fn work(
    request: &Packet,
    place: &mut Packet,
    (received, sent): (&mut Tally, &mut Tally),
) {
    let sum = request.sum();
    received.add(1, sum);
    sent.add(1, place.fill(sum));
}

/// Asks for everything, and checks each answer. The last requests are timed one by one, apart from the
/// requests that give the rate.
#[inline(never)]
fn ask<A: Asking>(mut end: A, all: u64, outstanding: usize) -> anyhow::Result<Done> {
    end.meet()?;
    let mut desk = Desk::new(all, outstanding)?;
    (0..outstanding).try_for_each(|slot| desk.ask(&mut end, slot))?;
    end.flush()?;
    // The first answer may have to wait until the server has met this side.
    desk.turn(&mut end)?;
    let (before, started) = (desk.received.count, Instant::now());
    let untimed = all - timed(all);
    while desk.received.count < untimed {
        desk.turn(&mut end)?;
    }
    let (calls, elapsed) = (desk.received.count - before, started.elapsed().as_nanos() as u64);
    desk.timing = true;
    while desk.received.count < all {
        desk.turn(&mut end)?;
    }
    let [p50, p99] = [50.0, 99.0].map(|percentile| desk.times.value_at_percentile(percentile));
    let times = Some(Times { calls, elapsed, p50, p99 });
    Ok(Done { sent: desk.sent.into(), received: desk.received.into(), lost: 0, times })
}

/// A request that is out.
#[derive(Clone, Copy)]
struct Slot {
    /// Its number; `None` if the slot is free.
    number: Option<u64>,
    /// The number of the slot's next request: these count up by the number of slots.
    next: u64,
    asked: Option<Instant>,
}

/// The requests that are out.
struct Desk {
    slots: Vec<Slot>,
    /// Slots whose answers have just come.
    free: Vec<usize>,
    /// How many requests have not been made yet.
    left: u64,
    sent: Tally,
    received: Tally,
    /// Answers to nothing that was asked.
    wrong: u64,
    timing: bool,
    times: Histogram<u64>,
}

impl Desk {
    fn new(all: u64, outstanding: usize) -> anyhow::Result<Self> {
        ensure!(outstanding.is_power_of_two(), "{outstanding} slots have no mask");
        let slot = |next: usize| Slot { number: None, next: next as u64, asked: None };
        Ok(Self {
            slots: (0..outstanding).map(slot).collect(),
            free: Vec::with_capacity(outstanding),
            left: all,
            sent: Tally::default(),
            received: Tally::default(),
            wrong: 0,
            timing: false,
            times: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        })
    }

    /// Uses a free slot for the next request, if there is one.
    #[inline(always)]
    fn ask<A: Asking>(&mut self, end: &mut A, slot: usize) -> anyhow::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        let count = self.slots.len() as u64;
        let slot = &mut self.slots[slot];
        let number = slot.next;
        (slot.number, slot.next) = (Some(number), number + count);
        slot.asked = self.timing.then(Instant::now);
        let mut sum = 0;
        end.ask(|place| sum = place.fill(number))?;
        self.sent.add(1, sum);
        Ok(())
    }

    /// Waits for answers, and asks anew for each.
    #[inline(always)]
    fn turn<A: Asking>(&mut self, end: &mut A) -> anyhow::Result<()> {
        end.collect(|answer| self.take(answer))?;
        ensure!(self.wrong == 0, "{} answers are not those that were asked for", self.wrong);
        let before = self.left;
        while let Some(slot) = self.free.pop() {
            self.ask(end, slot)?;
        }
        if self.left < before { end.flush() } else { Ok(()) }
    }

    /// Checks every word of an answer.
    #[inline(always)]
    fn take(&mut self, answer: &Packet) {
        let (request, mut due) = (asked(answer), Packet::ZERO);
        let sum = due.fill(answer[0]);
        let slot = request as usize & (self.slots.len() - 1);
        let place = &mut self.slots[slot];
        let mut first = Packet::ZERO;
        if place.number != Some(request) || first.fill(request) != answer[0] || due != *answer {
            self.wrong += 1;
            return;
        }
        place.number = None;
        if let Some(asked) = place.asked.take() {
            self.times.saturating_record(asked.elapsed().as_nanos() as u64);
        }
        self.free.push(slot);
        self.received.add(1, sum);
    }
}

/// The number of the request that this is an answer to: the answer's number is the sum of the request's
/// words, which count up from the request's number.
#[inline(always)]
fn asked(answer: &Packet) -> u64 {
    let words = size_of::<Packet>() as u64 / 8;
    answer[0].wrapping_sub(words * (words - 1) / 2) / words
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    type Spoil = (u64, fn(&mut Packet));

    /// A server within the client. It answers in an order of its own, and the `spoil`-th answer wrongly.
    struct Loop {
        out: VecDeque<Packet>,
        spoil: Option<Spoil>,
        answered: u64,
    }

    impl Asking for Loop {
        fn ask(&mut self, write: impl FnOnce(&mut Packet)) -> anyhow::Result<()> {
            let mut request = Packet::ZERO;
            write(&mut request);
            self.out.push_back(request);
            Ok(())
        }

        fn collect(&mut self, mut take: impl FnMut(&Packet)) -> anyhow::Result<()> {
            let middle = self.out.len() / 2;
            for request in [self.out.remove(middle), self.out.pop_back()].into_iter().flatten() {
                let mut answer = Packet::ZERO;
                work(&request, &mut answer, (&mut Tally::default(), &mut Tally::default()));
                if let Some((at, spoil)) = self.spoil
                    && at == self.answered
                {
                    spoil(&mut answer);
                }
                self.answered += 1;
                take(&answer);
            }
            Ok(())
        }
    }

    fn end(spoil: Option<Spoil>) -> Loop {
        Loop { out: VecDeque::new(), spoil, answered: 0 }
    }

    #[test]
    fn answers_may_come_in_any_order() {
        for outstanding in [1, 2, 64] {
            for all in [1, 63, 64, 1000] {
                let done = ask(end(None), all, outstanding).unwrap();
                assert_eq!((done.sent.count, done.received.count), (all, all));
            }
        }
    }

    #[test]
    fn a_wrong_answer_is_noticed() {
        let spoilers: [fn(&mut Packet); 3] = [
            |answer| answer[7] ^= 1,
            |answer| answer[0] += 1,
            |answer| {
                answer.fill(28);
            },
        ];
        for spoil in spoilers {
            let error = ask(end(Some((70, spoil))), 200, 4).unwrap_err().to_string();
            assert!(error.contains("not those that were asked for"), "{error}");
        }
    }
}
