//! The memory that a ring lives in: a named segment, or the heap of one process.

use core::fmt::{self, Debug};
use core::ops::Deref;
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use bytemuck::Pod;
use common::sync::{AtomicU32, Ordering};
use common::{Capacity, Sequence};
use day2::header::{Expected, Geometry, Kind};
use day2::segment::{READY_TIMEOUT, page_size};
use day2::vital;
use day2::{LeaseError, Role};
use day2::{LockError, Mode, OpenError, Segment};

use crate::control::{Control, MOST_SLOTS, SLOTS, control_len};
use crate::doorbell::{Doorbell, ROOMS};
use crate::error::{Corrupt, CreateError, Evicted, JoinError, ResumeError, TimedOut};
use crate::group::MemberCursor;
use crate::landing::{Everywhere, Landing};
use crate::link::{HeapLines, Lease, Link, role_of};
use crate::options::{JoinOptions, QueueOptions};
use crate::policy::Policy;
use crate::rooms::{Residence, Rooms};
use crate::roster::{self, Forgetting, JoinAs, JoinRequest, NoSlot, Registration, Ring, Start};
use crate::sequencer::{ConsumerCursor, resumable};
use crate::tap::TapCursor;
use crate::wait;
use common::QueueName;

/// How often an end looks again that waits for another to die, or to be buried.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Where a ring's control and data are.
///
/// # Safety
///
/// While the memory lives, [`control`](Memory::control) and [`data`](Memory::data) stay where they are. Data
/// holds [`capacity`](Memory::ring) messages of the type that it was made for, at an alignment that suits the
/// type and 8-byte words. It may be read; in the process that created it, it may be written, too.
pub unsafe trait Memory: Debug + Send + Sync {
    /// The shared lines.
    fn control(&self) -> &Control;
    /// The first message's place.
    fn data(&self) -> NonNull<u8>;
    /// Capacity and first sequence.
    fn ring(&self) -> Ring;
    /// What the header says, where there is one: not in memory of one process.
    fn geometry(&self) -> Option<&Geometry> {
        None
    }
    /// Where messages begin.
    fn landing(&self) -> &dyn Landing {
        &Everywhere
    }
    /// Runs `f` while no other consumer joins.
    ///
    /// # Errors
    ///
    /// [`LockError`] if other consumers have been joining for as long as `timeout`.
    fn locked(&self, timeout: Duration, f: &mut dyn FnMut()) -> Result<(), LockError>;
    /// Takes the lease of this role, as [`Link::lease`].
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    fn lease(&self, role: Role) -> Result<Lease, LeaseError>;
    /// Takes the lease of this role for a moment, as [`Link::lease_briefly`].
    ///
    /// # Errors
    ///
    /// [`LeaseError`].
    fn lease_briefly(&self, role: Role) -> Result<Lease, LeaseError> {
        self.lease(role)
    }
    /// Whether the lease of this role is taken, as [`Link::is_leased`].
    fn is_leased(&self, role: Role) -> bool;
    /// Has the kernel mark this role's word when this process dies, as [`Link::watch`]. Memory of one process has no
    /// other that could look.
    fn watch(&self, role: Role) -> Lease {
        let _ = role;
        Box::new(())
    }
    /// Whether another producer can take this memory over when its producer has died. What has no name is found by none.
    fn can_be_resumed(&self) -> bool {
        true
    }
    /// Leaves the memory's name as it is when this is dropped, for a successor.
    fn leave_name(&self) {}
    /// The rooms of this ring's consumers, if they have any, and this is their host's memory.
    fn rooms(&self) -> Option<&Rooms> {
        None
    }
    /// What this process was given by the ring's host, if control is mapped read-only here.
    fn residence(&self) -> Option<&Residence> {
        None
    }
}

