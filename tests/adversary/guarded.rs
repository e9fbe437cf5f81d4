//! Memory for a ring between pages that may not be touched: an access outside the ring is a fault.

use core::ffi::c_void;
use core::mem::size_of;
use core::num::NonZeroUsize;
use core::ptr::NonNull;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::sync::Ordering;
use fanout::error::{DescriptorError, LeaseError, LockError, OsError};
use fanout::memory::{
    AtomicU64, Control, Everywhere, Landing, Lease, Marks, Mirror, Ring, Room, control_len,
};
use fanout::records::ByteMemory;
use fanout::segment::{Mode, Role, page_size};
use fanout::{Capacity, Memory, SLOTS, Sequence};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::plan::Message;

/// Some pages, with a page before and a page after them that may not be touched.
#[derive(Debug)]
struct Fenced {
    start: NonNull<c_void>,
    len: usize,
}

// SAFETY: a mapping belongs to the process. Its users know what may be done with its bytes.
unsafe impl Send for Fenced {}
// SAFETY: as above.
unsafe impl Sync for Fenced {}

impl Fenced {
    /// Room for `bytes` bytes, which end where the guard page begins.
    fn new(bytes: usize) -> Self {
        let page = page_size() as usize;
        let len = bytes.next_multiple_of(page) + 2 * page;
        let size = NonZeroUsize::new(len).expect("two pages and more");
        let flags = MapFlags::MAP_PRIVATE;
        // SAFETY: a new mapping replaces no other.
        let start = unsafe { mmap_anonymous(None, size, ProtFlags::PROT_NONE, flags) };
        let this = Self { start: start.expect("address space"), len };
        // SAFETY: the mapping is longer than a page.
        let inner = unsafe { this.start.cast::<u8>().add(page) };
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: our own pages, which are not in use yet.
        unsafe { mprotect(inner.cast(), len - 2 * page, protection) }.expect("pages");
        this
    }

    /// The last `bytes` before the page at the end.
    fn last(&self, bytes: usize) -> NonNull<u8> {
        let offset = self.len - page_size() as usize - bytes;
        // SAFETY: within the mapping.
        unsafe { self.start.cast::<u8>().add(offset) }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: mapped by us. All references into the mapping hold it.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}

#[derive(Debug)]
enum Data {
    Messages(Fenced),
    Records(Mirror),
}

/// A ring of messages, or of records.
#[derive(Debug)]
pub(crate) struct Guarded {
    lines: Fenced,
    trail: Fenced,
    data: Data,
    ring: Ring,
    admission: Mutex<()>,
    lives: Lives,
}

/// Who is alive. Unlike a thread, an end can be killed here.
#[derive(Clone, Debug)]
struct Lives(Arc<Vec<AtomicU64>>);

/// The lease of an end that lives as long as this number stands in its place.
#[derive(Debug)]
struct Life {
    lives: Lives,
    slot: usize,
    number: u64,
}

impl Lives {
    fn take(&self, slot: usize) -> Option<Life> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let free = self.0[slot].compare_exchange(0, number, Ordering::Acquire, Ordering::Relaxed);
        free.ok().map(|_| Life { lives: self.clone(), slot, number })
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // Not if it was killed, and somebody else has the slot.
        let place = &self.lives.0[self.slot];
        let _ = place.compare_exchange(self.number, 0, Ordering::Release, Ordering::Relaxed);
    }
}

/// Bytes of control.
const CONTROL: usize = control_len(SLOTS) as usize;

impl Guarded {
    /// A ring of messages.
    pub(crate) fn messages(capacity: u64, first: u64) -> Arc<Self> {
        let data = Data::Messages(Fenced::new(capacity as usize * size_of::<Message>()));
        Self::new(capacity, first, data)
    }

    /// A ring of records.
    pub(crate) fn records(capacity: u64, first: u64) -> Arc<Self> {
        let data = Data::Records(Mirror::anonymous(capacity).expect("pages"));
        Self::new(capacity, first, data)
    }

