//! What a worker writes its answers to.

use std::fs::{File, OpenOptions};
use std::io::{self, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

/// The end that we read, which does not block, and the worker's.
pub(super) type Outlet = (File, OwnedFd);

/// A terminal. Most programs write each line at once when they write to a terminal, and keep it back when they write to
/// a pipe.
///
/// It passes all bytes on as they are, and it becomes nobody's controlling terminal.
pub(super) fn terminal() -> io::Result<Outlet> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let master = posix_openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let flags = (OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits();
    let theirs =
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(ptsname_r(&master)?)?;
    let mut settings = tcgetattr(&theirs)?;
    cfmakeraw(&mut settings);
    tcsetattr(&theirs, SetArg::TCSANOW, &settings)?;
    Ok((OwnedFd::from(master).into(), theirs.into()))
}

/// A pipe.
pub(super) fn plain() -> io::Result<Outlet> {
    let (ours, theirs) = pipe()?;
    let ours = File::from(OwnedFd::from(ours));
    dont_block(&ours)?;
    Ok((ours, theirs.into()))
}

/// Has reads and writes at our end return at once. A pipe's other end is as it was.
pub(super) fn dont_block(file: &File) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
    fcntl(file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
