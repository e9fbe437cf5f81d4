//! shaq: queues in shared memory, or on the heap for the threads of one process. One kind has one
//! producer and one consumer, and the other kind many of both. Messages are written and read in
//! place.
//!
//! This is version 3.0, which has no broadcast: 4.x and 5.x build only with a nightly compiler
//! (`isolate_most_least_significant_one`).
//!
//! Consumers that share a queue give messages back in order. They spin, without yielding, until the
//! consumers before them have done so. With more consumers than cores, some runs do not end in
//! time; the row then says so.

use std::fs::{File, OpenOptions};
use std::path::Path;

use anyhow::Context;
use shaq::{mpmc, spsc};
use yardstick::payload::{Payload, Tally};

use super::{BATCH, CAPACITY, Contender, Style};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Go, Place};
use crate::idle::Idle;
use crate::load::Job;
use crate::question::Question;

const NAME: &str = "shaq 3.0";

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let build: fn(&Job, Use) -> anyhow::Result<Crew> = match question {
        Question::FanOut(1) => single,
        Question::Sharing(_) => shared,
        _ => return vec![],
    };
    let (Question::FanOut(consumers) | Question::Sharing(consumers)) = question else {
        return vec![];
    };
    let kind = if question == Question::FanOut(1) { "spsc" } else { "mpmc" };
    let mut rows = vec![];
    for batch in [BATCH, 1] {
        for (place, memory) in [(Place::Threads, "heap"), (Place::Processes, "file")] {
            let how = if batch > 1 { "batches of 64" } else { "one at a time" };
            let mode = format!("{kind}, {memory}, {how}");
            let way = Use { place, consumers, batch };
            let build = move |job: &Job| build(job, way);
            let row = Contender::rival(question, (NAME, mode), (place, consumers + 1), build);
            rows.push(row.style(Style::of(batch)));
        }
    }
    rows
}

#[derive(Clone, Copy)]
struct Use {
    place: Place,
    consumers: usize,
    batch: usize,
}

impl Use {
    fn idle(self) -> Idle {
        Idle::new(self.consumers + 1)
    }
}

/// Makes the file of a queue, for the side that creates the queue in it.
fn new(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    options.open(path).with_context(|| format!("making {}", path.display()))
}

/// Opens the file, for a side that joins.
fn there(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true);
    options.open(path).with_context(|| format!("opening {}", path.display()))
}

fn single(job: &Job, way: Use) -> anyhow::Result<Crew> {
    let messages = job.messages;
    let send = move |producer| -> Go {
        Box::new(move || Ok(Done::sent(single_send((producer, messages, way)))))
    };
    let receive = move |consumer| -> Go {
        Box::new(move || Ok(Done::received(single_receive((consumer, messages, way)))))
    };
    let crew = Crew::new(Delivery::Each);
    if way.place == Place::Threads {
        let (producer, consumer) = spsc::pair::<Packet>(CAPACITY)?;
        return Ok(crew.side(move || Ok(send(producer))).side(move || Ok(receive(consumer))));
    }
    let path = job.folder.join("queue");
    let file = path.clone();
    let crew = crew.side(move || {
        let size = spsc::minimum_file_size::<Packet>(CAPACITY);
        // SAFETY: the file is new, this is its only producer, and packets are plain words.
        let producer = unsafe { spsc::Producer::<Packet>::create(&new(&file)?, size) }?;
        Ok(send(producer))
    });
    Ok(crew.side(move || {
        // SAFETY: this is the file's only consumer, and it was made for packets.
        let consumer = unsafe { spsc::Consumer::<Packet>::join(&there(&path)?) }?;
        Ok(receive(consumer))
    }))
}

#[inline(always)]
fn single_send((mut producer, messages, way): (spsc::Producer<Packet>, u64, Use)) -> Tally {
    let (mut tally, idle) = (Tally::default(), way.idle());
    while tally.count < messages {
        let most = (messages - tally.count).min(way.batch as u64);
        let (first, mut sum) = (tally.count, 0u64);
        let mut next = first;
        while next < first + most {
            // SAFETY: the place is written before it is committed.
            if let Some(mut place) = unsafe { producer.reserve() } {
                // SAFETY: the place belongs to the producer until it is committed, and any bytes
                // are a valid packet.
                let place = unsafe { place.as_mut() };
                sum = sum.wrapping_add(place.fill(next));
                next += 1;
                continue;
            }
            producer.sync();
            if next > first {
                break;
            }
            idle.wait();
        }
        producer.commit();
        idle.reset();
        tally.add(next - first, sum);
    }
    tally
}

