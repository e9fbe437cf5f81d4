//! The register of publishers and subscribers.
//!
//! It is a named segment that nobody owns: the first that comes creates it, and the last that leaves removes it. A
//! process that comes while it is removed waits until that is done, and creates it anew.
//!
//! Who registers, leaves or finds a dead one's place does so under the segment's lock, which the kernel releases when
//! its holder dies. Each place has a lease, a kernel lock, too: so a dead one's place is known, and is used again. Who
//! only looks takes no lock: a place says in its first word which generation registered there, before and after.
//!
//! Each registration, and each end of one, raises the *generation* by one. So publishers and subscribers see in one
//! word that they have to look again; and of a publisher and a subscriber, it is known who registered first.

use core::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::process::Origin;
use common::sync::{AtomicU64, Ordering};
use common::{NameError, QueueName};
use crossbeam_utils::CachePadded;
use day2::header::{Expected, Geometry, Kind};
use day2::segment::{READY_TIMEOUT, SegmentLock, page_size};
use day2::{CreateError, Holder, Lease, LeaseError, LockError, Mode, OpenError, Role, Segment};
use day3::Policy;

use super::error::JoinSpaceError;
use super::names::{MOST_BYTES, Pattern};
use super::words;

/// The space that a program uses that names none.
pub const DEFAULT_SPACE: &str = "/fanout-topics";
/// How many publishers a space has room for.
pub const MOST_PUBLISHERS: usize = 64;
/// How many patterns of subscribers a space has room for.
pub const MOST_PATTERNS: usize = 256;
/// The most bytes that the name of a space may have: those of its publishers' rings are longer.
const MOST_NAME: usize = 200;
/// How often a process looks again that finds the space half made.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
const MESSAGE_TYPE: &str = "topics/1";

/// A publisher's place. A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[repr(C)]
struct PublisherPlace {
    /// The generation that it registered with; 0 if the place is free.
    state: AtomicU64,
    process: AtomicU64,
    /// Which of the process's rings: with the process, it makes the ring's name.
    number: AtomicU64,
    /// 1 if it keeps last values.
    keeps: AtomicU64,
}

/// The place of a subscriber's pattern. A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[repr(C)]
struct PatternPlace {
    /// The generation that it registered with; 0 if the place is free.
    state: AtomicU64,
    /// All publishers up to this generation: the subscriber has joined their rings.
    joined: AtomicU64,
    /// 0 block, 1 lossy; otherwise evict, after so many milliseconds less one.
    policy: AtomicU64,
    process: AtomicU64,
    len: AtomicU64,
    reserved: [AtomicU64; 3],
    text: [AtomicU64; MOST_BYTES / 8],
}

/// Control of a space. A change raises [`LAYOUT_VERSION`](day2::header::LAYOUT_VERSION).
#[repr(C)]
struct Register {
    generation: CachePadded<AtomicU64>,
    publishers: [CachePadded<PublisherPlace>; MOST_PUBLISHERS],
    patterns: [CachePadded<PatternPlace>; MOST_PATTERNS],
}

const _: () = {
    use core::mem::offset_of;
    assert!(offset_of!(PublisherPlace, state) == 0);
    assert!(offset_of!(PublisherPlace, process) == 8);
    assert!(offset_of!(PublisherPlace, number) == 16);
    assert!(offset_of!(PublisherPlace, keeps) == 24);
    assert!(offset_of!(PatternPlace, state) == 0);
    assert!(offset_of!(PatternPlace, joined) == 8);
    assert!(offset_of!(PatternPlace, policy) == 16);
    assert!(offset_of!(PatternPlace, process) == 24);
    assert!(offset_of!(PatternPlace, len) == 32);
    assert!(offset_of!(PatternPlace, text) == 64);
    assert!(offset_of!(Register, publishers) == 128);
    assert!(offset_of!(Register, patterns) == 128 + 128 * MOST_PUBLISHERS);
    assert!(size_of::<Register>() == 128 + 128 * MOST_PUBLISHERS + 256 * MOST_PATTERNS);
};

