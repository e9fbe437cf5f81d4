//! A consumer process of the demo, from the inside.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use fanout::error::{RecvError, RecvTimeoutError, TryRecvError};
use fanout::{Consumer, JoinOptions, QueueName, Start, Tap};

use super::peer::State;
use super::{BATCH, Kind, Packet, TICK};

#[derive(Args)]
pub(crate) struct ConsumerArguments {
    name: QueueName,
    kind: Kind,
}

pub(crate) fn consume(arguments: &ConsumerArguments) -> anyhow::Result<()> {
    let options = JoinOptions::new().label("fanout demo");
    match arguments.kind {
        Kind::Broadcast => {
            watch(Consumer::<Packet>::join_with(&arguments.name, Start::Oldest, &options)?)
        }
        Kind::Tap => tap(Tap::<Packet>::open(&arguments.name, Start::Oldest)?),
    }
}

fn watch(mut consumer: Consumer<Packet>) -> anyhow::Result<()> {
    let mut state = State::default();
    state.print()?;
    let mut tick = Instant::now();
    loop {
        match consumer.recv_batch_timeout(4 * BATCH, TICK) {
            Ok(batch) => {
                let (head, tail) = batch.slices();
                let mut expected = batch.first().get();
                for messages in [head, tail] {
                    state.faults += count_faults(messages, &mut expected);
                    state.add(messages);
                }
            }
            Err(RecvTimeoutError::TimedOut(_)) => {}
            Err(RecvTimeoutError::End(RecvError::Closed)) => break,
            Err(error) => return Err(error.into()),
        }
        if tick.elapsed() >= TICK {
            state.print()?;
            tick = Instant::now();
        }
    }
    state.ended = true;
    state.print()
}

/// How many of the messages do not have the expected sequence.
fn count_faults(messages: &[Packet], expected: &mut u64) -> u64 {
    let mut faults = 0;
    for message in messages {
        faults += u64::from(message[0] != *expected);
        *expected += 1;
    }
    faults
}

fn tap(mut tap: Tap<Packet>) -> anyhow::Result<()> {
    let mut state = State::default();
    state.print()?;
    let mut tick = Instant::now();
    let mut messages = [Packet::default(); BATCH];
    let mut last = None;
    loop {
        match tap.try_recv_into(&mut messages) {
            Ok(received) => {
                for message in &messages[..received] {
                    // The sequence has grown, and the message is whole: each word follows from the
                    // first.
                    let whole = message.iter().zip(message[0]..).all(|(word, due)| *word == due);
                    state.faults +=
                        u64::from(!whole || last.is_some_and(|last| message[0] <= last));
                    last = Some(message[0]);
                }
                state.add(&messages[..received]);
            }
            Err(TryRecvError::Empty) => thread::sleep(Duration::from_micros(100)),
            Err(TryRecvError::End(_)) => break,
        }
        (state.lost, state.lag) = (tap.lost(), tap.lag());
        if tick.elapsed() >= TICK {
            state.print()?;
            tick = Instant::now();
        }
    }
    state.ended = true;
    state.print()
}
