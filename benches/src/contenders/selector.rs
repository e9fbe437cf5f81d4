//! This project's rings, one for each producer, all of them received from by one thread: by Day 7's
//! selector, or by `epoll` over Day 5's `Pollable`, which is how a program does that with descriptors.
//! There a bridge thread sleeps on the rings' futexes, and signals the descriptor of a ring that rang.

use std::collections::HashMap;

use anyhow::{Context, bail};
use bytemuck::Pod;
use fanout::error::{RecvError, TryRecvError};
use fanout::pollable::Pollable;
use fanout::records::ends as records;
use fanout::select::{Key, Posting, Selector};
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
    let row = |name, mode, build: fn(&Job, usize) -> anyhow::Result<Crew>| {
        let sides = (Place::Threads, producers + 1);
        let row = Contender::rival(question, (name, mode), sides, move |job| build(job, producers));
        row.standing(Standing::Fanout)
    };
    vec![
        row("fanout records", "a ring each, Selector", merge::<Frames, Selected<Frames>>),
        row("fanout ring", "a ring each, Selector", merge::<Slots, Selected<Slots>>),
        row("fanout ring", "a ring each, epoll over Pollable::bridged", merge::<Slots, Polled>),
    ]
}

/// The way to wait of each producer. Without a seat it is adaptive.
type Waits = Posting<Adaptive>;

/// A kind of ring.
pub(super) trait Kind: 'static {
    type Out: Send;
    type End: Send;

    /// Both ends of a new ring for [`CAPACITY`] messages, or a little less.
    fn open(name: &str) -> anyhow::Result<(Self::Out, Self::End)>;
    /// The same producer, with a seat.
    fn seated(out: Self::Out, waits: Waits) -> Self::Out;
    fn outlook(end: &Self::End) -> fanout::select::Outlook;
    fn send(out: &mut Self::Out, message: Packet) -> anyhow::Result<()>;
    fn close(out: Self::Out);
    /// Takes what is there, but no more than about so many bytes.
    fn take(
        end: &mut Self::End,
        bytes: u64,
        take: &mut impl FnMut(&Packet),
    ) -> Result<(), TryRecvError>;
}

/// Messages of one size.
pub(super) struct Slots;

impl Kind for Slots {
    type Out = ring::Producer<Packet, Waits>;
    type End = ring::Consumer<Packet, Adaptive>;

    fn open(name: &str) -> anyhow::Result<(Self::Out, Self::End)> {
        let out = ring::Producer::create(name, CAPACITY as u64)?;
        Ok((out, ring::Consumer::join(name, Start::Oldest)?))
    }

    fn seated(out: Self::Out, waits: Waits) -> Self::Out {
        out.waiting(waits)
    }

    fn outlook(end: &Self::End) -> fanout::select::Outlook {
        end.outlook()
    }

    #[inline(always)]
    fn send(out: &mut Self::Out, message: Packet) -> anyhow::Result<()> {
        Ok(out.send(message)?)
    }

    fn close(mut out: Self::Out) {
        out.close();
    }

    #[inline(always)]
    fn take(
        end: &mut Self::End,
        bytes: u64,
        take: &mut impl FnMut(&Packet),
    ) -> Result<(), TryRecvError> {
        let batch = end.try_recv_batch((bytes as usize / size_of::<Packet>()).max(1))?;
        let (head, tail) = batch.slices();
        head.iter().chain(tail).for_each(take);
        Ok(())
    }
}

/// Records of any size.
pub(super) struct Frames;

impl Kind for Frames {
    type Out = records::Writer<Waits>;
    type End = records::Reader<Adaptive>;

    fn open(name: &str) -> anyhow::Result<(Self::Out, Self::End)> {
        let out = records::Writer::create(name, (CAPACITY * size_of::<Packet>()) as u64)?;
        Ok((out, records::Reader::join(name, Start::Oldest)?))
    }

    fn seated(out: Self::Out, waits: Waits) -> Self::Out {
        out.waiting(waits)
    }

    fn outlook(end: &Self::End) -> fanout::select::Outlook {
        end.outlook()
    }

    #[inline(always)]
    fn send(out: &mut Self::Out, message: Packet) -> anyhow::Result<()> {
        let mut place = out.reserve(size_of::<Packet>())?;
        place.copy_from_slice(bytemuck::bytes_of(&message));
        place.publish(size_of::<Packet>());
        Ok(())
    }

    fn close(mut out: Self::Out) {
        out.close();
    }

    #[inline(always)]
    fn take(
        end: &mut Self::End,
        bytes: u64,
        take: &mut impl FnMut(&Packet),
    ) -> Result<(), TryRecvError> {
        let records = end.try_recv_batch(bytes as usize)?;
        // Records are aligned to 8 bytes.
        records.iter().for_each(|record| take(packet(record)));
        Ok(())
    }
}

#[inline(always)]
fn packet<T: Pod>(bytes: &[u8]) -> &T {
    bytemuck::from_bytes(bytes)
}

/// A way for one thread to receive from many rings.
pub(super) trait Many<K: Kind>: Sized + Send + 'static {
    /// Watches these ends. The producers get what they need for it.
    fn watch(outs: Vec<K::Out>, ends: Vec<K::End>) -> anyhow::Result<(Self, Vec<K::Out>)>;

    /// Waits until there is something, and takes it. Returns whether more may come.
    fn visit(&mut self, take: impl FnMut(&Packet)) -> anyhow::Result<bool>;
}