/// A publisher, as the register shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherInfo {
    /// Its process.
    pub process: u32,
    /// Its ring's name.
    pub ring: QueueName,
    /// When it registered, in a count that each coming and going adds one to.
    pub generation: u64,
    /// Whether it keeps last values.
    pub keeps_last: bool,
    /// Whether it is alive.
    pub lives: bool,
    pub(crate) place: usize,
}

/// A subscriber's pattern, as the register shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberInfo {
    /// Its process.
    pub process: u32,
    /// What it wants.
    pub pattern: Pattern,
    /// What publishers are to do when it lags.
    pub policy: Policy,
    /// When it registered, in a count that each coming and going adds one to.
    pub generation: u64,
    /// Whether it is alive.
    pub lives: bool,
    pub(crate) place: usize,
}

/// A place in the register, taken by this process.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) place: usize,
    pub(crate) generation: u64,
    lease: Lease,
}

/// Where publishers and subscribers find one another. A clone is the same space.
///
/// ```
/// # mod fanout { pub use day7::topics; }
/// use fanout::topics::{Publisher, PublisherOptions, Space, SubscribeOptions, Subscriber};
///
/// let space = Space::open(format!("/doc-topics-{}", std::process::id()).as_str())?;
/// let mut subscriber = Subscriber::subscribe(&space, "orders.>", &SubscribeOptions::new())?;
/// let mut publisher = Publisher::create(&space, &PublisherOptions::new())?;
/// publisher.publish("orders.eu.17", b"two of them")?;
/// publisher.publish("prices.eu", b"nobody wants this, so it is not copied")?;
/// let published = subscriber.recv()?;
/// assert_eq!((&*published.topic, &*published.payload), ("orders.eu.17", &b"two of them"[..]));
/// assert_eq!(publisher.unwanted(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Space(Arc<Inner>);

struct Inner {
    /// It is there until it is dropped.
    segment: Option<Segment>,
    origin: Origin,
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("name", self.name()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(segment) = self.segment.take() else { return };
        if !self.origin.is_here() {
            return;
        }
        let name = segment.name().clone();
        // What dead ones have left is removed while it is still known.
        if let Ok(_lock) = segment.lock(Duration::ZERO) {
            sweep(&segment);
        }
        drop(segment);
        // While others are there, it stays. A process that opens it at this moment is seen, or finds none.
        let _ = Segment::remove_unused(&name);
    }
}

fn expected() -> Expected<'static> {
    let (kind, element_size, element_align) = (Kind::Topics, 1, 1);
    Expected { kind, element_size, element_align, capacity: None, message_type: MESSAGE_TYPE }
}

