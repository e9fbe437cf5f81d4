//! This project's rings, between threads that map them each for itself, or between processes.

use std::sync::Arc;

use anyhow::Context;
use fanout::ends::{self as ring, Cursor, Receiver};
use fanout::records::ends;
use fanout::{Adaptive, Heap, JoinOptions, Memory, Sleep, Spin, Start, Wait, Yield};
use yardstick::payload::{Message, Payload, Tally, fill, sum};

use super::{BATCH, CAPACITY, Contender, ROOM, Standing, Style};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done, Go, Moved, Place};
use crate::line::{Receiving, Sending, one_way, request};
use crate::load::{Job, Sink, Source};
use crate::question::{Question, Size};

const RING: &str = "fanout ring";
const RECORDS: &str = "fanout records";

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let rows = match question {
        Question::Request { bytes, place } => requests(question, bytes, place),
        Question::OneWay(size) => streams(question, size),
        Question::FanOut(consumers) => broadcasts(question, consumers),
        Question::Sharing(consumers) => groups(question, consumers),
        Question::ManyToOne(_) | Question::Queues(_) | Question::Task { .. } => vec![],
    };
    rows.into_iter().map(|row| row.standing(Standing::Fanout)).collect()
}

/// Both kinds of ring, waiting in three ways.
fn requests(question: Question, bytes: usize, place: Place) -> Vec<Contender> {
    let mut rows = Vec::new();
    let mut row = |name, mode: &'static str, build: fn(&Job) -> Crew| {
        let build = move |job: &Job| Ok(build(job));
        rows.push(Contender::rival(question, (name, mode), (place, 2), build));
    };
    if bytes <= 24 {
        row(RING, "spin", slots::<3, Spin>);
        row(RING, "adaptive", slots::<3, Adaptive>);
        row(RING, "sleep", slots::<3, Sleep>);
    } else {
        row(RING, "spin", slots::<8, Spin>);
        row(RING, "adaptive", slots::<8, Adaptive>);
        row(RING, "sleep", slots::<8, Sleep>);
    }
    row(RECORDS, "spin", records::<Spin>);
    row(RECORDS, "adaptive", records::<Adaptive>);
    row(RECORDS, "sleep", records::<Sleep>);
    rows
}

fn streams(question: Question, size: Size) -> Vec<Contender> {
    let mut rows = Vec::new();
    let mut row = |name, mode: &'static str, style, build: fn(&Job) -> Crew| {
        let build = move |job: &Job| Ok(build(job));
        let row = Contender::rival(question, (name, mode), (Place::Processes, 2), build);
        rows.push(row.style(style));
    };
    row(RECORDS, "reserve", Style::Singly, |job| stream::<Adaptive>(job, 0));
    row(RECORDS, "reserve, spin", Style::Singly, |job| stream::<Spin>(job, 0));
    if size.most() <= 1024 {
        row(RECORDS, "batches of 4 KiB", Style::Batches, |job| stream::<Adaptive>(job, 4096));
    } else if matches!(size, Size::UpTo(_)) {
        row(RECORDS, "batches of 64 KiB", Style::Batches, |job| stream::<Adaptive>(job, 1 << 16));
    }
    match size {
        Size::Fixed(8) => row(RING, "send", Style::Singly, words::<1>),
        Size::Fixed(64) => row(RING, "send", Style::Singly, words::<8>),
        _ => {}
    }
    rows
}

/// One side of a conversation over two rings, of which each side makes one. The other's is joined when
/// both are set up.
pub(super) struct Ends<O, B> {
    pub(super) out: O,
    pub(super) join: Box<dyn FnMut() -> anyhow::Result<B>>,
    pub(super) back: Option<B>,
    pub(super) len: usize,
}

impl<O, B> Ends<O, B> {
    pub(super) fn join(&mut self) -> anyhow::Result<()> {
        self.back = Some((self.join)()?);
        Ok(())
    }

    #[inline(always)]
    pub(super) fn back(&mut self) -> anyhow::Result<&mut B> {
        self.back.as_mut().context("the other side's ring has not been joined")
    }
}

/// The names of both rings.
pub(super) fn names(job: &Job) -> [String; 2] {
    ["a", "b"].map(|end| format!("{}.{end}", job.name))
}

pub(super) type Slots<const WORDS: usize, W> =
    Ends<ring::Producer<Message<WORDS>, W>, ring::Consumer<Message<WORDS>, W>>;

fn slots<const WORDS: usize, W: Wait + Send + 'static>(job: &Job) -> Crew {
    let len = job.most();
    let side = move |ours: String, theirs: String| {
        move || {
            let out = ring::Producer::<_, W>::create(&*ours, CAPACITY as u64)?;
            let join = Box::new(move || Ok(ring::Consumer::<_, W>::join(&*theirs, Start::Oldest)?));
            Ok(Slots::<WORDS, W> { out, join, back: None, len })
        }
    };
    let [a, b] = names(job);
    request(job, side(a.clone(), b.clone()), side(b, a))
}

