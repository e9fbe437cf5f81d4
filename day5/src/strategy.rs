//! Ways to wait: as types, and by name.
//!
//! A strategy only says how its own end waits. Every end rings the doorbell, so any two strategies work
//! together.

use core::fmt;
use core::ptr::NonNull;
use core::str::FromStr;
use std::time::{Duration, Instant};

use common::sync::{AtomicU32, spin_loop, yield_now};
use day2::Vital;
use day3::doorbell::Doorbell;
use day3::rooms::Rooms;
use day3::wait::{Side, Wait};

use crate::doorbell::Ticket;
use crate::{doorbell, futex};

/// The longest that an end sleeps before it looks without being woken. It limits the delay when a
/// wake-up never comes, because the other end was killed after it published and before it rang.
pub const SLICE: Duration = Duration::from_millis(100);

/// The longest nap of a tap, which is never woken.
const LONGEST_NAP: Duration = Duration::from_millis(4);

/// How many looks in vain there are between two looks at the clock.
const LOOKS_BETWEEN_CLOCKS: u32 = 64;

pub use day3::wait::{Spin, Yield};

/// Looks once, and sleeps until it is woken.
#[derive(Clone, Copy, Debug)]
pub struct Sleep {
    slice: Duration,
}

impl Default for Sleep {
    fn default() -> Self {
        Self::in_slices(SLICE)
    }
}

impl Sleep {
    /// A strategy that looks without being woken after `slice`, instead of after [`SLICE`].
    pub fn in_slices(slice: Duration) -> Self {
        Self { slice }
    }
}

impl Wait for Sleep {
    #[inline]
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        poll().or_else(|| sleep(side, doorbell, deadline, self.slice, poll))
    }
}

/// Spins while spinning pays off, then yields, then sleeps: the default.
///
/// It learns how long to spin. If a wait ends while it spins, it may spin longer next time. If a wait
/// ends only after it has yielded the core or slept, it spins less next time. While other threads
/// take the core when it yields, it yields at once: they may be doing what it waits for.
#[derive(Clone, Copy, Debug)]
pub struct Adaptive {
    /// How many looks it takes before it yields the core.
    spins: u32,
    /// How many more waits it lets pass before it tries again whether spinning longer pays off.
    until_trial: u32,
    /// How many waits it lets pass after that trial, if spinning longer does not pay off.
    next_trial: u32,
    /// For how many more waits it assumes that other threads want this core.
    crowd: u32,
}

/// Some 200 us. A sleep and a wake-up cost 20 to 40 us here, so spinning for longer than that uses
/// more of the core. But while it pays off, and no other thread needs the core, it saves that much
/// time.
const MOST_SPINS: u32 = 8192;
/// About the cost of yielding the core.
const FEWEST_SPINS: u32 = 16;
/// How often it yields the core before it sleeps: some 20 us if no other thread wants the core, the cost
/// of a sleep. If others do, the yields keep a crowd of threads from sleeping and waking one another for
/// each message.
const YIELDS: u32 = 64;
/// How many waits pass before it tries again whether spinning longer pays off: at first, and at most.
/// Each trial in vain doubles the number.
const BETWEEN_TRIALS: (u32, u32) = (64, 1024);

/// If the core is back this soon after a yield, no other thread wanted it. The call alone takes
/// half of this time here, and another thread's turn at least three times as much.
const WANTED: Duration = Duration::from_micros(1);
/// For how many waits it yields the core at once, after another thread took it.
const CROWD: u32 = 64;

impl Default for Adaptive {
    fn default() -> Self {
        let (until_trial, next_trial) = (BETWEEN_TRIALS.0, BETWEEN_TRIALS.0);
        Self { spins: MOST_SPINS, until_trial, next_trial, crowd: 0 }
    }
}

impl Adaptive {
    fn spins_now(&mut self) -> u32 {
        if self.crowd > 0 {
            self.crowd -= 1;
            return FEWEST_SPINS;
        }
        self.until_trial -= 1;
        if self.until_trial > 0 {
            return self.spins;
        }
        self.next_trial = (2 * self.next_trial).min(BETWEEN_TRIALS.1);
        self.until_trial = self.next_trial;
        MOST_SPINS
    }

    fn has_won(&mut self, looks: u32) {
        // Twice as many looks as this wait needed are enough. The limit never falls here.
        let enough = looks.saturating_mul(2).min(MOST_SPINS);
        if self.spins < enough {
            self.spins = enough;
            self.next_trial = BETWEEN_TRIALS.0;
        }
    }

    fn has_lost(&mut self) {
        self.spins = (self.spins / 2).max(FEWEST_SPINS);
    }
}

