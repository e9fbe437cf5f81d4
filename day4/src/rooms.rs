//! Rings whose consumers have private rooms: a consumer there can harm nobody but itself.
//!
//! The ring is an object that the kernel lets nobody else map writable, from the moment in which the writer has mapped
//! it. A consumer cannot register itself in it, so the writer's process does, when the consumer
//! [connects](crate::rendezvous). The consumer gets three things over the socket: the ring, read-only; a page of its own
//! for its cursor ([`day3::rooms`]); and the promise where it begins.

use std::error::Error;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use core::ptr::NonNull;

use common::{OsError, QueueName, Sequence};
use day2::page::{NewPage, OwnPage, Pages, SharedPage};
use day2::{
    DescriptorError, Geometry, LeaseError, LockError, Mode, OpenError, Role, Segment, vital,
};
use day3::control::Control;
use day3::landing::Landing;
use day3::link::{Lease, Leases};
use day3::memory::{locked, register};
use day3::rooms::{Page, Residence, Rooms, offset_of};
use day3::roster::{JoinAs, Ring};
use day3::{JoinError, JoinOptions, Memory, Policy, QueueOptions, Shared, Start};
use nix::errno::Errno;

use crate::error::CreateError;
use crate::frame::HEADER;
use crate::marks::Marks;
use crate::memory::{ByteMemory, Segmented, nameless};

/// The memory of a writer whose consumers have private rooms.
pub struct Host {
    ring: Segmented,
    leases: Leases,
    /// By slot: the page that was given out last.
    given: Vec<Mutex<Option<SharedPage>>>,
    lag_limit: Option<Duration>,
    /// Held while a consumer is registered: a guest, or one of this process.
    admission: Mutex<()>,
    // Before the pages that it looks at.
    rooms: Rooms,
    pages: Pages,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("ring", &self.ring).finish_non_exhaustive()
    }
}

/// What a guest gets.
#[derive(Debug)]
pub(crate) struct Admission {
    /// The ring, for reading only.
    pub(crate) ring: OwnedFd,
    /// The guest's page.
    pub(crate) page: OwnedFd,
    pub(crate) slot: usize,
    pub(crate) state: u64,
    pub(crate) first: Sequence,
}

/// What a guest asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) start: Start,
    pub(crate) policy: Policy,
    pub(crate) label: String,
    /// The guest's process, as the kernel says.
    pub(crate) owner: u32,
}

/// Why a guest got nothing.
#[derive(Debug)]
pub(crate) enum NoAdmission {
    /// All slots are taken: so many.
    Full(usize),
    /// It has to promise to go when it holds the writer back for longer than this.
    Limit(Duration),
    /// The kernel refused something.
    Failed(Box<dyn Error + Send + Sync>),
}

impl Host {
    /// Creates a ring without a name.
    pub(crate) fn create(options: &QueueOptions) -> Result<Arc<Self>, CreateError> {
        let ring = Segmented::create_sealed(options)?;
        let consumers = ring.control().consumers();
        let pages = Pages::new(&nameless(), consumers)?;
        let page = |slot: usize| {
            // SAFETY: a page of memory has room for eight of them.
            unsafe { pages.at(slot).add(offset_of(slot)) }.cast::<Page>()
        };
        // SAFETY: the pages live as long as the host, and are zeros, or what a guest wrote.
        let rooms = unsafe { Rooms::new((0..consumers).map(page).collect()) };
        let given = (0..consumers).map(|_| Mutex::new(None)).collect();
        let (leases, lag_limit) = (Leases::new(consumers), options.most_lag());
        let admission = Mutex::new(());
        Ok(Arc::new(Self { ring, leases, given, lag_limit, admission, rooms, pages }))
    }

    /// Registers a guest, and gives it its page.
    pub(crate) fn admit(self: &Arc<Self>, request: &Request) -> Result<Admission, NoAdmission> {
        let role = match (request.policy, self.lag_limit) {
            (Policy::Lossy, _) => JoinAs::Lossy,
            (Policy::EvictAfter(after), None) => JoinAs::Evictable { after },
            (Policy::EvictAfter(after), Some(limit)) if after <= limit => {
                JoinAs::Evictable { after }
            }
            (_, None) => JoinAs::Broadcast,
            (_, Some(limit)) => return Err(NoAdmission::Limit(limit)),
        };
        let shared = Shared::new(Arc::clone(self) as Arc<dyn Memory>);
        let ring = self.ring.descriptor(Mode::Observer).map_err(failed)?;
        // While the desk is taken, the producer sees no cursor: what takes long comes before.
        let page = NewPage::new(&nameless()).map_err(failed)?;
        self.rooms.at_the_desk(&shared, || {
            let options = JoinOptions::new().label(&request.label);
            let joined = register(&shared, role, request.start, &options, request.owner);
            let mut registration = joined.map_err(|error| match error {
                JoinError::TooManyConsumers { most, .. } => NoAdmission::Full(most),
                error => failed(error),
            })?;
            let (slot, state) = (registration.slot(), registration.state());
            let first = registration.first();
            match self.pages.share(slot, page, offset_of(slot), &[first.get()]) {
                Ok((given, page)) => {
                    *self.given(slot) = Some(given);
                    self.rooms.give(slot, state);
                    registration.let_go();
                    Ok(Admission { ring, page, slot, state, first })
                }
                Err(error) => {
                    registration.leave(&shared);
                    Err(failed(error))
                }
            }
        })
    }

