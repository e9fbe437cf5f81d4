//! Queues that several threads of one process send to, and one receives from: crossbeam-channel, kanal,
//! flume, the standard library's channel, and crossbeam-queue's `ArrayQueue`.
//!
//! Each holds [`CAPACITY`] messages for each producer, as much as a ring for each producer does: with
//! less room, most are slower. kanal is sometimes faster with less, and has a row for that. As with one
//! producer, a channel's own calls choose how to wait; with `try_` calls we choose. A consumer of kanal
//! or flume can also take all that is there at once. No sender has batches.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use anyhow::{Context, bail};
use common::sync::{AtomicU64, Ordering};
use crossbeam_channel::{TryRecvError, TrySendError};
use crossbeam_queue::ArrayQueue;
use yardstick::payload::Tally;
use yardstick::report::grouped;

use super::{CAPACITY, Contender};
use crate::Packet;
use crate::crew::{Crew, Place};
use crate::idle::Idle;
use crate::load::Job;
use crate::many::{Ledger, Share, gather};
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::ManyToOne(producers) = question else { return vec![] };
    let row_of = |room, name, mode: &str, build: fn(&Job, usize, usize) -> Crew| {
        let build = move |job: &Job| Ok(build(job, producers, room));
        let mode = format!("{mode}, holds {}", grouped(room as u64));
        Contender::rival(question, (name, mode), (Place::Threads, producers + 1), build)
    };
    let room = CAPACITY * producers;
    let row = |name, mode, build| row_of(room, name, mode, build);
    let (crossbeam, kanal, flume) = ("crossbeam-channel 0.5", "kanal 0.1", "flume 0.12");
    let mut rows = vec![
        row(crossbeam, "bounded, send/recv", crossbeam_blocking),
        row(crossbeam, "bounded, try_send/try_recv", crossbeam_trying),
        row("crossbeam-queue 0.3", "ArrayQueue push/pop", array),
        row(kanal, "bounded, send/drain_into", kanal_draining),
        row(kanal, "bounded, send/recv", kanal_blocking),
        row(flume, "bounded, send/drain", flume_draining),
        row(flume, "bounded, send/recv", flume_blocking),
        row("std mpsc", "sync_channel, send/recv", standard),
    ];
    if producers > 1 {
        rows.push(row_of(CAPACITY, kanal, "bounded, send/drain_into", kanal_draining));
    }
    rows
}

/// Each producer has a copy of `sender`, and drops it when it has sent its share.
fn merge<T, S, R>(job: &Job, producers: usize, (sender, send): (T, S), receive: R) -> Crew
where
    T: Clone + Send + 'static,
    S: FnOnce(T, Share) -> anyhow::Result<Tally> + Clone + Send + 'static,
    R: FnOnce(&mut Ledger) -> anyhow::Result<()> + Send + 'static,
{
    let senders = vec![(sender, send); producers];
    let producer = |(sender, send): (T, S)| move || Ok(move |share| send(sender, share));
    gather(job, senders.into_iter().map(producer).collect(), move || Ok(receive))
}

/// Takes messages until there is none.
#[inline(always)]
fn pull(ledger: &mut Ledger, mut receive: impl FnMut() -> Option<Packet>) -> anyhow::Result<()> {
    while let Some(message) = receive() {
        ledger.take(&message);
    }
    Ok(())
}

fn crossbeam_blocking(job: &Job, producers: usize, room: usize) -> Crew {
    let (sender, receiver) = crossbeam_channel::bounded::<Packet>(room);
    let send = |sender: crossbeam_channel::Sender<_>, share: Share| {
        share.send(|message| Ok(sender.send(message)?))
    };
    merge(job, producers, (sender, send), move |ledger| pull(ledger, || receiver.recv().ok()))
}

