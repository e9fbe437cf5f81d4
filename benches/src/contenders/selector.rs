//! This project's rings, one for each producer, all of them received from by one thread.
//!
//! `epoll` over Day 5's `Pollable` is how a program does that with descriptors: a bridge thread sleeps
//! on the rings' futexes, and signals the descriptor of a ring that rang.

use anyhow::{Context, bail};
use fanout::error::{RecvError, TryRecvError};
use fanout::pollable::Pollable;
use fanout::{Adaptive, Start, ends as ring};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use yardstick::payload::Tally;

use super::{CAPACITY, Contender, Standing};
use crate::Packet;
use crate::crew::{Crew, Place};
use crate::load::Job;
use crate::many::{Ledger, Share, gather};
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::ManyToOne(producers) = question else { return vec![] };
    let who = ("fanout ring", "a ring each, epoll over Pollable::bridged");
    let row = Contender::rival(question, who, (Place::Threads, producers + 1), move |job| {
        Ok(polled(job, producers))
    });
    vec![row.standing(Standing::Fanout)]
}

/// The names of the producers' rings.
fn names(job: &Job, producers: usize) -> Vec<String> {
    (0..producers).map(|number| format!("{}.{number}", job.name)).collect()
}

/// Sends a share through a ring of its own, a message at a time.
#[inline(never)]
fn send(mut producer: ring::Producer<Packet, Adaptive>, share: Share) -> anyhow::Result<Tally> {
    let sent = share.send(|message| Ok(producer.send(message)?));
    producer.close();
    sent
}

fn polled(job: &Job, producers: usize) -> Crew {
    let names = names(job, producers);
    let producer = |name: String| {
        move || {
            let producer = ring::Producer::create(&*name, CAPACITY as u64)?;
            Ok(move |share| send(producer, share))
        }
    };
    let ends = names.clone().into_iter().map(producer).collect();
    gather(job, ends, move || {
        let polled = Polled::join(&names)?;
        Ok(move |ledger: &mut Ledger| polled.receive(ledger))
    })
}

type End = Pollable<ring::Consumer<Packet, Adaptive>>;

/// One end of each ring, and all their descriptors in one set. A set that reports each change once is
/// enough: an end is tried until it finds nothing, which arms it.
struct Polled {
    epoll: Epoll,
    ends: Vec<End>,
}

impl Polled {
    fn join(names: &[String]) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        let mut ends = Vec::new();
        for (name, number) in names.iter().zip(0..) {
            let consumer = ring::Consumer::<Packet, Adaptive>::join(&**name, Start::Oldest)?;
            let end = Pollable::bridged(consumer).context("starting a bridge")?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, number);
            epoll.add(&end, event).context("epoll_ctl")?;
            ends.push(end);
        }
        Ok(Self { epoll, ends })
    }

    #[inline(never)]
    fn receive(mut self, ledger: &mut Ledger) -> anyhow::Result<()> {
        // The first try of each end arms it.
        let mut open = 0;
        for end in &mut self.ends {
            open += usize::from(drain(end, ledger)?);
        }
        let mut events = vec![EpollEvent::empty(); self.ends.len()];
        while open > 0 {
            let found = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                found => found.context("epoll_wait")?,
            };
            for event in &events[..found] {
                let end = self.ends.get_mut(event.data() as usize).context("an unknown end")?;
                open -= usize::from(!drain(end, ledger)?);
            }
        }
        Ok(())
    }
}

/// Takes all that is there. Returns whether more may come.
#[inline(always)]
fn drain(end: &mut End, ledger: &mut Ledger) -> anyhow::Result<bool> {
    loop {
        match end.try_recv_batch(CAPACITY / 4) {
            Ok(batch) => {
                let (head, tail) = batch.slices();
                head.iter().chain(tail).for_each(|message| ledger.take(message));
            }
            Err(TryRecvError::Empty) => return Ok(true),
            Err(TryRecvError::End(RecvError::Closed)) => return Ok(false),
            Err(error) => bail!(error),
        }
    }
}