/// A handle on a ring's memory that leads straight to its control.
#[derive(Clone, Debug)]
pub struct Shared {
    control: NonNull<Control>,
    producer_word: NonNull<AtomicU32>,
    rooms: Option<NonNull<Rooms>>,
    memory: Arc<dyn Memory>,
}

// SAFETY: control is all atomics, and the memory, which is Send and Sync, keeps it in place.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// A handle on this memory.
    pub fn new(memory: Arc<dyn Memory>) -> Self {
        let control = memory.control();
        let producer_word = match memory.residence() {
            Some(residence) => &residence.page().doorbell.producer,
            None => &control.doorbell.producer,
        };
        if memory.rooms().is_some() {
            control.doorbell.consumers.fetch_or(ROOMS, Ordering::Relaxed);
        }
        let (control, producer_word) = (NonNull::from(control), NonNull::from(producer_word));
        let rooms = memory.rooms().map(NonNull::from);
        Self { control, producer_word, rooms, memory }
    }

    /// The memory.
    pub fn memory(&self) -> &dyn Memory {
        &*self.memory
    }

    /// The number that tells this queue from all others; 0 where it has no header that says so.
    pub fn identity(&self) -> u64 {
        self.memory.geometry().map_or(0, Geometry::identity)
    }

    /// Says, after messages were read that had been lent to this consumer, whether they can be trusted.
    ///
    /// # Errors
    ///
    /// [`Evicted`].
    #[inline]
    pub fn confirm(&self, registration: &Registration) -> Result<(), Evicted> {
        if registration.confirms(self) { Ok(()) } else { Err(Evicted) }
    }

    /// Registers a broadcast consumer.
    ///
    /// # Errors
    ///
    /// [`JoinError::TooManyConsumers`], [`JoinError::Lock`].
    pub fn join(
        &self,
        start: Start,
        options: &JoinOptions,
    ) -> Result<ConsumerCursor<Self>, JoinError> {
        blocking(options)?;
        self.broadcast(JoinAs::Broadcast, start, options)
    }

    /// Registers a broadcast consumer that may be evicted while it is alive: it borrows nothing, and
    /// [confirms](ConsumerCursor::confirm) what it has copied.
    ///
    /// # Errors
    ///
    /// As [`Shared::join`]; [`JoinError::Policy`] if the options do not say when.
    pub fn join_evictable(
        &self,
        start: Start,
        options: &JoinOptions,
    ) -> Result<ConsumerCursor<Self>, JoinError> {
        match options.promised() {
            Policy::EvictAfter(after) => {
                self.broadcast(JoinAs::Evictable { after }, start, options)
            }
            policy => Err(JoinError::Policy { policy }),
        }
    }

    fn broadcast(
        &self,
        role: JoinAs<'_>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<ConsumerCursor<Self>, JoinError> {
        let registration = admit(self, role, start, options)?;
        // SAFETY: the registration was just given out, in this ring.
        let cursor = unsafe { ConsumerCursor::new(self.clone(), registration) };
        Ok(cursor.following(self.follows(options)))
    }

    /// Whether an end with these options waits for the successor of a dead producer.
    fn follows(&self, options: &JoinOptions) -> bool {
        options.follows() && self.memory.can_be_resumed()
    }

    /// Gives a tap on this ring a slot, so that everybody sees it: a lossy consumer.
    ///
    /// # Errors
    ///
    /// As [`Shared::join`]; [`JoinError::Policy`] if the options say that it may be evicted.
    ///
    /// # Safety
    ///
    /// The tap is on this ring.
    pub unsafe fn register<L: Landing>(
        &self,
        tap: TapCursor<Self, L>,
        start: Start,
        options: &JoinOptions,
    ) -> Result<TapCursor<Self, L>, JoinError> {
        if let policy @ Policy::EvictAfter(_) = options.promised() {
            return Err(JoinError::Policy { policy });
        }
        let registration = admit(self, JoinAs::Lossy, start, options)?;
        // SAFETY: the registration was just given out, in this ring, which is the tap's, as the caller says.
        Ok(unsafe { tap.registered(registration) }.following(self.follows(options)))
    }

    /// Registers a member of this group.
    ///
    /// # Errors
    ///
    /// [`JoinError::GroupName`], [`JoinError::TooManyConsumers`], [`JoinError::TooManyGroups`],
    /// [`JoinError::Lock`].
    pub fn join_group(
        &self,
        group: &str,
        start: Start,
        options: &JoinOptions,
    ) -> Result<MemberCursor<Self>, JoinError> {
        blocking(options)?;
        let (holds, holds_end) = (options.holds_when_empty(), options.holds_end());
        let role = JoinAs::Member { group, holds, holds_end };
        let registration = admit(self, role, start, options)?;
        // SAFETY: the registration was just given out, in this ring.
        let cursor = unsafe { MemberCursor::new(self.clone(), registration) };
        let mut cursor = cursor.following(self.follows(options));
        // What a dead member held is older than what nobody has claimed.
        cursor.inherit();
        Ok(cursor)
    }
}

