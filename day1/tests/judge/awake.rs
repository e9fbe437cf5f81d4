//! How much of a wait was spent awake.
//!
//! No time is asserted: what is compared are two times of the same wait. A slow computer changes both.
#![allow(dead_code, reason = "each day uses a part of it")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// How long a judge lets something wait that should sleep.
pub(crate) const A_WHILE: Duration = Duration::from_millis(300);

/// Who is watched.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    /// The thread that calls.
    ThisThread,
    /// A process that lives.
    Process(u32),
}

/// What somebody had spent when a wait began.
pub(crate) struct Watch {
    who: Who,
    started: Instant,
    ran: Duration,
    queued: Duration,
}

impl Watch {
    pub(crate) fn start(who: Who) -> Self {
        Self { who, started: Instant::now(), ran: who.ran(), queued: who.queued() }
    }

    /// Fails if whoever was watched was awake for more than half of the time since then. Who sleeps a
    /// little between two looks is awake for some hundredths, who does not for all of it.
    #[track_caller]
    pub(crate) fn slept(&self, waiting_for: &str) {
        let wall = self.started.elapsed();
        let ran = self.who.ran().saturating_sub(self.ran);
        // While others had the core, it was not asleep either: that time says nothing.
        let free = wall.saturating_sub(self.who.queued().saturating_sub(self.queued));
        assert!(
            2 * ran < free,
            "it sleeps while it waits for {waiting_for}: it burned {ran:.1?} of a core in {free:.1?}"
        );
    }
}

impl Who {
    fn ran(self) -> Duration {
        let clock = match self {
            Self::ThisThread => ClockId::CLOCK_THREAD_CPUTIME_ID,
            Self::Process(id) => clock_getcpuclockid(Pid::from_raw(id as i32)).unwrap(),
        };
        Duration::from(clock_gettime(clock).unwrap())
    }

    /// How long it was ready to run while others ran, where the kernel tells.
    fn queued(self) -> Duration {
        match self {
            Self::ThisThread => queued(Path::new("/proc/thread-self")),
            Self::Process(id) => {
                let tasks = fs::read_dir(format!("/proc/{id}/task"));
                tasks.into_iter().flatten().flatten().map(|task| queued(&task.path())).sum()
            }
        }
    }
}

fn queued(task: &Path) -> Duration {
    let line = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    let nanos = line.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Calls something that waits for [`A_WHILE`]; fails if it does not sleep.
#[track_caller]
pub(crate) fn sleeps<T>(waiting_for: &str, wait: impl FnOnce() -> T) -> T {
    let watch = Watch::start(Who::ThisThread);
    let result = wait();
    let waited = watch.started.elapsed();
    assert!(waited >= A_WHILE, "it does not give up before its time: {waited:.1?} of {A_WHILE:?}");
    watch.slept(waiting_for);
    result
}
