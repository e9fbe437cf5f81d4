//! Micro-heaps: all the memory of one coroutine in one piece.
//!
//! A coroutine's state machine, its sockets' buffers, and what it allocates with [`Heap::alloc`] lie in one region of
//! address space. Pages of it are taken when they are first touched. When the coroutine has ended, and nothing that was
//! allocated there is left, the region is used again.
//!
//! # Isolation
//!
//! With [`Isolation::Mprotect`] a region is accessible only while its coroutine runs. A stray pointer of another
//! coroutine is a SIGSEGV then, and not somebody else's data. It costs two system calls each time that a coroutine is
//! run.
//!
//! **What is not protected:** everything that is allocated the ordinary way, such as a `Vec`, a `String` or an `Rc`; the
//! stack; statics; the executor's own lists; memory that is shared with other processes. And whatever the running
//! coroutine itself has.
//!
//! **What does not work with it:** futures that put themselves on a list that others walk through, as those of
//! `tokio::sync` do. The list leads through a region that is closed: the process is killed. A [`HeapBox`] that another
//! coroutine dereferences panics.
//!
//! All unsafe code of this day is in this module.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::Future;
use core::mem::{self, ManuallyDrop};
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::ptr::{self, NonNull};
use core::task::{Context, Poll};
use std::alloc::Layout;
use std::rc::Rc;
use std::str::FromStr;

use common::OsError;
use day2::segment::page_size;
use memmap2::{MmapOptions, MmapRaw};
use nix::errno::Errno;
use nix::sys::mman::{MmapAdvise, ProtFlags, madvise, mprotect};

/// Whether the memory of a coroutine that does not run is accessible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// It is, as in any other program.
    #[default]
    None,
    /// It is not: see the [module](self).
    Mprotect,
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Mprotect => "mprotect",
        })
    }
}

/// No [`Isolation`] is called this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected none or mprotect, found {0:?}")]
pub struct UnknownIsolation(String);

impl FromStr for Isolation {
    type Err = UnknownIsolation;

    fn from_str(text: &str) -> Result<Self, UnknownIsolation> {
        match text {
            "none" => Ok(Self::None),
            "mprotect" => Ok(Self::Mprotect),
            _ => Err(UnknownIsolation(text.into())),
        }
    }
}

/// Why a heap gives no memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeapError {
    /// The heap has no room left.
    #[error(
        "{wanted} bytes were asked of a coroutine's heap, which has {left} of {size} left: allocate less, or make heaps larger (RuntimeOptions::heap)"
    )]
    Full {
        /// So much was asked for.
        wanted: usize,
        /// So much there is at its end.
        left: usize,
        /// So large are heaps.
        size: usize,
    },
    /// The kernel gives no address space.
    #[error(
        "{call} for the heaps of coroutines: {source}; end some of them, or make heaps smaller (RuntimeOptions::heap)"
    )]
    Kernel {
        /// What the kernel was asked for.
        call: &'static str,
        /// What it said.
        source: OsError,
    },
}

/// So many heaps are reserved at once.
const HEAPS_IN_CHUNK: usize = 64;
/// So many protected heaps are mappings of their own. The kernel allows 65,530 in all.
const APART: usize = 32 << 10;
/// So much of a heap keeps its pages between two coroutines, in bytes.
const KEPT: usize = 16 << 10;
/// The least that is given, and what all sizes are multiples of.
const GRAIN: usize = 16;

/// Address space for some heaps.
#[derive(Debug)]
struct Chunk {
    map: MmapRaw,
}

/// Where heaps come from.
#[derive(Debug)]
pub(crate) struct Pool {
    isolation: Isolation,
    size: usize,
    /// How many heaps there are, in use or not.
    reserved: Cell<usize>,
    /// Regions that nobody has, and how many of their first bytes may not be zero.
    free: RefCell<Vec<Region>>,
}

#[derive(Debug)]
struct Region {
    chunk: Rc<Chunk>,
    start: NonNull<u8>,
    dirty: usize,
}

impl Pool {
    /// Heaps of so many bytes each, rounded up to pages.
    pub(crate) fn new(isolation: Isolation, size: usize) -> Rc<Self> {
        let page = page_size() as usize;
        let size = size.clamp(page, 1 << 30).next_multiple_of(page);
        Rc::new(Self { isolation, size, reserved: Cell::new(0), free: RefCell::default() })
    }