impl Deref for Shared {
    type Target = Control;

    #[inline(always)]
    fn deref(&self) -> &Control {
        // SAFETY: the memory keeps its control in place for as long as it lives, and we hold it.
        unsafe { self.control.as_ref() }
    }
}

impl Link for Shared {
    fn lease(&self, role: Role) -> Result<Lease, LeaseError> {
        self.memory.lease(role)
    }

    fn lease_briefly(&self, role: Role) -> Result<Lease, LeaseError> {
        self.memory.lease_briefly(role)
    }

    fn is_leased(&self, role: Role) -> bool {
        self.memory.is_leased(role)
    }

    fn watch(&self, role: Role) -> Lease {
        // It keeps the memory: the kernel goes through the words of a process that dies.
        Box::new((self.memory.watch(role), self.memory.clone()))
    }

    #[inline(always)]
    fn rooms(&self) -> Option<&Rooms> {
        // SAFETY: the memory keeps its rooms in place for as long as it lives, and we hold it.
        self.rooms.map(|rooms| unsafe { rooms.as_ref() })
    }

    fn doorbell(&self) -> Doorbell<'_> {
        let residence = self.memory.residence();
        let line = residence.map_or(&*self.doorbell, |residence| &*residence.page().doorbell);
        // The producer is the same for all.
        Doorbell { rooms: self.rooms(), vital: &self.doorbell.vital, ..line.view() }
    }

    #[inline(always)]
    fn producer_word(&self) -> &AtomicU32 {
        // SAFETY: it lies in the memory's control, or in its page.
        unsafe { self.producer_word.as_ref() }
    }
}

/// What is borrowed where it lies stays as it is only if the producer waits.
fn blocking(options: &JoinOptions) -> Result<(), JoinError> {
    match options.promised() {
        Policy::Block => Ok(()),
        policy => Err(JoinError::Policy { policy }),
    }
}

/// Takes a slot of this ring, or moves into the one that this process was given.
fn admit(
    shared: &Shared,
    role: JoinAs<'_>,
    start: Start,
    options: &JoinOptions,
) -> Result<Registration, JoinError> {
    if let JoinAs::Member { group, .. } = role
        && !roster::is_group_name(group)
    {
        return Err(JoinError::GroupName { found: group.to_owned() });
    }
    if let Some(residence) = shared.memory().residence() {
        return move_in(shared, residence, role);
    }
    let started = Instant::now();
    let deadline = wait::deadline(options.timeout);
    loop {
        match register(shared, role, start, options, std::process::id()) {
            Err(JoinError::TooManyConsumers { .. })
                if Instant::now() < deadline
                    && (started.elapsed() < MOVING || is_somebody_going(shared)) =>
            {
                sleep(LOOK_AGAIN);
            }
            answer => return answer,
        }
    }
}

