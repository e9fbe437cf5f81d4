//! Messages in shared memory, by hand; an eventfd each way says when one is there, and the other side
//! sleeps in `read` until it does.

use std::os::fd::OwnedFd;

use anyhow::{Context, ensure};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::{read, write};

use super::Contender;
use super::shm::{Announce, SMALL, mailboxes};
use crate::crew::Crew;
use crate::interrupt::again;
use crate::load::Job;
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::Request { bytes, place } = question else { return vec![] };
    let who = ("eventfd", "shared memory, blocking read");
    let build: fn(&Job) -> anyhow::Result<Crew> = match bytes {
        0..=SMALL => |job| mailboxes::<3, _>(job, Eventfds::pair()?),
        _ => |job| mailboxes::<8, _>(job, Eventfds::pair()?),
    };
    vec![Contender::rival(question, who, (place, 2), build)]
}

/// One to tell the other side by, and one to be told by.
struct Eventfds {
    tells: OwnedFd,
    told: OwnedFd,
}

impl Eventfds {
    /// For two sides.
    fn pair() -> anyhow::Result<[Self; 2]> {
        let make = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC).context("eventfd");
        let (there, back) = (OwnedFd::from(make()?), OwnedFd::from(make()?));
        let (told, tells) = (there.try_clone()?, back.try_clone()?);
        Ok([Self { tells, told }, Self { tells: there, told: back }])
    }
}

impl Announce for Eventfds {
    /// The kernel has it.
    type Word = ();

    #[inline]
    fn announce(&mut self, (): &()) -> anyhow::Result<()> {
        let one = 1u64.to_ne_bytes();
        again(|| write(&self.tells, &one)).context("writing to an eventfd")?;
        Ok(())
    }

    #[inline]
    fn wait(&mut self, (): &()) -> anyhow::Result<()> {
        let mut count = [0; 8];
        again(|| read(&self.told, &mut count)).context("reading from an eventfd")?;
        let count = u64::from_ne_bytes(count);
        ensure!(count == 1, "the other side has said {count} times that one message is there");
        Ok(())
    }
}
