//! What happens to a queue whose producer has died: another producer takes it over, or somebody removes its
//! name.
//!
//! All of them need the producer's lease of that very object. So of two processes that do either at the same
//! time, one does it, and no name is removed that another process has given to a new queue. A process that
//! removes a name first locks the byte [`REMOVING`]. So it is not taken for a living producer.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{OsError, QueueName};
use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::fstat;

use super::{
    Claim, LOOK_AGAIN, Mode, Named, OpenError, READY_TIMEOUT, RemoveError, Segment, UNFINISHED,
    at_least, first_page, open_named, page_size, view, wait_until_ready,
};
use crate::error::{Holder, SucceedError};
use crate::lease::{HELD, Lease, REMOVING, Role, is_leased, is_locked, set_lock};
use crate::trust::Trust;

impl Segment {
    /// Who has this name. It may be nobody by now: then it counts as a dead queue's, which is removed or
    /// taken over in vain.
    pub fn holder(name: &QueueName) -> Holder {
        let file = match open_named(name, Mode::Observer, Trust::OwnUser) {
            Ok(file) => file,
            Err(OpenError::NotFound { .. }) => return Holder::Dead,
            Err(_) => return Holder::Stranger,
        };
        if has_producer(&file) {
            return Holder::Living;
        }
        match wait_until_ready(name, &file, Duration::ZERO) {
            Ok(_) => Holder::Dead,
            Err(OpenError::NotReady { .. }) if is_unfinished(name, &file) => Holder::Dead,
            Err(_) => Holder::Stranger,
        }
    }

    /// Whether a creator of queues has begun this object, and not finished it. It may still be at it.
    pub fn is_unfinished(name: &QueueName) -> bool {
        open_named(name, Mode::Observer, Trust::OwnUser).is_ok_and(|file| {
            let header = wait_until_ready(name, &file, Duration::ZERO);
            matches!(header, Err(OpenError::NotReady { .. })) && is_unfinished(name, &file)
        })
    }

    /// Whether a consumer or a tap has the queue open, other than through this segment. If the kernel does not
    /// tell, we assume so.
    pub fn is_held(&self) -> bool {
        is_locked(self, libc::F_WRLCK, HELD)
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
        Self::succeed_trusting(name, timeout, Trust::OwnUser)
    }

    /// The same, for a queue that may belong to another user.
    ///
    /// # Errors
    ///
    /// [`SucceedError`]; [`OpenError::Owner`] if `trust` does not cover the object's owner.
    pub fn succeed_trusting(
        name: &QueueName,
        timeout: Duration,
        trust: Trust,
    ) -> Result<Self, SucceedError> {
        loop {
            let mut segment = Self::open_trusting(name, Mode::Writer, timeout, trust)?;
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
        Removal::begin(name)?.finish()
    }

    /// Removes the name of a queue that no end has open: no producer, no consumer, no tap. An end
    /// that joins at this moment is seen, and the queue stays; or it finds no queue of that name.
    ///
    /// A queue whose creator died before it was ready is removed as by [`remove_dead`](Self::remove_dead).
    ///
    /// # Errors
    ///
    /// [`RemoveError`]; in particular [`RemoveError::Held`].
    pub fn remove_unused(name: &QueueName) -> Result<(), RemoveError> {
        let removal = Removal::begin(name)?;
        match set_lock(&removal.file, libc::F_WRLCK, HELD) {
            Ok(()) => removal.finish(),
            Err(errno) if is_refused(errno) => {
                Err(RemoveError::Held { name: name.clone(), has_producer: false })
            }
            Err(errno) => Err(failed(name, errno)),
        }
    }
}

/// The right to remove a name: nobody else removes it, and nobody becomes its queue's producer.
///
/// The lease goes before the file, which has the lock on [`REMOVING`].
struct Removal {
    named: Named,
    _lease: Lease,
    file: OwnedFd,
}

impl Removal {
    fn begin(name: &QueueName) -> Result<Self, RemoveError> {
        let file = open_named(name, Mode::Writer, Trust::OwnUser)?;
        let named = Named::new(name, &file)?;
        check(&named, &file)?;
        let started = Instant::now();
        while let Err(errno) = set_lock(&file, libc::F_WRLCK, REMOVING) {
            // Another process removes it at this moment.
            if !is_refused(errno) || started.elapsed() > READY_TIMEOUT {
                return Err(failed(name, errno));
            }
            sleep(LOOK_AGAIN);
        }
        let _lease = Lease::take(name, file.as_fd(), Role::Producer)?;
        Ok(Self { named, _lease, file })
    }

    /// Removes the name, if nobody has done so before.
    fn finish(self) -> Result<(), RemoveError> {
        self.named.remove()
    }
}

/// Whether this is a queue without a producer, or what a dead creator has left of one.
fn check(named: &Named, file: &OwnedFd) -> Result<(), RemoveError> {
    let (name, started) = (&named.name, Instant::now());
    loop {
        if has_producer(file) {
            return Err(RemoveError::Held { name: name.clone(), has_producer: true });
        }
        match wait_until_ready(name, file, Duration::ZERO) {
            Ok(header) => {
                at_least(name, file, page_size())?;
                let geometry = view(&header).read(name, page_size())?;
                return Ok(at_least(name, file, geometry.total_len())?);
            }
            Err(OpenError::NotReady { .. }) if is_unfinished(name, file) => {}
            Err(error) => return Err(error.into()),
        }
        // Removed meanwhile; or its creator has had the time to say that it lives.
        if !named.is_valid() || started.elapsed() >= READY_TIMEOUT {
            return Ok(());
        }
        sleep(LOOK_AGAIN);
    }
}

/// Whether a creator of queues has made this object, which is not ready.
fn is_unfinished(name: &QueueName, file: &OwnedFd) -> bool {
    let is_marked = fstat(file).is_ok_and(|stat| stat.st_mode & UNFINISHED.bits() != 0);
    let begins = || first_page(name, file).ok()?.map(|header| view(&header).has_magic());
    is_marked || begins() == Some(true)
}

/// Whether there is a producer. A process that only removes the name is none: we wait until it has.
fn has_producer(file: &OwnedFd) -> bool {
    let started = Instant::now();
    while is_leased(file, Role::Producer) {
        let is_removed = is_locked(file, libc::F_RDLCK, REMOVING);
        if !is_removed && is_leased(file, Role::Producer) || started.elapsed() > READY_TIMEOUT {
            return true;
        }
        sleep(LOOK_AGAIN);
    }
    false
}

fn is_refused(errno: Errno) -> bool {
    matches!(errno, Errno::EAGAIN | Errno::EACCES)
}

fn failed(name: &QueueName, errno: Errno) -> RemoveError {
    let (name, call) = (name.clone(), "fcntl(F_OFD_SETLK)");
    RemoveError::System { name, call, errno: OsError::new(errno) }
}
