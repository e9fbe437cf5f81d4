//! How a ring is created and joined, where the defaults do not fit.

use core::any::type_name;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::QueueName;
use day2::segment::READY_TIMEOUT;
use day2::{Holder, OpenError, RemoveError, Segment, SucceedError, Trust};

use crate::control::{MOST_SLOTS, SLOTS};
use crate::error::{CreateError, JoinError, ResumeError};
use crate::policy::Policy;
use crate::sequencer::Unattended;

/// How often a queue that is not there yet is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How to create a ring.
///
/// ```
/// # use day3 as fanout;
/// let options = fanout::QueueOptions::new(1024).permissions(0o660).message_type("tick/1");
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct QueueOptions {
    pub(crate) capacity: u64,
    pub(crate) permissions: u32,
    pub(crate) first: u64,
    pub(crate) identity: u64,
    consumers: usize,
    resumes: bool,
    replaces: bool,
    trust: Trust,
    unattended: Unattended,
    message_type: Option<String>,
    lag_limit: Option<Duration>,
}

impl QueueOptions {
    /// A ring of `capacity` messages, a power of two (of records: of bytes, rounded up); for its owner only.
    pub fn new(capacity: u64) -> Self {
        let unattended = Unattended::default();
        Self {
            capacity,
            permissions: 0o600,
            first: 0,
            identity: 0,
            consumers: SLOTS,
            resumes: false,
            replaces: false,
            trust: Trust::OwnUser,
            unattended,
            message_type: None,
            lag_limit: None,
        }
    }

    /// Takes over the queue of that name, if its producer has died: sequences go on, and consumers that are
    /// attached get what is sent. The queue keeps its capacity and its permissions. Without this, the name is
    /// [taken](day2::CreateError::Taken).
    #[must_use]
    pub fn or_resume(mut self) -> Self {
        self.resumes = true;
        self
    }

    /// Removes the queue of that name, if its producer has died, and creates a new one. Consumers that are
    /// attached to the old queue keep it. Where the queue can be [taken over](Self::or_resume), and the options say
    /// so, that comes first.
    #[must_use]
    pub fn or_replace(mut self) -> Self {
        self.replaces = true;
        self
    }