impl<const WORDS: usize, W: Wait> Sending for Slots<WORDS, W> {
    #[inline(always)]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let mut message = Message::<WORDS>::ZERO;
        source.write(&mut bytemuck::bytes_of_mut(&mut message)[..self.len]);
        self.out.send(message)?;
        Ok(())
    }
}

impl<const WORDS: usize, W: Wait> Receiving for Slots<WORDS, W> {
    fn meet(&mut self) -> anyhow::Result<()> {
        self.join()
    }

    #[inline(always)]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        let len = self.len;
        sink.read(&bytemuck::bytes_of(&self.back()?.recv()?)[..len]);
        Ok(())
    }
}

type Frames<W> = Ends<ends::Writer<W>, ends::Reader<W>>;

fn records<W: Wait + Send + 'static>(job: &Job) -> Crew {
    let len = job.most();
    let side = move |ours: String, theirs: String| {
        move || {
            let out = ends::Writer::<W>::create(&*ours, ROOM as u64)?;
            let join = Box::new(move || Ok(ends::Reader::<W>::join(&*theirs, Start::Oldest)?));
            Ok(Frames::<W> { out, join, back: None, len })
        }
    };
    let [a, b] = names(job);
    request(job, side(a.clone(), b.clone()), side(b, a))
}

impl<W: Wait> Sending for Frames<W> {
    #[inline(always)]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        write_in_place(&mut self.out, source)
    }
}

impl<W: Wait> Receiving for Frames<W> {
    fn meet(&mut self) -> anyhow::Result<()> {
        self.join()
    }

    #[inline(always)]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        sink.read(&self.back()?.recv()?);
        Ok(())
    }
}

/// Writes the next message in place.
#[inline(always)]
fn write_in_place<W: Wait>(
    writer: &mut ends::Writer<W>,
    source: &mut Source,
) -> anyhow::Result<()> {
    let len = source.next_len();
    let mut place = writer.reserve(len)?;
    source.write(&mut place);
    place.publish(len);
    Ok(())
}

/// Messages of any size, each published by itself, or so many bytes of ring together.
struct Stream<W: Wait> {
    writer: ends::Writer<W>,
    batch: usize,
}

impl<W: Wait> Sending for Stream<W> {
    #[inline(always)]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        if self.batch == 0 {
            return write_in_place(&mut self.writer, source);
        }
        let mut batch = self.writer.batch(self.batch)?;
        while source.left() > 0 && batch.room() >= Some(source.next_len()) {
            let len = source.next_len();
            batch.push_with(len, |place| {
                source.write(place);
                len
            })?;
        }
        batch.publish();
        Ok(())
    }
}

impl<W: Wait> Receiving for ends::Reader<W> {
    #[inline(always)]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        // Given back in quarters of the ring, as the hand-over does it.
        self.recv_batch(ROOM / 4)?.iter().for_each(|message| sink.read(message));
        Ok(())
    }
}

fn stream<W: Wait + Send + 'static>(job: &Job, batch: usize) -> Crew {
    let name = job.name.clone();
    let writer = move || {
        let writer = ends::Writer::<W>::create(&*name, ROOM as u64)?;
        Ok(Stream { writer, batch })
    };
    let name = job.name.clone();
    let reader = move || Ok(ends::Reader::<W>::join(&*name, Start::Oldest)?);
    one_way(job, writer, vec![reader])
}

/// Rings of messages of one size: to all, or to the members of a group.
fn broadcasts(question: Question, consumers: usize) -> Vec<Contender> {
    let mut rows = Vec::new();
    for batch in [BATCH, 1] {
        for place in [Place::Threads, Place::Processes] {
            let build = move |job: &Job| Ok(broadcast::<8, Adaptive>(job, consumers, batch));
            rows.push(ring_row(question, "", (place, consumers), batch, build));
            let build = move |job: &Job| Ok(broadcast::<8, Yield>(job, consumers, batch));
            rows.push(ring_row(question, "yield, ", (place, consumers), batch, build));
        }
        if consumers == 1 {
            let build = move |job: &Job| heap(job, batch);
            rows.push(ring_row(question, "heap, ", (Place::Threads, 1), batch, build));
        }
    }
    rows
}

fn groups(question: Question, consumers: usize) -> Vec<Contender> {
    let mut rows = Vec::new();
    for batch in [BATCH, 1] {
        for place in [Place::Threads, Place::Processes] {
            let build = move |job: &Job| Ok(group(job, consumers, batch));
            rows.push(ring_row(question, "group, ", (place, consumers), batch, build));
        }
    }
    rows
}

