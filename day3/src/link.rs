//! How an end reaches the shared lines of its ring, and the kernel, which knows who is alive.

use core::fmt::Debug;
use core::ops::Deref;
use core::ptr::NonNull;

use common::sync::{Arc, AtomicBool, AtomicU32, Ordering};
use common::{Capacity, Sequence};
use day2::Role;

use crate::control::{Control, Room};
use crate::doorbell::{self, Doorbell};
use crate::rooms::{Page, Residence, Rooms};
use crate::roster::Registration;

#[cfg(not(loom))]
pub use day2::LeaseError;

/// Why a model's end got no lease: another end has it.
#[cfg(loom)]
#[derive(Clone, Copy, Debug)]
pub struct LeaseError;

/// Held while somebody has a role in a ring. It ends when it is dropped, or when the process dies.
pub type Lease = Box<dyn Debug + Send + Sync>;

/// A way to the shared lines of a ring, and to the leases of its ends.
pub trait Link: Deref<Target = Control> {
    /// Takes the lease of this role. A slot is written only by the end that has its lease.
    ///
    /// # Errors
    ///
    /// [`LeaseError`]; in particular somebody who is alive has it.
    fn lease(&self, role: Role) -> Result<Lease, LeaseError>;

    /// The same, to let go of it again at once: where the way to the kernel is kept open for that, it does not fail
    /// because the process can open nothing any more.
    ///
    /// # Errors
    ///
    /// As [`Link::lease`].
    fn lease_briefly(&self, role: Role) -> Result<Lease, LeaseError> {
        self.lease(role)
    }

    /// Whether somebody who is alive has the lease of this role. Where the kernel does not tell, it is so.
    fn is_leased(&self, role: Role) -> bool;

    /// Has the kernel mark this role's word when this process dies, as long as the result lives.
    fn watch(&self, role: Role) -> Lease {
        let _ = role;
        Box::new(())
    }

    /// The rooms of this ring's consumers, if they have any, and this is their host.
    fn rooms(&self) -> Option<&Rooms> {
        None
    }

    /// The words at which this end announces that it sleeps.
    fn doorbell(&self) -> Doorbell<'_> {
        let Doorbell { consumers, producer, vital, .. } = self.doorbell.view();
        Doorbell { consumers, producer, rooms: self.rooms(), vital }
    }

    /// The word at which this end rings for the producer.
    #[inline(always)]
    fn producer_word(&self) -> &AtomicU32 {
        &self.doorbell.producer
    }

    /// Rings for the consumers, and wakes those that sleep; says whether there were any.
    #[inline(always)]
    fn wake_consumers(&self) -> bool {
        let calls = doorbell::calls(&self.doorbell.consumers);
        let is_quiet =
            calls == 0 || calls == doorbell::ROOMS && self.rooms().is_none_or(Rooms::is_quiet);
        !is_quiet && self.answer_consumers()
    }

    /// The rest of [`wake_consumers`](Self::wake_consumers).
    #[cold]
    #[inline(never)]
    fn answer_consumers(&self) -> bool {
        // Not only one of them.
        let in_rooms = self.rooms().is_some_and(Rooms::wake);
        doorbell::wake(&self.doorbell.consumers) | in_rooms
    }

    /// Whether the process of the consumer in this slot is dying.
    fn is_dying(&self, slot: usize) -> bool {
        match self.rooms().filter(|rooms| rooms.has_guest(self, slot)) {
            Some(rooms) => rooms.is_dying(slot),
            // What is in the page, if there is one, was said of another consumer.
            None => self.slot(slot).vital.is_dying(),
        }
    }
}

/// The role of the consumer in this slot.
pub(crate) fn role_of(slot: usize) -> Role {
    Role::Slot(u32::try_from(slot).unwrap_or(u32::MAX))
}

/// The leases of a ring whose ends are all in one process. A lease ends with its end: a thread cannot be killed.
#[derive(Clone, Debug)]
pub struct Leases(Arc<Vec<AtomicBool>>);

impl Leases {
    /// The leases of so many consumers.
    pub fn new(consumers: usize) -> Self {
        Self(Arc::new((0..=consumers).map(|_| AtomicBool::new(false)).collect()))
    }

    /// Takes the lease of this role, as [`Link::lease`].
    ///
    /// # Errors
    ///
    /// [`LeaseError`] if it is taken.
    pub fn take(&self, role: Role) -> Result<Lease, LeaseError> {
        // edge: let go -> take
        let taken = self.of(role).is_none_or(|lease| lease.swap(true, Ordering::Acquire));
        if taken { Err(busy(role)) } else { Ok(Box::new(Taken { leases: self.clone(), role })) }
    }

    /// Whether the lease of this role is taken. That of the producer is, unless its
    /// [death](Leases::end_producer) was told: it may not have begun yet.
    pub fn is_taken(&self, role: Role) -> bool {
        let is_set = self.of(role).is_none_or(|lease| lease.load(Ordering::Relaxed));
        is_set != (role == Role::Producer)
    }

