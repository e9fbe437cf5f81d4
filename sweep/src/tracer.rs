//! A victim, as its tracer sees it: a child process that runs one instruction at a time, and is killed
//! wherever the tracer wants it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::c_int;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, raise, sigaction};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, alarm, fork};

use crate::error::SweepError;
use crate::mark::{EDGE, STAGE};
use crate::path::Hop;

/// How long a victim may take for its part. Its longest system calls take milliseconds.
const LONGEST: Duration = Duration::from_secs(10);

/// Why a victim stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It has run one instruction.
    Step,
    /// It lets the survivors do something.
    Stage,
    /// Its operation begins or ends.
    Edge,
}

/// A traced child process. It is killed when this is dropped, and also if the tracer dies.
#[derive(Debug)]
pub(crate) struct Victim {
    pid: Pid,
    is_over: bool,
}

impl Victim {
    /// Forks a victim that does `part`. It stands still before that.
    ///
    /// # Safety
    ///
    /// This process has one thread. A child that was forked from several may find their locks locked.
    pub(crate) unsafe fn fork(
        part: impl FnOnce() -> anyhow::Result<()>,
    ) -> Result<Self, SweepError> {
        // SAFETY: the caller says that there is no other thread.
        match unsafe { fork() }.map_err(SweepError::system("fork"))? {
            ForkResult::Child => live(part),
            ForkResult::Parent { child } => {
                let mut victim = Self { pid: child, is_over: false };
                alarm_after(LONGEST)?;
                victim.wait()?;
                ptrace::setoptions(child, Options::PTRACE_O_EXITKILL)
                    .map_err(SweepError::system("ptrace(SETOPTIONS)"))?;
                Ok(victim)
            }
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw() as u32
    }

    /// Lets it run until it says something.
    pub(crate) fn run(&mut self) -> Result<Stop, SweepError> {
        ptrace::cont(self.pid, None).map_err(SweepError::system("ptrace(CONT)"))?;
        self.stopped()
    }

    /// Lets it run one instruction. A system call is one.
    pub(crate) fn step(&mut self) -> Result<Stop, SweepError> {
        ptrace::step(self.pid, None).map_err(SweepError::system("ptrace(SINGLESTEP)"))?;
        self.stopped()
    }

    /// Takes one hop of its path.
    pub(crate) fn hop(&mut self, hop: Hop) -> Result<Stop, SweepError> {
        match hop {
            Hop::Run(address) if self.break_at(address) => self.run(),
            Hop::Run(address) => self.step_to(address),
            Hop::Step => self.step(),
        }
    }

    /// Sets the processor's breakpoint, if it has one that we know. It belongs to one thread: a breakpoint that is
    /// written into the program would stop the victim's other threads, too.
    #[cfg(target_arch = "x86_64")]
    fn break_at(&self, address: u64) -> bool {
        const REGISTERS: usize = core::mem::offset_of!(nix::libc::user, u_debugreg);
        /// The one that says which breakpoints are on.
        const CONTROL: usize = REGISTERS + 7 * size_of::<u64>();
        /// The first one, for this thread, where an instruction is run.
        const ON: i64 = 1;
        let write = |register: usize, value: i64| {
            ptrace::write_user(self.pid, register as ptrace::AddressType, value).is_ok()
        };
        write(REGISTERS, address as i64) && write(CONTROL, ON)
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn break_at(&self, _: u64) -> bool {
        false
    }

    /// The slow way to the same place.
    fn step_to(&mut self, address: u64) -> Result<Stop, SweepError> {
        loop {
            let stop = self.step()?;
            if stop != Stop::Step || self.place()? == address {
                return Ok(stop);
            }
        }
    }

    fn stopped(&mut self) -> Result<Stop, SweepError> {
        match self.wait()? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => Ok(Stop::Step),
            WaitStatus::Stopped(_, STAGE) => Ok(Stop::Stage),
            WaitStatus::Stopped(_, EDGE) => Ok(Stop::Edge),
            found => Err(SweepError::Victim { found }),
        }
    }

    fn wait(&mut self) -> Result<WaitStatus, SweepError> {
        let found = match waitpid(self.pid, None) {
            Ok(found) => found,
            // Only the alarm interrupts us.
            Err(Errno::EINTR) => return Err(SweepError::Stuck { waited: LONGEST }),
            Err(errno) => return Err(SweepError::System { call: "waitpid", errno }),
        };
        self.is_over = matches!(found, WaitStatus::Exited(..) | WaitStatus::Signaled(..));
        Ok(found)
    }

    /// The address of its next instruction.
    pub(crate) fn place(&self) -> Result<u64, SweepError> {
        let registers = ptrace::getregs(self.pid).map_err(SweepError::system("ptrace(GETREGS)"))?;
        #[cfg(target_arch = "x86_64")]
        return Ok(registers.rip);
        #[cfg(not(target_arch = "x86_64"))]
        return Ok(registers.pc);
    }

    /// Kills it where it stands, and waits until the kernel has taken away all that it had.
    pub(crate) fn kill(mut self) -> Result<(), SweepError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), SweepError> {
        if self.is_over {
            return Ok(());
        }
        alarm_after(LONGEST)?;
        kill(self.pid, Signal::SIGKILL).map_err(SweepError::system("kill"))?;
        while !self.is_over {
            self.wait()?;
        }
        let _ = alarm::cancel();
        Ok(())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may have been killed by another.
        let _ = self.end();
    }
}

/// The victim's life: it never returns into the tracer's code.
fn live(part: impl FnOnce() -> anyhow::Result<()>) -> ! {
    let lived = catch_unwind(AssertUnwindSafe(|| {
        ptrace::traceme()?;
        raise(Signal::SIGSTOP)?;
        part()
    }));
    if let Ok(Err(error)) = &lived {
        eprintln!("the victim: {error:#}");
    }
    // Its tracer kills it before this, unless something is wrong.
    exit(1)
}

/// Interrupts `waitpid` if nothing has changed for that long.
fn alarm_after(longest: Duration) -> Result<(), SweepError> {
    let action = SigAction::new(SigHandler::Handler(again), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler only calls `alarm`, which a handler may.
    unsafe { sigaction(Signal::SIGALRM, &action) }.map_err(SweepError::system("sigaction"))?;
    alarm::set(longest.as_secs() as u32);
    Ok(())
}

/// The alarm may come just before the call that it should interrupt, so it comes again.
extern "C" fn again(_: c_int) {
    alarm::set(1);
}
