//! A survivor sleeps while the victim dies that it waits for.

use std::fs;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use fanout::QueueName;
use fanout::error::SendTimeoutError;
use nix::libc::{SYS_futex, SYS_futex_waitv};
use nix::unistd::gettid;
use testing::Unique;

use super::attended::describe;
use super::orphaned::Last;
use super::{Attended, LOOK, Orphaned, PATIENCE, Released};
use crate::ends::{Kind, Sending, Took};
use crate::trial::{Dead, Outcome, Trial};
use crate::witness::Witness;

/// A thread that does something which makes it sleep.
struct Sleeper<T> {
    done: Receiver<T>,
}

impl<T: Send + 'static> Sleeper<T> {
    /// Starts it, and waits until it sleeps.
    fn start(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<Self> {
        let (tell, told) = mpsc::channel();
        let (finish, done) = mpsc::channel();
        thread::spawn(move || {
            // Nobody listens any more if the survivors have given up.
            let _ = tell.send(gettid());
            let _ = finish.send(work());
        });
        let path = format!("/proc/self/task/{}/syscall", told.recv_timeout(PATIENCE)?);
        let started = Instant::now();
        while !sleeps(&path) {
            ensure!(started.elapsed() < PATIENCE, "a survivor does not fall asleep");
            thread::sleep(Duration::from_micros(200));
        }
        Ok(Self { done })
    }

    /// What it has done; it has to wake first. Meanwhile the others do this, now and then.
    fn wakes(self, who: &str, mut others: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<T> {
        let started = Instant::now();
        loop {
            others()?;
            match self.done.recv_timeout(LOOK) {
                Ok(done) => return Ok(done),
                Err(RecvTimeoutError::Timeout) => {
                    ensure!(started.elapsed() < 2 * PATIENCE, "{who} sleeps on");
                }
                Err(RecvTimeoutError::Disconnected) => bail!("{who} has panicked in its sleep"),
            }
        }
    }
}

/// Whether a thread waits for a futex, or for several: its system call is the first word of this file.
fn sleeps(path: &str) -> bool {
    let text = fs::read_to_string(path).unwrap_or_default();
    let call = text.split(' ').next().and_then(|word| word.parse().ok());
    call.is_some_and(|call| [SYS_futex, SYS_futex_waitv].contains(&call))
}

/// A producer, and how its last message went.
type Sent = (Box<dyn Sending>, Result<(), SendTimeoutError>);

/// A consumer dies for which the producer sleeps: the ring is full.
pub(crate) struct ProducerAsleep {
    attended: Attended,
    sleeper: Option<Sleeper<Sent>>,
}

impl ProducerAsleep {
    pub(crate) fn new(kind: Kind, released: Released, name: Unique) -> anyhow::Result<Self> {
        Ok(Self { attended: Attended::new(kind, released, name)?, sleeper: None })
    }
}

impl Trial for ProducerAsleep {
    fn name(&self) -> &QueueName {
        self.attended.name()
    }

    fn stage(&mut self, time: u32) -> anyhow::Result<()> {
        self.attended.stage(time)?;
        if time > 1 {
            let (mut producer, number) = self.attended.fill()?;
            self.sleeper = Some(Sleeper::start(move || {
                let sent = producer.send_within(number, PATIENCE);
                (producer, sent)
            })?);
        }
        Ok(())
    }

    fn judge(self: Box<Self>, dead: Dead) -> anyhow::Result<Outcome> {
        let Self { mut attended, sleeper } = *self;
        let sleeper = sleeper.context("the producer does not sleep")?;
        let outcome = describe(attended.listed(dead.pid)?.as_ref());
        // A member has to take over what a dead one held; nobody else may help.
        let (producer, sent) = sleeper.wakes("the producer", || attended.drain())?;
        sent.context("the producer that slept")?;
        attended.put_back(producer);
        Box::new(attended).judge(dead)?;
        Ok(outcome)
    }
}

/// A producer dies for which consumers sleep: they have read everything.
pub(crate) struct ConsumersAsleep {
    orphaned: Orphaned,
    sleepers: Vec<Sleeper<anyhow::Result<(Witness, Took)>>>,
}

impl ConsumersAsleep {
    pub(crate) fn new(kind: Kind, last: Last, name: Unique) -> Self {
        Self { orphaned: Orphaned::new(kind, last, name), sleepers: Vec::new() }
    }
}

impl Trial for ConsumersAsleep {
    fn name(&self) -> &QueueName {
        self.orphaned.name()
    }

    fn stage(&mut self, time: u32) -> anyhow::Result<()> {
        self.orphaned.stage(time)?;
        if time == 1 {
            return Ok(());
        }
        // A broadcast consumer and a member.
        for mut witness in self.orphaned.take_sleepers() {
            witness.drain()?;
            self.sleepers.push(Sleeper::start(move || {
                let took = witness.wait(PATIENCE)?;
                Ok((witness, took))
            })?);
        }
        Ok(())
    }

    fn judge(self: Box<Self>, dead: Dead) -> anyhow::Result<Outcome> {
        let Self { mut orphaned, sleepers } = *self;
        let (has_more, took) = orphaned.peek()?;
        let expected = if has_more { Took::Some } else { took };
        for sleeper in sleepers {
            let (witness, found) = sleeper.wakes("a consumer", || Ok(()))??;
            ensure!(
                found == expected,
                "a consumer that slept found {found:?}, expected {expected:?}"
            );
            orphaned.put_back(witness);
        }
        Box::new(orphaned).judge(dead)
    }
}