/// So many rings, and a way to receive from them. They stay in this process, so all of it is opened by
/// one thread.
pub(super) fn open<K: Kind, M: Many<K>>(
    job: &Job,
    count: usize,
) -> anyhow::Result<(M, Vec<K::Out>)> {
    let names = (0..count).map(|number| format!("{}.{number}", job.name));
    let rings = names.map(|name| K::open(&name)).collect::<anyhow::Result<Vec<_>>>()?;
    let (outs, ends) = rings.into_iter().unzip();
    M::watch(outs, ends)
}

fn merge<K: Kind, M: Many<K>>(job: &Job, producers: usize) -> anyhow::Result<Crew> {
    let (many, outs) = open::<K, M>(job, producers)?;
    let producer = |out: K::Out| move || Ok(move |share| send::<K>(out, share));
    let outs = outs.into_iter().map(producer).collect();
    Ok(gather(job, outs, move || Ok(move |ledger: &mut Ledger| receive(many, ledger))))
}

/// Sends a share, a message at a time.
#[inline(never)]
fn send<K: Kind>(mut out: K::Out, share: Share) -> anyhow::Result<Tally> {
    let sent = share.send(|message| K::send(&mut out, message));
    K::close(out);
    sent
}

#[inline(never)]
fn receive<K: Kind, M: Many<K>>(mut many: M, ledger: &mut Ledger) -> anyhow::Result<()> {
    while many.visit(|message| ledger.take(message))? {}
    Ok(())
}

/// Day 7's selector, in which each ring has a seat.
pub(super) struct Selected<K: Kind> {
    selector: Selector,
    ends: HashMap<Key, K::End>,
}

impl<K: Kind> Many<K> for Selected<K> {
    fn watch(outs: Vec<K::Out>, all: Vec<K::End>) -> anyhow::Result<(Self, Vec<K::Out>)> {
        let (mut selector, mut ends) = (Selector::new()?, HashMap::new());
        let mut seated = Vec::new();
        for (out, end) in outs.into_iter().zip(all) {
            let key = selector.add_seated(K::outlook(&end))?;
            let seat = selector.seat(key).context("it was just added")?;
            seated.push(K::seated(out, Posting::new(seat, Adaptive::default())));
            ends.insert(key, end);
        }
        Ok((Self { selector, ends }, seated))
    }

    #[inline(always)]
    fn visit(&mut self, mut take: impl FnMut(&Packet)) -> anyhow::Result<bool> {
        let turn = self.selector.wait();
        let end = self.ends.get_mut(&turn.key).context("a turn of nobody")?;
        match K::take(end, turn.bytes, &mut take) {
            Ok(()) | Err(TryRecvError::Empty) => Ok(true),
            Err(TryRecvError::End(RecvError::Closed)) => {
                self.selector.remove(turn.key);
                self.ends.remove(&turn.key);
                Ok(!self.ends.is_empty())
            }
            Err(error) => bail!(error),
        }
    }
}

type Polling = Pollable<ring::Consumer<Packet, Adaptive>>;

/// All ends' descriptors in one set. A set that reports each change once is enough: an end is tried
/// until it finds nothing, which arms it.
pub(super) struct Polled {
    epoll: Epoll,
    ends: Vec<Polling>,
    events: Vec<EpollEvent>,
    open: usize,
    is_armed: bool,
}

impl Many<Slots> for Polled {
    fn watch(
        outs: Vec<<Slots as Kind>::Out>,
        all: Vec<<Slots as Kind>::End>,
    ) -> anyhow::Result<(Self, Vec<<Slots as Kind>::Out>)> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        let mut ends = Vec::new();
        for (end, number) in all.into_iter().zip(0..) {
            let end = Pollable::bridged(end).context("starting a bridge")?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, number);
            epoll.add(&end, event).context("epoll_ctl")?;
            ends.push(end);
        }
        let events = vec![EpollEvent::empty(); ends.len()];
        Ok((Self { epoll, open: ends.len(), ends, events, is_armed: false }, outs))
    }

    #[inline(always)]
    fn visit(&mut self, mut take: impl FnMut(&Packet)) -> anyhow::Result<bool> {
        if !self.is_armed {
            // The first try of each end arms it.
            self.is_armed = true;
            for end in &mut self.ends {
                self.open -= usize::from(!drain(end, &mut take)?);
            }
            return Ok(self.open > 0);
        }
        let found = match self.epoll.wait(&mut self.events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(true),
            found => found.context("epoll_wait")?,
        };
        for event in &self.events[..found] {
            let end = self.ends.get_mut(event.data() as usize).context("an unknown end")?;
            self.open -= usize::from(!drain(end, &mut take)?);
        }
        Ok(self.open > 0)
    }
}

/// Takes all that is there. Returns whether more may come.
#[inline(always)]
fn drain(end: &mut Polling, take: &mut impl FnMut(&Packet)) -> anyhow::Result<bool> {
    loop {
        match end.try_recv_batch(CAPACITY / 4) {
            Ok(batch) => {
                let (head, tail) = batch.slices();
                head.iter().chain(tail).for_each(&mut *take);
            }
            Err(TryRecvError::Empty) => return Ok(true),
            Err(TryRecvError::End(RecvError::Closed)) => return Ok(false),
            Err(error) => bail!(error),
        }
    }
}
