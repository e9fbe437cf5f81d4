//! Shared memory by hand, without a library: a mailbox each way, and a busy wait, POSIX semaphores or
//! a futex to say that a message is in it. And a limit for all of these: copies within one thread.

use core::cell::UnsafeCell;
use core::hint::black_box;

use anyhow::{Context, ensure};
use common::sync::{AtomicU32, Ordering};
use nix::errno::Errno;
use nix::libc;
use rustix::io::Errno as Refusal;
use rustix::thread::futex::{self, Flags};
use yardstick::bytes::buffer;
use yardstick::memory::{self, Shared};

use super::{Contender, Standing};
use crate::crew::{Crew, Delivery, Done, Go, Place};
use crate::idle::Idle;
use crate::interrupt::again;
use crate::line::{Receiving, Sending, request, trips};
use crate::load::{Job, Sink, Source};
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::Request { bytes, place } = question else { return vec![] };
    let mut rows = Vec::new();
    if place == Place::Threads {
        let who = ("memcpy", "copy within a thread");
        let row = Contender::rival(question, who, (Place::Threads, 1), |job| Ok(copies(job)));
        rows.push(row.standing(Standing::Limit));
    }
    let mut row = |mode, build: fn(&Job) -> anyhow::Result<Crew>| {
        rows.push(Contender::rival(question, ("shared memory", mode), (place, 2), build));
    };
    if bytes <= SMALL {
        row("busy wait, by hand", |job| mailboxes::<3, Busy>(job, [Busy::new(), Busy::new()]));
        row("POSIX semaphores, by hand", |job| mailboxes::<3, _>(job, [Semaphores; 2]));
        row("futex, by hand", |job| mailboxes::<3, Futex>(job, Default::default()));
    } else {
        row("busy wait, by hand", |job| mailboxes::<8, Busy>(job, [Busy::new(), Busy::new()]));
        row("POSIX semaphores, by hand", |job| mailboxes::<8, _>(job, [Semaphores; 2]));
        row("futex, by hand", |job| mailboxes::<8, Futex>(job, Default::default()));
    }
    rows
}

/// How many bytes of message fit on one cache line beside the word that announces them.
pub(super) const SMALL: usize = 24;

/// How one side announces its message, and waits for the other side's.
pub(super) trait Announce: Send + 'static {
    /// The word in shared memory beside each message. Zeros are a valid value.
    type Word: 'static;

    /// Prepares a word before its first use. It is called once for each word.
    fn prepare(_: &Self::Word) -> anyhow::Result<()> {
        Ok(())
    }

    /// Announces that the message beside `word` is written.
    fn announce(&mut self, word: &Self::Word) -> anyhow::Result<()>;

    /// Waits until the next message beside `word` is written.
    fn wait(&mut self, word: &Self::Word) -> anyhow::Result<()>;
}

/// One message and the word that announces it. They share a cache line if they fit on one; otherwise
/// they lie on neighbouring lines. Nothing else lies on their lines.
#[repr(C, align(128))]
struct Mailbox<const WORDS: usize, A: Announce> {
    message: UnsafeCell<[u64; WORDS]>,
    word: A::Word,
}

/// The mailbox there, and the mailbox back.
#[repr(C)]
struct Mailboxes<const WORDS: usize, A: Announce>([Mailbox<WORDS, A>; 2]);

// SAFETY: the announcing word decides which side may touch a message, and is made to be shared.
unsafe impl<const WORDS: usize, A: Announce> Sync for Mailboxes<WORDS, A> {}

// SAFETY: any bits are a valid message. Each kind of word is zero at first, and is only used by
// atomics or libc.
unsafe impl<const WORDS: usize, A: Announce> Shared for Mailboxes<WORDS, A> {}

/// One side: a mailbox for each direction.
struct Side<const WORDS: usize, A: Announce> {
    out: &'static Mailbox<WORDS, A>,
    back: &'static Mailbox<WORDS, A>,
    how: A,
    len: usize,
}

/// Both sides. Each announces in its own way.
pub(super) fn mailboxes<const WORDS: usize, A: Announce>(
    job: &Job,
    [server, client]: [A; 2],
) -> anyhow::Result<Crew> {
    let memory = memory::create::<Mailboxes<WORDS, A>>()?;
    let (other, len) = (memory.try_clone()?, job.most());
    ensure!(len <= WORDS * 8, "a message has at most {} bytes, found {len}", WORDS * 8);
    let server = move || {
        let Mailboxes(both) = memory::map::<Mailboxes<WORDS, A>>(&memory)?;
        // The client is set up after this.
        both.iter().try_for_each(|mailbox| A::prepare(&mailbox.word))?;
        Ok(Side { out: &both[1], back: &both[0], how: server, len })
    };
    let client = move || {
        let Mailboxes(both) = memory::map::<Mailboxes<WORDS, A>>(&other)?;
        Ok(Side { out: &both[0], back: &both[1], how: client, len })
    };
    Ok(request(job, server, client))
}

impl<const WORDS: usize, A: Announce> Sending for Side<WORDS, A> {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        // SAFETY: the other side has read the message that was here before, or it would not have
        // answered. It looks here again only when it is told to.
        let message = unsafe { &mut *self.out.message.get() };
        source.write(&mut bytemuck::bytes_of_mut(message)[..self.len]);
        self.how.announce(&self.out.word)
    }
}