/// For how long a newcomer that finds no slot looks again. A member that takes over a dead one's slot has two for a
/// moment.
const MOVING: Duration = Duration::from_millis(20);

/// Whether a slot is about to be free: its consumer is dying, or is being buried.
fn is_somebody_going(shared: &Shared) -> bool {
    let is_going = |slot| shared.is_dying(slot) && shared.is_leased(role_of(slot));
    roster::list(shared).iter().any(|consumer| is_going(consumer.slot))
}

/// Takes a slot of this ring for a consumer of the process `owner`, while no other consumer joins. The caller sees to
/// it that the slot is left again.
///
/// # Errors
///
/// As [`Shared::join`].
pub fn register(
    shared: &Shared,
    role: JoinAs<'_>,
    start: Start,
    options: &JoinOptions,
    owner: u32,
) -> Result<Registration, JoinError> {
    let label = options.label.as_str();
    let request = JoinRequest { role, start, owner, label };
    let memory = shared.memory();
    let deadline = wait::deadline(options.timeout);
    let registration = loop {
        let mut registration = Err(NoSlot::Consumers);
        memory.locked(options.timeout, &mut || {
            // SAFETY: this runs while no other consumer joins.
            registration =
                unsafe { roster::join(shared, memory.ring(), memory.landing(), &request) };
        })?;
        match registration {
            // A consumer that leaves frees its slot first, and lets go of the lease then.
            Err(NoSlot::Lease(LeaseError::Busy { .. })) if Instant::now() < deadline => yield_now(),
            registration => break registration,
        }
    };
    let most = shared.consumers();
    registration.map_err(|none| match none {
        NoSlot::Consumers => JoinError::TooManyConsumers { most, dead: roster::dead(shared) },
        NoSlot::Groups => JoinError::TooManyGroups { most },
        NoSlot::Lease(error) => error.into(),
        NoSlot::Corrupt { next, found, capacity } => {
            Corrupt::Cursor { next, found, capacity }.into()
        }
    })
}

/// Registers a guest with what its host has given it.
fn move_in(
    shared: &Shared,
    residence: &Residence,
    role: JoinAs<'_>,
) -> Result<Registration, JoinError> {
    if let JoinAs::Member { .. } = role {
        return Err(JoinError::NoGroups);
    }
    if !residence.is_for(role) {
        let why = "it has registered a consumer of another kind than was asked for".into();
        return Err(JoinError::Host { name: "this queue".into(), why });
    }
    let (memory, control) = (shared.memory(), &**shared);
    let watch = shared.watch(role_of(residence.slot()));
    let registration = Registration::of_guest(control, residence, memory.ring().capacity, watch);
    registration.ok_or(JoinError::TooManyConsumers { most: 1, dead: 0 })
}

/// Forgets the place of a group that has no living member, while no consumer joins, and gives up what its dead members
/// hold; says whether there was one.
///
/// # Errors
///
/// [`LockError`].
pub fn forget(shared: &Shared, group: &str, timeout: Duration) -> Result<bool, LockError> {
    let deadline = wait::deadline(timeout);
    loop {
        let mut forgotten = Forgetting::Unknown;
        shared.memory().locked(timeout, &mut || {
            // SAFETY: this runs while no consumer joins.
            forgotten = unsafe { roster::forget(shared, group) };
        })?;
        if forgotten != Forgetting::Dying || Instant::now() >= deadline {
            return Ok(forgotten == Forgetting::Done);
        }
        sleep(LOOK_AGAIN);
    }
}

/// Runs `f` while it holds this lock, for memory of one process.
///
/// # Errors
///
/// [`LockError::Busy`] if another thread has held it for as long as `timeout`; or this one, in a call
/// further up.
pub fn locked(
    admission: &Mutex<()>,
    timeout: Duration,
    f: &mut dyn FnMut(),
) -> Result<(), LockError> {
    let mut admitted = None;
    let waited = wait::poll(timeout, || {
        admitted = match admission.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        admitted.is_some()
    });
    match waited {
        Ok(()) => {
            f();
            Ok(())
        }
        Err(TimedOut(waited)) => Err(LockError::Busy { name: heap_name(), waited }),
    }
}

