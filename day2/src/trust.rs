//! Whose objects a process opens.
//!
//! The owner of a named object can cut it short while it is mapped elsewhere. A process that then touches a page that is
//! no longer there is killed (SIGBUS). So a process maps what its own user owns, and of others only what it was told to
//! trust.

use common::QueueName;
use nix::sys::stat::fstat;
use nix::unistd::geteuid;
use std::os::fd::AsFd;

use crate::error::{OpenError, open_error};

/// Whose objects are opened. The user of this process always counts; root is a user as any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Those of this process's user.
    #[default]
    OwnUser,
    /// Those of the user of this number, too.
    User(u32),
    /// Those of any user.
    AnyUser,
}

impl Trust {
    /// Whether objects of this user are opened.
    fn covers(self, owner: u32, own: u32) -> bool {
        match self {
            Self::OwnUser => owner == own,
            Self::User(user) => owner == own || owner == user,
            Self::AnyUser => true,
        }
    }

    /// Fails if the owner of this open object is not to be trusted.
    pub(crate) fn check(self, name: &QueueName, object: &impl AsFd) -> Result<(), OpenError> {
        let stat = fstat(object).map_err(|errno| open_error(name, "fstat", errno))?;
        self.check_owner(name, stat.st_uid, stat.st_size.max(0) as u64)
    }

    /// Fails if this user, whose process hands out an object, is not to be trusted.
    ///
    /// # Errors
    ///
    /// [`OpenError::Owner`].
    pub fn check_user(self, name: &QueueName, user: u32) -> Result<(), OpenError> {
        self.check_owner(name, user, 0)
    }

    fn check_owner(self, name: &QueueName, found: u32, bytes: u64) -> Result<(), OpenError> {
        let expected = geteuid().as_raw();
        if self.covers(found, expected) {
            return Ok(());
        }
        Err(OpenError::Owner { name: name.clone(), expected, found, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::Trust;

    #[test]
    fn a_user_is_trusted_by_name_or_with_all() {
        let covered = |trust: Trust| [1, 2, 3].map(|owner| trust.covers(owner, 1));
        assert_eq!(covered(Trust::OwnUser), [true, false, false]);
        assert_eq!(covered(Trust::User(2)), [true, true, false]);
        assert_eq!(covered(Trust::AnyUser), [true; 3]);
        // Root, too, has objects of its own only.
        assert!(!Trust::OwnUser.covers(1, 0));
    }
}