fn ring_row(
    question: Question,
    mode: &str,
    (place, consumers): (Place, usize),
    batch: usize,
    build: impl Fn(&Job) -> anyhow::Result<Crew> + 'static,
) -> Contender {
    let how = if batch > 1 { "batches of 64" } else { "one at a time" };
    let row =
        Contender::rival(question, (RING, format!("{mode}{how}")), (place, consumers + 1), build);
    row.style(Style::of(batch))
}

fn words<const WORDS: usize>(job: &Job) -> Crew {
    broadcast::<WORDS, Adaptive>(job, 1, 1)
}

fn broadcast<const WORDS: usize, W: Wait + 'static>(
    job: &Job,
    consumers: usize,
    batch: usize,
) -> Crew {
    let crew = producing::<WORDS, W>(job, Delivery::Each, batch);
    (0..consumers).fold(crew, |crew, _| {
        let name = job.name.clone();
        crew.side(move || {
            let consumer = ring::Consumer::<Message<WORDS>, W>::join(&*name, Start::Oldest)?;
            Ok(receiving(consumer, batch))
        })
    })
}

fn group(job: &Job, members: usize, batch: usize) -> Crew {
    let crew = producing::<8, Adaptive>(job, Delivery::Together, batch);
    (0..members).fold(crew, |crew, _| {
        let name = job.name.clone();
        crew.side(move || {
            let member = ring::Member::<Packet, Adaptive>::join(&*name, "g", Start::Oldest)?;
            Ok(receiving(member, batch))
        })
    })
}

fn heap(job: &Job, batch: usize) -> anyhow::Result<Crew> {
    let memory: Arc<dyn Memory> = Heap::<Packet>::new(CAPACITY as u64, 0)?;
    let (ours, messages) = (Arc::clone(&memory), job.messages);
    let crew = Crew::new(Delivery::Each).side(move || {
        // SAFETY: the memory was just made for packets, and this is its only producer.
        let producer = unsafe { ring::Producer::<Packet, Adaptive>::from_memory(ours) };
        Ok(sending(producer, messages, batch))
    });
    Ok(crew.side(move || {
        let options = JoinOptions::new();
        // SAFETY: the memory was made for packets.
        let consumer = unsafe {
            ring::Consumer::<Packet, Adaptive>::from_memory(memory, Start::Oldest, &options)
        }?;
        Ok(receiving(consumer, batch))
    }))
}

fn producing<const WORDS: usize, W: Wait + 'static>(
    job: &Job,
    delivery: Delivery,
    batch: usize,
) -> Crew {
    let (name, messages) = (job.name.clone(), job.messages);
    Crew::new(delivery).side(move || {
        let room = CAPACITY as u64;
        let producer = ring::Producer::<Message<WORDS>, W>::create(&*name, room)?;
        Ok(sending(producer, messages, batch))
    })
}

fn sending<const WORDS: usize, W: Wait + 'static>(
    mut producer: ring::Producer<Message<WORDS>, W>,
    messages: u64,
    batch: usize,
) -> Go {
    Box::new(move || Ok(Done::sent(moved::<WORDS>(send((&mut producer, messages, batch))?))))
}

#[inline(never)]
fn send<P: Payload + bytemuck::Pod, W: Wait>(
    (producer, messages, batch): (&mut ring::Producer<P, W>, u64, usize),
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    if batch == 1 {
        for sequence in 0..messages {
            let mut message = P::ZERO;
            let sum = message.fill(sequence);
            producer.send(message)?;
            tally.add(1, sum);
        }
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
    // This ends the consumers.
    producer.close();
    Ok(tally)
}

fn receiving<const WORDS: usize, K: Cursor + 'static, W: Wait + 'static>(
    mut receiver: Receiver<Message<WORDS>, K, W>,
    batch: usize,
) -> Go {
    Box::new(move || Ok(Done::received(moved::<WORDS>(receive((&mut receiver, batch))))))
}

#[inline(never)]
fn receive<P: Payload + bytemuck::Pod, K: Cursor, W: Wait>(
    (receiver, batch): (&mut Receiver<P, K, W>, usize),
) -> Tally {
    let mut tally = Tally::default();
    if batch == 1 {
        while let Ok(message) = receiver.recv() {
            tally.add(1, message.sum());
        }
    }
    while let Ok(messages) = receiver.recv_batch(batch) {
        let (head, tail) = messages.slices();
        let sum = sum(head).wrapping_add(sum(tail));
        let count = messages.len() as u64;
        drop(messages);
        tally.add(count, sum);
    }
    tally
}

fn moved<const WORDS: usize>(Tally { count, sum }: Tally) -> Moved {
    Moved { count, bytes: count * size_of::<Message<WORDS>>() as u64, sum }
}
