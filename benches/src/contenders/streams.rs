//! The kernel's ways: pipes, Unix streams, `SOCK_SEQPACKET` and TCP, with blocking calls.
//!
//! A request is read with as many calls as it takes, usually one. One way, a stream carries records: a
//! length, the message, and padding up to 8 bytes. So a message is aligned in both buffers, and can be
//! written and read there at once.

use std::io::{IoSlice, IoSliceMut};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrStorage, getsockopt, recv,
    recvmmsg, send, sendmmsg, socketpair, sockopt,
};
use nix::unistd::{pipe2, read, write};
use yardstick::bytes::buffer;
use yardstick::descriptors::make_room;

use super::{BATCH, Contender, ROOM, Style};
use crate::Packet;
use crate::crew::{Crew, Place};
use crate::interrupt::again;
use crate::line::{Receiving, Sending, one_way, request};
use crate::load::{Job, Sink, Source};
use crate::question::{Question, Rest, Size};
use crate::task::{Answering, Asking, tasks};

/// How many bytes are written with one call, if messages are gathered.
const GATHERED: usize = 64 << 10;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let ways = [Way::Pipe, Way::Unix, Way::Packets, Way::Tcp];
    match question {
        Question::Request { place, .. } => {
            ways.map(|way| conversation(question, way, place)).into()
        }
        Question::OneWay(size) => {
            let gathers =
                |way| size.most() <= if way == Way::Packets { 1024 } else { GATHERED / 2 };
            let modes = |way| {
                let batches = gathers(way).then_some(Style::Batches);
                [Some(Style::Singly), batches].into_iter().flatten()
            };
            let rows = ways.into_iter().flat_map(|way| modes(way).map(move |style| (way, style)));
            rows.map(|(way, style)| stream(question, way, size, style)).collect()
        }
        Question::Task { place, outstanding, rest: Rest::Sleeping } => {
            vec![work(question, place, outstanding)]
        }
        _ => vec![],
    }
}

fn work(question: Question, place: Place, outstanding: usize) -> Contender {
    let who = (Way::Packets.name(), "blocking");
    Contender::rival(question, who, (place, 2), move |job| {
        let len = job.most();
        let [a, b] = Way::Packets.ends()?;
        let side = |ends: Ends| move || Ok(Packets { end: ends.reads, words: buffer(len) });
        Ok(tasks(job, outstanding, side(a), side(b)))
    })
}

fn conversation(question: Question, way: Way, place: Place) -> Contender {
    let mode = match way {
        Way::Pipe => "two pipes, blocking",
        Way::Tcp => "blocking, TCP_NODELAY",
        Way::Unix | Way::Packets => "blocking",
    };
    Contender::rival(question, (way.name(), mode), (place, 2), move |job| {
        let len = job.most();
        let [a, b] = way.ends()?;
        let side = move |Ends { reads, writes }| {
            let (reads, writes) = (End::new(way, reads), End::new(way, writes));
            move || Ok(Plain { reads, writes, words: buffer(len), len })
        };
        if way == Way::Packets {
            let side = |ends: Ends| move || Ok(Packets { end: ends.reads, words: buffer(len) });
            return Ok(request(job, side(a), side(b)));
        }
        Ok(request(job, side(a), side(b)))
    })
}

fn stream(question: Question, way: Way, size: Size, style: Style) -> Contender {
    let mode = match (way, style) {
        (Way::Packets, Style::Singly) => "send/recv".to_owned(),
        (Way::Packets, Style::Batches) => format!("sendmmsg/recvmmsg of {BATCH}"),
        (_, Style::Singly) => "a write per message".to_owned(),
        (_, Style::Batches) => format!("a write per {} KiB", GATHERED >> 10),
    };
    let mode = match way.room() {
        Ok(room) if room < ROOM => format!("{mode}, holds {} KiB", room >> 10),
        _ => mode,
    };
    let most = size.most();
    let row = Contender::rival(question, (way.name(), mode), (Place::Processes, 2), move |job| {
        let [Ends { writes, .. }, Ends { reads, .. }] = way.ends()?;
        Ok(match (way, style) {
            (Way::Packets, Style::Singly) => {
                let side = |end| move || Ok(Packets { end, words: buffer(most) });
                one_way(job, side(writes), vec![side(reads)])
            }
            (Way::Packets, Style::Batches) => {
                let side = |end| move || Ok(Trains::new(end, most));
                one_way(job, side(writes), vec![side(reads)])
            }
            (way, style) => records(job, [writes, reads].map(|end| End::new(way, end)), style),
        })
    });
    row.style(style)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Pipe,
    Unix,
    Packets,
    Tcp,
}

