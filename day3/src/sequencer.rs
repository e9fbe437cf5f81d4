//! The heart: who may touch which sequence.
//!
//! The cursors know sequences, not messages. They are generic over how they reach the shared lines (`C`), so
//! that the same source runs over a mapped segment, over the heap, and under loom.

use common::process::{Origin, forks};
use common::sync::{Ordering, may_die, mutant};
use common::{Capacity, Sequence, fence, ordering};
use day2::Role;

use crate::control::{ABORTED, Control, FINISHED};
use crate::doorbell;
use crate::gate::Gate;
use crate::landing::Trail;
use crate::link::{Lease, Link};
use crate::pace::{EmptyPace, FullPace};
use crate::recovery::Death;
use crate::rooms::{Eviction, Rooms};
use crate::roster::{self, Registration};
use crate::vigil::Vigil;

/// A consumer that has nothing to read: why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Nothing now; there may be something later.
    Empty,
    /// The producer has closed, and everything has been read.
    Closed,
    /// The producer gave up before it was done, and what it had sent has been read.
    Aborted,
    /// The producer has freed this consumer's slot.
    Evicted,
    /// The producer has died before it was done, and what it had published has been read.
    ProducerDied,
    /// This process is a child that was forked from the consumer's.
    Forked,
    /// The shared cursors say what cannot be.
    Corrupt {
        /// The next sequence to read.
        next: u64,
        /// What the cursor says.
        found: u64,
        /// What the ring has room for.
        capacity: u64,
    },
}

/// A producer that may not write: why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A consumer is in the way; there may be room later.
    Full,
    /// This producer has closed the ring.
    Closed,
    /// No consumer is registered, and the ring was made to refuse messages then.
    Abandoned,
    /// This process is a child that was forked from the producer's.
    Forked,
}

/// Why a producer cannot go on where another one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotResume {
    /// The other one has closed the ring.
    Ended,
    /// The shared cursors say what cannot be.
    Corrupt {
        /// What is said to be published.
        published: u64,
        /// What is said to be reserved.
        reserved: u64,
        /// What the ring has room for.
        capacity: u64,
    },
}

/// What a producer does with messages while no consumer is registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unattended {
    /// It sends them: the ring keeps those of the last lap for a consumer that joins at
    /// [`Start::Oldest`](crate::Start::Oldest), and overwrites the older ones.
    #[default]
    Overwrite,
    /// It waits for a consumer, as if the ring were full.
    Wait,
    /// It refuses them with an error.
    Refuse,
}

/// A run of sequences that a consumer may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub first: Sequence,
    /// How many.
    pub len: u64,
}

/// What the kinds of registered consumers have in common: take a run, read it, release it.
pub trait Cursor {
    /// Whether no other consumer takes from the messages that this one sees. It is so for a broadcast
    /// consumer. A member of a group competes for each message.
    const EXCLUSIVE: bool;

    /// Takes up to `most` messages: they are this consumer's to read until it releases them.
    ///
    /// # Errors
    ///
    /// Why there is nothing to take: [`Unavailable`].
    fn take(&mut self, most: u64) -> Result<Run, Unavailable>;

    /// Releases the run taken last: the producer may write its places again. Says whether the producer
    /// slept, and was woken.
    fn release(&mut self) -> bool;

    /// The same after the run was copied. Says whether the producer slept, and was woken.
    ///
    /// A consumer that is evicted at this very moment may miss that: the fence that it takes to be sure costs a tenth of
    /// a message. To evict a living consumer is `unsafe` for that reason, unless it [confirms](Registration::confirms).
    ///
    /// # Errors
    ///
    /// Why the copy cannot be trusted: [`Unavailable::Evicted`], [`Unavailable::Forked`].
    fn release_copied(&mut self) -> Result<bool, Unavailable>;

    /// Releases the first `len` sequences of the run taken last, and keeps the others. Says whether the
    /// producer slept, and was woken.
    ///
    /// # Panics
    ///
    /// If the run is shorter.
    fn release_first(&mut self, len: u64) -> bool;

    /// How far the producer had published at this consumer's last look. Other members may have taken
    /// some of these messages.
    fn known(&self) -> Sequence;

    /// Whether what it has taken last had been claimed before by a member of its group that died.
    fn redelivered(&self) -> bool {
        false
    }

    /// The slot that this consumer has, and since when.
    fn registration(&self) -> &Registration;
}

