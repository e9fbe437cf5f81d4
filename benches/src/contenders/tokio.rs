//! tokio's broadcast channel: threads of one process. It drops messages that a slow consumer has
//! not read.
//!
//! The sender never waits. A consumer that has been overtaken is told how many messages it has lost.
//! Consumers either look again and again, which brings them the most messages, or await them, each in
//! a runtime of its own.

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, channel};
use yardstick::payload::{Payload, Tally};

use super::{CAPACITY, Contender};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Place};
use crate::idle::Idle;
use crate::line::push;
use crate::load::Job;
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::FanOut(consumers) = question else { return vec![] };
    let row = |mode: &str, receive: fn(Receiver<Packet>, usize) -> anyhow::Result<Done>| {
        let build = move |job: &Job| Ok(broadcast(job.messages, consumers, receive));
        let mode = format!("broadcast, lossy, {mode}");
        Contender::rival(question, ("tokio 1.54", mode), (Place::Threads, consumers + 1), build)
    };
    vec![
        row("try_recv", |receiver, sides| Ok(trying(receiver, sides))),
        row("recv().await", |receiver, _| awaiting(receiver)),
    ]
}

fn broadcast(
    messages: u64,
    consumers: usize,
    receive: fn(Receiver<Packet>, usize) -> anyhow::Result<Done>,
) -> Crew {
    let (sender, receiver) = channel::<Packet>(CAPACITY);
    let mut receivers = vec![receiver];
    receivers.resize_with(consumers, || sender.subscribe());
    let crew = Crew::new(Delivery::Each).ready(move || {
        let send = |message| {
            sender.send(message)?;
            Ok(())
        };
        Ok(Done::sent(push(messages, send)?))
    });
    receivers
        .into_iter()
        .fold(crew, |crew, receiver| crew.ready(move || receive(receiver, consumers + 1)))
}

fn trying(mut receiver: Receiver<Packet>, sides: usize) -> Done {
    let (mut tally, mut lost, idle) = (Tally::default(), 0, Idle::new(sides));
    loop {
        match receiver.try_recv() {
            Ok(message) => {
                tally.add(1, message.sum());
                idle.reset();
            }
            Err(TryRecvError::Lagged(missed)) => lost += missed,
            Err(TryRecvError::Empty) => idle.wait(),
            Err(TryRecvError::Closed) => return Done { lost, ..Done::received(tally) },
        }
    }
}

fn awaiting(mut receiver: Receiver<Packet>) -> anyhow::Result<Done> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(async move {
        let (mut tally, mut lost) = (Tally::default(), 0);
        loop {
            match receiver.recv().await {
                Ok(message) => tally.add(1, message.sum()),
                Err(RecvError::Lagged(missed)) => lost += missed,
                Err(RecvError::Closed) => return Done { lost, ..Done::received(tally) },
            }
        }
    }))
}