fn crossbeam_trying(job: &Job, producers: usize, room: usize) -> Crew {
    let (sender, receiver) = crossbeam_channel::bounded::<Packet>(room);
    let send = move |sender: crossbeam_channel::Sender<_>, share: Share| {
        let idle = Idle::new(producers + 1);
        share.send(|message| {
            while let Err(error) = sender.try_send(message) {
                if let TrySendError::Disconnected(_) = error {
                    return Err(error.into());
                }
                idle.wait();
            }
            idle.reset();
            Ok(())
        })
    };
    merge(job, producers, (sender, send), move |ledger| {
        let idle = Idle::new(producers + 1);
        loop {
            match receiver.try_recv() {
                Ok(message) => {
                    ledger.take(&message);
                    idle.reset();
                }
                Err(TryRecvError::Empty) => idle.wait(),
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    })
}

fn kanal_blocking(job: &Job, producers: usize, room: usize) -> Crew {
    let (sender, receiver) = kanal::bounded::<Packet>(room);
    let send =
        |sender: kanal::Sender<_>, share: Share| share.send(|message| Ok(sender.send(message)?));
    merge(job, producers, (sender, send), move |ledger| pull(ledger, || receiver.recv().ok()))
}

/// Takes all that is there, and waits for one message if there is nothing.
fn kanal_draining(job: &Job, producers: usize, room: usize) -> Crew {
    let (sender, receiver) = kanal::bounded::<Packet>(room);
    let send =
        |sender: kanal::Sender<_>, share: Share| share.send(|message| Ok(sender.send(message)?));
    merge(job, producers, (sender, send), move |ledger| {
        let mut messages = Vec::with_capacity(room);
        // An error here says that all producers are gone, and that nothing is left.
        while let Ok(found) = receiver.drain_into(&mut messages) {
            if found == 0 {
                let Ok(message) = receiver.recv() else { break };
                messages.push(message);
            }
            messages.drain(..).for_each(|message| ledger.take(&message));
        }
        Ok(())
    })
}

fn flume_blocking(job: &Job, producers: usize, room: usize) -> Crew {
    let (sender, receiver) = flume::bounded::<Packet>(room);
    let send =
        |sender: flume::Sender<_>, share: Share| share.send(|message| Ok(sender.send(message)?));
    merge(job, producers, (sender, send), move |ledger| pull(ledger, || receiver.recv().ok()))
}

/// Waits for a message, and takes all that are there by then.
fn flume_draining(job: &Job, producers: usize, room: usize) -> Crew {
    let (sender, receiver) = flume::bounded::<Packet>(room);
    let send =
        |sender: flume::Sender<_>, share: Share| share.send(|message| Ok(sender.send(message)?));
    merge(job, producers, (sender, send), move |ledger| {
        while let Ok(message) = receiver.recv() {
            ledger.take(&message);
            receiver.drain().for_each(|message| ledger.take(&message));
        }
        Ok(())
    })
}

fn standard(job: &Job, producers: usize, room: usize) -> Crew {
    let (sender, receiver) = sync_channel::<Packet>(room);
    let send = |sender: std::sync::mpsc::SyncSender<_>, share: Share| {
        share.send(|message| sender.send(message).context("closed"))
    };
    merge(job, producers, (sender, send), move |ledger| pull(ledger, || receiver.recv().ok()))
}

fn array(job: &Job, producers: usize, room: usize) -> Crew {
    let queue = Arc::new(ArrayQueue::<Packet>::new(room));
    let sending = Arc::new(AtomicU64::new(producers as u64));
    let ends = (Arc::clone(&queue), Arc::clone(&sending));
    let send = move |(queue, sending): (Arc<ArrayQueue<Packet>>, Arc<AtomicU64>), share: Share| {
        let idle = Idle::new(producers + 1);
        let sent = share.send(|message| {
            while queue.push(message).is_err() {
                idle.wait();
            }
            idle.reset();
            Ok(())
        });
        sending.fetch_sub(1, Ordering::Release);
        sent
    };
    merge(job, producers, (ends, send), move |ledger| {
        let idle = Idle::new(producers + 1);
        while ledger.left() > 0 {
            if let Some(message) = queue.pop() {
                ledger.take(&message);
                idle.reset();
            } else if sending.load(Ordering::Acquire) == 0 && queue.is_empty() {
                bail!("{} messages are still to come, and there is an end", ledger.left());
            } else {
                idle.wait();
            }
        }
        Ok(())
    })
}