/// The producer's end: claims sequences to write, and publishes them.
#[derive(Debug)]
pub struct ProducerCursor<C: Link, T: Trail = ()> {
    control: C,
    trail: T,
    capacity: Capacity,
    first: Sequence,
    unattended: Unattended,
    origin: Origin,
    /// The process's count of forks when this was made.
    forks: u64,
    is_closed: bool,
    /// A claim goes the fast way while this is the process's [count of forks](forks). It is no such count after
    /// the end, and in a producer that waits or refuses while no consumer is registered.
    fast: u64,
    /// The next sequence to publish.
    next: Sequence,
    /// Everything before this may be claimed the fast way.
    allowance: Sequence,
    /// Everything before this may be written without asking the gate.
    granted: Sequence,
    /// What the head line says is reserved.
    reserved: Sequence,
    /// What the head line says is the widest claim.
    widest: u64,
    /// Everything from here on was never lent to be written in.
    lent: Sequence,
    /// Gate and capacity, as of the last look: nothing from here on may be written.
    limit: Sequence,
    gate: Gate,
    pace: FullPace,
    vigil: Vigil,
    /// When it asks about consumers that it does not wait for.
    listeners: Vigil,
    deaths: Vec<Death>,
    watch: Option<Lease>,
}

/// No process has forked that often.
const NEVER_FAST: u64 = u64::MAX;

/// How many sequences more than it needs a producer reserves at a time: at most this share of the ring, and
/// less of a large ring. So it reserves seldom, and leaves the rest of the ring to a consumer that joins at
/// the oldest message.
const STRIDE_SHARE: u64 = 8;
/// The same for a ring that is large, or has no consumer.
const STRIDE_SHARE_OF_MUCH: u64 = 64;
/// What a small ring's stride may be.
const STRIDE_OF_FEW: u64 = 128;

impl<C: Link> ProducerCursor<C> {
    /// The producer of a new ring; `first` as in [`Control::new`].
    ///
    /// # Safety
    ///
    /// The ring has no other producer.
    pub unsafe fn new(control: C, capacity: Capacity, first: Sequence) -> Self {
        // SAFETY: the caller says so.
        unsafe { Self::leaving(control, capacity, first, ()) }
    }
}

impl<C: Link, T: Trail> ProducerCursor<C, T> {
    /// The same, for a producer that leaves a trail of marks.
    ///
    /// # Safety
    ///
    /// The ring has no other producer.
    pub unsafe fn leaving(control: C, capacity: Capacity, first: Sequence, trail: T) -> Self {
        doorbell::attach(&control.doorbell.consumers);
        let watch = Some(control.watch(Role::Producer));
        Self {
            watch,
            vigil: Vigil::of_producer(),
            listeners: Vigil::of_producer(),
            deaths: Vec::new(),
            control,
            trail,
            capacity,
            first,
            unattended: Unattended::default(),
            origin: Origin::here(),
            forks: forks(),
            is_closed: false,
            fast: forks(),
            next: first,
            allowance: first,
            granted: first,
            reserved: first,
            widest: 1,
            lent: first,
            limit: first,
            gate: Gate::default(),
            pace: FullPace::new(),
        }
    }

    /// The producer that takes over from one that has died.
    ///
    /// Sequences go on. What the dead producer had not published was not sent, however much of it was written. The
    /// epoch rises, and consumers that sleep are woken.
    ///
    /// # Errors
    ///
    /// [`CannotResume`]; the ring is as it was.
    ///
    /// # Safety
    ///
    /// The ring has no other producer, and had one.
    pub unsafe fn resuming(
        control: C,
        capacity: Capacity,
        first: Sequence,
        trail: T,
    ) -> Result<Self, CannotResume> {
        let (published, reserved) = resumable(&control, capacity)?;
        let head = &control.head;
        let order = Ordering::Relaxed;
        head.wanted.store(0, order);
        head.owner.store(u64::from(Origin::here().pid()), order);
        // A tap that looks at what the dead producer was writing goes by the widest claim.
        let widest = head.widest.load(order).clamp(1, capacity.get()).next_power_of_two();
        head.widest.store(widest, order);
        head.epoch.fetch_add(1, order);
        // SAFETY: the caller says so.
        let mut this = unsafe { Self::leaving(control, capacity, first, trail) };
        (this.next, this.allowance, this.granted) = (published, published, published);
        (this.limit, this.reserved, this.lent) = (published, reserved, reserved);
        this.widest = widest;
        this.control.wake_consumers();
        Ok(this)
    }

