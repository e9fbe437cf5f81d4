//! The ends of the queues that a bridge carries: a producer on the one host, a consumer on the other.

use std::time::Duration;

use anyhow::Context;
use common::QueueName;
use day3::{JoinOptions, QueueOptions, RecvError, Start, Unattended};
use day4::record_len;
use day4::{reader, writer};
use day5::Adaptive;

use crate::load::Load;
use crate::message::{Author, Checker};
use crate::part::{Usage, wait_for_go};

/// How many bytes the queues hold.
pub(crate) const CAPACITY: u64 = 16 << 20;
/// How long ends wait for a queue, and for one another.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How many bytes are sent, and received, together.
const BATCH: usize = 1 << 16;

/// Sends the load into a queue of its own.
pub(crate) fn send(load: &Load, queue: &str) -> anyhow::Result<Usage> {
    let name: QueueName = queue.parse()?;
    let options = QueueOptions::new(CAPACITY).when_nobody_listens(Unattended::Wait);
    let writer: writer::Writer = writer::Writer::create_with(name, &options)?;
    let mut writer = writer.waiting(Adaptive::default());
    let mut author = Author::new(load);
    // The bridge.
    writer.wait_for_consumers(1, TIMEOUT).context("no bridge carries the queue")?;
    let start = wait_for_go()?;
    let each = if load.rate.is_some() { 1 } else { (BATCH / record_len(load.size)).max(1) as u64 };
    while author.written() < load.messages {
        author.wait()?;
        let count = each.min(load.messages - author.written());
        let mut batch = writer.batch(count as usize * record_len(load.size))?;
        for _ in 0..count {
            let mut written = Ok(());
            batch.push_with(load.size, |place| {
                written = author.write(place);
                place.len()
            })?;
            written?;
        }
        batch.publish();
    }
    start.end(&author.tally)
}

/// Receives the load from the queue that the bridge makes.
pub(crate) fn receive(load: &Load, queue: &str) -> anyhow::Result<Usage> {
    let name: QueueName = queue.parse()?;
    let mut checker = Checker::new(load);
    let start = wait_for_go()?;
    let options = JoinOptions::new().wait_for_queue(TIMEOUT);
    let reader = reader::Reader::<day3::Yield>::join_with(name, Start::Oldest, &options)?;
    let mut reader = reader.waiting(Adaptive::default());
    while checker.lacks() {
        for message in reader.recv_batch(BATCH)?.iter() {
            checker.take(message)?;
        }
    }
    let usage = start.end_checked(checker)?;
    // The bridge closes the queue, too.
    let end = reader.recv().err();
    anyhow::ensure!(end == Some(RecvError::Closed), "the queue was not closed: {end:?}");
    Ok(usage)
}