impl Adaptive {
    /// What it does before it sleeps: looks, spinning and then yielding for as long as it has learned that this pays
    /// off. A wait that sleeps elsewhere than at one doorbell begins with this, too. `width` says how many places one
    /// call of `poll` looks at: it spins the shorter, the more there are.
    #[inline]
    pub fn look_awhile<R>(
        &mut self,
        deadline: Option<Instant>,
        width: u32,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Looked<R> {
        let width = width.max(1);
        let spins = (self.spins_now() / width).max(1);
        match poll_up_to(deadline, spins, &mut poll, spin_loop) {
            (Looked::Exhausted, _) => self.has_lost(),
            (found, looks) => {
                if let Looked::Found(_) = found {
                    self.has_won(looks.saturating_mul(width));
                }
                return found;
            }
        }
        // To yield costs as much as to look at many places.
        let yields = (YIELDS / width.div_ceil(YIELDS)).max(1);
        let give_away = || {
            let given = Instant::now();
            yield_now();
            if given.elapsed() > WANTED {
                self.crowd = CROWD;
            }
        };
        poll_up_to(deadline, yields, &mut poll, give_away).0
    }
}

impl Wait for Adaptive {
    #[inline]
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        match self.look_awhile(deadline, 1, &mut poll) {
            Looked::Found(answer) => Some(answer),
            Looked::TimedOut => None,
            Looked::Exhausted => sleep(side, doorbell, deadline, SLICE, poll),
        }
    }
}

/// How a series of looks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked<R> {
    /// There was an answer.
    Found(R),
    /// The deadline had passed.
    TimedOut,
    /// No look found anything: it is time to sleep.
    Exhausted,
}

/// Looks up to `most` times, with a pause after each look in vain; says also how many looks were in vain. Even if the
/// deadline has passed already, it looks once.
#[inline]
fn poll_up_to<R>(
    deadline: Option<Instant>,
    most: u32,
    mut poll: impl FnMut() -> Option<R>,
    mut pause: impl FnMut(),
) -> (Looked<R>, u32) {
    for looks in 0..most {
        if let Some(answer) = poll() {
            return (Looked::Found(answer), looks);
        }
        if looks.is_multiple_of(LOOKS_BETWEEN_CLOCKS)
            && deadline.is_some_and(|deadline| Instant::now() >= deadline)
        {
            return (Looked::TimedOut, looks);
        }
        pause();
    }
    (Looked::Exhausted, most)
}

/// Sleeps between looks, in slices.
#[cold]
fn sleep<R>(
    side: Side,
    doorbell: &Doorbell,
    deadline: Option<Instant>,
    slice: Duration,
    mut poll: impl FnMut() -> Option<R>,
) -> Option<R> {
    let Some(word) = side.word(doorbell) else { return nap(deadline, poll) };
    let mut bed = Bed { word, vital: doorbell.vital, side, slice, next: FIRST_SLICE };
    loop {
        let slice = until(deadline, bed.slice())?;
        if let (Side::Producer, Some(rooms)) = (side, doorbell.rooms) {
            if let Some(answer) = rest_among(word, rooms, &mut poll, slice) {
                return Some(answer);
            }
            continue;
        }
        let sleep = |ticket: Ticket| bed.sleep(ticket, slice);
        if let Some(answer) = doorbell::rest(word, &mut poll, sleep).or_else(&mut poll) {
            return Some(answer);
        }
    }
}

/// How long a producer sleeps at first, and a consumer whose producer is dying. After each sleep an end that finds
/// nothing may ask the kernel who is alive, and a producer is to go on soon after a consumer's death.
const FIRST_SLICE: Duration = Duration::from_millis(1);
/// How long a producer sleeps at most.
pub(crate) const PRODUCERS_SLICE: Duration = Duration::from_millis(4);

/// Where an end sleeps: on its side's word, and, if it is a consumer, on the word that says that its producer is
/// dying.
struct Bed<'a> {
    word: &'a AtomicU32,
    vital: &'a Vital,
    side: Side,
    slice: Duration,
    /// How long a producer sleeps next.
    next: Duration,
}