    /// A heap that nobody else has.
    pub(crate) fn heap(self: &Rc<Self>) -> Result<Heap, HeapError> {
        let free = self.free.borrow_mut().pop();
        let region = match free {
            Some(region) => region,
            None => self.reserve()?,
        };
        Ok(Heap(Rc::new(Inner {
            used: Cell::new(0),
            dirty: Cell::new(region.dirty),
            free: RefCell::default(),
            opened: Cell::new(0),
            pool: Rc::clone(self),
            chunk: region.chunk,
            start: region.start,
        })))
    }

    #[cold]
    fn reserve(&self) -> Result<Region, HeapError> {
        let len = self.size * HEAPS_IN_CHUNK;
        let mut map = MmapOptions::new()
            .len(len)
            .no_reserve_swap()
            .map_anon()
            .map_err(|error| HeapError::Kernel { call: "mmap", source: OsError::new(error) })?;
        // Pages of one mapping that were closed and opened one by one are one mapping again only if the whole was
        // touched before it was divided. There can be 65,530 mappings.
        map[0] = 0;
        let chunk = Rc::new(Chunk { map: MmapRaw::from(map) });
        let start = NonNull::new(chunk.map.as_mut_ptr()).expect("no mapping starts at zero");
        if self.isolation == Isolation::Mprotect {
            if self.reserved.get() < APART {
                self.part(start);
            }
            protect(start, len, ProtFlags::PROT_NONE).map_err(|errno| HeapError::Kernel {
                call: "mprotect",
                source: OsError::new(errno),
            })?;
        }
        self.reserved.set(self.reserved.get() + HEAPS_IN_CHUNK);
        let region = |place: usize| {
            let start = start.as_ptr().wrapping_add(place * self.size);
            let start = NonNull::new(start).expect("within the mapping");
            Region { chunk: Rc::clone(&chunk), start, dirty: 0 }
        };
        self.free.borrow_mut().extend((1..HEAPS_IN_CHUNK).rev().map(region));
        Ok(region(0))
    }
}

impl Pool {
    /// Makes each heap of a chunk a mapping of its own, which need not be divided to be opened: neighbours that differ in
    /// an advice are never joined.
    fn part(&self, start: NonNull<u8>) {
        for place in (1..HEAPS_IN_CHUNK).step_by(2) {
            let heap = start.as_ptr().wrapping_add(place * self.size);
            let heap = NonNull::new(heap).expect("within the mapping");
            // Where the kernel has no large pages, it refuses; then opening a heap takes longer.
            // SAFETY: a part of our own mapping. The advice changes nothing of what is there.
            let _ = unsafe { madvise(heap.cast(), self.size, MmapAdvise::MADV_NOHUGEPAGE) };
        }
    }
}

fn protect(start: NonNull<u8>, len: usize, flags: ProtFlags) -> Result<(), Errno> {
    // SAFETY: a part of our own mapping, in whole pages. Nobody has a reference into it while it is closed: the executor
    // closes it only when the coroutine has returned, and a `HeapBox` is dereferenced only while it is open.
    unsafe { mprotect(start.cast(), len, flags) }
}

/// The heap of one coroutine; a handle, which can be cloned.
#[derive(Clone)]
pub struct Heap(Rc<Inner>);

struct Inner {
    start: NonNull<u8>,
    /// How far it was given away.
    used: Cell<usize>,
    /// How many bytes at its start may not be zero.
    dirty: Cell<usize>,
    /// What came back: where, and its length. In this order, and no two of them touch.
    free: RefCell<Vec<(usize, usize)>>,
    /// How many have it open.
    opened: Cell<usize>,
    pool: Rc<Pool>,
    chunk: Rc<Chunk>,
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Heap");
        out.field("size", &self.size()).field("used", &self.used()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let dirty = self.dirty.get();
        if dirty > KEPT {
            let (start, len) = (self.start.as_ptr().wrapping_add(KEPT), dirty - KEPT);
            let start = NonNull::new(start).expect("within the mapping");
            // SAFETY: a part of our own private mapping, where nothing is left.
            let done = unsafe {
                madvise(
                    start.cast(),
                    len.next_multiple_of(page_size() as usize),
                    MmapAdvise::MADV_DONTNEED,
                )
            };
            self.dirty.set(if done.is_ok() { KEPT } else { dirty });
        }
        let region =
            Region { chunk: Rc::clone(&self.chunk), start: self.start, dirty: self.dirty.get() };
        self.pool.free.borrow_mut().push(region);
    }
}

/// A heap stays open for as long as one of these lives.
pub(crate) struct Open<'a>(&'a Inner);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let opened = self.0.opened.get() - 1;
        self.0.opened.set(opened);
        if opened == 0 && self.0.pool.isolation == Isolation::Mprotect {
            let closed = protect(self.0.start, self.0.pool.size, ProtFlags::PROT_NONE);
            assert!(closed.is_ok(), "a coroutine's heap cannot be closed: {closed:?}");
        }
    }
}