/// A ring in a named segment, between processes.
#[derive(Debug)]
pub struct NamedMemory {
    segment: Segment,
    consumers: usize,
    ring: Ring,
}

/// For how many consumers the ring in this segment has room, and what else is to be known of it, if it is of one of
/// these kinds.
fn ring_of(
    segment: &Segment,
    name: &QueueName,
    kinds: &[Kind],
) -> Result<(usize, Ring), OpenError> {
    let geometry = segment.geometry();
    let found = geometry.kind();
    if !kinds.contains(&found) {
        return Err(OpenError::Kind { name: name.clone(), expected: kinds[0], found });
    }
    let damaged = |what| OpenError::Damaged { name: name.clone(), what };
    let capacity = Capacity::new(geometry.capacity())
        .map_err(|_| damaged("its capacity is no power of two"))?;
    let consumers = consumers_of(segment).ok_or_else(|| damaged(ODD_CONTROL))?;
    Ok((consumers, Ring { capacity, first: Sequence::new(geometry.first()) }))
}

/// Opens the queue `name` as the producer that comes after a dead one, if `check` finds that it can be gone on with.
///
/// # Errors
///
/// [`ResumeError`]; the queue is as it was.
pub fn successor<R>(
    name: &QueueName,
    options: &QueueOptions,
    check: impl FnOnce(&Segment) -> Result<(usize, R), ResumeError>,
) -> Result<(Segment, (usize, R)), ResumeError> {
    let segment = Segment::succeed_trusting(name, READY_TIMEOUT, options.trust())?;
    let checked = check(&segment).and_then(|(consumers, ring)| {
        let capacity = Capacity::new(segment.geometry().capacity());
        let control = Control::at(segment.control(), consumers);
        // SAFETY: page-aligned, as long as `check` has found, and all atomics.
        let control = unsafe { control.as_ref() };
        if let Ok(capacity) = capacity {
            resumable(control, capacity).map_err(|why| ResumeError::new(name, why))?;
        }
        Ok((consumers, ring))
    });
    match checked {
        Ok(checked) => {
            segment.keep_spare();
            Ok((segment, checked))
        }
        Err(error) => {
            segment.leave_name();
            Err(error)
        }
    }
}

/// Marks this segment, which was found by its name, as open by an end. An open queue that has been removed since is
/// none that can be joined: no producer will find it any more.
///
/// # Errors
///
/// [`OpenError`].
pub fn hold(segment: &Segment, control: &Control) -> Result<(), OpenError> {
    segment.hold()?;
    if segment.is_nameless() && !control.is_closed() {
        return Err(OpenError::NotFound { name: segment.name().clone() });
    }
    Ok(())
}

/// What is said of a control that no ring has.
pub const ODD_CONTROL: &str = "its control has no room for as many consumers as it says";

/// How many consumers the control of this segment has room for; `None` if it has not.
pub fn consumers_of(segment: &Segment) -> Option<usize> {
    let geometry = segment.geometry();
    let consumers = usize::try_from(geometry.consumers()).ok()?;
    let trail = if geometry.kind() == Kind::Records { TRAIL_BYTES } else { 0 };
    let fits = (1..=MOST_SLOTS).contains(&consumers)
        && control_len(consumers) + trail <= segment.control_len() as u64;
    fits.then_some(consumers)
}

/// How many bytes the marks of a ring of records (Day 4) take, which lie behind its control.
pub const TRAIL_BYTES: u64 = 2048;