/// One side's end of a connection both ways.
struct Ends {
    reads: OwnedFd,
    writes: OwnedFd,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Pipe => "pipe",
            Self::Unix => "Unix stream",
            Self::Packets => "SOCK_SEQPACKET",
            Self::Tcp => "TCP loopback",
        }
    }

    /// Both sides' ends. Each holds [`ROOM`] if the kernel allows it.
    fn ends(self) -> anyhow::Result<[Ends; 2]> {
        match self {
            Self::Pipe => {
                let ((there, from), (back, to)) = (pipe()?, pipe()?);
                Ok([Ends { reads: back, writes: from }, Ends { reads: there, writes: to }])
            }
            Self::Unix => both(pair(SockType::Stream)?),
            Self::Packets => both(pair(SockType::SeqPacket)?),
            Self::Tcp => both(tcp()?),
        }
    }

    /// How many bytes the kernel lets the connection hold.
    fn room(self) -> anyhow::Result<usize> {
        let [Ends { writes, .. }, _] = self.ends()?;
        Ok(match self {
            Self::Pipe => fcntl(&writes, FcntlArg::F_GETPIPE_SZ)? as usize,
            // The kernel doubles what it is told, for its own records.
            Self::Unix | Self::Packets | Self::Tcp => getsockopt(&writes, sockopt::SndBuf)? / 2,
        })
    }
}

fn pipe() -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let (reads, writes) = pipe2(OFlag::O_CLOEXEC).context("pipe2")?;
    // As much as the kernel allows, which is 1 MiB without special rights.
    let mut room = ROOM as i32;
    while fcntl(&writes, FcntlArg::F_SETPIPE_SZ(room)).is_err() && room > 1 << 16 {
        room /= 2;
    }
    Ok((reads, writes))
}

fn pair(kind: SockType) -> anyhow::Result<[OwnedFd; 2]> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (a, b) = socketpair(AddressFamily::Unix, kind, None, flags).context("socketpair")?;
    for end in [&a, &b] {
        make_room(end, ROOM).context("making room in a socket")?;
    }
    Ok([a, b])
}

fn tcp() -> anyhow::Result<[OwnedFd; 2]> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("listening on loopback")?;
    // An accepted connection has as much room as its listener.
    make_room(&listener, ROOM).context("making room in a socket")?;
    let address = listener.local_addr().context("asking for a port")?;
    let a = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    make_room(&a, ROOM).context("making room in a socket")?;
    let (b, from) = listener.accept().context("accepting")?;
    let ours = a.local_addr().context("asking for a port")?;
    ensure!(from == ours, "{from} connected before {ours} did");
    for end in [&a, &b] {
        end.set_nodelay(true).context("setting TCP_NODELAY")?;
    }
    Ok([a.into(), b.into()])
}

/// A socket's two directions are separate descriptors.
fn both([a, b]: [OwnedFd; 2]) -> anyhow::Result<[Ends; 2]> {
    let ends = |reads: OwnedFd| {
        let writes = reads.try_clone().context("copying a descriptor")?;
        anyhow::Ok(Ends { reads, writes })
    };
    Ok([ends(a)?, ends(b)?])
}

/// One end: bytes go in, or come out.
struct End {
    end: OwnedFd,
    /// `send` and `recv` are shorter ways into the kernel than `write` and `read`.
    socket: bool,
}

impl End {
    fn new(way: Way, end: OwnedFd) -> Self {
        Self { end, socket: way != Way::Pipe }
    }

    /// Writes all of `bytes`.
    #[inline]
    fn write_all(&self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while !bytes.is_empty() {
            let written = again(|| match self.socket {
                true => send(self.end.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL),
                false => write(&self.end, bytes),
            });
            bytes = &bytes[written.context("writing")?..];
        }
        Ok(())
    }

