//! Channels that are topics of Day 7, in a space that other processes share.
//!
//! A thread waits for what others publish, because a subscriber of topics has no descriptor, and wakes the runtime through
//! one. What this service publishes goes to its own subscribers directly: how many these are is known then.

use core::cell::RefCell;
use core::str;
use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use common::QueueName;
use day3::Policy;
use day7::topics::{
    Departed, JoinSpaceError, Pattern, PublishError, Published, Publisher, PublisherOptions,
    RecvTimeoutError, Space, SubscribeOptions, Subscriber, Topic, TryPublishError,
};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::channels::Channels;

/// All topics: which of them somebody listens to changes all the time, and a subscriber's patterns do not.
const ALL: &str = ">";
/// How long this service may keep a publisher waiting, before it loses messages.
const LAG: Duration = Duration::from_secs(1);
/// How often the thread looks whether anybody listens still.
const LOOK: Duration = Duration::from_millis(20);
/// How many bytes of messages wait for the runtime, before publishers wait for it.
const MOST_WAITING: usize = 8 << 20;

/// Why a message was not published.
#[derive(Debug)]
pub(super) enum Unpublished {
    /// A subscriber in another process keeps its publisher waiting: it is to be tried again.
    Busy,
    /// The space does not take it.
    Refused(PublishError),
}

/// Why a channel is not heard.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    #[error(transparent)]
    Join(#[from] JoinSpaceError),
    #[error("listening to the topic space: {0}")]
    System(#[from] io::Error),
    #[error(transparent)]
    Spawn(#[from] crate::runtime::SpawnError),
}

/// A topic space, as a Redis service uses it.
#[derive(Debug)]
pub(super) struct Topics {
    space: Space,
    publisher: RefCell<Publisher>,
    /// Which publisher that is: the thread leaves out what it has published.
    own: u64,
    elsewhere: RefCell<Elsewhere>,
    hearing: RefCell<Option<Arc<Shared>>>,
    threads: RefCell<Vec<JoinHandle<()>>>,
}

/// What subscribers in other processes want, as of a generation of the space.
#[derive(Debug, Default)]
struct Elsewhere {
    generation: u64,
    patterns: Vec<Pattern>,
}

/// What the thread and the runtime share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// There is room again, or the thread is to end.
    changed: Condvar,
    /// Readable while there is something for the runtime.
    wake: EventFd,
}

#[derive(Debug, Default)]
struct State {
    wanted: HashSet<Box<str>>,
    messages: VecDeque<Published>,
    bytes: usize,
    has_ended: bool,
}

impl Shared {
    fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags)?;
        Ok(Self { state: Mutex::default(), changed: Condvar::new(), wake })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that has panicked leaves nothing half done here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
        self.wake();
    }

    fn wake(&self) {
        // It fails only if the descriptor is readable already.
        let _ = self.wake.write(1);
    }

    /// Gives a message to the runtime, waiting for room. Says whether to go on.
    fn put(&self, published: Published) -> bool {
        let mut state = self.lock();
        while state.bytes > MOST_WAITING && !state.has_ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.wanted.contains(&*published.topic) {
            return !state.has_ended;
        }
        let was_empty = state.messages.is_empty();
        state.bytes += published.payload.len();
        state.messages.push_back(published);
        let goes_on = !state.has_ended;
        drop(state);
        if was_empty {
            self.wake();
        }
        goes_on
    }
}

impl Topics {
    pub(super) fn open(name: &QueueName) -> Result<Self, JoinSpaceError> {
        let space = Space::open(name)?;
        let publisher = Publisher::create(&space, &PublisherOptions::new())?;
        let ring = publisher.ring();
        let own = space.publishers().into_iter().find(|info| info.ring == ring);
        Ok(Self {
            own: own.map_or(0, |info| info.generation),
            publisher: RefCell::new(publisher),
            elsewhere: RefCell::default(),
            hearing: RefCell::default(),
            threads: RefCell::default(),
            space,
        })
    }

    /// Publishes a message in the space. How many subscriptions in other processes want it.
    pub(super) fn publish(&self, channel: &[u8], payload: &[u8]) -> Result<usize, Unpublished> {
        let Some(topic) = topic(channel) else { return Ok(0) };
        match self.publisher.borrow_mut().try_publish(topic, payload) {
            Ok(_) => {}
            Err(TryPublishError::Full) => return Err(Unpublished::Busy),
            Err(TryPublishError::End(error)) => return Err(Unpublished::Refused(error)),
        }
        Ok(self.count_elsewhere(topic))
    }

