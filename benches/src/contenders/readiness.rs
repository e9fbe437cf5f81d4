//! Ways to wait until a socket can be read: `select`, `poll`, `epoll` and mio's event loop, each over a
//! pair of non-blocking Unix streams; and UDP on loopback with `epoll`.
//!
//! Each side waits with that call and then reads, as a server with many sockets does. It writes without
//! asking first, and waits only if the write would block. `epoll` is edge-triggered, as mio is: that is
//! one call less in the kernel than level-triggered, and a side that has read a whole answer needs no
//! second look.

use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, bail, ensure};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::select::{FD_SETSIZE, FdSet, select};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use yardstick::bytes::buffer;

use super::Contender;
use crate::crew::Crew;
use crate::interrupt::again;
use crate::line::{Receiving, Sending, request};
use crate::load::{Job, Sink, Source};
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::Request { place, .. } = question else { return vec![] };
    let row = |name, mode: &'static str, build: fn(&Job) -> anyhow::Result<Crew>| {
        Contender::rival(question, (name, mode), (place, 2), build)
    };
    vec![
        row("select", "Unix stream", |job| talk::<Select>(job, streams()?)),
        row("poll", "Unix stream", |job| talk::<Polls>(job, streams()?)),
        row("epoll", "Unix stream, edge-triggered", |job| talk::<Edges>(job, streams()?)),
        row("event loop, mio 1.2", "Unix stream, edge-triggered", |job| {
            talk::<Loop>(job, streams()?)
        }),
        row("UDP, epoll", "loopback, edge-triggered", |job| talk::<Edges>(job, datagrams()?)),
    ]
}

/// A way to wait. It may return although there is nothing. But it must return when something comes
/// that was not there when the last read found nothing, or all of a message.
trait Waits: Sized + 'static {
    /// Waits for something to read at `end`.
    fn at(end: &OwnedFd) -> anyhow::Result<Self>;
    /// Returns when `end` may be readable.
    fn wait(&mut self, end: &OwnedFd) -> anyhow::Result<()>;
}

fn talk<W: Waits>(job: &Job, [a, b]: [OwnedFd; 2]) -> anyhow::Result<Crew> {
    let len = job.most();
    let side =
        move |end: OwnedFd| move || Ok(Line { waits: W::at(&end)?, end, words: buffer(len), len });
    Ok(request(job, side(a), side(b)))
}

fn streams() -> anyhow::Result<[OwnedFd; 2]> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let ends = socketpair(AddressFamily::Unix, SockType::Stream, None, flags);
    Ok(ends.context("socketpair")?.into())
}

/// Two sockets that receive only from each other.
fn datagrams() -> anyhow::Result<[OwnedFd; 2]> {
    let bind = || UdpSocket::bind(("127.0.0.1", 0)).context("binding to loopback");
    let (a, b) = (bind()?, bind()?);
    for (one, other) in [(&a, &b), (&b, &a)] {
        let address = other.local_addr().context("asking for a port")?;
        one.connect(address).with_context(|| format!("connecting to {address}"))?;
        one.set_nonblocking(true).context("setting O_NONBLOCK")?;
    }
    Ok([a.into(), b.into()])
}

/// One side's end, and its way to wait.
struct Line<W> {
    waits: W,
    end: OwnedFd,
    words: Vec<u64>,
    len: usize,
}

impl<W: Waits> Sending for Line<W> {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let message = &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len];
        source.write(message);
        let mut rest = &*message;
        while !rest.is_empty() {
            match again(|| send(self.end.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL)) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::EAGAIN) => ready(&self.end, PollFlags::POLLOUT)?,
                Err(error) => return Err(error).context("writing"),
            }
        }
        Ok(())
    }
}

impl<W: Waits> Receiving for Line<W> {
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        let message = &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len];
        let mut filled = 0;
        self.waits.wait(&self.end)?;
        while filled < message.len() {
            let place = &mut message[filled..];
            match again(|| recv(self.end.as_raw_fd(), place, MsgFlags::empty())) {
                Ok(0) => bail!("the other side is gone"),
                Ok(found) => filled += found,
                Err(Errno::EAGAIN) => self.waits.wait(&self.end)?,
                Err(error) => return Err(error).context("reading"),
            }
        }
        sink.read(message);
        Ok(())
    }
}

/// Waits with `poll`. A signal may also end the wait.
fn ready(end: &OwnedFd, what: PollFlags) -> anyhow::Result<()> {
    match poll(&mut [PollFd::new(end.as_fd(), what)], PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error).context("poll"),
    }
}

struct Polls;

impl Waits for Polls {
    fn at(_: &OwnedFd) -> anyhow::Result<Self> {
        Ok(Self)
    }

    #[inline]
    fn wait(&mut self, end: &OwnedFd) -> anyhow::Result<()> {
        ready(end, PollFlags::POLLIN)
    }
}

struct Select;

impl Waits for Select {
    fn at(end: &OwnedFd) -> anyhow::Result<Self> {
        let number = end.as_raw_fd();
        ensure!((number as usize) < FD_SETSIZE, "select cannot wait for descriptor {number}");
        Ok(Self)
    }

    #[inline]
    fn wait(&mut self, end: &OwnedFd) -> anyhow::Result<()> {
        let mut reads = FdSet::new();
        reads.insert(end.as_fd());
        match select(end.as_raw_fd() + 1, &mut reads, None, None, None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("select"),
        }
    }
}

/// An epoll that reports each change once.
struct Edges(Epoll);

impl Waits for Edges {
    fn at(end: &OwnedFd) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        epoll.add(end, event).context("epoll_ctl")?;
        Ok(Self(epoll))
    }

    #[inline]
    fn wait(&mut self, _: &OwnedFd) -> anyhow::Result<()> {
        match self.0.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("epoll_wait"),
        }
    }
}

struct Loop {
    poll: Poll,
    events: Events,
}

impl Waits for Loop {
    fn at(end: &OwnedFd) -> anyhow::Result<Self> {
        let poll = Poll::new().context("starting an event loop")?;
        let mut source = SourceFd(&end.as_raw_fd());
        let source = poll.registry().register(&mut source, Token(0), Interest::READABLE);
        source.context("registering a socket")?;
        Ok(Self { poll, events: Events::with_capacity(16) })
    }

    #[inline]
    fn wait(&mut self, _: &OwnedFd) -> anyhow::Result<()> {
        match self.poll.poll(&mut self.events, None) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error).context("waiting for events"),
        }
    }
}