    /// Waits for bytes; returns how many came.
    #[inline]
    fn read_some(&self, place: &mut [u8]) -> anyhow::Result<usize> {
        let found = again(|| match self.socket {
            true => recv(self.end.as_raw_fd(), place, MsgFlags::empty()),
            false => read(&self.end, place),
        });
        let found = found.context("reading")?;
        ensure!(found > 0, "the other side is gone");
        Ok(found)
    }
}

/// One side of a conversation in messages of one length.
struct Plain {
    reads: End,
    writes: End,
    words: Vec<u64>,
    len: usize,
}

impl Sending for Plain {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let message = &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len];
        source.write(message);
        self.writes.write_all(message)
    }
}

impl Receiving for Plain {
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        let message = &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len];
        let mut filled = 0;
        while filled < message.len() {
            filled += self.reads.read_some(&mut message[filled..])?;
        }
        sink.read(message);
        Ok(())
    }
}

/// The offset of the first record. It aligns the messages, which follow a length of 4 bytes.
const FRONT: usize = 4;

/// The bytes of a record: the length, the message, and padding up to 8 bytes.
fn record(len: usize) -> usize {
    (FRONT + len).next_multiple_of(8)
}

fn records(job: &Job, [writes, reads]: [End; 2], style: Style) -> Crew {
    let most = job.most();
    let full = if style == Style::Batches { GATHERED } else { 0 };
    let sender = move || {
        let words = buffer(FRONT + record(most).max(full));
        Ok(Writer { end: writes, words, full })
    };
    let receiver = move || {
        let words = buffer(FRONT + record(most).max(GATHERED) * 2);
        Ok(Reader { end: reads, words, start: FRONT, filled: FRONT, most })
    };
    one_way(job, sender, vec![receiver])
}

/// Writes records: one with each call, or several that are gathered first.
struct Writer {
    end: End,
    words: Vec<u64>,
    full: usize,
}

impl Sending for Writer {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        let mut end = FRONT;
        loop {
            let len = source.next_len();
            let place = end + FRONT;
            bytes[end..place].copy_from_slice(&(len as u32).to_ne_bytes());
            source.write(&mut bytes[place..place + len]);
            end += record(len);
            if source.left() == 0 || end + record(source.next_len()) > FRONT + self.full {
                return self.end.write_all(&bytes[FRONT..end]);
            }
        }
    }
}

/// Reads whatever is there, and hands the messages out without copying them.
struct Reader {
    end: End,
    words: Vec<u64>,
    /// All bytes before this offset have been handed out.
    start: usize,
    filled: usize,
    most: usize,
}

impl Receiving for Reader {
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        let before = sink.left();
        loop {
            let missing = self.give(sink)?;
            if sink.left() < before {
                return Ok(());
            }
            self.refill(missing)?;
        }
    }
}

impl Reader {
    /// Hands out all whole messages. Returns the length of the record that is not whole yet, as far
    /// as it is known.
    fn give(&mut self, sink: &mut Sink) -> anyhow::Result<usize> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.words);
        loop {
            let rest = &bytes[self.start..self.filled];
            let Some((head, behind)) = rest.split_first_chunk::<FRONT>() else {
                return Ok(record(0));
            };
            let len = u32::from_ne_bytes(*head) as usize;
            ensure!(len <= self.most, "a message of {len} bytes came, longer than any was sent");
            if rest.len() < record(len) {
                return Ok(record(len));
            }
            sink.read(&behind[..len]);
            self.start += record(len);
        }
    }

    /// Reads more of a record of `missing` bytes that is not whole yet.
    fn refill(&mut self, missing: usize) -> anyhow::Result<()> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        let short = self.filled - self.start <= 4096;
        if short || self.start + missing > bytes.len() {
            bytes.copy_within(self.start..self.filled, FRONT);
            self.filled -= self.start - FRONT;
            self.start = FRONT;
        }
        self.filled += self.end.read_some(&mut bytes[self.filled..])?;
        Ok(())
    }
}

/// One message at a time; the kernel keeps messages apart.
struct Packets {
    end: OwnedFd,
    words: Vec<u64>,
}