    /// Has the producer count as dead from now on: for tests.
    pub fn end_producer(&self) {
        if let Some(died) = self.of(Role::Producer) {
            // edge: let go -> take
            died.store(true, Ordering::Release);
        }
    }

    fn of(&self, role: Role) -> Option<&AtomicBool> {
        match role {
            Role::Producer => self.0.first(),
            Role::Slot(slot) => self.0.get(slot as usize + 1),
        }
    }
}

#[derive(Debug)]
struct Taken {
    leases: Leases,
    role: Role,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(lease) = self.leases.of(self.role) {
            // edge: let go -> take. What the end has written was written before.
            lease.store(false, Ordering::Release);
        }
    }
}

#[cfg(not(loom))]
fn busy(role: Role) -> LeaseError {
    LeaseError::Busy { name: "/fanout-heap".parse().expect("a valid name"), role }
}

#[cfg(loom)]
fn busy(_: Role) -> LeaseError {
    LeaseError
}

/// The shared lines of a ring with room for `N` consumers, on the heap.
#[derive(Clone, Debug)]
pub struct HeapLines<const N: usize> {
    control: Arc<Control<[Room; N]>>,
    leases: Leases,
    rooms: Option<Arc<HeapRooms>>,
    /// The slot of a guest, if these are a guest's.
    guest: Option<usize>,
}

/// The pages of guests, and their host's view of them.
#[derive(Debug)]
struct HeapRooms {
    rooms: Rooms,
    pages: Box<[Page]>,
}

impl<const N: usize> HeapLines<N> {
    /// The lines of a ring whose first message will have the sequence `first`.
    pub fn new(first: Sequence) -> Self {
        let (control, leases) = (Arc::new(Control::new(first)), Leases::new(N));
        Self { control, leases, rooms: None, guest: None }
    }

    /// The same, with [private rooms](crate::rooms) for consumers.
    pub fn with_rooms(first: Sequence) -> Self {
        let pages: Box<[Page]> = (0..N).map(|_| Page::new(first)).collect();
        let places = pages.iter().map(NonNull::from).collect();
        // SAFETY: the pages are kept beside it, and a boxed slice stays where it is.
        let rooms = unsafe { Rooms::new(places) };
        let lines = Self::new(first);
        lines.doorbell.consumers.fetch_or(doorbell::ROOMS, Ordering::Relaxed);
        Self { rooms: Some(Arc::new(HeapRooms { rooms, pages })), ..lines }
    }

    /// What a host does for a guest: has it registered by `register`, and gives it its page. Returns the guest's lines,
    /// and its registration there.
    ///
    /// # Errors
    ///
    /// What `register` says.
    ///
    /// # Panics
    ///
    /// If there are no private rooms.
    pub fn admit<E>(
        &self,
        capacity: Capacity,
        register: impl FnOnce() -> Result<Registration, E>,
    ) -> Result<(Self, Registration), E> {
        let HeapRooms { rooms, pages } = &**self.rooms.as_ref().expect("there are rooms");
        let (slot, state, first) = rooms.at_the_desk(self, || {
            let mut registration = register()?;
            let (slot, state) = (registration.slot(), registration.state());
            pages[slot].begin_at(registration.first());
            rooms.give(slot, state);
            registration.let_go();
            Ok((slot, state, registration.first()))
        })?;
        let lines = Self { guest: Some(slot), ..self.clone() };
        // SAFETY: the lines keep the page.
        let residence = unsafe { Residence::new(NonNull::from(&pages[slot]), slot, state, first) };
        let registration = Registration::of_guest(&lines, &residence, capacity, Box::new(()));
        Ok((lines, registration.expect("it is taken for the first time")))
    }

    /// Who is alive.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    fn page(&self) -> Option<&Page> {
        Some(&self.rooms.as_ref()?.pages[self.guest?])
    }
}

impl<const N: usize> Deref for HeapLines<N> {
    type Target = Control;

    #[inline(always)]
    fn deref(&self) -> &Control {
        &*self.control
    }
}

impl<const N: usize> Link for HeapLines<N> {
    fn lease(&self, role: Role) -> Result<Lease, LeaseError> {
        self.leases.take(role)
    }

    fn is_leased(&self, role: Role) -> bool {
        self.leases.is_taken(role)
    }

    fn rooms(&self) -> Option<&Rooms> {
        self.rooms.as_ref().filter(|_| self.guest.is_none()).map(|host| &host.rooms)
    }

    fn doorbell(&self) -> Doorbell<'_> {
        let line = self.page().map_or(&*self.doorbell, |page| &*page.doorbell);
        Doorbell { rooms: self.rooms(), vital: &self.doorbell.vital, ..line.view() }
    }

    fn producer_word(&self) -> &AtomicU32 {
        self.doorbell().producer
    }
}
