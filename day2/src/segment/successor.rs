//! What happens to a queue whose producer has died: another producer takes it over, or removes its
//! name.
//!
//! Both need the producer's lease of that very object. So of two processes that do either at the same
//! time, one does it, and no name is removed that another process has given to a new queue.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::QueueName;

use super::{
    Claim, LOOK_AGAIN, Mode, Named, OpenError, READY_TIMEOUT, RemoveError, Segment, at_least,
    open_named, page_size, view, wait_until_ready,
};
use crate::error::{Holder, SucceedError};
use crate::lease::{Lease, Role, is_leased};

impl Segment {
    /// Who has this name. It may be nobody by now: then it counts as a dead queue's, which is removed or
    /// taken over in vain.
    pub fn holder(name: &QueueName) -> Holder {
        let file = match open_named(name, Mode::Observer) {
            Ok(file) => file,
            Err(OpenError::NotFound { .. }) => return Holder::Dead,
            Err(_) => return Holder::Stranger,
        };
        if is_leased(&file, Role::Producer) {
            return Holder::Living;
        }
        match wait_until_ready(name, &file, Duration::ZERO) {
            // A creator that died half-way has left an object that is not ready.
            Ok(_) | Err(OpenError::NotReady { .. }) => Holder::Dead,
            Err(_) => Holder::Stranger,
        }
    }

    /// Opens a queue whose producer has died, as its next producer. It has the producer's role from now on,
    /// and removes the name when it is dropped, as the segment that created the queue would have done.
    ///
    /// It waits up to `timeout` for a creator that has not finished. It does not wait for a producer to
    /// die.
    ///
    /// # Errors
    ///
    /// [`SucceedError::Living`] while the queue has a producer.
    pub fn succeed(name: &QueueName, timeout: Duration) -> Result<Self, SucceedError> {
        loop {
            let mut segment = Self::open(name, Mode::Writer, timeout)?;
            let lease = segment.lease(Role::Producer)?;
            segment.object.lease = Some(lease);
            let named = Named::new(name, &segment.object.file)?;
            // Before we had the lease, the name may have been removed, and given to another queue.
            if named.is_valid() {
                segment.object.claim = Some(Claim::of(named));
                return Ok(segment);
            }
        }
    }

    /// Removes the name of a queue whose producer has died, even if consumers still have it open. They
    /// keep the memory.
    ///
    /// A queue whose creator died before it was ready is removed as well. That takes
    /// [`READY_TIMEOUT`], because a creator that is slow must not be mistaken for a dead one. If another
    /// process removes the name meanwhile, nothing is left to do.
    ///
    /// # Errors
    ///
    /// [`RemoveError::Held`] while the queue has a producer. [`RemoveError::Open`] if there is no such object,
    /// or if it is no queue; then it is left as it was.
    pub fn remove_dead(name: &QueueName) -> Result<(), RemoveError> {
        let file = open_named(name, Mode::Writer)?;
        let named = Named::new(name, &file)?;
        let started = Instant::now();
        loop {
            if is_leased(&file, Role::Producer) {
                return Err(RemoveError::Held { name: name.clone(), has_producer: true });
            }
            match wait_until_ready(name, &file, LOOK_AGAIN) {
                Ok(header) => {
                    at_least(name, &file, page_size())?;
                    view(&header).read(name, page_size())?;
                    break;
                }
                Err(OpenError::NotReady { .. }) if !named.is_valid() => return Ok(()),
                Err(OpenError::NotReady { .. }) if started.elapsed() < READY_TIMEOUT => {}
                Err(OpenError::NotReady { .. }) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let _lease = Lease::take(name, file.as_fd(), Role::Producer)?;
        named.remove()
    }
}