    /// Creates the queue `name`, or takes over or replaces the one that is there, as these options say.
    ///
    /// # Errors
    ///
    /// What `create` said; [`CreateError::Resume`], [`CreateError::Replace`].
    pub fn establish<R>(
        &self,
        name: &QueueName,
        mut create: impl FnMut() -> Result<R, CreateError>,
        mut resume: impl FnMut() -> Result<R, ResumeError>,
    ) -> Result<R, CreateError> {
        loop {
            let taken = match create() {
                Err(CreateError::Segment(day2::CreateError::Taken { by: Holder::Dead, name })) => {
                    day2::CreateError::Taken { by: Holder::Dead, name }
                }
                created => return created,
            };
            if self.resumes {
                match resume() {
                    Ok(resumed) => return Ok(resumed),
                    // Removed, or taken over by another process, meanwhile: the name tells.
                    Err(ResumeError::Succeed(SucceedError::Living { .. }))
                        if self.is_moving(name) =>
                    {
                        continue;
                    }
                    Err(ResumeError::Succeed(SucceedError::Open(OpenError::NotFound {
                        ..
                    }))) => continue,
                    Err(error) if !self.replaces => return Err(error.into()),
                    Err(_) => {}
                }
            }
            if !self.replaces {
                return Err(taken.into());
            }
            match Segment::remove_dead(name) {
                Ok(()) | Err(RemoveError::Open(OpenError::NotFound { .. })) => {}
                Err(RemoveError::Held { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether the name is no longer a living queue's: the process that had the dead queue's lease has let go.
    fn is_moving(&self, name: &QueueName) -> bool {
        Segment::holder(name) != Holder::Living
    }

    /// Takes over the queue also if the user of this number owns it, who could cut it short while it is mapped.
    #[must_use]
    pub fn trust_user(mut self, user: u32) -> Self {
        self.trust = Trust::User(user);
        self
    }

    /// Takes over the queue whichever user owns it.
    #[must_use]
    pub fn trust_any_user(mut self) -> Self {
        self.trust = Trust::AnyUser;
        self
    }

    /// Whose queues are taken over.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// How many consumers, of whatever kind but taps, the ring has room for: 1 to
    /// [`MOST_SLOTS`]; 64 unless said otherwise. Each takes 384 bytes.
    #[must_use]
    pub fn consumers(mut self, consumers: usize) -> Self {
        self.consumers = consumers;
        self
    }

    /// Who may open it: mode bits, as for a file. Consumers need to read and write.
    #[must_use]
    pub fn permissions(mut self, mode: u32) -> Self {
        self.permissions = mode;
        self
    }

    /// What the message type is called, where its Rust path differs between the programs.
    #[must_use]
    pub fn message_type(mut self, name: &str) -> Self {
        self.message_type = Some(name.to_owned());
        self
    }

    /// The sequence of the first message, to go on counting where another queue ended.
    #[must_use]
    pub fn first(mut self, sequence: u64) -> Self {
        self.first = sequence;
        self
    }

    /// The number that tells the queue from all others; a random one unless said otherwise, or if it is 0.
    ///
    /// A queue that is a copy of another, such as one on another host, has its identity;
    /// [`first`](Self::first) then says where the copy begins. So a message is known by identity and sequence, wherever it
    /// is. A queue that is [taken over](Self::or_resume) keeps the identity that it has.
    #[must_use]
    pub fn identity(mut self, identity: u64) -> Self {
        self.identity = identity;
        self
    }

    /// What to do with messages while no consumer is registered; [`Unattended::Overwrite`] unless said
    /// otherwise. With the other two, each send looks whether there is one.
    #[must_use]
    pub fn when_nobody_listens(mut self, unattended: Unattended) -> Self {
        self.unattended = unattended;
        self
    }

    /// In a queue whose consumers have private rooms, lets in only those that promise to go when they have held the
    /// producer back for as long as this ([`Policy::EvictAfter`]), and lossy ones. So no consumer can hold up one
    /// message for longer. Other queues cannot see to that.
    #[must_use]
    pub fn lag_limit(mut self, limit: Duration) -> Self {
        self.lag_limit = Some(limit);
        self
    }

    /// What consumers have to promise, if anything.
    pub fn most_lag(&self) -> Option<Duration> {
        self.lag_limit
    }

    /// How many consumers the ring is to have room for.
    ///
    /// # Errors
    ///
    /// [`CreateError::Consumers`] if no ring has room for so many.
    pub fn consumer_slots(&self) -> Result<usize, CreateError> {
        let found = self.consumers;
        if (1..=MOST_SLOTS).contains(&found) {
            Ok(found)
        } else {
            Err(CreateError::Consumers { found })
        }
    }

    /// What to do with messages while no consumer is registered.
    pub fn unattended(&self) -> Unattended {
        self.unattended
    }

    /// Messages, or bytes, that the ring was asked to hold.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Who may open it.
    pub fn mode(&self) -> u32 {
        self.permissions
    }

    /// The sequence of the first message.
    pub fn first_sequence(&self) -> u64 {
        self.first
    }

    /// The identity that the queue is to have; 0 for a random one.
    pub fn identity_number(&self) -> u64 {
        self.identity
    }

    /// What the message type is called, `default` unless it was set.
    pub fn message_type_or<'a>(&'a self, default: &'a str) -> &'a str {
        self.message_type.as_deref().unwrap_or(default)
    }

    pub(crate) fn type_name<T>(&self) -> &str {
        self.message_type_or(type_name::<T>())
    }
}

/// How to join a ring.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    pub(crate) timeout: Duration,
    pub(crate) label: String,
    pub(crate) holds: bool,
    pub(crate) holds_end: bool,
    follows: bool,
    policy: Policy,
    trust: Trust,
    wait_for_queue: Duration,
    message_type: Option<String>,
}

impl Default for JoinOptions {
    fn default() -> Self {
        Self {
            timeout: READY_TIMEOUT,
            label: String::new(),
            holds: false,
            holds_end: false,
            follows: false,
            policy: Policy::Block,
            trust: Trust::OwnUser,
            wait_for_queue: Duration::ZERO,
            message_type: None,
        }
    }
}

impl JoinOptions {
    /// Waits two seconds for a producer that is just creating the ring.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long to wait for a producer that is just creating the ring, and for others to join.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long to wait for a queue of that name to be created at all; not at all unless said
    /// otherwise. So a consumer may be started before its producer.
    #[must_use]
    pub fn wait_for_queue(mut self, timeout: Duration) -> Self {
        self.wait_for_queue = timeout;
        self
    }

    /// For a member of a group: whether the group is to hold the producer back also while it has no
    /// member, so that a worker that restarts has missed nothing. Without it the group's place is kept
    /// until the producer has overwritten it. Once said, it holds for the group until the producer
    /// [forgets](crate::ring::Producer::forget_group) it.
    #[must_use]
    pub fn hold_when_empty(mut self, holds: bool) -> Self {
        self.holds = holds;
        self
    }

    /// Whether the group is to hold the producer back also while it has no member. One that
    /// [holds the end](Self::hold_end) does.
    pub fn holds_when_empty(&self) -> bool {
        self.holds || self.holds_end
    }

    /// For a member of a group: as [`hold_when_empty`](Self::hold_when_empty), and the end of the queue is for the group
    /// as one message more. A producer that closes the queue, and then waits until it is
    /// [drained](crate::ring::Producer::drain), waits until a member of the group has
    /// [acknowledged](crate::ring::Member::acknowledge_end) the end. So a worker that has to pass the end on may be
    /// killed before it has done that: the one that is started again still finds the queue.
    #[must_use]
    pub fn hold_end(mut self, holds: bool) -> Self {
        self.holds_end = holds;
        self
    }

    /// Whether a producer that has ended is to wait until the group has acknowledged the end.
    pub fn holds_end(&self) -> bool {
        self.holds_end
    }

    /// Whether to wait for a successor where the producer has died. Without it, a consumer that has read everything
    /// gets [`RecvError::ProducerDied`](crate::RecvError::ProducerDied). So it does where the queue's memory has no name,
    /// under which a successor could find it: in a ring that was handed over by descriptor, or by its host.
    #[must_use]
    pub fn follow(mut self, follows: bool) -> Self {
        self.follows = follows;
        self
    }

    /// Whether to wait for a successor where the producer has died.
    pub fn follows(&self) -> bool {
        self.follows
    }

    /// Joins the queue also if the user of this number owns it. An owner can cut a named queue short, which kills the
    /// processes that have it mapped. So without this, another user's queue is
    /// [refused](OpenError::Owner), by root, too.
    #[must_use]
    pub fn trust_user(mut self, user: u32) -> Self {
        self.trust = Trust::User(user);
        self
    }

    /// Joins the queue whichever user owns it. Each of them could kill this process.
    #[must_use]
    pub fn trust_any_user(mut self) -> Self {
        self.trust = Trust::AnyUser;
        self
    }

    /// Whose queues are joined.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// What the producer is to do when this consumer lags. [`Policy::EvictAfter`] goes with an
    /// [`Evictable`](crate::ring::Evictable) alone, [`Policy::Lossy`] with [`Tap::join`](crate::ring::Tap::join).
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// What the producer is to do when this consumer lags.
    pub fn promised(&self) -> Policy {
        self.policy
    }

    /// Calls `open` until there is a queue of the name, for as long as these options say.
    ///
    /// # Errors
    ///
    /// What `open` said last.
    pub fn when_there<R>(
        &self,
        mut open: impl FnMut() -> Result<R, JoinError>,
    ) -> Result<R, JoinError> {
        let started = Instant::now();
        loop {
            match open() {
                Err(JoinError::Open(OpenError::NotFound { .. }))
                    if started.elapsed() < self.wait_for_queue =>
                {
                    sleep(LOOK_AGAIN.min(self.wait_for_queue.saturating_sub(started.elapsed())));
                }
                outcome => return outcome,
            }
        }
    }

    /// A text that tells the operator who this is; 32 bytes of it are kept.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.label = label.to_owned();
        self
    }

    /// What the message type is called, where its Rust path differs between the programs.
    #[must_use]
    pub fn message_type(mut self, name: &str) -> Self {
        self.message_type = Some(name.to_owned());
        self
    }

    /// Its label.
    pub fn label_text(&self) -> &str {
        &self.label
    }

    /// How long to wait.
    pub fn join_timeout(&self) -> Duration {
        self.timeout
    }

    /// What the message type is called, `default` unless it was set.
    pub fn message_type_or<'a>(&'a self, default: &'a str) -> &'a str {
        self.message_type.as_deref().unwrap_or(default)
    }

    pub(crate) fn type_name<T>(&self) -> &str {
        self.message_type_or(type_name::<T>())
    }
}
