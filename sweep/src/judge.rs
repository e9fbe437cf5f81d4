//! The judge: the process that the survivors live in. The tracer gives it orders, and reads its verdicts.
//!
//! It is a process of its own for two reasons. The tracer forks the victims, so it must have no threads, and no
//! ends of queues that a victim would inherit. And survivors that hang are found, and killed.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::exit;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use fanout::QueueName;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::error::SweepError;
use crate::scenario::Scenario;
use crate::trial::{Dead, Outcome, Trial, descriptors, nothing_in_memory, unique};

/// The judge, as its tracer sees it. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Judge {
    pid: Pid,
    patience: Duration,
    orders: UnixStream,
    verdicts: BufReader<UnixStream>,
}

/// Why there is no good verdict.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// A promise was broken: which.
    Broken(String),
    /// The survivors hang, or have crashed. There is no judge any more.
    Gone(String),
}

impl Judge {
    /// Forks the judge of these scenarios, whose survivors hang if they take so long for one order.
    ///
    /// # Safety
    ///
    /// This process has one thread.
    pub(crate) unsafe fn fork(
        scenarios: &[Scenario],
        patience: Duration,
    ) -> Result<Self, SweepError> {
        let owner = std::process::id();
        let (ours, theirs) = UnixStream::pair().map_err(SweepError::io("socketpair"))?;
        // SAFETY: the caller says that there is no other thread.
        match unsafe { fork() }.map_err(SweepError::system("fork"))? {
            ForkResult::Child => {
                drop(ours);
                let served = catch_unwind(AssertUnwindSafe(|| serve(owner, scenarios, &theirs)));
                exit(i32::from(!matches!(served, Ok(Ok(())))))
            }
            ForkResult::Parent { child } => {
                ours.set_read_timeout(Some(patience)).map_err(SweepError::io("setsockopt"))?;
                let verdicts = ours.try_clone().map_err(SweepError::io("dup"))?;
                let verdicts = BufReader::new(verdicts);
                Ok(Self { pid: child, patience, orders: ours, verdicts })
            }
        }
    }

    /// Makes the survivors of a scenario, and says what their queue is called.
    pub(crate) fn prepare(&mut self, scenario: usize) -> Result<QueueName, Wrong> {
        let name = self.order(&format!("prepare {scenario}"))?;
        name.parse().map_err(|_| Wrong::Gone(format!("the judge named a queue {name:?}")))
    }

    /// The survivors' turn, for this time.
    pub(crate) fn stage(&mut self, time: u32) -> Result<(), Wrong> {
        self.order(&format!("stage {time}")).map(drop)
    }

    /// The survivors' turn, for this time, while another process waits that is about to be killed.
    pub(crate) fn casualty_stage(&mut self, time: u32) -> Result<(), Wrong> {
        self.order(&format!("casualty-stage {time}")).map(drop)
    }

    /// Tells of a death that is not the victim's.
    pub(crate) fn casualty(&mut self, dead: u32) -> Result<(), Wrong> {
        self.order(&format!("casualty {dead}")).map(drop)
    }

    /// The survivors' turn while the victim stands in its operation.
    pub(crate) fn meddle(&mut self) -> Result<(), Wrong> {
        self.order("meddle").map(drop)
    }

    /// Asks what the victim's death has broken.
    pub(crate) fn judge(&mut self, dead: Dead) -> Result<Outcome, Wrong> {
        self.order(&format!("judge {} {}", dead.pid, u8::from(dead.is_done)))
    }

    /// Forgets the survivors that are there.
    pub(crate) fn dismiss(&mut self) -> Result<(), Wrong> {
        self.order("dismiss").map(drop)
    }

    fn order(&mut self, order: &str) -> Result<String, Wrong> {
        let gone = |what: &str| Wrong::Gone(format!("{what} at the order {order:?}"));
        if writeln!(self.orders, "{order}").is_err() {
            return Err(gone("the survivors' process has ended"));
        }
        let mut verdict = String::new();
        match self.verdicts.read_line(&mut verdict) {
            Ok(0) => return Err(gone("the survivors' process has crashed")),
            Ok(_) => {}
            Err(_) => {
                return Err(gone(&format!("the survivors hang: no answer in {:?}", self.patience)));
            }
        }
        match verdict.trim_end().split_once(' ').unwrap_or((verdict.trim_end(), "")) {
            ("good", rest) => Ok(rest.to_owned()),
            (_, rest) => Err(Wrong::Broken(rest.to_owned())),
        }
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.pid, None);
    }
}

/// The judge's life.
fn serve(owner: u32, scenarios: &[Scenario], tracer: &UnixStream) -> io::Result<()> {
    let mut bench = Bench { owner, scenarios, prepared: 0, sitting: None };
    for order in BufReader::new(tracer).lines() {
        let order = order?;
        let verdict = catch_unwind(AssertUnwindSafe(|| bench.obey(&order)));
        let line = match verdict {
            Ok(Ok(answer)) => format!("good {answer}"),
            Ok(Err(wrong)) => format!("bad {}", format!("{wrong:#}").replace('\n', " | ")),
            Err(panic) => format!("bad the survivors panicked: {}", testing::message(&*panic)),
        };
        writeln!(&mut &*tracer, "{line}")?;
    }
    Ok(())
}

/// Where the judge sits.
struct Bench<'a> {
    /// The tracer's process, after which names are called.
    owner: u32,
    prepared: u64,
    scenarios: &'a [Scenario],
    sitting: Option<Sitting>,
}

/// Survivors, and how many descriptors there were before them.
struct Sitting {
    trial: Box<dyn Trial>,
    descriptors: usize,
}

impl Bench<'_> {
    fn obey(&mut self, order: &str) -> anyhow::Result<String> {
        let mut words = order.split(' ');
        let what = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse().ok()).context("a number");
        match what {
            "prepare" => return self.prepare(number()? as usize),
            "dismiss" => self.sitting = None,
            "stage" => self.trial()?.stage(number()?)?,
            "casualty-stage" => self.trial()?.casualty_stage(number()?)?,
            "casualty" => self.trial()?.casualty(number()?)?,
            "meddle" => self.trial()?.meddle()?,
            "judge" => return self.judge(Dead { pid: number()?, is_done: number()? == 1 }),
            _ => bail!("an order is one of those above, found {order:?}"),
        }
        Ok(String::new())
    }

    fn prepare(&mut self, scenario: usize) -> anyhow::Result<String> {
        self.sitting = None;
        let descriptors = descriptors()?;
        let name = unique(self.owner, self.prepared);
        self.prepared += 1;
        let trial = self.scenarios[scenario].survivors(name)?;
        let name = trial.name().to_string();
        self.sitting = Some(Sitting { trial, descriptors });
        Ok(name)
    }

    fn trial(&mut self) -> anyhow::Result<&mut dyn Trial> {
        Ok(&mut *self.sitting.as_mut().context("no survivors were made")?.trial)
    }

    fn judge(&mut self, dead: Dead) -> anyhow::Result<String> {
        let Sitting { trial, descriptors: before } =
            self.sitting.take().context("no survivors were made")?;
        let name = trial.name().clone();
        let outcome = trial.judge(dead)?;
        let is_left = Path::new("/dev/shm").join(name.bare()).exists();
        ensure!(!is_left, "left behind: /dev/shm{name}");
        let after = descriptors()?;
        ensure!(
            before == after,
            "the survivors had {before} descriptors open, and have {after} now"
        );
        nothing_in_memory(self.owner)?;
        Ok(outcome)
    }
}
