//! Descriptors that a forked child does not keep.
//!
//! A kernel lock belongs to an open file, and a forked child has copies of its parent's open files. So a
//! child would hold its dead parent's locks until it ends itself. A table of this process's descriptors
//! tells the child which of its copies to close, before any other code runs in it.
//!
//! That happens in a handler of `fork(2)`, where another thread may have held any lock, and its holder
//! is gone. So the table is made of atomics, grows and never shrinks, and the handler only reads
//! numbers and closes descriptors.

#![allow(
    clippy::disallowed_types,
    reason = "each process has its own table: loom has nothing to watch"
)]

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering, fence};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use common::process::Origin;
use nix::errno::Errno;
use nix::libc;

/// A place in the table with no descriptor in it.
const FREE: i32 = -1;

/// How often a descriptor is opened again because a fork came in between.
const TRIES: u32 = 1000;

/// How many places the table grows by.
const PLACES: usize = 64;

struct Chunk {
    descriptors: [AtomicI32; PLACES],
    next: AtomicPtr<Chunk>,
}

impl Chunk {
    const fn new() -> Self {
        let descriptors = [const { AtomicI32::new(FREE) }; PLACES];
        Self { descriptors, next: AtomicPtr::new(core::ptr::null_mut()) }
    }

    fn next(&self) -> Option<&'static Chunk> {
        // edge: grow -> find
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: it is null, or comes from a box that was leaked.
        unsafe { next.as_ref() }
    }

    /// The chunk behind this one; there is one afterwards.
    fn grow(&self) -> &'static Chunk {
        let new = Box::into_raw(Box::new(Chunk::new()));
        let null = core::ptr::null_mut();
        // edge: grow -> find
        if self.next.compare_exchange(null, new, Ordering::Release, Ordering::Relaxed).is_err() {
            // SAFETY: another thread was faster, and nobody has seen ours.
            drop(unsafe { Box::from_raw(new) });
        }
        self.next().expect("there is one now, and no chunk is ever freed")
    }

    /// Puts a descriptor into a free place of this chunk or one behind it.
    fn keep(&'static self, descriptor: i32) -> &'static AtomicI32 {
        let mut chunk = self;
        loop {
            let free = chunk.descriptors.iter().find(|place| swap(place, FREE, descriptor));
            match free {
                Some(place) => return place,
                None => chunk = chunk.next().unwrap_or_else(|| chunk.grow()),
            }
        }
    }
}

fn swap(place: &AtomicI32, from: i32, to: i32) -> bool {
    let order = Ordering::Relaxed;
    place.load(order) == from && place.compare_exchange(from, to, order, order).is_ok()
}

static TABLE: Chunk = Chunk::new();
static HAS_HANDLERS: AtomicBool = AtomicBool::new(false);

/// How many forks of this process have begun, and how many are over. While they differ, a child may be
/// made that has a copy of a descriptor that is not in the table yet.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicU64 = AtomicU64::new(0);

extern "C" fn before_fork() {
    BEGUN.fetch_add(1, Ordering::Relaxed);
    // edge: keep <-> fork
    fence(Ordering::SeqCst);
}

extern "C" fn after_fork() {
    // edge: fork -> open
    OVER.fetch_add(1, Ordering::Release);
}

extern "C" fn in_child() {
    let mut chunk = Some(&TABLE);
    while let Some(here) = chunk {
        for place in &here.descriptors {
            let descriptor = place.swap(FREE, Ordering::Relaxed);
            if descriptor != FREE {
                // SAFETY: the child's copy of a descriptor that its parent owns. Its only other name in
                // the child is an `Unshared`, which closes nothing there.
                unsafe { libc::close(descriptor) };
            }
        }
        chunk = here.next();
    }
    // The other threads that were forking are not in the child.
    OVER.store(BEGUN.load(Ordering::Relaxed), Ordering::Relaxed);
}

/// Two threads may both do it, and then the handlers run twice. That does no harm. A lock would: a
/// child that is forked while it is held would never get it.
fn handle_forks() -> Result<(), Errno> {
    if HAS_HANDLERS.load(Ordering::Relaxed) {
        return Ok(());
    }
    // SAFETY: the handlers only use atomics and close(2), and so may run in any thread and any child.
    let answer =
        unsafe { libc::pthread_atfork(Some(before_fork), Some(after_fork), Some(in_child)) };
    match answer {
        0 => {
            HAS_HANDLERS.store(true, Ordering::Relaxed);
            Ok(())
        }
        errno => Err(Errno::from_raw(errno)),
    }
}

/// A descriptor of this process alone: a forked child has no copy of it.
///
/// A child that a raw `clone(2)` makes has one, because no handler runs in it. It does not use it.
#[derive(Debug)]
pub(crate) struct Unshared {
    /// Always there until it is dropped.
    file: Option<OwnedFd>,
    place: &'static AtomicI32,
    origin: Origin,
}

impl Unshared {
    /// Takes what `open` opens.
    ///
    /// If another thread forks at this very moment, its child may have a copy that is in no table. Then the
    /// file is closed, and opened again.
    ///
    /// # Errors
    ///
    /// What `open` says; and what the kernel says if it takes no handler for forks.
    pub(crate) fn open(open: impl Fn() -> Result<OwnedFd, Errno>) -> Result<Self, Errno> {
        handle_forks()?;
        let mut tries = 0;
        loop {
            tries += 1;
            let begun = BEGUN.load(Ordering::Relaxed);
            // edge: fork -> open. What we open now is not in a child of a fork that is over.
            let is_quiet = OVER.load(Ordering::Acquire) >= begun;
            let origin = Origin::here();
            let file = open()?;
            let place = TABLE.keep(file.as_raw_fd());
            let unshared = Self { file: Some(file), place, origin };
            // edge: keep <-> fork. Either we see below that a fork has begun, or its child finds the
            // descriptor in its table.
            fence(Ordering::SeqCst);
            let is_alone = is_quiet && BEGUN.load(Ordering::Relaxed) == begun;
            // In a process that never stops forking, a child may have to keep its copy.
            if is_alone || tries == TRIES {
                return Ok(unshared);
            }
            drop(unshared);
            std::thread::yield_now();
        }
    }

    /// Whether this is the process that opened it.
    pub(crate) fn is_here(&self) -> bool {
        self.origin.is_here()
    }
}

impl AsFd for Unshared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_ref().expect("only dropping takes it").as_fd()
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if self.is_here() {
            // First out of the table: as soon as it is closed, its number may mean another file.
            self.place.store(FREE, Ordering::Relaxed);
        } else {
            // In a child it is closed already, and its number may mean another file.
            let _ = file.into_raw_fd();
        }
    }
}
