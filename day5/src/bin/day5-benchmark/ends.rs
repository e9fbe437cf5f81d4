//! The ways that a number can take there and back: two rings, or means of the machine and the
//! kernel.

use std::os::fd::OwnedFd;

use anyhow::{Context, ensure};
use common::sync::{AtomicU32, Ordering, spin_loop};
use day3::ring::{Consumer, Producer};
use day5::{AnyStrategy, futex};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{pipe2, read, write};
use yardstick::descriptors::both;
use yardstick::memory::{self, Shared};
use yardstick::payload::Message;

use crate::ping::Side;

/// One side of a round trip. Numbers begin at 1, and each differs from the number before it.
pub(crate) trait End {
    /// Sends a number to the other side.
    fn send(&mut self, number: u32) -> anyhow::Result<()>;
    /// Receives the number that the other side has sent.
    fn receive(&mut self) -> anyhow::Result<u32>;
}

/// How many messages each ring holds.
pub(crate) const CAPACITY: u64 = 64;

/// Two rings, one for each direction.
pub(crate) struct Rings {
    pub(crate) out: Producer<Message<1>, AnyStrategy>,
    pub(crate) back: Consumer<Message<1>, AnyStrategy>,
}

impl End for Rings {
    #[inline]
    fn send(&mut self, number: u32) -> anyhow::Result<()> {
        self.out.send([number.into()])?;
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<u32> {
        let [number] = self.back.recv()?;
        Ok(number as u32)
    }
}

/// A word with a cache line of its own, and nothing on the neighbouring line.
#[repr(C, align(128))]
struct Line(AtomicU32);

/// What both processes share: a word for each direction.
#[repr(C)]
struct Lines([Line; 2]);

// SAFETY: any bits are two valid words, and they are only changed as atomics.
unsafe impl Shared for Lines {}

/// Two words in memory that both processes share, one for each direction.
struct Words {
    out: &'static AtomicU32,
    back: &'static AtomicU32,
    last: u32,
}

impl Words {
    /// Maps them for the rest of this process's life.
    fn map(memory: &OwnedFd, side: Side) -> anyhow::Result<Self> {
        let Lines(lines) = memory::map(memory).context("mapping two words")?;
        let (there, back) = (&lines[0].0, &lines[1].0);
        let (out, back) = if side == Side::Pinger { (there, back) } else { (back, there) };
        Ok(Self { out, back, last: 0 })
    }

    #[inline]
    fn receive(&mut self, mut wait: impl FnMut(&AtomicU32, u32)) -> u32 {
        loop {
            // edge: store -> look
            let now = self.back.load(Ordering::Acquire);
            if now != self.last {
                self.last = now;
                return now;
            }
            wait(self.back, now);
        }
    }
}

/// The lower limit: two words, and both sides spin.
pub(crate) struct Bare(Words);

impl End for Bare {
    #[inline]
    fn send(&mut self, number: u32) -> anyhow::Result<()> {
        // edge: store -> look
        self.0.out.store(number, Ordering::Release);
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> anyhow::Result<u32> {
        Ok(self.0.receive(|_, _| spin_loop()))
    }
}

/// Two words. Each side sleeps on the word at once, and always wakes the other side.
pub(crate) struct Futex(Words);

impl End for Futex {
    fn send(&mut self, number: u32) -> anyhow::Result<()> {
        // edge: store -> look
        self.0.out.store(number, Ordering::Release);
        futex::wake(self.0.out);
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<u32> {
        Ok(self.0.receive(|word, value| {
            futex::wait(word, value, day5::strategy::SLICE);
        }))
    }
}

/// Two counters in the kernel.
pub(crate) struct Counters {
    out: EventFd,
    back: EventFd,
}

impl End for Counters {
    fn send(&mut self, number: u32) -> anyhow::Result<()> {
        self.out.write(number.into()).context("writing to an eventfd")?;
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<u32> {
        Ok(self.back.read().context("reading an eventfd")? as u32)
    }
}

/// Two pipes, or the two ends of a socket.
pub(crate) struct Files {
    out: OwnedFd,
    back: OwnedFd,
}

impl End for Files {
    fn send(&mut self, number: u32) -> anyhow::Result<()> {
        let sent = write(&self.out, &u64::from(number).to_ne_bytes()).context("writing")?;
        ensure!(sent == 8, "8 bytes were to be written, {sent} were");
        Ok(())
    }

    fn receive(&mut self) -> anyhow::Result<u32> {
        let mut bytes = [0; 8];
        let received = read(&self.back, &mut bytes).context("reading")?;
        ensure!(received == 8, "8 bytes were to come, {received} did");
        Ok(u64::from_ne_bytes(bytes) as u32)
    }
}

/// The descriptors that the two sides inherit.
pub(crate) type Descriptors = [Vec<OwnedFd>; 2];

impl Bare {
    pub(crate) fn new(memory: &OwnedFd, side: Side) -> anyhow::Result<Self> {
        Ok(Self(Words::map(memory, side)?))
    }
}

impl Futex {
    pub(crate) fn new(memory: &OwnedFd, side: Side) -> anyhow::Result<Self> {
        Ok(Self(Words::map(memory, side)?))
    }
}

impl Counters {
    pub(crate) fn new(out: OwnedFd, back: OwnedFd) -> Self {
        // SAFETY: the process that started us made it by `eventfd`.
        let out = unsafe { EventFd::from_owned_fd(out) };
        // SAFETY: as above.
        let back = unsafe { EventFd::from_owned_fd(back) };
        Self { out, back }
    }
}

impl Files {
    pub(crate) fn new(out: OwnedFd, back: OwnedFd) -> Self {
        Self { out, back }
    }
}

/// The memory of [`Bare`] and [`Futex`].
pub(crate) fn words() -> anyhow::Result<Descriptors> {
    let (one, other) = both(memory::create::<Lines>().context("making room for two words")?)?;
    Ok([vec![one], vec![other]])
}

/// The descriptors of [`Counters`].
pub(crate) fn counters() -> anyhow::Result<Descriptors> {
    let counter = || {
        let counter = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).context("making an eventfd")?;
        anyhow::Ok(both(counter.into())?)
    };
    let (there, back) = (counter()?, counter()?);
    Ok([vec![there.0, back.0], vec![back.1, there.1]])
}

/// The descriptors of [`Files`], over pipes.
pub(crate) fn pipes() -> anyhow::Result<Descriptors> {
    let pipe = || pipe2(nix::fcntl::OFlag::O_CLOEXEC).context("making a pipe");
    let (there, back) = (pipe()?, pipe()?);
    Ok([vec![there.1, back.0], vec![back.1, there.0]])
}

/// The descriptors of [`Files`], over a socket that keeps messages apart.
pub(crate) fn sockets() -> anyhow::Result<Descriptors> {
    let (family, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
    let ends = socketpair(family, SockType::SeqPacket, None, flags).context("socketpair")?;
    let (one, other) = (both(ends.0)?, both(ends.1)?);
    Ok([vec![one.0, one.1], vec![other.0, other.1]])
}