impl Space {
    /// Opens the space `name`, or creates it.
    ///
    /// # Errors
    ///
    /// [`JoinSpaceError`].
    pub fn open<N>(name: N) -> Result<Self, JoinSpaceError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        let found = name.bare().len();
        if found > MOST_NAME {
            return Err(JoinSpaceError::LongName { most: MOST_NAME, found });
        }
        let started = Instant::now();
        loop {
            if let Some(segment) = enter(&name)? {
                let (segment, origin) = (Some(segment), Origin::here());
                return Ok(Self(Arc::new(Inner { segment, origin })));
            }
            if started.elapsed() > READY_TIMEOUT {
                return Err(JoinSpaceError::Unsteady { name, waited: READY_TIMEOUT });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Opens the space `name`, if there is one: to look who is there.
    ///
    /// # Errors
    ///
    /// [`JoinSpaceError`].
    pub fn existing<N>(name: N) -> Result<Self, JoinSpaceError>
    where
        N: TryInto<QueueName, Error: Into<NameError>>,
    {
        let name = name.try_into().map_err(Into::into)?;
        let not_found = || OpenError::NotFound { name: name.clone() };
        let segment = open(&name)?.ok_or_else(not_found)?;
        Ok(Self(Arc::new(Inner { segment: Some(segment), origin: Origin::here() })))
    }

    /// Its name.
    pub fn name(&self) -> &QueueName {
        self.segment().name()
    }

    fn segment(&self) -> &Segment {
        self.0.segment.as_ref().expect("it is there until it is dropped")
    }

    fn register(&self) -> &Register {
        register(self.segment())
    }

    /// How often somebody has come or gone.
    #[inline]
    pub fn generation(&self) -> u64 {
        words::generation(&self.register().generation)
    }

    /// The publishers.
    pub fn publishers(&self) -> Vec<PublisherInfo> {
        publishers(self.segment())
    }

    /// The patterns of all subscribers.
    pub fn subscribers(&self) -> Vec<SubscriberInfo> {
        patterns(self.segment())
    }

    pub(crate) fn lock(&self) -> Result<SegmentLock<'_>, LockError> {
        self.segment().lock(READY_TIMEOUT)
    }

    /// Registers the publisher of this ring. Says also who was there before and is to join the ring.
    pub(crate) fn add_publisher(
        &self,
        number: u64,
        keeps: bool,
    ) -> Result<(Seat, Vec<SubscriberInfo>), JoinSpaceError> {
        let _lock = self.lock()?;
        sweep(self.segment());
        let states = self.register().publishers.iter().map(|place| &place.state);
        let (place, lease) = self
            .free(states, 0)?
            .ok_or(JoinSpaceError::Full { what: "publishers", most: MOST_PUBLISHERS })?;
        let generation = words::next(&self.register().generation);
        let line = &self.register().publishers[place];
        words::renew();
        let order = Ordering::Relaxed;
        line.process.store(u64::from(std::process::id()), order);
        line.number.store(number, order);
        line.keeps.store(keeps.into(), order);
        let before = self.subscribers();
        words::announce(&line.state, &self.register().generation, generation);
        Ok((Seat { place, generation, lease }, before))
    }

    /// Registers a subscriber's pattern.
    pub(crate) fn add_pattern(
        &self,
        pattern: &Pattern,
        policy: Policy,
    ) -> Result<Seat, JoinSpaceError> {
        let _lock = self.lock()?;
        sweep(self.segment());
        let states = self.register().patterns.iter().map(|place| &place.state);
        let (place, lease) = self
            .free(states, MOST_PUBLISHERS)?
            .ok_or(JoinSpaceError::Full { what: "patterns", most: MOST_PATTERNS })?;
        let generation = words::next(&self.register().generation);
        let line = &self.register().patterns[place];
        words::renew();
        let order = Ordering::Relaxed;
        line.joined.store(0, order);
        line.policy.store(policy_word(policy), order);
        line.process.store(u64::from(std::process::id()), order);
        let text = pattern.as_str().as_bytes();
        line.len.store(text.len() as u64, order);
        for (word, bytes) in line.text.iter().zip(text.chunks(8)) {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(padded), order);
        }
        words::announce(&line.state, &self.register().generation, generation);
        Ok(Seat { place, generation, lease })
    }

