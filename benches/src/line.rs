//! The two kinds of work: there and back with one request outstanding, and one way as fast as it goes.
//! Contenders that take messages of one size by value have the latter in a form of their own.

use std::time::Instant;

use anyhow::ensure;
use hdrhistogram::Histogram;
use yardstick::payload::{self, Payload};

use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Go, Times};
use crate::load::{Job, Sink, Source};

/// The sending end.
pub trait Sending {
    /// Sends the next message, or several that become visible together. It waits if there is no room.
    ///
    /// # Errors
    ///
    /// If it cannot be sent.
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()>;

    /// After the last message: does what the receiver needs to get all that were sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// The receiving end.
pub trait Receiving {
    /// Work that needs all sides to be set up. Its time counts neither for the side that asks nor for
    /// the side that answers.
    ///
    /// # Errors
    ///
    /// If the other sides are not there.
    fn meet(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Waits for a message. Gives that message, and whatever else is there, to `sink`.
    ///
    /// # Errors
    ///
    /// If it cannot be received.
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()>;
}

/// How many of `calls` round trips are timed one by one, after the others: the clock costs more
/// than the fastest ways there and back.
pub(crate) fn timed(calls: u64) -> u64 {
    (calls / 5).clamp(1, 50_000)
}

/// A side that asks, and a side that answers with the same number of bytes. The first argument is
/// set up first; both open their ends as they like.
pub fn request<A, B>(
    job: &Job,
    server: impl FnOnce() -> anyhow::Result<A> + Send + 'static,
    client: impl FnOnce() -> anyhow::Result<B> + Send + 'static,
) -> Crew
where
    A: Sending + Receiving + 'static,
    B: Sending + Receiving + 'static,
{
    let (requests, replies) = ((job.source(), job.sink()), (job.source(), job.sink()));
    Crew::new(Delivery::Around)
        .side(move || {
            let line = server()?;
            Ok(Box::new(move || answer(line, replies)))
        })
        .side(move || {
            let line = client()?;
            Ok(Box::new(move || call(line, requests)))
        })
}

/// Asks, and waits for each answer.
#[inline(never)]
pub fn call<L: Sending + Receiving>(
    mut line: L,
    (mut source, mut sink): (Source, Sink),
) -> anyhow::Result<Done> {
    line.meet()?;
    let times = trips(source.left(), || {
        line.send(&mut source)?;
        line.receive(&mut sink)
    })?;
    line.finish()?;
    Ok(Done { times: Some(times), ..done(&source, &sink) })
}

/// Makes `calls` round trips.
#[inline(always)]
pub(crate) fn trips(
    all: u64,
    mut trip: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Times> {
    let timed = timed(all);
    let calls = all - timed;
    let started = Instant::now();
    for _ in 0..calls {
        trip()?;
    }
    let mut before = Instant::now();
    let elapsed = (before - started).as_nanos() as u64;
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    for _ in 0..timed {
        trip()?;
        let now = Instant::now();
        times.record((now - before).as_nanos() as u64)?;
        before = now;
    }
    let [p50, p99] = [50.0, 99.0].map(|percentile| times.value_at_percentile(percentile));
    Ok(Times { calls, elapsed, p50, p99 })
}

/// Answers every request with its own next message.
#[inline(never)]
fn answer<L: Sending + Receiving>(
    mut line: L,
    (mut source, mut sink): (Source, Sink),
) -> anyhow::Result<Done> {
    line.meet()?;
    while sink.left() > 0 {
        line.receive(&mut sink)?;
        line.send(&mut source)?;
    }
    line.finish()?;
    Ok(done(&source, &sink))
}

/// One side that sends, and other sides that each receive everything. They are set up in order:
/// `first` is the sender, or whichever side has to be first.
pub fn one_way<S, R>(
    job: &Job,
    sender: impl FnOnce() -> anyhow::Result<S> + Send + 'static,
    receivers: Vec<impl FnOnce() -> anyhow::Result<R> + Send + 'static>,
) -> Crew
where
    S: Sending + 'static,
    R: Receiving + 'static,
{
    let source = job.source();
    let crew = Crew::new(Delivery::Each).side(move || {
        let end = sender()?;
        Ok(Box::new(move || send(end, source)))
    });
    receivers.into_iter().fold(crew, |crew, receiver| {
        let sink = job.sink();
        crew.side(move || {
            let end = receiver()?;
            Ok(Box::new(move || receive(end, sink)) as Go)
        })
    })
}

/// Sends everything.
#[inline(never)]
fn send<S: Sending>(mut end: S, mut source: Source) -> anyhow::Result<Done> {
    while source.left() > 0 {
        end.send(&mut source)?;
    }
    end.finish()?;
    Ok(Done::sent(source.tally()))
}

/// Receives everything.
#[inline(never)]
fn receive<R: Receiving>(mut end: R, mut sink: Sink) -> anyhow::Result<Done> {
    end.meet()?;
    while sink.left() > 0 {
        let before = sink.left();
        end.receive(&mut sink)?;
        ensure!(sink.left() < before, "{before} messages are still to come, and there is an end");
    }
    Ok(Done { lost: sink.lost(), ..Done::received(sink.tally()) })
}

/// Sends so many messages of 64 bytes, each by value.
#[inline(always)]
pub(crate) fn push(
    messages: u64,
    send: impl FnMut(Packet) -> anyhow::Result<()>,
) -> anyhow::Result<payload::Tally> {
    push_from(0, messages, send)
}

/// The same; the first message has this number.
#[inline(always)]
pub(crate) fn push_from(
    first: u64,
    messages: u64,
    mut send: impl FnMut(Packet) -> anyhow::Result<()>,
) -> anyhow::Result<payload::Tally> {
    let mut tally = payload::Tally::default();
    for sequence in first..first + messages {
        let mut message = Packet::ZERO;
        let sum = message.fill(sequence);
        send(message)?;
        tally.add(1, sum);
    }
    Ok(tally)
}

/// Receives such messages until there is none.
#[inline(always)]
pub(crate) fn pull(mut receive: impl FnMut() -> Option<Packet>) -> payload::Tally {
    let mut tally = payload::Tally::default();
    while let Some(message) = receive() {
        tally.add(1, message.sum());
    }
    tally
}

fn done(source: &Source, sink: &Sink) -> Done {
    let (sent, received) = (source.tally().into(), sink.tally().into());
    Done { sent, received, lost: sink.lost(), times: None }
}
