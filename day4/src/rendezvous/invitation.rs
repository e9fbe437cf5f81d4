//! A parent hands a ring to its child.

use std::env;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use common::OsError;
use common::sync::{AtomicBool, Ordering};
use day2::DescriptorError;
use day3::{JoinOptions, Start, Wait};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::Role;
use super::error::{InvitedError, PairError};
use crate::reader::{Member, Reader};
use crate::tap::Tap;
use crate::writer::Writer;

/// The environment variable that tells a child which descriptor is its ring:
/// `DESCRIPTOR:DEVICE:INODE`, three decimal numbers.
///
/// Device and inode are there because a child may pass the variable on, but not the descriptor: a
/// grandchild must not take another file that has the same number there.
pub const VARIABLE: &str = "FANOUT_INVITATION";

/// Makes an anonymous ring of at least `capacity` bytes, and an invitation for one child that reads
/// it.
///
/// # Errors
///
/// [`PairError`]; nothing is left behind.
///
/// # Examples
///
/// ```no_run
/// use std::process::Command;
///
/// # mod fanout { pub use day4 as records; }
/// let (mut writer, invitation) = fanout::records::rendezvous::pair(1 << 20)?;
/// let mut command = Command::new("./child"); // it calls Reader::invited(Start::Oldest)
/// invitation.pass_to(&mut command)?;
/// let mut child = command.spawn()?;
/// writer.send(b"hello, child")?;
/// writer.close();
/// child.wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pair(capacity: u64) -> Result<(crate::Writer, Invitation), PairError> {
    let writer = crate::Writer::anonymous(capacity)?;
    let invitation = Invitation::new(&writer, Role::Consumer)?;
    Ok((writer, invitation))
}

/// A ring's descriptor, for one child process.
#[derive(Debug)]
pub struct Invitation {
    ring: OwnedFd,
}

impl Invitation {
    /// Makes an invitation to this ring; each child needs one of its own.
    ///
    /// # Errors
    ///
    /// [`DescriptorError`]
    pub fn new<W: Wait>(writer: &Writer<W>, role: Role) -> Result<Self, DescriptorError> {
        Ok(Self { ring: writer.descriptor(role.mode())? })
    }

    /// Lets the process that `command` starts inherit the ring, and sets [`VARIABLE`] for it.
    ///
    /// No other child inherits it, also none that another thread starts meanwhile. The descriptor stays open here as
    /// long as `command` lives. Start it once: two children would share one open file description,
    /// and so each other's locks.
    ///
    /// # Errors
    ///
    /// What the kernel said of the descriptor; `command` is left as it was.
    pub fn pass_to(self, command: &mut Command) -> std::io::Result<()> {
        // The copy's number is 3 or more: a child's first three are laid over by its standard streams.
        let ring = self.ring.try_clone()?;
        let found = std::fs::File::from(self.ring).metadata()?;
        command.env(VARIABLE, format!("{}:{}:{}", ring.as_raw_fd(), found.dev(), found.ino()));
        let keep = move || {
            fcntl(&ring, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes one system call, which is async-signal-safe,
        // and touches neither memory that others write nor the allocator.
        unsafe { command.pre_exec(keep) };
        Ok(())
    }
}

/// Whether this process has taken its descriptor, and so owns it.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the ring's descriptor that this process was started with; a later `exec` closes it.
///
/// # Errors
///
/// [`InvitedError`]: among others if there is none, and at the second call.
pub fn invited() -> Result<OwnedFd, InvitedError> {
    let value = env::var_os(VARIABLE).ok_or(InvitedError::NotInvited)?;
    let value = value.to_string_lossy();
    let Some((descriptor, identity)) = parse(&value) else {
        return Err(InvitedError::Malformed { found: value.into_owned() });
    };
    // Asked by path: nothing is known of the number yet, so it must not be borrowed as a descriptor.
    let found = std::fs::metadata(format!("/proc/self/fd/{descriptor}"));
    if !found.is_ok_and(|found| (found.dev(), found.ino()) == identity) {
        return Err(InvitedError::NotPassed { descriptor });
    }
    // Relaxed: the flag guards nothing but itself.
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(InvitedError::Taken);
    }
    // SAFETY: it is open, and is what the parent passed. The parent passed it for this function alone, which
    // the flag lets through once.
    let ring = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let failed =
        |errno: Errno| InvitedError::System { call: "fcntl(F_SETFD)", errno: OsError::new(errno) };
    fcntl(&ring, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(failed)?;
    Ok(ring)
}

/// A descriptor's number, and what must be behind it.
fn parse(value: &str) -> Option<(RawFd, (u64, u64))> {
    let mut parts = value.split(':');
    let descriptor = parts.next()?.parse().ok().filter(|descriptor| *descriptor > 2)?;
    let identity = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((descriptor, identity))
}

impl<W: Wait> Reader<W> {
    /// Joins the ring that this process was started with, as a broadcast consumer.
    ///
    /// # Errors
    ///
    /// [`InvitedError`]
    pub fn invited(start: Start) -> Result<Self, InvitedError> {
        Ok(Self::from_fd(invited()?, start, &JoinOptions::default())?)
    }
}

impl<W: Wait> Member<W> {
    /// Joins the ring that this process was started with, as a member of `group`.
    ///
    /// # Errors
    ///
    /// [`InvitedError`]
    pub fn invited(group: &str, start: Start) -> Result<Self, InvitedError> {
        Ok(Self::from_fd(invited()?, group, start, &JoinOptions::default())?)
    }
}

impl<W: Wait> Tap<W> {
    /// Opens the ring that this process was started with, as a tap.
    ///
    /// # Errors
    ///
    /// [`InvitedError`]
    pub fn invited(start: Start) -> Result<Self, InvitedError> {
        Ok(Self::from_fd(invited()?, start, &JoinOptions::default())?)
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_variable_is_three_numbers_and_the_first_is_no_standard_stream() {
        assert_eq!(parse("7:1:3081"), Some((7, (1, 3081))));
        for wrong in ["", "7", "7:1", "7:1:2:3", "x:1:2", "-1:1:2", "2:1:2", "7::2", "7:1:2 "] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