impl Bed<'_> {
    /// How long to sleep next, at most.
    fn slice(&mut self) -> Duration {
        let slice = if self.side == Side::Producer {
            let next = self.next;
            self.next = (2 * next).min(PRODUCERS_SLICE);
            next
        } else if self.vital.is_dying() {
            FIRST_SLICE
        } else {
            self.slice
        };
        slice.min(self.slice)
    }

    fn sleep(&self, ticket: Ticket, slice: Duration) {
        let slice = if ticket.is_fenced() { slice.min(SLICE) } else { slice };
        let vital = self.vital.alive().filter(|_| self.side == Side::Consumer);
        let Some(alive) = vital.filter(|_| futex::can_wait_for_many()) else {
            // It may have died since the last look: then nobody wakes us for that any more.
            let has_died = self.side == Side::Consumer && self.vital.is_dying();
            let slice = if has_died { slice.min(FIRST_SLICE) } else { slice };
            let _ = futex::wait(self.word, ticket.word(), slice);
            return;
        };
        let words = [(NonNull::from(self.word), ticket.word()), (self.vital.word(), alive)];
        futex::wait_for_any(&words, Some(slice));
        if self.vital.is_dying() {
            // The kernel wakes one sleeper. It wakes the others.
            doorbell::wake(self.word);
            futex::wake_sleepers_of(self.vital);
        }
    }
}

/// One rest of a producer whose consumers each have a word of their own: it announces that it sleeps at all of them,
/// looks once more, and sleeps on as many as the kernel lets it. As a producer rests for milliseconds at most, it
/// does not miss the others for long.
fn rest_among<R>(
    word: &AtomicU32,
    rooms: &Rooms,
    mut poll: impl FnMut() -> Option<R>,
    slice: Duration,
) -> Option<R> {
    let words: Vec<_> =
        core::iter::once(word).chain(rooms.producer_words()).take(futex::MOST).collect();
    let tickets = doorbell::announce_at(&words);
    let answer = poll();
    if answer.is_none() {
        let words = words.iter().map(|&word| NonNull::from(word));
        let all: Vec<_> = words.zip(tickets.iter().map(|ticket| ticket.word())).collect();
        if futex::can_wait_for_many() {
            futex::wait_for_any(&all, Some(slice));
        } else {
            std::thread::sleep(slice.min(FIRST_SLICE));
        }
    }
    doorbell::take_back(&words);
    answer.or_else(poll)
}

/// For a tap, which may write nothing, and so cannot announce a sleep.
fn nap<R>(deadline: Option<Instant>, mut poll: impl FnMut() -> Option<R>) -> Option<R> {
    let mut nap = Duration::from_micros(50);
    loop {
        if let Some(answer) = poll() {
            return Some(answer);
        }
        std::thread::sleep(until(deadline, nap)?);
        nap = (2 * nap).min(LONGEST_NAP);
    }
}

/// How long to sleep, at most `most`; `None` when the deadline has passed.
pub fn until(deadline: Option<Instant>, most: Duration) -> Option<Duration> {
    let Some(deadline) = deadline else { return Some(most) };
    let left = deadline.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left.min(most))
}

/// The ways to wait, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// [`Spin`].
    Spin,
    /// [`Yield`].
    Yield,
    /// [`Sleep`].
    Sleep,
    /// [`Adaptive`].
    #[default]
    Adaptive,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Spin, Self::Yield, Self::Sleep, Self::Adaptive];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Yield => "yield",
            Self::Sleep => "sleep",
            Self::Adaptive => "adaptive",
        }
    }

    /// The strategy itself, chosen while the program runs.
    pub fn start(self) -> AnyStrategy {
        match self {
            Self::Spin => AnyStrategy::Spin(Spin),
            Self::Yield => AnyStrategy::Yield(Yield),
            Self::Sleep => AnyStrategy::Sleep(Sleep::default()),
            Self::Adaptive => AnyStrategy::Adaptive(Adaptive::default()),
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No way to wait has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a way to wait is spin, yield, sleep or adaptive, found {found:?}: choose one")]
#[non_exhaustive]
pub struct UnknownStrategy {
    /// The name as it was given.
    pub found: String,
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownStrategy> {
        let found = || UnknownStrategy { found: name.to_owned() };
        Self::ALL.into_iter().find(|strategy| strategy.name() == name).ok_or_else(found)
    }
}

/// One of the strategies, chosen while the program runs.
#[derive(Clone, Copy, Debug)]
pub enum AnyStrategy {
    /// [`Strategy::Spin`].
    Spin(Spin),
    /// [`Strategy::Yield`].
    Yield(Yield),
    /// [`Strategy::Sleep`].
    Sleep(Sleep),
    /// [`Strategy::Adaptive`].
    Adaptive(Adaptive),
}

impl Default for AnyStrategy {
    fn default() -> Self {
        Strategy::default().start()
    }
}

impl Wait for AnyStrategy {
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        match self {
            Self::Spin(wait) => wait.until(side, doorbell, deadline, poll),
            Self::Yield(wait) => wait.until(side, doorbell, deadline, poll),
            Self::Sleep(wait) => wait.until(side, doorbell, deadline, poll),
            Self::Adaptive(wait) => wait.until(side, doorbell, deadline, poll),
        }
    }
}
