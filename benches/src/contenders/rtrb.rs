//! rtrb: a ring for one producer and one consumer, threads of one process.

use std::mem::MaybeUninit;

use rtrb::{Consumer, Producer, RingBuffer};
use yardstick::payload::{Payload, Tally, fill, sum};

use super::{BATCH, CAPACITY, Contender, Style};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Place};
use crate::idle::Idle;
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let row = |mode, run: fn(u64) -> Crew| {
        let sides = (Place::Threads, 2);
        Contender::rival(question, ("rtrb 0.4", mode), sides, move |job| Ok(run(job.messages)))
    };
    match question {
        Question::FanOut(1) => {
            vec![row("uninit chunks of 64", chunks).style(Style::Batches), row("push/pop", singles)]
        }
        _ => vec![],
    }
}

fn chunks(messages: u64) -> Crew {
    let (producer, consumer) = RingBuffer::<Packet>::new(CAPACITY);
    Crew::new(Delivery::Each)
        .ready(move || Ok(Done::sent(send_chunks((producer, messages)))))
        .ready(move || Ok(Done::received(receive_chunks(consumer))))
}

#[inline(always)]
fn send_chunks((mut producer, messages): (Producer<Packet>, u64)) -> Tally {
    let (mut tally, idle) = (Tally::default(), Idle::new(2));
    while tally.count < messages {
        let n = (messages - tally.count).min(BATCH as u64);
        let Ok(mut chunk) = producer.write_chunk_uninit(n as usize) else {
            idle.wait();
            continue;
        };
        let (head, tail) = chunk.as_mut_slices();
        let behind = tally.count + head.len() as u64;
        let sum = fill(places(head), tally.count).wrapping_add(fill(places(tail), behind));
        // SAFETY: `fill` has written every word of both parts.
        unsafe { chunk.commit_all() };
        tally.add(n, sum);
    }
    tally
}

/// The ring's places as messages. `fill` writes them and never reads them.
fn places(uninitialised: &mut [MaybeUninit<Packet>]) -> &mut [Packet] {
    let places = std::ptr::from_mut(uninitialised) as *mut [Packet];
    // SAFETY: the same places with the same layout, which are written before they are read.
    unsafe { &mut *places }
}

/// Takes the messages that it knows of before it looks for more, up to a batch at a time.
#[inline(always)]
fn receive_chunks(mut consumer: Consumer<Packet>) -> Tally {
    let (mut tally, idle) = (Tally::default(), Idle::new(2));
    loop {
        let known = match consumer.cached_slots() {
            0 => consumer.slots(),
            known => known,
        };
        if known == 0 {
            if consumer.is_abandoned() && consumer.is_empty() {
                return tally;
            }
            idle.wait();
            continue;
        }
        let n = known.min(BATCH);
        let Ok(chunk) = consumer.read_chunk(n) else { continue };
        let (head, tail) = chunk.as_slices();
        let sum = sum(head).wrapping_add(sum(tail));
        chunk.commit_all();
        tally.add(n as u64, sum);
    }
}

fn singles(messages: u64) -> Crew {
    let (producer, consumer) = RingBuffer::<Packet>::new(CAPACITY);
    Crew::new(Delivery::Each)
        .ready(move || Ok(Done::sent(push((producer, messages)))))
        .ready(move || Ok(Done::received(pop(consumer))))
}

#[inline(always)]
fn push((mut producer, messages): (Producer<Packet>, u64)) -> Tally {
    let (mut tally, idle) = (Tally::default(), Idle::new(2));
    for sequence in 0..messages {
        let mut message = Packet::ZERO;
        let sum = message.fill(sequence);
        while producer.push(message).is_err() {
            idle.wait();
        }
        tally.add(1, sum);
    }
    tally
}

#[inline(always)]
fn pop(mut consumer: Consumer<Packet>) -> Tally {
    let (mut tally, idle) = (Tally::default(), Idle::new(2));
    loop {
        match consumer.pop() {
            Ok(message) => tally.add(1, message.sum()),
            Err(_) if consumer.is_abandoned() && consumer.is_empty() => return tally,
            Err(_) => idle.wait(),
        }
    }
}
