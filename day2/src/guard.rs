//! The thread that owns this process's vital words.
//!
//! The kernel keeps one pointer for each thread: to the head of a list of words, which it walks when
//! the thread ends. So one thread, the guard, registers a list, and other threads change the list
//! under a mutex. It sleeps all the time, and nothing ends it but the end of its process.
//!
//! The list's nodes lie in shared memory, where others may overwrite them. So nothing is ever read from
//! them but to see whether they have to be repaired: what is watched is known from private memory. If
//! others break the list, the kernel may miss words of this process; it then marks nothing else, because it
//! only marks words that bear the guard's number.

#![allow(
    clippy::disallowed_types,
    reason = "each process has its own guards: loom has nothing to watch"
)]

use core::ptr::NonNull;
use core::sync::atomic::AtomicPtr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use common::process::Origin;
use common::sync::{AtomicU64, Ordering};
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::gettid;

use crate::vital::Vital;

/// How many words one guard owns. The kernel marks 2,048, and then stops, because a list might have no
/// end. One more guard then begins.
pub const MOST: usize = 2000;

/// How long a guard that has no words waits for the next one before it ends.
const LINGER: Duration = Duration::from_secs(1);

/// No guard has this number.
const NOBODY: u32 = 0;

/// The guard's stack: it calls next to nothing.
const STACK: usize = 64 * 1024;

/// As `struct robust_list_head` in the kernel. It lies in private memory, so `LAYOUT_VERSION` has nothing to
/// say about it.
#[repr(C)]
#[derive(Debug)]
struct Head {
    first: AtomicU64,
    offset: i64,
    /// Words that a thread is about to own. A guard's words have no need of it: see [`Head::link`].
    pending: AtomicU64,
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(Head, first) == 0);
    assert!(offset_of!(Head, offset) == 8);
    assert!(offset_of!(Head, pending) == 16);
};

impl Head {
    /// The head of an empty list. It is never freed: the kernel looks at it when the guard has ended.
    fn new() -> &'static Self {
        let (first, pending) = (AtomicU64::new(0), AtomicU64::new(0));
        let head: &'static Self =
            Box::leak(Box::new(Self { first, offset: Vital::OFFSET, pending }));
        head.link(&[]);
        head
    }

    fn address(&self) -> u64 {
        core::ptr::from_ref(self).addr() as u64
    }

    /// Makes this the list of the calling thread. Returns the number that the kernel knows the thread
    /// by; `None` if it refuses.
    fn adopt(&'static self) -> Option<u32> {
        if size_of::<usize>() != size_of::<u64>() {
            // The kernel's list would have shorter pointers than ours.
            return None;
        }
        let head = core::ptr::from_ref(self);
        // SAFETY: the head is as the kernel expects it, and is never freed. The C library's own list,
        // which it replaces, is of use to threads that own robust mutexes.
        let answer = unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Self>()) };
        (answer == 0).then(|| gettid().as_raw() as u32)
    }

    /// Makes the kernel's list the list of these nodes; the last one is the kernel's first.
    ///
    /// The kernel may walk the list at any moment. So each node is written before the node or the head
    /// that leads to it, and at every moment there is a whole list: the old one or the new one.
    fn link(&self, nodes: &[Node]) {
        let mut next = self.address();
        for node in nodes {
            set(&node.vital().next, next);
            next = node.address();
        }
        set(&self.first, next);
    }
}

/// Stores only what differs: others may have the line, and nearly all nodes are right.
fn set(link: &AtomicU64, address: u64) {
    if link.load(Ordering::Relaxed) != address {
        // edge: own -> dying
        link.store(address, Ordering::Release);
    }
}

/// A word that is watched, and stays mapped until it is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node(NonNull<Vital>);

// SAFETY: it is an address, and what lies there is all atomics.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

impl Node {
    fn address(self) -> u64 {
        self.0.addr().get() as u64
    }

    fn vital(&self) -> &Vital {
        // SAFETY: the caller of `watch` promised that the memory stays mapped while it is watched.
        // Whatever others write there, it is all atomics.
        unsafe { self.0.as_ref() }
    }
}

#[derive(Debug)]
struct Guard {
    head: &'static Head,
    number: u32,
    nodes: Vec<Node>,
}

/// The guards of one process: none or one, unless it watches more than [`MOST`] words.
#[derive(Debug)]
struct Guards {
    all: Mutex<Vec<Guard>>,
    emptied: Condvar,
    origin: Origin,
}

static GUARDS: AtomicPtr<Guards> = AtomicPtr::new(core::ptr::null_mut());

