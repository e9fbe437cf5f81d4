//! Tasks by hand, in shared memory without a library: as many places for requests, and for answers, as
//! requests can be out, and a count of each. The counts are looked at in a busy wait, or slept on by
//! futex; or a lock guards them, and a condition variable says that they have changed.
//!
//! Requests that are asked together are announced together, and so are their answers.

use core::cell::UnsafeCell;

use anyhow::Context;
use common::sync::{AtomicU32, Ordering};
use nix::errno::Errno;
use nix::libc;
use rustix::io::Errno as Refusal;
use rustix::thread::futex::{self, Flags};
use yardstick::memory::{self, Shared};

use super::Contender;
use crate::Packet;
use crate::crew::Crew;
use crate::idle::Idle;
use crate::load::Job;
use crate::question::{Question, Rest};
use crate::task::{Answering, Asking, tasks};

/// As many places as any question has requests out at a time.
const PLACES: usize = 64;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::Task { place, outstanding, rest } = question else { return vec![] };
    let row = |mode, build: fn(&Job, usize) -> anyhow::Result<Crew>| {
        let build = move |job: &Job| build(job, outstanding);
        Contender::rival(question, ("shared memory", mode), (place, 2), build)
    };
    match rest {
        Rest::Spinning => vec![row("busy wait, by hand", exchange::<Busy>)],
        Rest::Sleeping => vec![
            row("futex, by hand", exchange::<Futex>),
            row("lock and condition variable, by hand", exchange::<Locked>),
        ],
    }
}

/// How a side says how many messages there are, and waits for more.
trait Count: Send + Sync + 'static {
    /// Prepares a zeroed count before its first use. It is called once.
    fn prepare(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Says that there are so many.
    fn set(&self, count: u32) -> anyhow::Result<()>;

    /// Waits until there are other than `seen`. Returns how many there are.
    fn wait(&self, seen: u32, idle: &Idle) -> anyhow::Result<u32>;
}

/// Messages in one direction. The count has a line of its own.
#[repr(C, align(128))]
struct Lane<C> {
    places: UnsafeCell<[Packet; PLACES]>,
    count: Line<C>,
}

#[repr(C, align(128))]
struct Line<C>(C);

/// Requests, and answers.
#[repr(C)]
struct Lanes<C>([Lane<C>; 2]);

// SAFETY: the count decides which side may touch a place, and is made to be shared.
unsafe impl<C: Count> Sync for Lanes<C> {}

// SAFETY: any bits are a valid message. Each kind of count is zero at first, and is only used by
// atomics or libc.
unsafe impl<C: Count> Shared for Lanes<C> {}

/// One side.
struct Side<C: 'static> {
    out: &'static Lane<C>,
    back: &'static Lane<C>,
    written: u32,
    read: u32,
    idle: Idle,
}

fn exchange<C: Count>(job: &Job, outstanding: usize) -> anyhow::Result<Crew> {
    anyhow::ensure!(outstanding <= PLACES, "there are {PLACES} places, found {outstanding}");
    let memory = memory::create::<Lanes<C>>()?;
    let other = memory.try_clone()?;
    let side = |out, back| Side { out, back, written: 0, read: 0, idle: Idle::new(2) };
    let server = move || {
        let Lanes([there, back]) = memory::map::<Lanes<C>>(&memory)?;
        // The client is set up after this.
        [there, back].into_iter().try_for_each(|lane| lane.count.0.prepare())?;
        Ok(side(back, there))
    };
    let client = move || {
        let Lanes([there, back]) = memory::map::<Lanes<C>>(&other)?;
        Ok(side(there, back))
    };
    Ok(tasks(job, outstanding, server, client))
}

impl<C: Count> Side<C> {
    /// Writes the next message. The other side does not know of it yet.
    #[inline(always)]
    fn write(&mut self, write: impl FnOnce(&mut Packet)) {
        let places = self.out.places.get().cast::<Packet>();
        let at = self.written as usize % PLACES;
        // SAFETY: within the array.
        let place = unsafe { places.add(at) };
        // SAFETY: at most as many requests are out as there are places, so what was here before has
        // been read; and the other side looks here only when the count says so.
        write(unsafe { &mut *place });
        self.written = self.written.wrapping_add(1);
    }

    /// Waits until there are messages, and returns the count of them.
    #[inline(always)]
    fn wait(&self) -> anyhow::Result<u32> {
        self.back.count.0.wait(self.read, &self.idle)
    }

    /// The next message. There must be one.
    #[inline(always)]
    fn next(&mut self) -> &'static Packet {
        let places = self.back.places.get().cast::<Packet>();
        let at = self.read as usize % PLACES;
        // SAFETY: within the array.
        let place = unsafe { places.add(at) };
        self.read = self.read.wrapping_add(1);
        // SAFETY: the other side has said that it is written, and writes here again only after it
        // was answered.
        unsafe { &*place }
    }
}

impl<C: Count> Asking for Side<C> {
    #[inline(always)]
    fn ask(&mut self, write: impl FnOnce(&mut Packet)) -> anyhow::Result<()> {
        self.write(write);
        Ok(())
    }

    #[inline(always)]
    fn flush(&mut self) -> anyhow::Result<()> {
        self.out.count.0.set(self.written)
    }

    #[inline(always)]
    fn collect(&mut self, mut take: impl FnMut(&Packet)) -> anyhow::Result<()> {
        let count = self.wait()?;
        while self.read != count {
            take(self.next());
        }
        Ok(())
    }
}

impl<C: Count> Answering for Side<C> {
    #[inline(always)]
    fn serve(&mut self, mut work: impl FnMut(&Packet, &mut Packet)) -> anyhow::Result<()> {
        let count = self.wait()?;
        while self.read != count {
            let request = self.next();
            self.write(|answer| work(request, answer));
        }
        self.out.count.0.set(self.written)
    }
}