    /// The same producer, doing this with messages while no consumer is registered.
    #[must_use]
    pub fn unattended(mut self, unattended: Unattended) -> Self {
        self.unattended = unattended;
        if unattended != Unattended::Overwrite {
            self.fast = NEVER_FAST;
        }
        self
    }

    /// The sequence of the next message to be published.
    #[inline]
    pub fn next(&self) -> Sequence {
        self.next
    }

    /// How many messages the ring holds.
    #[inline]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// The shared lines.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The trail that this producer leaves.
    #[inline]
    pub fn trail(&mut self) -> &mut T {
        &mut self.trail
    }

    /// The next sequence, if it may be written now; it has to be published before the next claim.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    #[inline]
    pub fn claim_one(&mut self) -> Result<Sequence, Refusal> {
        if self.allowance == self.next || self.fast != forks() {
            self.extend(1)?;
        }
        Ok(self.next)
    }

    /// The first of `n` sequences that may be written now, and be published or not.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    ///
    /// # Panics
    ///
    /// If the ring never has `n`.
    #[inline]
    pub fn claim(&mut self, n: u64) -> Result<Sequence, Refusal> {
        if self.allowance.since(self.next) < n || self.fast != forks() {
            self.extend(n)?;
        }
        if n > self.widest {
            self.widen(n);
        }
        self.lent = self.lent.later(self.next.plus(n));
        Ok(self.next)
    }

