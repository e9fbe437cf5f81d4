//! bus: broadcast within one process, threads.
//!
//! Its own calls spin a little, then park the waiting thread, and a thread of the bus wakes it. That was
//! faster than `try_` calls, with any number of consumers.

use bus::{Bus, BusReader};

use super::{CAPACITY, Contender};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Place};
use crate::line::{pull, push};
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
    // Dropping the bus tells the readers that it has ended.
    let crew = Crew::new(Delivery::Each).ready(move || {
        let send = |message| {
            bus.broadcast(message);
            Ok(())
        };
        Ok(Done::sent(push(messages, send)?))
    });
    readers.into_iter().fold(crew, |crew, mut reader: BusReader<Packet>| {
        crew.ready(move || Ok(Done::received(pull(|| reader.recv().ok()))))
    })
}