impl Heap {
    /// The heap of the coroutine that runs; `None` outside of coroutines.
    pub fn current() -> Option<Self> {
        crate::runtime::current_heap()
    }

    /// How much it has, in bytes.
    pub fn size(&self) -> usize {
        self.0.pool.size
    }

    /// How far it is in use, in bytes. What came back before the last allocation that stays is counted.
    pub fn used(&self) -> usize {
        self.0.used.get()
    }

    /// Whether it is accessible now.
    pub fn is_open(&self) -> bool {
        self.0.opened.get() > 0 || self.0.pool.isolation == Isolation::None
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Makes it accessible. It fails if there are more mappings than the kernel allows.
    fn try_open(&self) -> Result<Open<'_>, Errno> {
        let inner = &*self.0;
        if inner.opened.get() == 0 && inner.pool.isolation == Isolation::Mprotect {
            let flags = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
            protect(inner.start, inner.pool.size, flags)?;
        }
        inner.opened.set(inner.opened.get() + 1);
        Ok(Open(inner))
    }

    /// The same. The coroutine that it is done for ends with the panic.
    pub(crate) fn open(&self) -> Open<'_> {
        match self.try_open() {
            Ok(open) => open,
            Err(errno) => panic!("a coroutine's heap cannot be opened: {}", errno.desc()),
        }
    }

    /// The same, to lay something in a place that was taken.
    fn open_for(&self, at: usize, len: usize) -> Result<Open<'_>, HeapError> {
        self.try_open().map_err(|errno| {
            self.give_back(at, len);
            HeapError::Kernel { call: "mprotect", source: OsError::new(errno) }
        })
    }

    /// Where something of this layout may lie.
    fn take(&self, layout: Layout) -> Result<(usize, usize), HeapError> {
        let len = layout.size().next_multiple_of(GRAIN);
        if len == 0 {
            return Ok((0, 0));
        }
        // The address is to be a multiple, and not only the distance from the start, which is a page's.
        let start = self.0.start.addr().get();
        let aligned = |at: usize| {
            let at = (start + at).checked_next_multiple_of(layout.align().max(GRAIN))? - start;
            Some((at, at.checked_add(len)?))
        };
        let mut free = self.0.free.borrow_mut();
        let fits =
            |&(at, has): &(usize, usize)| aligned(at).is_some_and(|(_, end)| end <= at + has);
        if let Some(found) = free.iter().position(fits) {
            let (from, has) = free.remove(found);
            let (at, end) = aligned(from).expect("it fits");
            let rests = [(from, at), (end, from + has)];
            for (from, to) in rests.into_iter().rev().filter(|(from, to)| from < to) {
                free.insert(found, (from, to - from));
            }
            return Ok((at, len));
        }
        let (used, size) = (self.used(), self.size());
        match aligned(used) {
            Some((at, end)) if end <= size => {
                self.0.used.set(end);
                if used < at {
                    free.push((used, at - used));
                }
                Ok((at, len))
            }
            _ => Err(HeapError::Full { wanted: layout.size(), left: size - used, size }),
        }
    }

    /// Something has come back. It is one with its neighbours, if these are free.
    fn give_back(&self, mut at: usize, mut len: usize) {
        if len == 0 {
            return;
        }
        let mut free = self.0.free.borrow_mut();
        let mut place = free.partition_point(|&(other, _)| other < at);
        if free.get(place).is_some_and(|&(next, _)| at + len == next) {
            len += free.remove(place).1;
        }
        if place > 0 && free[place - 1].0 + free[place - 1].1 == at {
            place -= 1;
            let (before, more) = free.remove(place);
            (at, len) = (before, len + more);
        }
        if at + len == self.used() {
            self.0.used.set(at);
        } else {
            free.insert(place, (at, len));
        }
    }

    fn pointer(&self, at: usize) -> NonNull<u8> {
        assert!(at <= self.size());
        NonNull::new(self.0.start.as_ptr().wrapping_add(at)).expect("within the mapping")
    }

    fn touch(&self, end: usize) {
        self.0.dirty.set(self.0.dirty.get().max(end));
    }

    /// Moves a value here.
    ///
    /// # Errors
    ///
    /// [`HeapError`]: the value is dropped.
    pub fn alloc<T>(&self, value: T) -> Result<HeapBox<T>, HeapError> {
        let (at, len) = self.take(Layout::new::<T>())?;
        self.touch(at + len);
        let pointer = if len == 0 { NonNull::dangling() } else { self.pointer(at).cast::<T>() };
        let open = self.open_for(at, len)?;
        // SAFETY: `len` bytes there are nobody else's, aligned for `T`, and the heap is open.
        unsafe { pointer.write(value) };
        drop(open);
        Ok(HeapBox { pointer, at, len, heap: self.clone() })
    }

    /// Bytes, all zeros.
    ///
    /// # Errors
    ///
    /// [`HeapError`].
    pub fn alloc_bytes(&self, count: usize) -> Result<HeapBox<[u8]>, HeapError> {
        let full = HeapError::Full { wanted: count, left: 0, size: self.size() };
        let layout = Layout::array::<u8>(count).map_err(|_| full)?;
        let (at, len) = self.take(layout)?;
        let pointer = self.pointer(at);
        // What was never touched is zero, and need not be touched now.
        let dirty = self.0.dirty.get().saturating_sub(at).min(len);
        if dirty > 0 {
            let open = self.open_for(at, len)?;
            // SAFETY: these bytes are nobody else's, within the region, and the heap is open.
            unsafe { pointer.write_bytes(0, dirty) };
            drop(open);
        }
        self.touch(at + len);
        let pointer = NonNull::slice_from_raw_parts(pointer, count);
        Ok(HeapBox { pointer, at, len, heap: self.clone() })
    }
}

