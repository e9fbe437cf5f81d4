//! A process that works: a line in, a line out.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::sync::{AtomicBool, Ordering};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, getpid, getppid};

use super::outlet;

/// What a worker is, and what is expected of it.
pub(super) struct Recipe {
    /// The program, and its arguments.
    pub(super) command: Vec<OsString>,
    /// Whether it gets a pipe where others get a terminal.
    pub(super) pipe: bool,
    /// How long it may take to answer.
    pub(super) timeout: Duration,
    /// The limits of descriptors that this process was started with.
    pub(super) descriptors: (rlim_t, rlim_t),
    /// The server is ending.
    pub(super) ending: AtomicBool,
}

impl Recipe {
    pub(super) fn is_ending(&self) -> bool {
        // A flag, with nothing behind it.
        self.ending.load(Ordering::Relaxed)
    }
}

/// Why a task has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error(
        "the task holds a newline, and a worker gets one line for each task: send several tasks"
    )]
    Newline,
    #[error("the worker {0} with the task in hand: whether it was done is not known")]
    Died(String),
    #[error("the worker wrote no line within {0:?}, and was killed: raise --timeout")]
    Silent(Duration),
    #[error(
        "the worker answered with a line of {found} bytes, the longest has {most}: raise --longest"
    )]
    TooLong { found: usize, most: usize },
    #[error("the worker could not be started: {0}")]
    NotStarted(io::Error),
    #[error("waiting for the worker failed: {0}")]
    System(io::Error),
    #[error("the server is ending")]
    Ending,
}

impl Trouble {
    /// Whether the worker is as it was before.
    pub(super) fn is_harmless(&self) -> bool {
        matches!(self, Self::Newline | Self::TooLong { .. })
    }
}

/// A worker at work. Dropping it ends it.
pub(super) struct Worker {
    child: Child,
    /// `None` once it is to end.
    stdin: Option<File>,
    stdout: File,
    /// What it has written of its next line.
    buffer: Vec<u8>,
    /// When it was asked to end.
    dismissed: Option<Instant>,
}

/// How long a step may take before we look whether the server is ending.
const SLICE: Duration = Duration::from_millis(50);
/// How much longer a task may take when the server is ending; and how long a worker may take to end, without a signal and
/// then with one.
const GRACE: Duration = Duration::from_millis(500);