    fn given(&self, slot: usize) -> std::sync::MutexGuard<'_, Option<SharedPage>> {
        self.given[slot].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(error: impl Error + Send + Sync + 'static) -> NoAdmission {
    NoAdmission::Failed(Box::new(error))
}

// SAFETY: as for the ring that it wraps.
unsafe impl Memory for Host {
    fn control(&self) -> &Control {
        self.ring.control()
    }

    fn data(&self) -> NonNull<u8> {
        self.ring.data()
    }

    fn ring(&self) -> Ring {
        self.ring.ring()
    }

    fn geometry(&self) -> Option<&Geometry> {
        self.ring.geometry()
    }

    fn landing(&self) -> &dyn Landing {
        self.ring.landing()
    }

    fn locked(&self, timeout: Duration, f: &mut dyn FnMut()) -> Result<(), LockError> {
        locked(&self.admission, timeout, f)
    }

    /// For a moment, while the slot is changed. That a guest is alive, its page says.
    fn lease(&self, role: Role) -> Result<Lease, LeaseError> {
        self.leases.take(role)
    }

    fn is_leased(&self, role: Role) -> bool {
        let Role::Slot(slot) = role else { return self.ring.is_leased(role) };
        let slot = slot as usize;
        let is_alive = || {
            let given = self.given(slot);
            given.as_ref().is_some_and(SharedPage::is_occupied)
        };
        // What has left is not dead: it is taken out of the roster with the next look at its page.
        self.leases.is_taken(role)
            || self.rooms.has_guest(self.control(), slot)
                && (self.rooms.has_left(slot) || is_alive())
    }

    fn watch(&self, role: Role) -> Lease {
        match role {
            Role::Producer => self.ring.watch(role),
            // Its own process has its word watched, in its page.
            Role::Slot(_) => Box::new(()),
        }
    }

    fn rooms(&self) -> Option<&Rooms> {
        Some(&self.rooms)
    }
}

// SAFETY: as for the ring that it wraps.
unsafe impl ByteMemory for Host {
    fn marks(&self) -> &Marks {
        self.ring.marks()
    }

    fn descriptor(&self, mode: Mode) -> Result<OwnedFd, DescriptorError> {
        match mode {
            Mode::Observer => self.ring.descriptor(mode),
            // It would be of no use: nothing can be written through it.
            _ => Err(DescriptorError::new(nameless(), OsError::new(Errno::EPERM))),
        }
    }

    fn host(self: Arc<Self>) -> Option<Arc<Host>> {
        Some(self)
    }
}

/// The memory of a consumer that has a private room.
#[derive(Debug)]
pub struct Guest {
    ring: Segmented,
    residence: Residence,
    // After the residence, which points into it.
    page: OwnPage,
}

impl Guest {
    /// Moves in.
    pub(crate) fn enter(
        name: &QueueName,
        admission: Admission,
        options: &JoinOptions,
    ) -> Result<Arc<Self>, JoinError> {
        let Admission { ring, page, slot, state, first } = admission;
        let segment = Segment::received(name, ring, options.join_timeout())?;
        let ring = Segmented::enter(segment, options)?;
        let damaged = |what| OpenError::Damaged { name: name.clone(), what };
        if slot >= ring.control().consumers() {
            return Err(damaged("it has no slot of the number that its host has given us").into());
        }
        if !first.get().is_multiple_of(HEADER as u64) {
            return Err(damaged("the first sequence that its host promised is odd").into());
        }
        let page = OwnPage::map(name, page)?;
        // SAFETY: a page of memory has room for eight of them.
        let place = unsafe { page.start().add(offset_of(slot)) }.cast::<Page>();
        // SAFETY: the page lives as long as the guest, and is writable.
        let residence = unsafe { Residence::new(place, slot, state, first) };
        Ok(Arc::new(Self { ring, residence, page }))
    }
}

// SAFETY: as for the ring that it wraps, which nobody can write through.
unsafe impl Memory for Guest {
    fn control(&self) -> &Control {
        self.ring.control()
    }

    fn data(&self) -> NonNull<u8> {
        self.ring.data()
    }

    fn ring(&self) -> Ring {
        self.ring.ring()
    }

    fn geometry(&self) -> Option<&Geometry> {
        self.ring.geometry()
    }

    fn landing(&self) -> &dyn Landing {
        self.ring.landing()
    }

    /// A guest registers nobody.
    fn locked(&self, waited: Duration, _: &mut dyn FnMut()) -> Result<(), LockError> {
        Err(LockError::Busy { name: nameless(), waited })
    }

    /// A guest has the slot that its host gave it, and no other.
    fn lease(&self, role: Role) -> Result<Lease, LeaseError> {
        Err(LeaseError::Busy { name: nameless(), role })
    }

    fn can_be_resumed(&self) -> bool {
        false
    }

    /// Of other guests it is not known. The producer's own lease says nothing here: another guest of the same user can
    /// open the ring anew, and have a dead producer's lease.
    fn is_leased(&self, role: Role) -> bool {
        role != Role::Producer || self.page.has_host()
    }

    fn watch(&self, _: Role) -> Lease {
        // SAFETY: the caller keeps the memory, as `Shared` does.
        let watch = unsafe { vital::watch(NonNull::from(self.residence.page().vital())) };
        Box::new(watch)
    }

    fn residence(&self) -> Option<&Residence> {
        Some(&self.residence)
    }
}

// SAFETY: as for the ring that it wraps.
unsafe impl ByteMemory for Guest {
    fn marks(&self) -> &Marks {
        self.ring.marks()
    }

    fn descriptor(&self, mode: Mode) -> Result<OwnedFd, DescriptorError> {
        self.ring.descriptor(mode)
    }
}
