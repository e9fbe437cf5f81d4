//! crossbeam-channel and kanal: channels that several consumers share; and the standard library's
//! channel, which has one consumer. All between threads of one process.
//!
//! Their own calls choose how to wait. With `try_` calls we choose. crossbeam-channel has a row for
//! each, because the number of consumers decides which of them is faster. kanal has only its own calls,
//! because its lock suffers from `try_` calls. A consumer of kanal can also take all that is there at
//! once.

use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::Context;
use crossbeam_channel::{TryRecvError, TrySendError};
use yardstick::payload::Tally;

use super::{CAPACITY, Contender, Style};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Place};
use crate::idle::Idle;
use crate::line::{pull, push};
use crate::load::Job;
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let (Question::FanOut(consumers @ 1) | Question::Sharing(consumers)) = question else {
        return vec![];
    };
    let row = |name, mode, build: fn(&Job, usize) -> Crew| {
        let build = move |job: &Job| Ok(build(job, consumers));
        Contender::rival(question, (name, mode), (Place::Threads, consumers + 1), build)
    };
    let (crossbeam, kanal) = ("crossbeam-channel 0.5", "kanal 0.1");
    let mut rows = vec![
        row(crossbeam, "bounded, send/recv", crossbeam_blocking),
        row(crossbeam, "bounded, try_send/try_recv", crossbeam_trying),
        row(kanal, "bounded, send/drain_into", kanal_draining).style(Style::Batches),
        row(kanal, "bounded, send/recv", kanal_blocking),
    ];
    if question == Question::FanOut(1) {
        rows.push(row("std mpsc", "sync_channel, send/recv", |job, _| standard(job)));
    }
    rows
}

fn crossbeam_blocking(job: &Job, consumers: usize) -> Crew {
    let (sender, receiver) = crossbeam_channel::bounded::<Packet>(CAPACITY);
    let send = move |messages| push(messages, |message| Ok(sender.send(message)?));
    let receivers = vec![receiver; consumers].into_iter();
    crew(job, send, receivers.map(|receiver| move || Ok(pull(|| receiver.recv().ok()))))
}

fn crossbeam_trying(job: &Job, consumers: usize) -> Crew {
    let (sender, receiver) = crossbeam_channel::bounded::<Packet>(CAPACITY);
    let send = move |messages| {
        let idle = Idle::new(consumers + 1);
        push(messages, |message| {
            while let Err(error) = sender.try_send(message) {
                if let TrySendError::Disconnected(_) = error {
                    return Err(error.into());
                }
                idle.wait();
            }
            idle.reset();
            Ok(())
        })
    };
    let receivers = vec![receiver; consumers].into_iter();
    let receive = move |receiver: crossbeam_channel::Receiver<Packet>| {
        let idle = Idle::new(consumers + 1);
        pull(|| {
            loop {
                match receiver.try_recv() {
                    Ok(message) => {
                        idle.reset();
                        return Some(message);
                    }
                    Err(TryRecvError::Empty) => idle.wait(),
                    Err(TryRecvError::Disconnected) => return None,
                }
            }
        })
    };
    crew(job, send, receivers.map(|receiver| move || Ok(receive(receiver))))
}

fn kanal_blocking(job: &Job, consumers: usize) -> Crew {
    let (sender, receiver) = kanal::bounded::<Packet>(CAPACITY);
    let send = move |messages| push(messages, |message| Ok(sender.send(message)?));
    let receivers = vec![receiver; consumers].into_iter();
    crew(job, send, receivers.map(|receiver| move || Ok(pull(|| receiver.recv().ok()))))
}

/// Takes all that is there, and waits for one message if there is nothing.
fn kanal_draining(job: &Job, consumers: usize) -> Crew {
    let (sender, receiver) = kanal::bounded::<Packet>(CAPACITY);
    let send = move |messages| push(messages, |message| Ok(sender.send(message)?));
    let receivers = vec![receiver; consumers].into_iter();
    let receive = |receiver: kanal::Receiver<Packet>| {
        let mut tally = Tally::default();
        let mut messages = Vec::with_capacity(CAPACITY);
        loop {
            if receiver.drain_into(&mut messages)? == 0 {
                match receiver.recv() {
                    Ok(message) => messages.push(message),
                    Err(_) => return Ok(tally),
                }
            }
            tally.add(messages.len() as u64, yardstick::payload::sum(&messages));
            messages.clear();
        }
    };
    crew(job, send, receivers.map(|receiver| move || receive(receiver)))
}

fn standard(job: &Job) -> Crew {
    let (sender, receiver) = sync_channel::<Packet>(CAPACITY);
    let send = move |messages| {
        let send = |sender: &SyncSender<Packet>, message| sender.send(message).context("closed");
        push(messages, |message| send(&sender, message))
    };
    crew(job, send, [move || Ok(pull(|| receiver.recv().ok()))].into_iter())
}

/// One side that sends, and drops its end when it has sent everything, and other sides that receive
/// until then.
fn crew<R: FnOnce() -> anyhow::Result<Tally> + Send + 'static>(
    job: &Job,
    send: impl FnOnce(u64) -> anyhow::Result<Tally> + Send + 'static,
    receivers: impl Iterator<Item = R>,
) -> Crew {
    let messages = job.messages;
    let crew = Crew::new(Delivery::Together).ready(move || Ok(Done::sent(send(messages)?)));
    receivers.fold(crew, |crew, receive| crew.ready(move || Ok(Done::received(receive()?))))
}