/// A value in a [`Heap`], which it keeps.
///
/// It can be dereferenced while the heap is [open](Heap::is_open): with [`Isolation::Mprotect`] only by the coroutine
/// whose heap it is. Dropping it is allowed always.
///
/// # Panics
///
/// Dereferencing panics if the heap is closed.
pub struct HeapBox<T: ?Sized> {
    pointer: NonNull<T>,
    at: usize,
    len: usize,
    heap: Heap,
}

impl<T: ?Sized> HeapBox<T> {
    /// Where it lies.
    pub fn heap(&self) -> &Heap {
        &self.heap
    }

    #[inline]
    fn check(&self) {
        assert!(
            self.heap.is_open(),
            "this value lies in the heap of another coroutine, which is closed while that does not run (Isolation::Mprotect)"
        );
    }
}

impl HeapBox<[u8]> {
    /// How many bytes these are: that is known also while they cannot be reached.
    pub(crate) fn len(&self) -> usize {
        self.pointer.len()
    }
}

impl<T: ?Sized> Deref for HeapBox<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.check();
        // SAFETY: a value was moved or zeros were laid there, which is ours alone, and the heap is open.
        unsafe { self.pointer.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for HeapBox<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.check();
        // SAFETY: as above, and the box is borrowed mutably.
        unsafe { self.pointer.as_mut() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for HeapBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.heap.is_open() {
            fmt::Debug::fmt(&**self, f)
        } else {
            f.write_str("HeapBox(closed)")
        }
    }
}

impl<T: ?Sized> Drop for HeapBox<T> {
    fn drop(&mut self) {
        /// Gives the place back, also if the value's own drop panics.
        struct Return<'a>(&'a Heap, usize, usize);
        impl Drop for Return<'_> {
            fn drop(&mut self) {
                self.0.give_back(self.1, self.2);
            }
        }
        let Ok(_open) = self.heap.try_open() else {
            // What cannot be reached cannot be dropped. It stays, and its place is not used again.
            mem::forget(self.heap.clone());
            return;
        };
        let _place = Return(&self.heap, self.at, self.len);
        // SAFETY: the value is there, and nobody uses it after this. The heap is open.
        unsafe { ptr::drop_in_place(self.pointer.as_ptr()) };
    }
}

/// A future in a heap of its own.
pub(crate) struct Placed(HeapBox<dyn Future<Output = ()>>);

impl Placed {
    /// Moves a future into a heap.
    pub(crate) fn new(
        heap: &Heap,
        future: impl Future<Output = ()> + 'static,
    ) -> Result<Self, HeapError> {
        let place = ManuallyDrop::new(heap.alloc(future)?);
        // SAFETY: the original is not dropped.
        let heap = unsafe { ptr::read(&place.heap) };
        Ok(Self(HeapBox { pointer: place.pointer, at: place.at, len: place.len, heap }))
    }

    /// Runs it until it waits. Its heap is open meanwhile, and only then.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let heap = self.0.heap.clone();
        let _open = heap.open();
        // SAFETY: it is never moved out of its heap, and dropped where it lies.
        let future = unsafe { Pin::new_unchecked(&mut *self.0) };
        future.poll(context)
    }

    pub(crate) fn heap(&self) -> &Heap {
        &self.0.heap
    }
}
