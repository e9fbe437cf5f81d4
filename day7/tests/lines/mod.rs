//! Rings of every kind, as a selector's tests see them.

use std::any::Any;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use day3::outlook::Outlook;

use day3::wait::Wait;
use day3::{
    Consumer, Evictable, Heap, JoinOptions, Member, Policy, Producer, QueueOptions, Start,
    TryRecvError,
};

use day4::{Local, Member as RecordMember, Reader, Writer};

use day4::rendezvous::serve;
use day7::ready::Posting;
use testing::{Folder, Unique};

use crate::local::local;

/// What a turn has brought: messages, and whether the end was reached.
pub(crate) type Brought = (Vec<u64>, bool);

/// A ring with its consumer, and what sends so many messages into it and ends.
pub(crate) struct Line {
    pub(crate) outlook: Outlook,
    pub(crate) pull: Box<dyn FnMut(u64) -> Brought>,
    pub(crate) send: Option<Box<dyn FnOnce(Posting, u64) + Send>>,
    /// What has to stay while it is used: its name, or who lets consumers in.
    _keep: Box<dyn Any>,
}

impl Line {
    /// Sends `count` messages, the numbers from 0 on, in a thread of its own.
    pub(crate) fn start(&mut self, posting: Posting, count: u64) -> JoinHandle<()> {
        let send = self.send.take().expect("it is started once");
        thread::spawn(move || send(posting, count))
    }
}

/// The kinds of rings.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Messages,
    Records,
    Group,
    RecordGroup,
    Heap,
    Local,
    Evictable,
    Guest,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Messages,
        Self::Records,
        Self::Group,
        Self::RecordGroup,
        Self::Heap,
        Self::Local,
        Self::Evictable,
        Self::Guest,
    ];

    /// A ring of this kind, as small as they go.
    pub(crate) fn line(self) -> Line {
        let name = || Unique::new("turns");
        match self {
            Self::Messages => {
                let name = name();
                let producer = Producer::create(name.bare(), 1).unwrap();
                let consumer = Consumer::<u64>::join(name.bare(), Start::Oldest).unwrap();
                messages(Some(name), producer, consumer)
            }
            Self::Group => {
                let name = name();
                let producer = Producer::create(name.bare(), 2).unwrap();
                let member = Member::<u64>::join(name.bare(), "all", Start::Oldest).unwrap();
                messages(Some(name), producer, member)
            }
            Self::Heap => {
                let memory = Heap::<u64>::new(1, 0).unwrap();
                // SAFETY: made for this type, and the producer is the only one.
                let producer = unsafe { Producer::from_memory(memory.clone()) };
                let options = JoinOptions::new();
                // SAFETY: made for this type.
                let consumer = unsafe { Consumer::from_memory(memory, Start::Oldest, &options) };
                messages(None, producer, consumer.unwrap())
            }
            Self::Records => {
                let name = name();
                let writer = Writer::create(name.bare(), 4096).unwrap();
                let reader = Reader::join(name.bare(), Start::Oldest).unwrap();
                records(Some(name), writer, reader)
            }
            Self::RecordGroup => {
                let name = name();
                let writer = Writer::create(name.bare(), 4096).unwrap();
                let member = RecordMember::join(name.bare(), "all", Start::Oldest).unwrap();
                records(Some(name), writer, member)
            }
            Self::Local => {
                let memory = Local::new(&QueueOptions::new(4096)).unwrap();
                let (writer, reader) = local(&memory);
                records(None, writer, reader)
            }
            Self::Evictable => evictable(name()),
            Self::Guest => guest(),
        }
    }
}

fn produce(producer: Producer<u64>, posting: Posting, count: u64) {
    let mut producer = producer.waiting(posting);
    (0..count).for_each(|number| producer.send(number).unwrap());
}

fn messages<K, W>(
    name: Option<Unique>,
    producer: Producer<u64>,
    mut consumer: day3::Receiver<u64, K, W>,
) -> Line
where
    K: day3::sequencer::Cursor + 'static,
    W: Wait + 'static,
{
    let outlook = consumer.outlook();
    let pull = move |bytes: u64| match consumer.try_recv_batch((bytes / 8).max(1) as usize) {
        Ok(batch) => ((&batch).into_iter().copied().collect(), false),
        Err(why) => (Vec::new(), has_ended(&why)),
    };
    let send = |posting, count| produce(producer, posting, count);
    Line { outlook, pull: Box::new(pull), send: Some(Box::new(send)), _keep: Box::new(name) }
}

fn records<K, W>(name: Option<Unique>, writer: Writer, mut reader: day4::Receiver<K, W>) -> Line
where
    K: day3::measured::Measured + 'static,
    W: Wait + 'static,
{
    let outlook = reader.outlook();
    let pull = move |bytes: u64| match reader.try_recv_batch(bytes as usize) {
        Ok(records) => (records.iter().map(number).collect(), false),
        Err(why) => (Vec::new(), has_ended(&why)),
    };
    let send = |posting, count: u64| {
        let mut writer = writer.waiting::<Posting>(posting);
        (0..count).for_each(|number| writer.send(&number.to_ne_bytes()).unwrap());
    };
    Line { outlook, pull: Box::new(pull), send: Some(Box::new(send)), _keep: Box::new(name) }
}

fn evictable(name: Unique) -> Line {
    let producer = Producer::create(name.bare(), 4).unwrap();
    let options = JoinOptions::new().policy(Policy::EvictAfter(Duration::from_secs(1000)));
    let mut consumer = Evictable::<u64>::join(name.bare(), Start::Oldest, &options).unwrap();
    let outlook = consumer.outlook();
    let pull = move |_| match consumer.try_recv() {
        Ok(number) => (vec![number], false),
        Err(why) => (Vec::new(), has_ended(&why)),
    };
    let send = |posting, count| produce(producer, posting, count);
    Line { outlook, pull: Box::new(pull), send: Some(Box::new(send)), _keep: Box::new(name) }
}

/// A reader that has its cursor and its doorbell in a page of its own.
fn guest() -> Line {
    let folder = Folder::new();
    let writer = Writer::private(&QueueOptions::new(4096)).unwrap();
    let path = folder.join("door");
    let serving = serve(&path, writer.offer()).unwrap();
    let reader = Reader::connect(&path, Start::Oldest).unwrap();
    Line { _keep: Box::new((serving, folder)), ..records(None, writer, reader) }
}

fn number(record: &[u8]) -> u64 {
    u64::from_ne_bytes(record.try_into().unwrap())
}

fn has_ended(why: &TryRecvError) -> bool {
    *why != TryRecvError::Empty
}
