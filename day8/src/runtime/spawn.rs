//! What a coroutine may ask of its runtime.

use core::cell::RefCell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::any::Any;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use day3::wait;
use mio::Interest;
use mio::unix::SourceFd;

use super::core::Core;
use super::slots::Side;
use super::task::{Ended, Kind};
use super::timers::TimerKey;
use super::{NotInRuntime, current};
use crate::heap::HeapError;

/// Why no coroutine was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no runtime to run it.
    #[error(transparent)]
    NotInRuntime(#[from] NotInRuntime),
    /// It needs more memory than a heap has, or there is no heap for it.
    #[error(transparent)]
    Heap(#[from] HeapError),
}

/// The coroutine has panicked, or its runtime has dropped it.
#[derive(Default, thiserror::Error)]
pub struct Panicked {
    // Errors are shared between threads; a payload need not be.
    payload: Mutex<Option<Box<dyn Any + Send>>>,
    message: Option<String>,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => write!(f, "the coroutine has panicked: {message}"),
            None => f.write_str("the coroutine has been dropped by its runtime"),
        }
    }
}

impl fmt::Debug for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panicked").field("message", &self.message).finish_non_exhaustive()
    }
}

impl Panicked {
    fn with(payload: Box<dyn Any + Send>) -> Self {
        let message = common::panic_message(&*payload).unwrap_or("with something that is no text");
        let message = Some(message.to_owned());
        Self { payload: Mutex::new(Some(payload)), message }
    }

    /// What it has panicked with; `None` if it was dropped.
    pub fn into_payload(self) -> Option<Box<dyn Any + Send>> {
        self.payload.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Outcome<T> {
    result: Option<Result<T, Panicked>>,
    waker: Option<Waker>,
}

struct Shared<T>(RefCell<Outcome<T>>);

impl<T> Shared<T> {
    fn set(&self, result: Result<T, Panicked>) {
        let (before, waker) = {
            let mut outcome = self.0.borrow_mut();
            if outcome.result.is_some() {
                return;
            }
            (outcome.result.replace(result), outcome.waker.take())
        };
        drop(before);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Ended for Shared<T> {
    fn panicked(&self, payload: Box<dyn Any + Send>) {
        // It was dropped before this is called.
        let mut outcome = self.0.borrow_mut();
        match &mut outcome.result {
            Some(Err(panicked)) if panicked.message.is_none() => {
                *panicked = Panicked::with(payload)
            }
            _ => {}
        }
    }
}

/// A coroutine that was spawned: a future of its result. Dropping it leaves the coroutine running.
pub struct Spawned<T>(Rc<Shared<T>>);

impl<T> fmt::Debug for Spawned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawned").finish_non_exhaustive()
    }
}

impl<T> Spawned<T> {
    /// Its result, if it is there and was not taken.
    pub(super) fn take(&self) -> Option<Result<T, Panicked>> {
        self.0.0.borrow_mut().result.take()
    }

    /// Whether its result is there.
    pub fn is_done(&self) -> bool {
        self.0.0.borrow().result.is_some()
    }
}

impl<T> Future for Spawned<T> {
    type Output = Result<T, Panicked>;

    /// Its result, once: who asks again after that waits for ever.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.take() {
            return Poll::Ready(result);
        }
        let waker = context.waker().clone();
        let before = self.0.0.borrow_mut().waker.replace(waker);
        drop(before);
        // It may have come while the waker was cloned or dropped, which may be anybody's.
        self.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Says that a coroutine was dropped, unless it has ended.
struct Ending<T>(Rc<Shared<T>>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        self.0.set(Err(Panicked::default()));
    }
}

/// Has a coroutine run in this runtime.
pub(super) fn spawn_in<T: 'static>(
    core: &Core,
    future: impl Future<Output = T> + 'static,
) -> Result<Spawned<T>, HeapError> {
    let shared = Rc::new(Shared(RefCell::new(Outcome { result: None, waker: None })));
    let ending = Ending(Rc::clone(&shared));
    let ended: Rc<dyn Ended> = Rc::clone(&shared) as _;
    core.spawn(&core.heap()?, Kind::Other, Some(ended), async move {
        let ending = ending;
        let value = future.await;
        ending.0.set(Ok(value));
    })?;
    Ok(Spawned(shared))
}

