//! Many producers, one consumer: who sent each message, and whether all of it came.

use anyhow::ensure;
use yardstick::payload::{Payload, Tally};

use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Go};
use crate::line::push_from;
use crate::load::Job;

/// The messages of each producer are numbered from the producer's number, shifted so far. So the first
/// word of a message says who sent it.
const SHIFT: u32 = 48;

/// What one producer sends.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The producer's number.
    pub producer: usize,
    /// How many messages.
    pub messages: u64,
}

impl Share {
    /// The share of this one of `producers`. The shares differ by one message at most.
    fn of(job: &Job, producer: usize, producers: usize) -> Self {
        let (number, all) = (producer as u64, producers as u64);
        let messages = job.messages / all + u64::from(number < job.messages % all);
        Self { producer, messages }
    }

    /// The number of its first message.
    #[inline(always)]
    pub fn first(self) -> u64 {
        (self.producer as u64) << SHIFT
    }

    /// Sends all of it, a message at a time.
    ///
    /// # Errors
    ///
    /// What `send` says.
    #[inline(always)]
    pub fn send(self, send: impl FnMut(Packet) -> anyhow::Result<()>) -> anyhow::Result<Tally> {
        push_from(self.first(), self.messages, send)
    }

    /// What has to arrive of it: the sum of all words, without writing them.
    fn due(self) -> Tally {
        let (first, count) = (u128::from(self.first()), u128::from(self.messages));
        // Message `m` has the words `m`, `m + 1`, and so on.
        let words = size_of::<Packet>() as u128 / 8;
        let numbers = count * first + count * count.saturating_sub(1) / 2;
        let sum = numbers * words + count * (words * (words - 1) / 2);
        Tally { count: self.messages, sum: sum as u64 }
    }
}

/// What the consumer has received, of each producer.
#[derive(Debug)]
pub struct Ledger {
    tallies: Vec<Tally>,
    shares: Vec<Share>,
    left: u64,
    /// Messages that no producer has sent.
    strange: u64,
}

impl Ledger {
    fn new(shares: Vec<Share>) -> Self {
        let left = shares.iter().map(|share| share.messages).sum();
        Self { tallies: vec![Tally::default(); shares.len()], shares, left, strange: 0 }
    }

    /// How many messages are still to come.
    #[inline(always)]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Reads every byte of a message.
    #[inline(always)]
    pub fn take(&mut self, message: &Packet) {
        let producer = (message[0] >> SHIFT) as usize;
        match self.tallies.get_mut(producer) {
            Some(tally) => tally.add(1, message.sum()),
            None => self.strange += 1,
        }
        self.left = self.left.saturating_sub(1);
    }

    /// What has arrived, if that is what each producer sent.
    fn close(self) -> anyhow::Result<Tally> {
        ensure!(self.strange == 0, "{} messages came that nobody sent", self.strange);
        for (found, share) in self.tallies.iter().zip(&self.shares) {
            let (producer, due) = (share.producer, share.due());
            ensure!(*found == due, "of producer {producer}, {found:?} arrived of {due:?}");
        }
        Ok(self.tallies.into_iter().fold(Tally::default(), Tally::and))
    }
}

/// A crew of threads: first each of `producers` is set up, and then the consumer. A producer that has
/// sent its share drops its end; the consumer receives until then, or until nothing is left.
pub fn gather<S, P, R, C>(job: &Job, producers: Vec<S>, consumer: R) -> Crew
where
    S: FnOnce() -> anyhow::Result<P> + Send + 'static,
    P: FnOnce(Share) -> anyhow::Result<Tally> + 'static,
    R: FnOnce() -> anyhow::Result<C> + Send + 'static,
    C: FnOnce(&mut Ledger) -> anyhow::Result<()> + 'static,
{
    let count = producers.len();
    let shares: Vec<Share> = (0..count).map(|number| Share::of(job, number, count)).collect();
    let mut ledger = Ledger::new(shares.clone());
    let crew = producers.into_iter().zip(shares).fold(
        Crew::new(Delivery::Gathered),
        |crew, (producer, share)| {
            crew.side(move || {
                let send = producer()?;
                Ok(Box::new(move || Ok(Done::sent(send(share)?))) as Go)
            })
        },
    );
    crew.side(move || {
        let receive = consumer()?;
        Ok(Box::new(move || {
            receive(&mut ledger)?;
            Ok(Done::received(ledger.close()?))
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares() -> Vec<Share> {
        [(0, 5), (1, 0), (2, 1), (63, 1000)]
            .map(|(producer, messages)| Share { producer, messages })
            .into()
    }

    #[test]
    fn what_is_due_is_what_is_sent() {
        for share in shares() {
            assert_eq!(share.send(|_| Ok(())).unwrap(), share.due(), "{share:?}");
        }
    }

    #[test]
    fn a_ledger_is_closed_only_if_each_producers_messages_came() {
        let shares = || (0..3).map(|producer| Share { producer, messages: 4 }).collect::<Vec<_>>();
        let mut messages = Vec::new();
        for share in shares() {
            share
                .send(|message| {
                    messages.push(message);
                    Ok(())
                })
                .unwrap();
        }
        let close = |messages: &[Packet]| {
            let mut ledger = Ledger::new(shares());
            messages.iter().for_each(|message| ledger.take(message));
            let left = ledger.left();
            ledger.close().map(|tally| (tally.count, left))
        };
        messages.reverse();
        assert_eq!(close(&messages).unwrap(), (12, 0));
        let mut twice = messages.clone();
        twice[0] = twice[1];
        assert!(close(&twice).unwrap_err().to_string().contains("of producer 2"));
        let mut torn = messages.clone();
        torn[11][7] ^= 1;
        assert!(close(&torn).unwrap_err().to_string().contains("of producer 0"));
        let mut strange = messages.clone();
        strange[0][0] = u64::MAX;
        assert!(close(&strange).unwrap_err().to_string().contains("that nobody sent"));
        assert!(close(&messages[1..]).is_err());
    }
}
