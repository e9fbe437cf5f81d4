//! Many queues to one server, and one message at a time, through another queue each time: what it costs
//! to find the one that has something. All answers come back through one ring, or through the socket
//! that asked.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Context;
use fanout::{Adaptive, Start, ends as ring};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use super::selector::{Kind, Many, Polled, Selected, Slots, open};
use super::{CAPACITY, Contender, Standing};
use crate::Packet;
use crate::crew::{Crew, Place};
use crate::interrupt::again;
use crate::load::Job;
use crate::question::Question;
use crate::task::{Answering, Asking, tasks};

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::Queues(count) = question else { return vec![] };
    let row = |name, mode, build: fn(&Job, usize) -> anyhow::Result<Crew>| {
        Contender::rival(question, (name, mode), (Place::Threads, 2), move |job| build(job, count))
    };
    let ours = |mode, build| row("fanout ring", mode, build).standing(Standing::Fanout);
    vec![
        ours("a ring each, Selector", rings::<Selected<Slots>>),
        ours("a ring each, epoll over Pollable::bridged", rings::<Polled>),
        row("SOCK_SEQPACKET", "a socket each, epoll", sockets),
    ]
}

/// The next of `count` queues, a power of two: not a neighbour, and each in its turn.
fn next(queue: usize, count: usize) -> usize {
    (queue + count / 2 + 1) % count
}

fn rings<M: Many<Slots>>(job: &Job, count: usize) -> anyhow::Result<Crew> {
    let (many, outs) = open::<Slots, M>(job, count)?;
    let name = format!("{}.back", job.name);
    let back = ring::Producer::create(&*name, CAPACITY as u64)?;
    let answers = ring::Consumer::join(&*name, Start::Oldest)?;
    let server = move || Ok(Server { many, back });
    Ok(tasks(job, 1, server, move || Ok(Clients { outs, answers, queue: 0 })))
}

struct Server<M> {
    many: M,
    back: ring::Producer<Packet, Adaptive>,
}

impl<M: Many<Slots>> Answering for Server<M> {
    #[inline(always)]
    fn serve(&mut self, mut work: impl FnMut(&Packet, &mut Packet)) -> anyhow::Result<()> {
        let mut sent = Ok(());
        self.many.visit(|request| {
            let mut answer = Packet::default();
            work(request, &mut answer);
            if let Err(error) = self.back.send(answer) {
                sent = Err(error);
            }
        })?;
        Ok(sent?)
    }
}

struct Clients {
    outs: Vec<<Slots as Kind>::Out>,
    answers: ring::Consumer<Packet, Adaptive>,
    queue: usize,
}

impl Asking for Clients {
    #[inline(always)]
    fn ask(&mut self, write: impl FnOnce(&mut Packet)) -> anyhow::Result<()> {
        let mut request = Packet::default();
        write(&mut request);
        self.queue = next(self.queue, self.outs.len());
        Slots::send(&mut self.outs[self.queue], request)
    }

    #[inline(always)]
    fn collect(&mut self, mut take: impl FnMut(&Packet)) -> anyhow::Result<()> {
        take(&self.answers.recv()?);
        Ok(())
    }
}

fn sockets(job: &Job, count: usize) -> anyhow::Result<Crew> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
    let (mut served, mut asking) = (Vec::new(), Vec::new());
    for number in 0..count as u64 {
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
        let (ours, theirs) = pair.context("socketpair")?;
        epoll.add(&ours, EpollEvent::new(EpollFlags::EPOLLIN, number)).context("epoll_ctl")?;
        served.push(ours);
        asking.push(theirs);
    }
    let events = vec![EpollEvent::empty(); count];
    let server = move || Ok(Epolled { epoll, sockets: served, events });
    Ok(tasks(job, 1, server, move || Ok(Sockets { sockets: asking, queue: 0 })))
}

#[inline]
fn put(socket: &OwnedFd, message: &Packet) -> anyhow::Result<()> {
    let bytes = bytemuck::bytes_of(message);
    let sent = again(|| send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL));
    let sent = sent.context("sending")?;
    anyhow::ensure!(sent == bytes.len(), "{sent} of {} bytes were sent", bytes.len());
    Ok(())
}

#[inline]
fn get(socket: &OwnedFd) -> anyhow::Result<Packet> {
    let mut message = Packet::default();
    let bytes = bytemuck::bytes_of_mut(&mut message);
    let found = again(|| recv(socket.as_raw_fd(), bytes, MsgFlags::empty()));
    let found = found.context("receiving")?;
    anyhow::ensure!(found == bytes.len(), "{found} of {} bytes came", bytes.len());
    Ok(message)
}

struct Epolled {
    epoll: Epoll,
    sockets: Vec<OwnedFd>,
    events: Vec<EpollEvent>,
}

impl Answering for Epolled {
    #[inline(always)]
    fn serve(&mut self, mut work: impl FnMut(&Packet, &mut Packet)) -> anyhow::Result<()> {
        let found = match self.epoll.wait(&mut self.events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(()),
            found => found.context("epoll_wait")?,
        };
        for event in &self.events[..found] {
            let socket = self.sockets.get(event.data() as usize).context("an unknown socket")?;
            let mut answer = Packet::default();
            work(&get(socket)?, &mut answer);
            put(socket, &answer)?;
        }
        Ok(())
    }
}

struct Sockets {
    sockets: Vec<OwnedFd>,
    queue: usize,
}

impl Asking for Sockets {
    #[inline(always)]
    fn ask(&mut self, write: impl FnOnce(&mut Packet)) -> anyhow::Result<()> {
        let mut request = Packet::default();
        write(&mut request);
        self.queue = next(self.queue, self.sockets.len());
        put(&self.sockets[self.queue], &request)
    }

    #[inline(always)]
    fn collect(&mut self, mut take: impl FnMut(&Packet)) -> anyhow::Result<()> {
        take(&get(&self.sockets[self.queue])?);
        Ok(())
    }
}