impl Worker {
    pub(super) fn start(recipe: &Recipe) -> io::Result<Self> {
        let (stdout, theirs) = if recipe.pipe { outlet::plain()? } else { outlet::terminal()? };
        let (program, arguments) = recipe.command.split_first().ok_or(ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        // A group of its own: Ctrl-C is for the server, which ends its workers itself; and then those that they have
        // started end with them.
        command.args(arguments).stdin(Stdio::piped()).stdout(theirs).process_group(0);
        let (parent, (soft, hard)) = (getpid(), recipe.descriptors);
        let prepare = move || {
            set_pdeathsig(Signal::SIGKILL)?;
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
            // The server may have died before the first line of this.
            if getppid() == parent { Ok(()) } else { Err(Errno::ESRCH.into()) }
        };
        // SAFETY: `prepare` makes system calls only, which may be made between fork and exec, and allocates nothing.
        unsafe { command.pre_exec(prepare) };
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let worker = Self { child, stdin, stdout, buffer: Vec::new(), dismissed: None };
        worker.stdin.iter().try_for_each(outlet::dont_block)?;
        Ok(worker)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Why it cannot be asked any more, if that is so.
    pub(super) fn is_unfit(&mut self) -> Option<String> {
        match self.read() {
            Ok(0) => Some(self.how_it_died()),
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.buffer.is_empty() => None,
            Err(error) if error.kind() != ErrorKind::WouldBlock => Some(error.to_string()),
            // Nobody can tell any more which line answers what.
            _ => Some(
                "wrote what nobody had asked for: it has to answer each line by one line".into(),
            ),
        }
    }

    /// Has it answer a line, with at most so many bytes.
    pub(super) fn ask(
        &mut self,
        task: &[u8],
        most: usize,
        recipe: &Recipe,
    ) -> Result<Vec<u8>, Trouble> {
        let line = [task, b"\n"].concat();
        let (mut rest, mut cut) = (&line[..], 0);
        let mut until = Instant::now() + recipe.timeout;
        let mut is_ending = false;
        loop {
            if !is_ending && recipe.is_ending() {
                (is_ending, until) = (true, until.min(Instant::now() + GRACE));
            }
            self.wait(!rest.is_empty()).map_err(Trouble::System)?;
            match self.read() {
                Ok(0) => return Err(Trouble::Died(self.how_it_died())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(Trouble::System(error)),
            }
            if let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let answer = self.buffer.drain(..=end).take(end).collect::<Vec<_>>();
                let found = cut + answer.len();
                return if found > most {
                    Err(Trouble::TooLong { found, most })
                } else {
                    Ok(answer)
                };
            }
            if cut > 0 || self.buffer.len() > most {
                cut += self.buffer.len();
                self.buffer.clear();
            }
            rest = self.write(rest);
            if Instant::now() >= until {
                let why = Trouble::Silent(recipe.timeout);
                return Err(if is_ending { Trouble::Ending } else { why });
            }
        }
    }

    /// Waits until there is something to read, or room to write, for at most a slice.
    fn wait(&self, writes: bool) -> io::Result<()> {
        let mut polled = vec![PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
        if let (true, Some(stdin)) = (writes, &self.stdin) {
            polled.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        }
        match poll(&mut polled, PollTimeout::try_from(SLICE).unwrap_or(PollTimeout::ZERO)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads what there is; 0 if there will be no more.
    fn read(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let read = match self.stdout.read(&mut bytes) {
            // So a terminal says that all others have closed it.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => Ok(0),
            read => read,
        }?;
        self.buffer.extend_from_slice(&bytes[..read]);
        Ok(read)
    }

    /// Writes what there is room for, and returns the rest.
    fn write<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(stdin) = self.stdin.as_mut().filter(|_| !bytes.is_empty()) else { return &[] };
        match stdin.write(bytes) {
            Ok(written) => &bytes[written..],
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                bytes
            }
            // It reads no more. It may still answer, and otherwise its end is seen.
            Err(_) => &[],
        }
    }

    /// How it has ended, now that it has closed its output.
    fn how_it_died(&mut self) -> String {
        match self.ended_within(GRACE) {
            Some(WaitStatus::Exited(_, code)) => format!("ended (exit code {code})"),
            Some(WaitStatus::Signaled(_, signal, _)) => format!("was killed ({signal})"),
            Some(_) => "died".to_owned(),
            None => "closed its output".to_owned(),
        }
    }

    /// How its process has ended, if it does so within `timeout`. It is not reaped yet: so nobody else has its number, by
    /// which we signal its group.
    fn ended_within(&self, timeout: Duration) -> Option<WaitStatus> {
        let started = Instant::now();
        let pid = Pid::from_raw(self.child.id() as i32);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::Pid(pid), flags) {
                Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
                ended => return ended.ok(),
            }
            if started.elapsed() >= timeout {
                return None;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks it to end, by the end of its input.
    pub(super) fn dismiss(&mut self) {
        self.stdin = None;
        self.dismissed.get_or_insert_with(Instant::now);
    }

    fn signal(&self, signal: Signal) {
        // It may have ended, and all that it has started. Its number is kept until we have waited for it.
        let _ = killpg(Pid::from_raw(self.child.id() as i32), signal);
    }

    /// Ends it at once.
    pub(super) fn kill(mut self) {
        self.dismissed = Instant::now().checked_sub(2 * GRACE);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.dismiss();
        let passed = self.dismissed.map_or(Duration::ZERO, |since| since.elapsed());
        if self.ended_within(GRACE.saturating_sub(passed)).is_none() && passed < 2 * GRACE {
            self.signal(Signal::SIGTERM);
            self.ended_within(GRACE);
        }
        // Also what it has started.
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