/// Has another coroutine run beside this one, with a heap of its own. When the runtime shuts down, and its last connection
/// has ended, it is dropped.
///
/// # Errors
///
/// [`SpawnError`].
pub fn spawn<T: 'static>(
    future: impl Future<Output = T> + 'static,
) -> Result<Spawned<T>, SpawnError> {
    Ok(spawn_in(&*current()?, future)?)
}

/// Lets all others run that can.
pub async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Whether the runtime of this coroutine shuts down.
pub fn is_shutting_down() -> bool {
    current().is_ok_and(|core| core.is_stopping())
}

/// A timer that is set while its future waits.
struct Timer {
    time: Instant,
    set: Option<(Rc<Core>, TimerKey)>,
}

impl Timer {
    fn new(duration: Duration) -> Self {
        Self { time: wait::deadline(duration), set: None }
    }

    fn unset(&mut self) {
        if let Some((core, key)) = self.set.take() {
            core.remove_timer(key);
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.unset();
        if Instant::now() >= self.time {
            return Poll::Ready(());
        }
        // Outside of a runtime it waits for ever: nobody has the time.
        if let Ok(core) = current() {
            let key = core.add_timer(self.time, context.waker().clone());
            self.set = Some((core, key));
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.unset();
    }
}

/// Waits for this long. Outside of a runtime it waits for ever.
pub async fn sleep(duration: Duration) {
    let mut timer = Timer::new(duration);
    poll_fn(|context| timer.poll(context)).await;
}

/// The time that was allowed is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not done after {0:?}")]
pub struct Elapsed(pub Duration);

/// The future's result, if that comes in time. Otherwise the future is dropped.
///
/// # Errors
///
/// [`Elapsed`].
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut future = core::pin::pin!(future);
    let mut timer = Timer::new(duration);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Ok(value)),
        Poll::Pending => timer.poll(context).map(|()| Err(Elapsed(duration))),
    })
    .await
}

/// A descriptor that is watched while its future waits.
struct Watched<'a> {
    core: Rc<Core>,
    descriptor: i32,
    slot: usize,
    _owner: core::marker::PhantomData<&'a ()>,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.core.deregister(&mut SourceFd(&self.descriptor));
        self.core.remove_slot(self.slot);
    }
}

/// Waits until a descriptor is readable, such as that of a [`Pollable`](day5::Pollable).
///
/// Try first, and wait only if there is nothing.
///
/// # Errors
///
/// What the kernel said: it cannot be polled, or two coroutines wait for it.
pub async fn readable(descriptor: &impl AsFd) -> io::Result<()> {
    watch(descriptor, Interest::READABLE, Side::Read).await
}

/// Has the poller watch a descriptor until this happens.
pub(crate) async fn watch(
    descriptor: &impl AsFd,
    interest: Interest,
    side: Side,
) -> io::Result<()> {
    let core = current().map_err(io::Error::other)?;
    let (slot, raw) = (core.add_slot(), descriptor.as_fd().as_raw_fd());
    let registered = core.register(&mut SourceFd(&raw), slot, interest);
    if let Err(error) = registered {
        core.remove_slot(slot);
        return Err(error);
    }
    core.spend(slot, side);
    let watched = Watched { core, descriptor: raw, slot, _owner: core::marker::PhantomData };
    poll_fn(|context| {
        if watched.core.may(slot, side) {
            return Poll::Ready(());
        }
        watched.core.wait(slot, side, context, false);
        Poll::Pending
    })
    .await;
    Ok(())
}
