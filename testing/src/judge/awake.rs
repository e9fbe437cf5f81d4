//! How much of a wait was spent awake.
//!
//! No time is asserted. Two times of the same wait are compared, and a slow computer changes both.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// How long the program under test waits at a time, and should sleep.
pub const A_WHILE: Duration = Duration::from_millis(100);

/// How long a judge has to watch in all.
const ENOUGH: Duration = Duration::from_millis(100);

/// How often a judge watches at most. On a busy computer it sees little each time.
const MOST_TIMES: u32 = 30;

/// What is watched.
#[derive(Clone, Copy)]
pub enum Who {
    /// The thread that calls.
    ThisThread,
    /// A process that is running.
    Process(u32),
}

/// Calls `wait`, which waits for [`A_WHILE`], until it has been watched for long enough. Fails if the
/// waiting thread or process was awake for more than a quarter of that time.
///
/// A thread that sleeps a little between looks is awake for some hundredths of a wait. A thread that
/// never sleeps is awake for all of it. Time in which other threads have the core does not count.
#[track_caller]
pub fn sleeps(who: Who, waiting_for: &str, mut wait: impl FnMut()) {
    let (started, mut times) = (Instant::now(), 0);
    let before = (who.ran(), who.queued());
    loop {
        let wall = Instant::now();
        wait();
        let waited = wall.elapsed();
        assert!(
            waited >= A_WHILE,
            "it does not give up before its time: {waited:.1?} of {A_WHILE:?}"
        );
        times += 1;

        let ran = who.ran().saturating_sub(before.0);
        let queued = who.queued().saturating_sub(before.1);
        let free = started.elapsed().saturating_sub(queued);
        if free >= ENOUGH || times == MOST_TIMES {
            assert!(
                4 * ran < free,
                "it sleeps while it waits for {waiting_for}: it burned {ran:.1?} of a core in {free:.1?}"
            );
            return;
        }
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

    /// How long it was ready to run while other threads ran, if the kernel tells.
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