impl NamedMemory {
    pub(crate) fn create(
        name: &QueueName,
        expected: &Expected<'_>,
        options: &QueueOptions,
    ) -> Result<Self, CreateError> {
        let capacity = Capacity::new(options.capacity)?;
        let first = Sequence::new(options.first);
        let consumers = options.consumer_slots()?;
        let control_len = control_len(consumers);
        let geometry =
            Geometry::plan(expected, capacity.get(), first.get(), control_len, page_size())?
                .for_consumers(consumers)
                .with_identity(options.identity);
        let segment = Segment::create(name, geometry, options.permissions, |start| {
            // SAFETY: control is page-aligned, as long as was planned, zero, and no other end has it yet.
            let control = unsafe { Control::at(start, consumers).as_ref() };
            // SAFETY: no other end has the memory yet.
            unsafe { control.start_at(first) };
        })?;
        segment.keep_spare();
        Ok(Self { segment, consumers, ring: Ring { capacity, first } })
    }

    /// Opens the ring `name` as the producer that comes after a dead one.
    pub(crate) fn succeed(
        name: &QueueName,
        expected: &Expected<'_>,
        options: &QueueOptions,
    ) -> Result<Self, ResumeError> {
        let (segment, (consumers, ring)) = successor(name, options, |segment| {
            segment.geometry().check(name, expected)?;
            Ok(ring_of(segment, name, &[Kind::Ring])?)
        })?;
        Ok(Self { segment, consumers, ring })
    }

    pub(crate) fn open<T: Pod>(
        name: &QueueName,
        mode: Mode,
        options: &JoinOptions,
    ) -> Result<Self, JoinError> {
        let expected = Expected::messages::<T>(Kind::Ring, options.type_name::<T>());
        Self::open_if(name, mode, options, |geometry| geometry.check(name, &expected))
    }

    /// Opens the ring `name`, if `check` finds that its messages are what the end can do with.
    pub(crate) fn open_if(
        name: &QueueName,
        mode: Mode,
        options: &JoinOptions,
        check: impl FnOnce(&Geometry) -> Result<(), OpenError>,
    ) -> Result<Self, JoinError> {
        let segment = Segment::open_trusting(name, mode, options.timeout, options.trust())?;
        let this = Self::of(segment, name, &[Kind::Ring])?;
        check(this.segment.geometry())?;
        hold(&this.segment, this.control())?;
        Ok(this)
    }

    /// Opens a ring of any messages, if it is of one of these kinds.
    pub(crate) fn open_any(
        name: &QueueName,
        mode: Mode,
        kinds: &[Kind],
        timeout: Duration,
    ) -> Result<Self, OpenError> {
        Self::of(Segment::open(name, mode, timeout)?, name, kinds)
    }

    pub(crate) fn of(
        segment: Segment,
        name: &QueueName,
        kinds: &[Kind],
    ) -> Result<Self, OpenError> {
        let (consumers, ring) = ring_of(&segment, name, kinds)?;
        Ok(Self { segment, consumers, ring })
    }

    /// The segment.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }
}

// SAFETY: a segment's mappings stay in place for as long as it lives; they are page-aligned; the
// geometry, planned or checked, says that data holds the capacity; a creator's are writable.
unsafe impl Memory for NamedMemory {
    fn control(&self) -> &Control {
        let control = Control::at(self.segment.control(), self.consumers);
        // SAFETY: page-aligned, long enough (planned at create, checked at open), and all atomics.
        unsafe { control.as_ref() }
    }

    fn data(&self) -> NonNull<u8> {
        self.segment.data()
    }

    fn ring(&self) -> Ring {
        self.ring
    }

    fn leave_name(&self) {
        self.segment.leave_name();
    }

    fn geometry(&self) -> Option<&Geometry> {
        Some(self.segment.geometry())
    }

    fn locked(&self, timeout: Duration, f: &mut dyn FnMut()) -> Result<(), LockError> {
        let _lock = self.segment.lock(timeout)?;
        f();
        Ok(())
    }