impl Guards {
    /// A forked child has no guard thread, and its copy of the mutex may be locked for good. So it gets guards
    /// of its own. What it inherits is never freed.
    fn of_this_process() -> &'static Self {
        // edge: found -> find
        let found = GUARDS.load(Ordering::Acquire);
        // SAFETY: it is null, or comes from a box that was leaked.
        if let Some(guards) = unsafe { found.as_ref() }
            && guards.origin.is_here()
        {
            return guards;
        }
        let (all, emptied) = (Mutex::default(), Condvar::new());
        let new = Box::into_raw(Box::new(Self { all, emptied, origin: Origin::here() }));
        // edge: found -> find
        match GUARDS.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: it comes from a box that nobody frees from now on.
            Ok(_) => unsafe { &*new },
            Err(faster) => {
                // SAFETY: another thread was faster, and nobody has seen ours.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: the other thread's comes from a box that was leaked.
                unsafe { &*faster }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Guard>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&'static self, node: Node) -> Option<Watch> {
        let mut all = self.lock();
        if all.iter().any(|guard| guard.nodes.contains(&node)) {
            // A node that is twice in a list makes it a circle.
            return None;
        }
        // What the kernel has marked for the last owner says nothing of the next one, also where that
        // gets no guard.
        node.vital().own(NOBODY);
        let guard = match all.iter().position(|guard| guard.nodes.len() < MOST) {
            Some(at) => &mut all[at],
            None => {
                let guard = self.start()?;
                all.push(guard);
                all.last_mut()?
            }
        };
        // First into the list, and then its word: with an owner that the kernel does not know of, it
        // would never be marked. While it has another owner, the kernel leaves it alone.
        guard.nodes.push(node);
        guard.head.link(&guard.nodes);
        node.vital().own(guard.number);
        Some(Watch { node, number: guard.number, guards: self })
    }

    /// Starts a guard. The caller has the lock: the guard finds itself in the list of all.
    fn start(&'static self) -> Option<Guard> {
        let head = Head::new();
        let (tell, told) = mpsc::sync_channel(1);
        let work = move || {
            let number = head.adopt();
            let _ = tell.send(number);
            if number.is_some() {
                self.stand(head);
            }
        };
        // A signal that is meant for the program must not find the guard, which has a small stack. A
        // new thread inherits the mask.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).ok()?;
        let builder = thread::Builder::new().name("fanout-guard".into()).stack_size(STACK);
        let started = builder.spawn(work);
        let _ = mask.thread_set_mask();
        started.ok()?;
        // A thread for whose beginning there is not enough memory may hang before it says anything.
        Some(Guard { head, number: told.recv_timeout(LINGER).ok()??, nodes: Vec::new() })
    }

    /// What a guard does: it sleeps until it has nothing to guard.
    fn stand(&self, head: &'static Head) {
        let is_mine = |guard: &Guard| core::ptr::eq(guard.head, head);
        let is_idle =
            |all: &mut Vec<Guard>| all.iter().any(|guard| is_mine(guard) && guard.nodes.is_empty());
        let mut all = self.lock();
        loop {
            let until_idle = self.emptied.wait_while(all, |all| !is_idle(all));
            all = until_idle.unwrap_or_else(PoisonError::into_inner);
            let lingering = self.emptied.wait_timeout_while(all, LINGER, is_idle);
            let (again, lingered) = lingering.unwrap_or_else(PoisonError::into_inner);
            all = again;
            if lingered.timed_out() {
                all.retain(|guard| !is_mine(guard));
                return;
            }
        }
    }

    fn forget(&self, node: Node, number: u32) {
        let mut all = self.lock();
        // First its word, and then out of the list: what is in no list would never be marked.
        let has_sleepers = node.vital().give_up(number);
        if let Some(guard) = all.iter_mut().find(|guard| guard.number == number) {
            guard.nodes.retain(|&one| one != node);
            guard.head.link(&guard.nodes);
            if guard.nodes.is_empty() {
                self.emptied.notify_all();
            }
        }
        drop(all);
        if has_sleepers {
            wake(node.vital());
        }
    }
}

#[cold]
fn wake(vital: &Vital) {
    let word = vital.word().as_ptr();
    // SAFETY: it reads nothing: the word's address says whose sleepers are meant.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) };
}

/// A word that the kernel marks when this process dies. When this is dropped, nobody owns the word.
///
/// After a fork, the word belongs to the parent, and dropping the child's copy does nothing.
#[must_use = "the word is not watched any more when this is dropped"]
#[derive(Debug)]
pub struct Watch {
    node: Node,
    number: u32,
    guards: &'static Guards,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.guards.origin.is_here() {
            self.guards.forget(self.node, self.number);
        }
    }
}

/// Makes this process the owner of a word: when it dies, in whatever way, the kernel marks the word as dying.
///
/// The caller has the role that the word belongs to. A process that owned the word before owns it no longer.
/// `None` if the kernel refuses, or if this process watches the word already. Then only the
/// [lease](crate::lease) tells of its death. A word that the kernel refuses to watch says that nobody owns it.
///
/// # Safety
///
/// The word is aligned, and its memory stays mapped, readable and writable, until the `Watch` is dropped; for
/// good, if the `Watch` is never dropped.
pub unsafe fn watch(vital: NonNull<Vital>) -> Option<Watch> {
    Guards::of_this_process().watch(Node(vital))
}
