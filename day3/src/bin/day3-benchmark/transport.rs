//! The ring of this day, used as a program would use it.

use bytemuck::Pod;
use day3::ring::Producer;
use day3::sequencer::Cursor;
use day3::{Receiver, Wait};
use yardstick::payload::{Payload, Tally, fill, sum};

/// Sends `messages` messages, `batch` at a time.
#[inline(never)]
pub(crate) fn send<P: Payload + Pod, W: Wait>(
    producer: &mut Producer<P, W>,
    messages: u64,
    batch: usize,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    if batch == 1 {
        for sequence in 0..messages {
            let mut message = P::ZERO;
            let sum = message.fill(sequence);
            producer.send(message)?;
            tally.add(1, sum);
        }
        return Ok(tally);
    }
    while tally.count < messages {
        let n = (messages - tally.count).min(batch as u64);
        let mut places = producer.reserve(n as usize)?;
        let (head, tail) = places.slices();
        let behind = tally.count + head.len() as u64;
        let sum = fill(head, tally.count).wrapping_add(fill(tail, behind));
        places.publish();
        tally.add(n, sum);
    }
    Ok(tally)
}

/// Receives until the producer closes, up to `batch` at a time.
#[inline(never)]
pub(crate) fn receive<P: Payload + Pod, K: Cursor, W: Wait>(
    consumer: &mut Receiver<P, K, W>,
    batch: usize,
) -> Tally {
    let mut tally = Tally::default();
    if batch == 1 {
        while let Ok(message) = consumer.recv() {
            tally.add(1, message.sum());
        }
        return tally;
    }
    while let Ok(messages) = consumer.recv_batch(batch) {
        let (head, tail) = messages.slices();
        let sum = sum(head).wrapping_add(sum(tail));
        let count = messages.len() as u64;
        drop(messages);
        tally.add(count, sum);
    }
    tally
}