impl<const WORDS: usize, A: Announce> Receiving for Side<WORDS, A> {
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        self.how.wait(&self.back.word)?;
        // SAFETY: the other side has said that the message is written. It writes again only after
        // our answer.
        let message = unsafe { &*self.back.message.get() };
        sink.read(&bytemuck::bytes_of(message)[..self.len]);
        Ok(())
    }
}

/// The number of the last message. The other side looks at it again and again.
struct Busy {
    sent: u32,
    received: u32,
    idle: Idle,
}

impl Busy {
    fn new() -> Self {
        Self { sent: 0, received: 0, idle: Idle::new(2) }
    }
}

impl Announce for Busy {
    type Word = AtomicU32;

    #[inline(always)]
    fn announce(&mut self, word: &AtomicU32) -> anyhow::Result<()> {
        self.sent = self.sent.wrapping_add(1);
        // edge: message -> look
        word.store(self.sent, Ordering::Release);
        Ok(())
    }

    #[inline(always)]
    fn wait(&mut self, word: &AtomicU32) -> anyhow::Result<()> {
        self.received = self.received.wrapping_add(1);
        // edge: message -> look
        while word.load(Ordering::Acquire) != self.received {
            self.idle.wait();
        }
        self.idle.reset();
        Ok(())
    }
}

/// The number of the last message. The other side sleeps on it at once, and is always woken.
#[derive(Default)]
struct Futex {
    sent: u32,
    received: u32,
}

impl Announce for Futex {
    type Word = AtomicU32;

    #[inline]
    fn announce(&mut self, word: &AtomicU32) -> anyhow::Result<()> {
        self.sent = self.sent.wrapping_add(1);
        // edge: message -> look
        word.store(self.sent, Ordering::Release);
        // A shared futex: the kernel finds it by its page, because the other process has another
        // address.
        futex::wake(word, Flags::empty(), 1).context("waking by futex")?;
        Ok(())
    }

    #[inline]
    fn wait(&mut self, word: &AtomicU32) -> anyhow::Result<()> {
        let before = self.received;
        self.received = before.wrapping_add(1);
        // edge: message -> look
        while word.load(Ordering::Acquire) != self.received {
            match futex::wait(word, Flags::empty(), before, None) {
                // The number has changed already, or a signal came.
                Ok(()) | Err(Refusal::AGAIN | Refusal::INTR) => {}
                Err(error) => return Err(error).context("sleeping on a futex"),
            }
        }
        Ok(())
    }
}

/// `sem_post` and `sem_wait`.
#[derive(Clone, Copy)]
struct Semaphores;

/// A semaphore in shared memory: an unnamed semaphore has to be there.
struct Semaphore(UnsafeCell<libc::sem_t>);

impl Announce for Semaphores {
    type Word = Semaphore;

    fn prepare(word: &Semaphore) -> anyhow::Result<()> {
        // SAFETY: room for a semaphore that is not in use yet, and that stays in place.
        let done = unsafe { libc::sem_init(word.0.get(), 1, 0) };
        Errno::result(done).context("sem_init").map(drop)
    }

    #[inline]
    fn announce(&mut self, word: &Semaphore) -> anyhow::Result<()> {
        // SAFETY: `prepare` has made it a semaphore.
        let done = unsafe { libc::sem_post(word.0.get()) };
        Errno::result(done).context("sem_post").map(drop)
    }

    #[inline]
    fn wait(&mut self, word: &Semaphore) -> anyhow::Result<()> {
        // SAFETY: `prepare` has made it a semaphore.
        again(|| Errno::result(unsafe { libc::sem_wait(word.0.get()) })).context("sem_wait")?;
        Ok(())
    }
}

/// The same bytes as a request and its answer, within one thread: both are written, copied and read.
fn copies(job: &Job) -> Crew {
    let (requests, replies) = ((job.source(), job.sink()), (job.source(), job.sink()));
    let most = job.most();
    Crew::new(Delivery::Around)
        .side(move || Ok(Box::new(move || copy(most, requests, replies)) as Go))
}

#[inline(never)]
fn copy(
    most: usize,
    mut requests: (Source, Sink),
    mut replies: (Source, Sink),
) -> anyhow::Result<Done> {
    let [mut written, mut copied] = [buffer(most), buffer(most)];
    let mut pass = |(source, sink): &mut (Source, Sink)| {
        let len = source.next_len();
        // So that the compiler cannot know what happened to the bytes.
        let from = &mut bytemuck::cast_slice_mut(black_box(&mut written[..]))[..len];
        source.write(from);
        let to = &mut bytemuck::cast_slice_mut(black_box(&mut copied[..]))[..len];
        to.copy_from_slice(black_box(from));
        sink.read(black_box(to));
    };
    let times = trips(requests.0.left(), || {
        pass(&mut requests);
        pass(&mut replies);
        Ok(())
    })?;
    let ((source, sink), (replied, answers)) = (&requests, &replies);
    let (sent, received) = (replied.tally(), answers.tally());
    ensure!(received == sent, "of the answers, {received:?} arrived of {sent:?}");
    let (sent, received) = (source.tally().into(), sink.tally().into());
    Ok(Done { sent, received, lost: 0, times: Some(times) })
}