    fn new(capacity: u64, first: u64, data: Data) -> Arc<Self> {
        let capacity = Capacity::new(capacity).expect("a power of two");
        let first = Sequence::new(first);
        let (lines, trail) = (Fenced::new(CONTROL), Fenced::new(size_of::<Marks>()));
        let (control, marks) = (Control::new(first), Marks::new(first));
        // SAFETY: aligned, because a control's size is a multiple of its alignment, and not shared
        // yet.
        unsafe { lines.last(CONTROL).cast::<Control<[Room; SLOTS]>>().write(control) };
        // SAFETY: as above.
        unsafe { trail.last(size_of::<Marks>()).cast::<Marks>().write(marks) };
        let ring = Ring { capacity, first };
        Arc::new(Self {
            lines,
            trail,
            data,
            ring,
            admission: Mutex::new(()),
            lives: Lives(Arc::new((0..SLOTS).map(|_| AtomicU64::new(0)).collect())),
        })
    }

    /// Describes the ring in one line.
    pub(crate) fn line(&self) -> String {
        let kind = if matches!(self.data, Data::Messages(_)) { "messages" } else { "records" };
        format!("{kind}, capacity {}, first {}", self.ring.capacity, self.ring.first)
    }

    /// The end in this slot counts as dead from now on. It must do nothing any more.
    pub(crate) fn kill(&self, slot: usize) {
        self.lives.0[slot].store(0, Ordering::Release);
    }

    /// Its capacity.
    pub(crate) fn capacity(&self) -> u64 {
        self.ring.capacity.get()
    }

    /// All words that an attached process may write.
    pub(crate) fn words(&self) -> [&[AtomicU64]; 2] {
        let lines = (&self.lines, CONTROL);
        let trail = (&self.trail, size_of::<Marks>());
        [lines, trail].map(|(part, bytes)| {
            let words = NonNull::slice_from_raw_parts(part.last(bytes).cast(), bytes / 8);
            // SAFETY: aligned, mapped for as long as this lives, and all atomic words.
            unsafe { words.as_ref() }
        })
    }

    /// The words of the data.
    pub(crate) fn data_words(&self) -> &[AtomicU64] {
        let unit = if matches!(self.data, Data::Messages(_)) { size_of::<Message>() } else { 1 };
        let bytes = self.ring.capacity.get() as usize * unit;
        let words = NonNull::slice_from_raw_parts(Memory::data(self).cast(), bytes / 8);
        // SAFETY: aligned, and mapped writable for as long as this lives.
        unsafe { words.as_ref() }
    }
}

// SAFETY: the pages stay in place until this is dropped. They are aligned to 32 bytes or a page,
// writable, and have room for the capacity.
unsafe impl Memory for Guarded {
    fn control(&self) -> &Control {
        // SAFETY: written when this was made, aligned, and all atomics.
        unsafe { Control::at(self.lines.last(CONTROL), SLOTS).as_ref() }
    }

    fn data(&self) -> NonNull<u8> {
        match &self.data {
            Data::Messages(pages) => {
                pages.last(self.ring.capacity.get() as usize * size_of::<Message>())
            }
            Data::Records(mirror) => mirror.start(),
        }
    }

    fn ring(&self) -> Ring {
        self.ring
    }

    fn landing(&self) -> &dyn Landing {
        match self.data {
            Data::Messages(_) => &Everywhere,
            Data::Records(_) => self.marks(),
        }
    }

    fn locked(&self, _: Duration, f: &mut dyn FnMut()) -> Result<(), LockError> {
        let _admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        f();
        Ok(())
    }

    fn lease(&self, role: Role) -> Result<Lease, LeaseError> {
        let Role::Slot(slot) = role else { return Err(busy(role)) };
        let life = self.lives.take(slot as usize).ok_or_else(|| busy(role))?;
        Ok(Box::new(life))
    }

    fn is_leased(&self, role: Role) -> bool {
        let Role::Slot(slot) = role else { return true };
        self.lives.0[slot as usize].load(Ordering::Relaxed) != 0
    }
}

// SAFETY: a ring of records has a mirror.
unsafe impl ByteMemory for Guarded {
    fn marks(&self) -> &Marks {
        // SAFETY: written when this was made, aligned, and all atomics.
        unsafe { self.trail.last(size_of::<Marks>()).cast::<Marks>().as_ref() }
    }

    fn descriptor(&self, _: Mode) -> Result<OwnedFd, DescriptorError> {
        let name = "/fanout-guarded".parse().expect("a valid name");
        Err(DescriptorError::new(name, OsError::new(Errno::ENOTSUP)))
    }
}

fn busy(role: Role) -> LeaseError {
    LeaseError::Busy { name: "/fanout-guarded".parse().expect("a valid name"), role }
}