    /// A free place, and its lease. The caller has the lock.
    fn free<'a>(
        &self,
        states: impl Iterator<Item = &'a AtomicU64>,
        first: usize,
    ) -> Result<Option<(usize, Lease)>, LeaseError> {
        for (place, state) in states.enumerate() {
            if state.load(Ordering::Relaxed) != 0 {
                continue;
            }
            match self.segment().lease(role(first + place)) {
                Ok(lease) => return Ok(Some((place, lease))),
                // Its last holder is just letting go.
                Err(LeaseError::Busy { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Gives a publisher's place back.
    pub(crate) fn remove_publisher(&self, seat: &Seat) {
        self.leave(&self.register().publishers[seat.place].state, seat);
    }

    /// Gives a pattern's place back.
    pub(crate) fn remove_pattern(&self, seat: &Seat) {
        self.leave(&self.register().patterns[seat.place].state, seat);
    }

    fn leave(&self, state: &AtomicU64, seat: &Seat) {
        // Without the lock, it stays as that of a dead one, and the next that comes finds it.
        if !seat.lease.is_here() {
            return;
        }
        if let Ok(_lock) = self.lock()
            && state.load(Ordering::Relaxed) == seat.generation
        {
            clear(self.segment(), state);
        }
    }

    /// Says that the subscriber with this seat has joined the rings of all publishers up to a generation.
    pub(crate) fn has_joined(&self, seat: &Seat, generation: u64) {
        words::join(&self.register().patterns[seat.place].joined, generation);
    }

    /// Whether the publisher of this generation still has to wait for a subscriber that was there before it.
    pub(crate) fn is_to_join(&self, subscriber: &SubscriberInfo, publisher: u64) -> bool {
        is_to_join(self.segment(), subscriber, publisher)
    }

    /// Removes what a dead publisher has left, if everybody who is to join its ring has done so.
    pub(crate) fn reap(&self, publisher: &PublisherInfo) -> Result<(), LockError> {
        let _lock = self.lock()?;
        reap(self.segment(), publisher);
        Ok(())
    }
}

/// Opens the space, or creates it; `None` if others were just doing something else with it.
fn enter(name: &QueueName) -> Result<Option<Segment>, JoinSpaceError> {
    match open(name) {
        Ok(Some(segment)) => return Ok(Some(segment)),
        Ok(None) | Err(OpenError::NotFound { .. }) => {}
        // A creator that has died before it was done.
        Err(OpenError::NotReady { .. }) if Segment::holder(name) == Holder::Dead => {
            let _ = Segment::remove_dead(name);
        }
        Err(error) => return Err(error.into()),
    }
    let control = size_of::<Register>() as u64;
    let geometry = Geometry::plan(&expected(), 1, 0, control, page_size())?;
    match Segment::create(name, geometry, 0o600, |_| ()) {
        Ok(segment) => {
            segment.leave_name();
            segment.hold()?;
            Ok(Some(segment))
        }
        Err(CreateError::Taken { by: Holder::Stranger, name }) => {
            Err(CreateError::Taken { by: Holder::Stranger, name }.into())
        }
        Err(CreateError::Taken { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Opens the space; `None` if it is just being removed.
fn open(name: &QueueName) -> Result<Option<Segment>, OpenError> {
    let segment = Segment::open(name, Mode::Reader, READY_TIMEOUT)?;
    segment.geometry().check(name, &expected())?;
    if segment.control_len() < size_of::<Register>() {
        let what = "its control has no room for a register";
        return Err(OpenError::Damaged { name: name.clone(), what });
    }
    segment.hold()?;
    Ok((!segment.is_nameless()).then_some(segment))
}

fn register(segment: &Segment) -> &Register {
    // SAFETY: control is page-aligned, was planned or checked to be long enough, lives as long as the segment, and is
    // all atomics, for which every bit pattern is valid.
    unsafe { segment.control().cast::<Register>().as_ref() }
}

/// The role of a place: first the publishers', then the patterns'.
fn role(place: usize) -> Role {
    Role::Slot(place as u32)
}

fn is_alive(segment: &Segment, place: usize) -> bool {
    segment.is_leased(role(place))
}

/// The name of a publisher's ring.
pub(crate) fn ring_name(space: &QueueName, process: u64, number: u64) -> QueueName {
    let name = format!("{}.{process}.{number}", space.as_str());
    name.parse().expect("a space's name leaves room for numbers")
}

/// The name of the table of last values beside a publisher's ring.
pub(crate) fn table_name(ring: &QueueName) -> QueueName {
    format!("{}.last", ring.as_str()).parse().expect("a space's name leaves room for this")
}

fn policy_word(policy: Policy) -> u64 {
    match policy {
        Policy::EvictAfter(after) => {
            2 + u64::try_from(after.as_millis()).unwrap_or(u64::MAX - 2).min(u64::MAX - 2)
        }
        Policy::Lossy => 1,
        _ => 0,
    }
}

fn policy(word: u64) -> Policy {
    match word {
        0 => Policy::Block,
        1 => Policy::Lossy,
        millis => Policy::EvictAfter(Duration::from_millis(millis - 2)),
    }
}

fn publishers(segment: &Segment) -> Vec<PublisherInfo> {
    let places = register(segment).publishers.iter().enumerate();
    let info = |(place, line): (usize, &CachePadded<PublisherPlace>)| {
        let order = Ordering::Relaxed;
        words::steady(&line.state, |generation| {
            let (process, number) = (line.process.load(order), line.number.load(order));
            PublisherInfo {
                process: process as u32,
                ring: ring_name(segment.name(), process, number),
                generation,
                keeps_last: line.keeps.load(order) != 0,
                lives: is_alive(segment, place),
                place,
            }
        })
    };
    places.filter_map(info).collect()
}

fn patterns(segment: &Segment) -> Vec<SubscriberInfo> {
    let places = register(segment).patterns.iter().enumerate();
    let info = |(place, line): (usize, &CachePadded<PatternPlace>)| {
        let order = Ordering::Relaxed;
        let read = words::steady(&line.state, |generation| {
            let mut text: Vec<u8> =
                line.text.iter().flat_map(|word| word.load(order).to_ne_bytes()).collect();
            text.truncate(line.len.load(order) as usize);
            // Others may have written anything there: what is no pattern wants nothing.
            let pattern = Pattern::new(core::str::from_utf8(&text).ok()?).ok()?;
            Some(SubscriberInfo {
                process: line.process.load(order) as u32,
                pattern,
                policy: policy(line.policy.load(order)),
                generation,
                lives: is_alive(segment, MOST_PUBLISHERS + place),
                place,
            })
        });
        read.flatten()
    };
    places.filter_map(info).collect()
}

fn is_to_join(segment: &Segment, subscriber: &SubscriberInfo, publisher: u64) -> bool {
    let line = &register(segment).patterns[subscriber.place];
    words::joined(&line.joined) < publisher
        && line.state.load(Ordering::Relaxed) == subscriber.generation
        && is_alive(segment, MOST_PUBLISHERS + subscriber.place)
}

/// Frees a place. The caller has the lock.
fn clear(segment: &Segment, state: &AtomicU64) {
    words::withdraw(state, &register(segment).generation);
}

/// Frees the places of the dead. The caller has the lock.
fn sweep(segment: &Segment) {
    for subscriber in patterns(segment).iter().filter(|subscriber| !subscriber.lives) {
        clear(segment, &register(segment).patterns[subscriber.place].state);
    }
    for publisher in publishers(segment).iter().filter(|publisher| !publisher.lives) {
        reap(segment, publisher);
    }
}

/// Removes what a dead publisher has left, unless a subscriber that is alive is yet to join its ring. The caller has the
/// lock.
fn reap(segment: &Segment, publisher: &PublisherInfo) {
    let state = &register(segment).publishers[publisher.place].state;
    let is_dead = !is_alive(segment, publisher.place);
    let is_awaited = |subscriber: &SubscriberInfo| {
        subscriber.generation < publisher.generation
            && is_to_join(segment, subscriber, publisher.generation)
    };
    if state.load(Ordering::Relaxed) != publisher.generation
        || !is_dead
        || patterns(segment).iter().any(is_awaited)
    {
        return;
    }
    // Ours are not removed: their owner lives. Nor is what is no queue, or another user's.
    let _ = Segment::remove_dead(&publisher.ring);
    let _ = Segment::remove_dead(&table_name(&publisher.ring));
    clear(segment, state);
}