    fn count_elsewhere(&self, topic: &str) -> usize {
        let mut elsewhere = self.elsewhere.borrow_mut();
        let generation = self.space.generation();
        if elsewhere.generation != generation {
            let all = self.space.subscribers().into_iter();
            let others = all.filter(|it| it.lives && it.process != std::process::id());
            let patterns = others.map(|it| it.pattern).collect();
            *elsewhere = Elsewhere { generation, patterns };
        }
        elsewhere.patterns.iter().filter(|pattern| pattern.matches(topic)).count()
    }

    /// From now on, what others publish under this name is delivered to `channels`.
    pub(super) fn listen(
        &self,
        channel: &[u8],
        channels: &Rc<RefCell<Channels>>,
    ) -> Result<(), ListenError> {
        let Some(topic) = topic(channel) else { return Ok(()) };
        let mut hearing = self.hearing.borrow_mut();
        let shared = match &*hearing {
            Some(shared) => shared,
            None => &*hearing.insert(self.start(channels)?),
        };
        shared.lock().wanted.insert(topic.into());
        Ok(())
    }

    /// Nobody here listens to this channel any more.
    pub(super) fn ignore(&self, channel: &[u8]) {
        let Some(topic) = topic(channel) else { return };
        let mut hearing = self.hearing.borrow_mut();
        let Some(shared) = &*hearing else { return };
        let is_last = {
            let mut state = shared.lock();
            state.wanted.remove(topic);
            state.wanted.is_empty()
        };
        if is_last {
            shared.end();
            *hearing = None;
        }
    }

    /// Subscribes, and starts the thread that waits and the coroutine that delivers.
    fn start(&self, channels: &Rc<RefCell<Channels>>) -> Result<Arc<Shared>, ListenError> {
        let shared = Arc::new(Shared::new()?);
        let subscriber = subscribe(&self.space)?;
        let deliver = deliver(Arc::clone(&shared), Rc::clone(channels));
        crate::spawn(deliver)?;
        let (space, own, heard) = (self.space.clone(), self.own, Arc::clone(&shared));
        let thread = thread::Builder::new().name("topics".to_owned());
        let thread = thread.spawn(move || hear(subscriber, &space, own, &heard));
        let thread = thread.inspect_err(|_| shared.end())?;
        let mut threads = self.threads.borrow_mut();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(shared)
    }
}

impl Drop for Topics {
    /// Waits until the thread has left the space.
    fn drop(&mut self) {
        if let Some(shared) = self.hearing.take() {
            shared.end();
        }
        for thread in self.threads.take() {
            let _ = thread.join();
        }
    }
}

/// The topic of this name, if a topic can be called so.
fn topic(channel: &[u8]) -> Option<&str> {
    let name = str::from_utf8(channel).ok()?;
    Topic::new(name).is_ok().then_some(name)
}

fn subscribe(space: &Space) -> Result<Subscriber, JoinSpaceError> {
    let options = SubscribeOptions::new().policy(Policy::EvictAfter(LAG)).label("redis");
    Subscriber::subscribe(space, ALL, &options)
}

/// The thread.
fn hear(mut subscriber: Subscriber, space: &Space, own: u64, shared: &Shared) {
    loop {
        match subscriber.recv_timeout(LOOK) {
            Ok(published) if published.publisher == own => {}
            Ok(published) => {
                if !shared.put(published) {
                    return;
                }
            }
            Err(RecvTimeoutError::TimedOut(_)) => {}
            // A publisher's ring that cannot be joined: the others can be heard.
            Err(RecvTimeoutError::End(_)) => thread::sleep(LOOK),
        }
        let departures = subscriber.take_departures();
        if departures.iter().any(|departure| departure.why == Departed::Evicted) {
            // Not with a macro, which panics if nobody reads what is printed: the thread would be gone.
            let _ = writeln!(
                io::stderr(),
                "a publisher of topics has waited {LAG:?} for this service, and went on without it"
            );
            // It is heard again from now on.
            if let Ok(anew) = subscribe(space) {
                subscriber = anew;
            }
        }
        if shared.lock().has_ended {
            return;
        }
    }
}

/// The coroutine: delivers what the thread has heard.
async fn deliver(shared: Arc<Shared>, channels: Rc<RefCell<Channels>>) {
    loop {
        // First the descriptor, then the messages: what comes in between makes it readable again.
        let _ = shared.wake.read();
        let (messages, has_ended) = {
            let mut state = shared.lock();
            state.bytes = 0;
            (core::mem::take(&mut state.messages), state.has_ended)
        };
        shared.changed.notify_all();
        for message in messages {
            channels.borrow().publish(message.topic.as_bytes(), &message.payload);
        }
        if has_ended || crate::readable(&shared.wake).await.is_err() {
            return;
        }
    }
}