    fn lease(&self, role: Role) -> Result<Lease, LeaseError> {
        Ok(Box::new(self.segment.lease(role)?))
    }

    fn lease_briefly(&self, role: Role) -> Result<Lease, LeaseError> {
        Ok(Box::new(self.segment.lease_briefly(role)?))
    }

    fn is_leased(&self, role: Role) -> bool {
        self.segment.is_leased(role)
    }

    fn watch(&self, role: Role) -> Lease {
        watch(self.control(), role)
    }
}

/// Has the kernel mark this role's word when this process dies.
pub fn watch(control: &Control, role: Role) -> Lease {
    // SAFETY: the caller of `Memory::watch` keeps the memory, as `Shared` does.
    let watch = unsafe { vital::watch(NonNull::from(control.vital(role))) };
    Box::new(watch)
}

/// What memory without a name is called in errors.
fn heap_name() -> QueueName {
    "/fanout-heap".parse().expect("a valid name")
}

/// A ring on the heap, between threads: the same protocol, where tools can watch it.
pub struct Heap<T> {
    lines: HeapLines<SLOTS>,
    data: NonNull<T>,
    layout: Layout,
    ring: Ring,
    admission: Mutex<()>,
}

// SAFETY: control is all atomics; data is only reached through the protocol's handles.
unsafe impl<T: Pod + Send> Send for Heap<T> {}
// SAFETY: as above.
unsafe impl<T: Pod + Send> Sync for Heap<T> {}

impl<T: Pod> Heap<T> {
    /// Room for `capacity` messages, the first of which will have the sequence `first`.
    ///
    /// # Errors
    ///
    /// [`CreateError::Capacity`]; [`CreateError::Segment`] for a message type without bytes or more
    /// memory than can be addressed; [`CreateError::NoMemory`] for more than there is.
    pub fn new(capacity: u64, first: u64) -> Result<Arc<Self>, CreateError> {
        let capacity = Capacity::new(capacity)?;
        let first = Sequence::new(first);
        let (size, align) = (size_of::<T>() as u64, align_of::<T>() as u64);
        if size == 0 {
            return Err(day2::CreateError::Element { size, align }.into());
        }
        let layout = Layout::array::<T>(capacity.get() as usize)
            .and_then(|layout| layout.align_to(4096))
            .map_err(|_| day2::CreateError::TooLarge { capacity: capacity.get(), size })?;
        // SAFETY: the layout's size is not zero, as neither the type's nor the capacity is.
        let start = unsafe { alloc_zeroed(layout) };
        let no_memory = CreateError::NoMemory { bytes: layout.size() };
        let data = NonNull::new(start.cast::<T>()).ok_or(no_memory)?;
        let lines = HeapLines::new(first);
        let ring = Ring { capacity, first };
        Ok(Arc::new(Self { lines, data, layout, ring, admission: Mutex::new(()) }))
    }
}

impl<T> fmt::Debug for Heap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").field("ring", &self.ring).finish_non_exhaustive()
    }
}

impl<T> Drop for Heap<T> {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { dealloc(self.data.as_ptr().cast(), self.layout) };
    }
}

// SAFETY: box and allocation stay where they are until the heap ring is dropped, page-aligned, with
// room for the capacity.
unsafe impl<T: Pod + Send> Memory for Heap<T> {
    fn control(&self) -> &Control {
        &self.lines
    }

    fn data(&self) -> NonNull<u8> {
        self.data.cast()
    }

    fn ring(&self) -> Ring {
        self.ring
    }

    fn locked(&self, timeout: Duration, f: &mut dyn FnMut()) -> Result<(), LockError> {
        locked(&self.admission, timeout, f)
    }

    fn lease(&self, role: Role) -> Result<Lease, LeaseError> {
        self.lines.lease(role)
    }

    fn is_leased(&self, role: Role) -> bool {
        self.lines.is_leased(role)
    }
}