    /// How many of `most` sequences may be written now: at least one, unless none are asked for.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    #[inline]
    pub fn claim_up_to(&mut self, most: u64) -> Result<u64, Refusal> {
        let mut n = most.min(self.capacity.get());
        loop {
            match self.claim(n) {
                Ok(_) => return Ok(n),
                // A claim that fails for want of room has looked, and there may be room for fewer.
                Err(Refusal::Full) => {
                    let room = self.limit.since(self.next);
                    if room == 0 || room >= n {
                        return Err(Refusal::Full);
                    }
                    n = room;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// Makes the next `n` messages visible; says whether a consumer slept, and was woken.
    ///
    /// # Safety
    ///
    /// They have been claimed and written.
    #[inline]
    pub unsafe fn publish(&mut self, n: u64) -> bool {
        debug_assert!(n <= self.granted.since(self.next));
        may_die("written");
        self.next = self.next.plus(n);
        // edge: publish -> observe. Messages are written before the cursor that tells of them.
        let order = ordering!("publish-release", Release);
        self.control.head.published.store(self.next.get(), order);
        // edge: publish -> torn. A tap that copies a word which is written after this fence sees, after
        // its own fence, that everything before was published. (On x86-64 it costs nothing.)
        fence!("publish-fence", Release);
        may_die("published");
        self.control.wake_consumers()
    }

    /// Ends as a killed process does: it closes nothing, and all its words stay as they are.
    pub fn die(mut self) {
        // The end was told already, as far as this cursor knows.
        self.is_closed = true;
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Tells consumers that nothing more will come, because everything is sent. Says whether a consumer
    /// slept, and was woken. Only the first call of `close` or `abort` counts.
    pub fn close(&mut self) -> bool {
        self.end(FINISHED)
    }

    /// Tells consumers that nothing more will come, though not everything is sent. Says whether a
    /// consumer slept, and was woken.
    pub fn abort(&mut self, reason: &str) -> bool {
        if !self.is_closed && !self.is_forked() {
            self.control.head.reason.store(reason);
        }
        self.end(ABORTED)
    }

    /// Whether this process is a child that was forked from the producer's.
    #[inline]
    pub fn is_forked(&self) -> bool {
        self.forks != forks()
    }

    fn end(&mut self, state: u64) -> bool {
        // The ring is the parent's, which goes on sending.
        if self.is_closed || self.is_forked() {
            return false;
        }
        (self.is_closed, self.fast) = (true, NEVER_FAST);
        (self.allowance, self.granted) = (self.next, self.next);
        // Nothing will be written any more. What was lent and not published may have been written.
        let dirty = if self.next.is_before(self.lent) { self.lent } else { self.next };
        // Relaxed: the fence behind the last message comes before it.
        self.control.head.widest.store(dirty.since(self.next), Ordering::Relaxed);
        self.control.head.reserved.store(dirty.get(), Ordering::Relaxed);
        // edge: close -> drained. What was published stays visible to a consumer that sees the end.
        self.control.head.state.store(state, ordering!("close-release", Release));
        self.control.wake_consumers()
    }

    /// How far the slowest registered consumer is behind, in sequences; 0 if no consumer is registered.
    pub fn lag(&mut self) -> u64 {
        self.collect();
        let lag = self.gate.lag(&self.control, self.next, self.capacity);
        // The gate reports a new consumer only once, so the limit has to follow at once. What was
        // granted before stays granted: a consumer that has joined since begins after it.
        if !mutant("keep-limit") {
            self.limit = self.next.plus(self.capacity.get() - lag).later(self.granted);
        }
        lag
    }

    /// Asks the kernel whether the consumers that hold this producer back are alive, and frees the slots of those
    /// that are not. Says whether anything has changed.
    ///
    /// A producer that looks in vain does this by itself after a while.
    #[cold]
    pub fn ask_who_lives(&mut self) -> bool {
        let (deaths, changed) = self.gate.ask(&self.control, self.next, self.capacity);
        self.remember(deaths);
        changed
    }

    fn remember(&mut self, deaths: Vec<Death>) {
        self.deaths.extend(deaths);
        let surplus = self.deaths.len().saturating_sub(self.control.consumers());
        self.deaths.drain(..surplus);
    }

    /// Whether every registered consumer has released everything that was published, and no group
    /// [holds the end](crate::JoinOptions::hold_end) of a queue that has ended. A producer that looks in vain for a while
    /// asks whether they are alive.
    pub fn is_drained(&mut self) -> bool {
        let is_drained = self.lag() == 0 && !(self.is_closed() && roster::holds_end(&self.control));
        if is_drained {
            self.vigil.end();
        } else if self.vigil.in_vain() {
            self.ask_who_lives();
        }
        is_drained
    }

    /// The consumers that this producer has found dead since the last call; of many the latest.
    pub fn take_deaths(&mut self) -> Vec<Death> {
        core::mem::take(&mut self.deaths)
    }

    /// The consumers that this producer has turned out since the last call, and why; of many the latest.
    pub fn take_evictions(&mut self) -> Vec<Eviction> {
        let mut evictions = self.gate.take_evictions();
        evictions.extend(self.control.rooms().into_iter().flat_map(Rooms::take_evictions));
        evictions
    }

    /// Sees what consumers say in pages of their own, if they have any.
    pub fn collect(&self) {
        if let Some(rooms) = self.control.rooms() {
            rooms.collect(&self.control);
        }
    }

    /// Whether no consumer is registered, and no group holds a place without one.
    ///
    /// A consumer that this producer waits for counts until it is in the way: then the producer finds out that it is
    /// dead. One that it does not wait for is never in the way, so it is looked at here.
    pub fn is_abandoned(&mut self) -> bool {
        self.collect();
        if self.gate.has_changed(&self.control) {
            self.lag();
        }
        if self.gate.is_lossy() {
            self.ask_listeners();
        }
        self.gate.is_abandoned()
    }

    #[cold]
    #[inline(never)]
    fn ask_listeners(&mut self) {
        let asks = self.listeners.in_vain();
        let deaths = self.gate.ask_listeners(&self.control, asks);
        if !deaths.is_empty() {
            self.remember(deaths);
            // What the gate has read anew it reports to nobody else.
            self.lag();
        }
    }

    /// Says in the head line that claims may be as wide as this.
    #[cold]
    #[inline(never)]
    fn widen(&mut self, n: u64) {
        // Seldom: each time to the next power of two.
        self.widest = n.next_power_of_two().min(self.capacity.get());
        self.control.head.widest.store(self.widest, Ordering::Relaxed);
        // edge: publish -> torn. A tap that copies a word written under this claim sees how wide it is.
        fence!("widen-fence", Release);
    }

    /// Raises the allowance to at least `n` beyond `next`.
    #[cold]
    #[inline(never)]
    fn extend(&mut self, n: u64) -> Result<(), Refusal> {
        assert!(n <= self.capacity.get(), "{n} of {} places were asked for", self.capacity);
        // Not the process id: to ask for that is a system call.
        if self.is_forked() {
            return Err(Refusal::Forked);
        }
        if self.is_closed {
            return Err(Refusal::Closed);
        }
        if self.unattended == Unattended::Overwrite {
            self.grant(n)?;
            self.allowance = self.granted;
            return Ok(());
        }
        // A claim that is made after the last consumer has left is told; also one that there is room for only
        // because it has left.
        self.attended()?;
        if self.granted.since(self.next) < n {
            self.grant(n)?;
            self.attended()?;
        }
        self.allowance = self.next.plus(n);
        Ok(())
    }

    /// Refuses while no consumer is registered, as the ring was made to.
    fn attended(&mut self) -> Result<(), Refusal> {
        if self.unattended == Unattended::Overwrite || !self.is_abandoned() {
            return Ok(());
        }
        let is_refused = self.unattended == Unattended::Refuse;
        Err(if is_refused { Refusal::Abandoned } else { Refusal::Full })
    }

    /// How far beyond a claim of `n` it reserves.
    fn stride(&self, n: u64) -> u64 {
        let capacity = self.capacity.get();
        let share = capacity / STRIDE_SHARE_OF_MUCH;
        let stride = if self.gate.is_empty() {
            share
        } else {
            (capacity / STRIDE_SHARE).min(STRIDE_OF_FEW * self.trail.unit()).max(share)
        };
        // In the first lap nothing is overwritten, so that a consumer that comes late gets everything.
        let lap = self.first.plus(capacity);
        if self.next.is_before(lap) {
            stride.min(lap.since(self.next).saturating_sub(n))
        } else {
            stride
        }
    }

    /// Reserves at least `n` sequences beyond `next`, if no consumer is in the way.
    fn grant(&mut self, n: u64) -> Result<(), Refusal> {
        if self.limit.since(self.next) < n && !self.ask_the_gate(n) {
            return Err(Refusal::Full);
        }
        loop {
            let room = self.limit.since(self.next);
            let target = self.next.plus(room.min(n + self.stride(n)));
            if self.reserved.is_before(target) {
                if !mutant("skip-mark") {
                    self.trail.mark(self.next);
                }
                self.reserved = target;
                self.control.head.reserved.store(target.get(), Ordering::Relaxed);
                may_die("reserved");
            }
            // edge: reserve <-> join, reserve -> torn, evict -> confirm. Either we see below that a consumer has
            // joined, or the consumer sees what we have reserved.
            fence!("reserve-fence", SeqCst);
            if mutant("skip-join-recheck") || !self.gate.has_changed(&self.control) {
                self.granted = target.later(self.granted);
                return Ok(());
            }
            if !self.ask_the_gate(n) {
                return Err(Refusal::Full);
            }
        }
    }

    /// Looks at the gate; says whether `n` sequences fit.
    fn ask_the_gate(&mut self, n: u64) -> bool {
        let law = self.pace.law(self.gate.has_groups(), self.gate.broadcast_consumers());
        self.pace.hold_back(law);
        let before = self.limit;
        self.lag();
        if self.limit.since(self.next) < n && self.gate.miss_the_gone(&self.control) {
            self.lag();
        }
        let room = self.limit.since(self.next);
        // A small ring never has much.
        let few = (law.few * self.trail.unit()).min(self.capacity.get() / 4);
        self.pace.found(law, room, few, before.is_before(self.limit));
        if room >= n {
            self.vigil.end();
            return true;
        }
        self.vigil.in_vain() && self.ask_who_lives() && {
            self.lag();
            self.limit.since(self.next) >= n
        }
    }
}

/// What the dead producer of this ring had published, and what it had reserved.
///
/// # Errors
///
/// [`CannotResume`].
pub fn resumable(
    control: &Control,
    capacity: Capacity,
) -> Result<(Sequence, Sequence), CannotResume> {
    // The caller has the dead producer's lease. The kernel let go of it after all that the producer has written.
    let load = |word: &common::sync::AtomicU64| Sequence::new(word.load(Ordering::Relaxed));
    let (published, reserved) = (load(&control.head.published), load(&control.head.reserved));
    if control.is_closed() {
        return Err(CannotResume::Ended);
    }
    if reserved.since(published) > capacity.get() {
        let (published, reserved) = (published.get(), reserved.get());
        return Err(CannotResume::Corrupt { published, reserved, capacity: capacity.get() });
    }
    Ok((published, reserved))
}

impl<C: Link, T: Trail> Drop for ProducerCursor<C, T> {
    fn drop(&mut self) {
        // A child that was forked from the producer's process is not the producer.
        if self.origin.is_here() {
            if std::thread::panicking() {
                self.abort("its thread panicked");
            } else {
                self.close();
            }
        }
        self.watch = None;
    }
}

/// A broadcast consumer's end: sees every sequence, and gates the producer.
#[derive(Debug)]
pub struct ConsumerCursor<C: Link> {
    control: C,
    registration: Registration,
    /// The next sequence to read.
    next: Sequence,
    /// How many of the following sequences are lent to the reader.
    taken: u64,
    /// What had been published when we last looked.
    known: Sequence,
    watcher: Watcher,
    pub(crate) pace: EmptyPace,
}

/// What a consumer that finds nothing knows of its producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watcher {
    pub(crate) vigil: Vigil,
    /// Whether it waits for a successor where the producer has died.
    pub(crate) follows: bool,
    /// The epoch whose producer is dead.
    dead: Option<u64>,
}

impl Default for Watcher {
    fn default() -> Self {
        Self { vigil: Vigil::of_consumer(), follows: false, dead: None }
    }
}

impl Watcher {
    /// There is nothing to read: why. `asks` says that it is time to ask whether the producer is alive.
    #[inline(never)]
    pub(crate) fn after_nothing(
        &mut self,
        link: &dyn Link,
        next: Sequence,
        asks: bool,
    ) -> Unavailable {
        if self.follows {
            return Unavailable::Empty;
        }
        let control: &Control = link;
        if asks || control.doorbell.vital.is_dying() {
            let epoch = control.epoch();
            let is_dead = !link.is_leased(Role::Producer) && epoch == control.epoch();
            self.dead = is_dead.then_some(epoch);
        }
        // What it published last was published before the kernel let go of its lease.
        let is_drained = || !control.is_closed() && !next.is_before(control.published());
        if self.dead == Some(control.epoch()) && is_drained() {
            Unavailable::ProducerDied
        } else {
            Unavailable::Empty
        }
    }
}

impl<C: Link> ConsumerCursor<C> {
    /// The consumer of this registration, which [`roster::join`] gave out.
    ///
    /// # Safety
    ///
    /// The registration is with this control, and no other cursor uses it.
    pub unsafe fn new(control: C, registration: Registration) -> Self {
        doorbell::attach(control.producer_word());
        let (next, pace) = (registration.first, EmptyPace::default());
        let watcher = Watcher::default();
        Self { control, registration, next, taken: 0, known: next, watcher, pace }
    }

    /// Waits for a successor where its producer has died.
    #[must_use]
    pub fn following(mut self, follows: bool) -> Self {
        self.watcher.follows = follows;
        self
    }

    /// The next sequence to read.
    pub fn next(&self) -> Sequence {
        self.next
    }

    /// Ends as a killed process does: the kernel lets go of its lease, and all its words stay as they are. For
    /// tests within one process.
    pub fn die(mut self) {
        self.registration.let_go();
    }

    /// All that is there to read: one sequence or more.
    #[inline]
    pub(crate) fn available(&mut self) -> Result<Run, Unavailable> {
        if self.known == self.next {
            self.refresh()?;
        }
        Ok(Run { first: self.next, len: self.known.since(self.next) })
    }

    /// Takes the first `len` sequences of what is [there](Self::available).
    #[inline]
    pub(crate) fn lend(&mut self, len: u64) -> Run {
        debug_assert!(len <= self.known.since(self.next));
        self.taken = len;
        Run { first: self.next, len }
    }

    /// Keeps only the first `len` sequences of what was taken last; the others come again.
    #[inline]
    pub(crate) fn keep_first(&mut self, len: u64) {
        debug_assert!(len <= self.taken);
        self.taken = len;
    }

    /// Gives back, unread, what was taken last: it comes again with the next call.
    pub fn give_back(&mut self) {
        self.keep_first(0);
    }

    /// Says, after what it has taken was copied, whether the copy can be trusted.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Evicted`], [`Unavailable::Forked`].
    #[inline]
    pub fn confirm(&self) -> Result<(), Unavailable> {
        let is_sound = self.registration.confirms(&self.control);
        if is_sound { Ok(()) } else { Err(gone(&self.registration)) }
    }

    /// Reads how far the producer is.
    #[cold]
    #[inline(never)]
    fn refresh(&mut self) -> Result<(), Unavailable> {
        self.pace.hold_back();
        let known = observe(&self.control, &self.registration, self.next).and_then(|known| {
            let is_near = known.since(self.next) <= self.registration.capacity.get();
            let far = || out_of_range(&self.control, &self.registration, self.next, known);
            if is_near { Ok(known) } else { Err(far()) }
        });
        self.pace.found(known.map_or(0, |known| known.since(self.next)));
        match known {
            Ok(known) => self.known = known,
            Err(Unavailable::Empty) => {
                let asks = self.watcher.vigil.in_vain();
                return Err(self.watcher.after_nothing(&self.control, self.next, asks));
            }
            Err(why) => return Err(why),
        }
        self.watcher.vigil.end();
        Ok(())
    }
}

impl<C: Link> Cursor for ConsumerCursor<C> {
    const EXCLUSIVE: bool = true;

    #[inline]
    fn take(&mut self, most: u64) -> Result<Run, Unavailable> {
        let all = self.available()?;
        Ok(self.lend(most.min(all.len)))
    }

    #[inline]
    fn release(&mut self) -> bool {
        self.advance(self.taken).unwrap_or(false)
    }

    #[inline]
    fn release_copied(&mut self) -> Result<bool, Unavailable> {
        self.advance(self.taken).ok_or_else(|| gone(&self.registration))
    }

    fn release_first(&mut self, len: u64) -> bool {
        assert!(len <= self.taken, "{len} of {} messages were to be given back", self.taken);
        self.advance(len).unwrap_or(false)
    }

    #[inline(always)]
    fn known(&self) -> Sequence {
        self.known
    }

    fn registration(&self) -> &Registration {
        &self.registration
    }
}

impl<C: Link> ConsumerCursor<C> {
    /// Releases so many sequences. Says whether the producer slept, and was woken; `None` if the slot is not this
    /// consumer's any more.
    #[inline(always)]
    fn advance(&mut self, len: u64) -> Option<bool> {
        self.next = self.next.plus(len);
        self.taken -= len;
        // A consumer that was evicted, and lives after all, must not write into its successor's slot.
        if !self.registration.is_current(&self.control) && !mutant("skip-registration-check") {
            // The next call asks why.
            self.known = self.next;
            return None;
        }
        // edge: release -> overwrite, release -> collect
        let order = ordering!("release-overwrite-release", Release);
        self.registration.cursor(&self.control).store(self.next.get(), order);
        Some(doorbell::wake(self.control.producer_word()))
    }
}

impl<C: Link> Drop for ConsumerCursor<C> {
    fn drop(&mut self) {
        self.registration.leave(&self.control);
    }
}

/// How far the producer has published, if that is beyond `next`; otherwise why there is nothing. The caller
/// checks that it is within a lap: [`out_of_range`] says what it means if it is not.
#[inline]
pub(crate) fn observe(
    control: &Control,
    registration: &Registration,
    next: Sequence,
) -> Result<Sequence, Unavailable> {
    // First: the producer does not wait for an evicted consumer, and may overwrite what it would read.
    if !registration.is_current(control) {
        return Err(gone(registration));
    }
    // edge: publish -> observe
    let order = ordering!("observe-acquire", Acquire);
    let published = || Sequence::new(control.head.published.load(order));
    let known = published();
    if next.is_before(known) {
        return Ok(known);
    }
    // A member may see another member's claim before it sees the messages published for it. They are at
    // most a lap away.
    if next.since(known) > registration.capacity.get() {
        return Err(out_of_range(control, registration, next, known));
    }
    // edge: close -> drained
    let state = control.head.state.load(ordering!("drained-acquire", Acquire));
    if state == 0 {
        return Err(Unavailable::Empty);
    }
    // The last messages may have come between the first look and the end.
    let known = if mutant("skip-drain-recheck") { known } else { published() };
    if next.is_before(known) {
        return Ok(known);
    }
    Err(if state == FINISHED { Unavailable::Closed } else { Unavailable::Aborted })
}

/// Why a registration is no longer current.
pub(crate) fn gone(registration: &Registration) -> Unavailable {
    if registration.is_forked() { Unavailable::Forked } else { Unavailable::Evicted }
}

/// Why what is published and what is to be read next are more than a lap apart.
#[cold]
pub(crate) fn out_of_range(
    control: &Control,
    registration: &Registration,
    next: Sequence,
    known: Sequence,
) -> Unavailable {
    if !registration.is_current(control) {
        // The consumer was evicted after we had looked, and the producer has gone on without it.
        return gone(registration);
    }
    Unavailable::Corrupt {
        next: next.get(),
        found: known.get(),
        capacity: registration.capacity.get(),
    }
}
