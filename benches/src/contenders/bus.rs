//! bus: broadcast within one process, threads.
//!
//! Its own calls park the thread that has to wait, at most 0.1 ms at a time, and a thread of the bus
//! wakes it; with the `try_` calls we wait instead.

use std::sync::mpsc::TryRecvError;

use bus::{Bus, BusReader};
use common::payload::{Payload, Tally};

use super::{CAPACITY, Contender};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Place};
use crate::idle::Idle;
use crate::load::Job;
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::FanOut(consumers) = question else { return vec![] };
    let row = |mode, trying| {
        let build = move |job: &Job| Ok(broadcast(job.messages, consumers, trying));
        Contender::rival(question, ("bus 2.4", mode), (Place::Threads, consumers + 1), build)
    };
    vec![row("broadcast/recv", false), row("try_broadcast/try_recv", true)]
}

fn broadcast(messages: u64, consumers: usize, trying: bool) -> Crew {
    let mut bus = Bus::<Packet>::new(CAPACITY);
    let readers: Vec<_> = (0..consumers).map(|_| bus.add_rx()).collect();
    let idle = move || trying.then(|| Idle::new(consumers + 1));
    let crew = Crew::new(Delivery::Each)
        .ready(move || Ok(Done::sent(send((bus, messages, idle().as_ref())))));
    readers.into_iter().fold(crew, |crew, reader| {
        crew.ready(move || Ok(Done::received(receive((reader, idle().as_ref())))))
    })
}

/// The readers are told when the bus is dropped.
#[inline(always)]
fn send((mut bus, messages, idle): (Bus<Packet>, u64, Option<&Idle>)) -> Tally {
    let mut tally = Tally::default();
    for sequence in 0..messages {
        let mut message = Packet::ZERO;
        let sum = message.fill(sequence);
        if let Some(idle) = idle {
            while bus.try_broadcast(message).is_err() {
                idle.wait();
            }
            idle.reset();
        } else {
            bus.broadcast(message);
        }
        tally.add(1, sum);
    }
    tally
}

#[inline(always)]
fn receive((mut reader, idle): (BusReader<Packet>, Option<&Idle>)) -> Tally {
    let mut tally = Tally::default();
    let Some(idle) = idle else {
        while let Ok(message) = reader.recv() {
            tally.add(1, message.sum());
        }
        return tally;
    };
    loop {
        match reader.try_recv() {
            Ok(message) => {
                tally.add(1, message.sum());
                idle.reset();
            }
            Err(TryRecvError::Empty) => idle.wait(),
            Err(TryRecvError::Disconnected) => return tally,
        }
    }
}
