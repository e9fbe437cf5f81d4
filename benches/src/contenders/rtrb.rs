//! rtrb: a ring for one producer and one consumer, threads of one process.

use std::time::Duration;

use common::payload::{Payload, Tally, fill, sum};
use rtrb::RingBuffer;

use super::{BATCH, BATCHES, CAPACITY, Contender, SINGLES};
use crate::Packet;
use crate::race::{Delivery, race};

pub(super) fn rows() -> Vec<Contender> {
    let name = "rtrb 0.4";
    vec![
        Contender { task: BATCHES, name, mode: "chunks, threads", sides: 2, run: chunks },
        Contender { task: SINGLES, name, mode: "push/pop, threads", sides: 2, run: singles },
    ]
}

fn chunks(messages: u64) -> anyhow::Result<Duration> {
    let (mut producer, mut consumer) = RingBuffer::<Packet>::new(CAPACITY);
    let send = move || {
        let mut tally = Tally::default();
        while tally.count < messages {
            let n = (messages - tally.count).min(BATCH as u64);
            let Ok(mut chunk) = producer.write_chunk(n as usize) else {
                std::hint::spin_loop();
                continue;
            };
            let (head, tail) = chunk.as_mut_slices();
            let behind = tally.count + head.len() as u64;
            let sum = fill(head, tally.count).wrapping_add(fill(tail, behind));
            chunk.commit_all();
            tally.add(n, sum);
        }
        Ok(tally)
    };
    let receive = move || {
        let mut tally = Tally::default();
        while tally.count < messages {
            let n = consumer.slots().min(BATCH);
            if n == 0 {
                std::hint::spin_loop();
                continue;
            }
            let chunk = consumer.read_chunk(n)?;
            let (head, tail) = chunk.as_slices();
            let sum = sum(head).wrapping_add(sum(tail));
            chunk.commit_all();
            tally.add(n as u64, sum);
        }
        Ok(tally)
    };
    race(messages, Delivery::Each, Box::new(send), vec![Box::new(receive)])
}

fn singles(messages: u64) -> anyhow::Result<Duration> {
    let (mut producer, mut consumer) = RingBuffer::<Packet>::new(CAPACITY);
    let send = move || {
        let mut tally = Tally::default();
        for sequence in 0..messages {
            let mut message = Packet::ZERO;
            let sum = message.fill(sequence);
            while producer.push(message).is_err() {
                std::hint::spin_loop();
            }
            tally.add(1, sum);
        }
        Ok(tally)
    };
    let receive = move || {
        let mut tally = Tally::default();
        while tally.count < messages {
            match consumer.pop() {
                Ok(message) => tally.add(1, message.sum()),
                Err(_) => std::hint::spin_loop(),
            }
        }
        Ok(tally)
    };
    race(messages, Delivery::Each, Box::new(send), vec![Box::new(receive)])
}