#[inline(always)]
fn single_receive((mut consumer, messages, way): (spsc::Consumer<Packet>, u64, Use)) -> Tally {
    let (mut tally, idle) = (Tally::default(), way.idle());
    while tally.count < messages {
        let (mut count, mut sum) = (0, 0u64);
        while count < way.batch as u64 {
            let Some(message) = consumer.try_read() else { break };
            sum = sum.wrapping_add(message.sum());
            count += 1;
        }
        if count == 0 {
            consumer.sync();
            if consumer.is_empty() {
                idle.wait();
            }
            continue;
        }
        consumer.finalize();
        idle.reset();
        tally.add(count, sum);
    }
    tally
}

/// The message after the last message. A consumer that gets it passes it on, and ends.
const END: Packet = [u64::MAX; 8];

fn shared(job: &Job, way: Use) -> anyhow::Result<Crew> {
    let messages = job.messages;
    let send = move |producer| -> Go {
        Box::new(move || Ok(Done::sent(shared_send((producer, messages, way)))))
    };
    let receive = move |consumer| -> Go {
        Box::new(move || Ok(Done::received(shared_receive((consumer, way)))))
    };
    let crew = Crew::new(Delivery::Together);
    if way.place == Place::Threads {
        let (producer, consumer) = mpmc::pair::<Packet>(CAPACITY)?;
        let crew = crew.side(move || Ok(send(producer)));
        return Ok((0..way.consumers).fold(crew, |crew, _| {
            let consumer = consumer.clone();
            crew.side(move || Ok(receive(consumer)))
        }));
    }
    let path = job.folder.join("queue");
    let file = path.clone();
    let crew = crew.side(move || {
        let size = mpmc::minimum_file_size::<Packet>(CAPACITY);
        // SAFETY: the file is new, and packets are plain words.
        let producer = unsafe { mpmc::Producer::<Packet>::create(&new(&file)?, size) }?;
        Ok(send(producer))
    });
    Ok((0..way.consumers).fold(crew, |crew, _| {
        let path = path.clone();
        crew.side(move || {
            // SAFETY: the file was made for packets.
            let consumer = unsafe { mpmc::Consumer::<Packet>::join(&there(&path)?) }?;
            Ok(receive(consumer))
        })
    }))
}

#[inline(always)]
fn shared_send((producer, messages, way): (mpmc::Producer<Packet>, u64, Use)) -> Tally {
    let (mut tally, idle) = (Tally::default(), way.idle());
    while tally.count < messages {
        let count = (messages - tally.count).min(way.batch as u64) as usize;
        // SAFETY: all places are written before they are given away.
        let Some(mut places) = (unsafe { producer.reserve_write_batch(count) }) else {
            idle.wait();
            continue;
        };
        let mut sum = 0u64;
        for i in 0..count {
            // SAFETY: `i` is within the batch, and any bytes are a valid packet.
            let place = unsafe { places.as_mut(i) };
            sum = sum.wrapping_add(place.fill(tally.count + i as u64));
        }
        drop(places);
        idle.reset();
        tally.add(count as u64, sum);
    }
    hand_on(&producer, &idle);
    tally
}

fn hand_on(producer: &mpmc::Producer<Packet>, idle: &Idle) {
    while producer.try_write(END).is_err() {
        idle.wait();
    }
}

#[inline(always)]
fn shared_receive((consumer, way): (mpmc::Consumer<Packet>, Use)) -> Tally {
    let (mut tally, idle) = (Tally::default(), way.idle());
    loop {
        let Some(messages) = consumer.reserve_read_batch(way.batch) else {
            idle.wait();
            continue;
        };
        idle.reset();
        let mut ended = false;
        for i in 0..messages.len() {
            // SAFETY: `i` is within the batch, and its messages were written whole.
            let message = unsafe { messages.as_ref(i) };
            if message[0] == END[0] {
                ended = true;
            } else {
                tally.add(1, message.sum());
            }
        }
        drop(messages);
        if ended {
            hand_on(&consumer.join_as_producer(), &idle);
            return tally;
        }
    }
}
