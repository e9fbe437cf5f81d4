//! bus: broadcast within one process, threads.
//!
//! Its own calls spin a little, then park the thread that has to wait, and a thread of the bus wakes it.
//! That was faster than `try_` calls, with any number of consumers.

use bus::{Bus, BusReader};
use common::payload::{Payload, Tally};

use super::{CAPACITY, Contender};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Place};
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::FanOut(consumers) = question else { return vec![] };
    let (name, mode, sides) = ("bus 2.4", "broadcast/recv", (Place::Threads, consumers + 1));
    let build = move |messages| Ok(broadcast(messages, consumers));
    vec![Contender::rival(question, (name, mode), sides, move |job| build(job.messages))]
}

fn broadcast(messages: u64, consumers: usize) -> Crew {
    let mut bus = Bus::<Packet>::new(CAPACITY);
    let readers: Vec<_> = (0..consumers).map(|_| bus.add_rx()).collect();
    let crew = Crew::new(Delivery::Each).ready(move || Ok(Done::sent(send((bus, messages)))));
    readers
        .into_iter()
        .fold(crew, |crew, reader| crew.ready(move || Ok(Done::received(receive(reader)))))
}

/// The readers are told when the bus is dropped.
#[inline(always)]
fn send((mut bus, messages): (Bus<Packet>, u64)) -> Tally {
    let mut tally = Tally::default();
    for sequence in 0..messages {
        let mut message = Packet::ZERO;
        let sum = message.fill(sequence);
        bus.broadcast(message);
        tally.add(1, sum);
    }
    tally
}

#[inline(always)]
fn receive(mut reader: BusReader<Packet>) -> Tally {
    let mut tally = Tally::default();
    while let Ok(message) = reader.recv() {
        tally.add(1, message.sum());
    }
    tally
}