/// The other side looks at the count again and again.
struct Busy(AtomicU32);

impl Count for Busy {
    #[inline(always)]
    fn set(&self, count: u32) -> anyhow::Result<()> {
        // edge: message -> look
        self.0.store(count, Ordering::Release);
        Ok(())
    }

    #[inline(always)]
    fn wait(&self, seen: u32, idle: &Idle) -> anyhow::Result<u32> {
        loop {
            // edge: message -> look
            let count = self.0.load(Ordering::Acquire);
            if count != seen {
                idle.reset();
                return Ok(count);
            }
            idle.wait();
        }
    }
}

/// The other side sleeps on the count at once, and is always woken.
struct Futex(AtomicU32);

impl Count for Futex {
    #[inline]
    fn set(&self, count: u32) -> anyhow::Result<()> {
        // edge: message -> look
        self.0.store(count, Ordering::Release);
        // Shared, because the other process has another address.
        futex::wake(&self.0, Flags::empty(), 1).context("waking by futex")?;
        Ok(())
    }

    #[inline]
    fn wait(&self, seen: u32, _: &Idle) -> anyhow::Result<u32> {
        loop {
            // edge: message -> look
            let count = self.0.load(Ordering::Acquire);
            if count != seen {
                return Ok(count);
            }
            match futex::wait(&self.0, Flags::empty(), seen, None) {
                // The count has changed already, or a signal came.
                Ok(()) | Err(Refusal::AGAIN | Refusal::INTR) => {}
                Err(error) => return Err(error).context("sleeping on a futex"),
            }
        }
    }
}

/// A count that is only touched under a lock.
struct Locked {
    lock: UnsafeCell<libc::pthread_mutex_t>,
    changed: UnsafeCell<libc::pthread_cond_t>,
    count: UnsafeCell<u32>,
}

// SAFETY: the lock and the condition variable are made to be shared, and the lock guards the count.
unsafe impl Sync for Locked {}

// SAFETY: glibc's locks may be used by any thread.
unsafe impl Send for Locked {}

/// What pthread calls return is an error number.
fn pthread(done: libc::c_int, what: &'static str) -> anyhow::Result<()> {
    match done {
        0 => Ok(()),
        error => Err(Errno::from_raw(error)).context(what),
    }
}

impl Locked {
    fn make_lock(&self) -> anyhow::Result<()> {
        // SAFETY: zeros are a valid value of this C type.
        let mut how = unsafe { core::mem::zeroed() };
        // SAFETY: room for attributes.
        pthread(unsafe { libc::pthread_mutexattr_init(&raw mut how) }, "pthread_mutexattr_init")?;
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: initialised above.
        let done = unsafe { libc::pthread_mutexattr_setpshared(&raw mut how, shared) };
        pthread(done, "pthread_mutexattr_setpshared")?;
        // SAFETY: room for a lock that is not in use yet, and that stays in place.
        let done = unsafe { libc::pthread_mutex_init(self.lock.get(), &raw const how) };
        pthread(done, "pthread_mutex_init")
    }

    fn make_condition(&self) -> anyhow::Result<()> {
        // SAFETY: zeros are a valid value of this C type.
        let mut how = unsafe { core::mem::zeroed() };
        // SAFETY: room for attributes.
        pthread(unsafe { libc::pthread_condattr_init(&raw mut how) }, "pthread_condattr_init")?;
        let shared = libc::PTHREAD_PROCESS_SHARED;
        // SAFETY: initialised above.
        let done = unsafe { libc::pthread_condattr_setpshared(&raw mut how, shared) };
        pthread(done, "pthread_condattr_setpshared")?;
        // SAFETY: room for a condition variable that is not in use yet, and that stays in place.
        let done = unsafe { libc::pthread_cond_init(self.changed.get(), &raw const how) };
        pthread(done, "pthread_cond_init")
    }

    /// Does something with the count, under the lock.
    #[inline]
    fn hold<T>(&self, held: impl FnOnce(*mut u32) -> anyhow::Result<T>) -> anyhow::Result<T> {
        // SAFETY: `prepare` has made it a lock.
        let done = unsafe { libc::pthread_mutex_lock(self.lock.get()) };
        pthread(done, "pthread_mutex_lock")?;
        let found = held(self.count.get());
        // SAFETY: this thread holds it.
        let done = unsafe { libc::pthread_mutex_unlock(self.lock.get()) };
        pthread(done, "pthread_mutex_unlock")?;
        found
    }
}

impl Count for Locked {
    fn prepare(&self) -> anyhow::Result<()> {
        self.make_lock()?;
        self.make_condition()
    }

    #[inline]
    fn set(&self, count: u32) -> anyhow::Result<()> {
        self.hold(|place| {
            // SAFETY: this thread holds the lock.
            unsafe { *place = count };
            Ok(())
        })?;
        // SAFETY: `prepare` has made it a condition variable.
        let done = unsafe { libc::pthread_cond_signal(self.changed.get()) };
        pthread(done, "pthread_cond_signal")
    }

    #[inline]
    fn wait(&self, seen: u32, _: &Idle) -> anyhow::Result<u32> {
        self.hold(|place| {
            loop {
                // SAFETY: this thread holds the lock.
                let count = unsafe { *place };
                if count != seen {
                    return Ok(count);
                }
                // SAFETY: both are made, and this thread holds the lock.
                let done = unsafe { libc::pthread_cond_wait(self.changed.get(), self.lock.get()) };
                pthread(done, "pthread_cond_wait")?;
            }
        })
    }
}