impl Sending for Packets {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let len = source.next_len();
        let message = &mut bytemuck::cast_slice_mut(&mut self.words)[..len];
        source.write(message);
        let sent = again(|| send(self.end.as_raw_fd(), message, MsgFlags::MSG_NOSIGNAL));
        let sent = sent.context("sending")?;
        ensure!(sent == len, "{sent} of {len} bytes of a message were sent");
        Ok(())
    }
}

impl Receiving for Packets {
    /// An empty message looks like the end of the stream, so messages are counted.
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        let message: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        // With this flag the answer is the length that was sent, even if the buffer is too short.
        let len = again(|| recv(self.end.as_raw_fd(), message, MsgFlags::MSG_TRUNC));
        let len = len.context("receiving")?;
        ensure!(len <= message.len(), "a message of {len} bytes came, longer than any was sent");
        sink.read(&message[..len]);
        Ok(())
    }
}

impl Packets {
    #[inline]
    fn put(&self, message: &Packet) -> anyhow::Result<()> {
        let bytes = bytemuck::bytes_of(message);
        let sent = again(|| send(self.end.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL));
        let sent = sent.context("sending")?;
        ensure!(sent == bytes.len(), "{sent} of {} bytes of a message were sent", bytes.len());
        Ok(())
    }

    #[inline]
    fn get(&self) -> anyhow::Result<Packet> {
        let mut message = Packet::default();
        let bytes = bytemuck::bytes_of_mut(&mut message);
        let len = again(|| recv(self.end.as_raw_fd(), bytes, MsgFlags::MSG_TRUNC));
        let len = len.context("receiving")?;
        ensure!(len == bytes.len(), "{len} bytes came, where {} are due", bytes.len());
        Ok(message)
    }
}

impl Asking for Packets {
    #[inline]
    fn ask(&mut self, write: impl FnOnce(&mut Packet)) -> anyhow::Result<()> {
        let mut request = Packet::default();
        write(&mut request);
        self.put(&request)
    }

    #[inline]
    fn collect(&mut self, mut take: impl FnMut(&Packet)) -> anyhow::Result<()> {
        take(&self.get()?);
        Ok(())
    }
}

impl Answering for Packets {
    #[inline]
    fn serve(&mut self, mut work: impl FnMut(&Packet, &mut Packet)) -> anyhow::Result<()> {
        let (request, mut answer) = (self.get()?, Packet::default());
        work(&request, &mut answer);
        self.put(&answer)
    }
}

/// Several such messages with one call.
struct Trains {
    end: OwnedFd,
    words: Vec<u64>,
    /// The distance in bytes between the beginnings of two messages.
    step: usize,
    heads: MultiHeaders<SockaddrStorage>,
}

impl Trains {
    fn new(end: OwnedFd, most: usize) -> Self {
        let step = most.next_multiple_of(8).max(8);
        Self {
            end,
            words: buffer(step * BATCH),
            step,
            heads: MultiHeaders::preallocate(BATCH, None),
        }
    }
}

impl Sending for Trains {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        let count = source.left().min(BATCH as u64) as usize;
        let mut places = bytes.chunks_exact_mut(self.step);
        let mut messages = [[IoSlice::new(&[])]; BATCH];
        for (message, place) in messages.iter_mut().zip(&mut places).take(count) {
            let place = &mut place[..source.next_len()];
            source.write(place);
            *message = [IoSlice::new(place)];
        }
        let (end, flags) = (self.end.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
        let sent = sendmmsg(end, &mut self.heads, &messages[..count], [None; BATCH], [], flags);
        let sent = sent.context("sending")?.count();
        ensure!(sent == count, "{sent} of {count} messages were sent");
        Ok(())
    }
}

impl Receiving for Trains {
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        let mut places = bytes.chunks_exact_mut(self.step);
        let mut slots: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(places.next().unwrap_or_default())]);
        let (end, flags) = (self.end.as_raw_fd(), MsgFlags::MSG_WAITFORONE | MsgFlags::MSG_TRUNC);
        let found = recvmmsg(end, &mut self.heads, &mut slots, flags, None).context("receiving")?;
        for message in found {
            ensure!(message.bytes <= self.step, "a message came that is longer than any was sent");
            message.iovs().for_each(|bytes| sink.read(bytes));
        }
        Ok(())
    }
}
