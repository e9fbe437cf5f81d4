//! A survivor sleeps while the victim dies that it waits for.

use std::fs;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::sync::{AtomicBool, Ordering};
use fanout::QueueName;
use fanout::inspect::{self, Observer};
use fanout::segment::READY_TIMEOUT;
use nix::libc::SYS_futex;
use nix::unistd::gettid;
use testing::Unique;

use super::orphaned::Last;
use super::{Attended, Loss, Orphaned, PATIENCE};
use crate::ends::{Kind, Took};
use crate::trial::{Dead, Outcome, Trial};
use crate::witness::Witness;

/// How long a consumer sleeps at most before it looks whether the scenario is over. Today nobody wakes it when its
/// producer dies.
const NAP: Duration = Duration::from_millis(50);

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

    /// What it has done; it has to wake first.
    fn wakes(self, who: &str) -> anyhow::Result<T> {
        self.done.recv_timeout(PATIENCE).with_context(|| format!("{who} sleeps on"))
    }
}

/// Whether a thread waits for a futex: its system call is the first word of this file.
fn sleeps(path: &str) -> bool {
    let call = fs::read_to_string(path).unwrap_or_default();
    call.split(' ').next() == Some(&SYS_futex.to_string())
}

/// A consumer dies for which the producer sleeps: the ring is full.
pub(crate) struct ProducerAsleep {
    name: QueueName,
    attended: Option<Attended>,
    sleeper: Option<Sleeper<anyhow::Result<Attended>>>,
}

impl ProducerAsleep {
    pub(crate) fn new(kind: Kind, loss: Loss, name: Unique) -> anyhow::Result<Self> {
        let (queue, attended) = (name.clone(), Attended::new(kind, loss, name)?);
        Ok(Self { name: queue, attended: Some(attended), sleeper: None })
    }
}

impl Trial for ProducerAsleep {
    fn name(&self) -> &QueueName {
        &self.name
    }

    fn stage(&mut self, time: u32) -> anyhow::Result<()> {
        let mut attended = self.attended.take().context("the producer sleeps")?;
        attended.stage(time)?;
        if time == 1 {
            self.attended = Some(attended);
            return Ok(());
        }
        attended.fill()?;
        self.sleeper = Some(Sleeper::start(move || {
            attended.send_one(PATIENCE)?;
            Ok(attended)
        })?);
        Ok(())
    }

    fn judge(mut self: Box<Self>, dead: Dead) -> anyhow::Result<Outcome> {
        let consumers = Observer::open(&self.name, PATIENCE)?.snapshot().consumers;
        let listed = consumers.iter().find(|consumer| consumer.owner == dead.pid);
        if let Some(listed) = listed {
            // What a survivor has to do today, from outside: the producer sleeps.
            // SAFETY: the victim was killed, and has ended.
            unsafe { inspect::evict(&self.name, listed, READY_TIMEOUT) }?;
        }
        let sleeper = self.sleeper.take().context("the producer does not sleep")?;
        let attended = sleeper.wakes("the producer")??;
        Box::new(attended).judge(dead)?;
        Ok(match listed {
            Some(consumer) => format!("registered, {} behind", consumer.lag),
            None => "not registered".to_owned(),
        })
    }
}

/// A producer dies for which consumers sleep: they have read everything.
pub(crate) struct ConsumersAsleep {
    orphaned: Orphaned,
    is_over: Arc<AtomicBool>,
    sleepers: Vec<Sleeper<anyhow::Result<(Witness, Took)>>>,
}

impl ConsumersAsleep {
    pub(crate) fn new(kind: Kind, last: Last, name: Unique) -> Self {
        let orphaned = Orphaned::new(kind, last, name);
        Self { orphaned, is_over: Arc::default(), sleepers: Vec::new() }
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
            let is_over = self.is_over.clone();
            witness.drain()?;
            self.sleepers.push(Sleeper::start(move || {
                loop {
                    let took = witness.wait(NAP)?;
                    if took != Took::Empty || is_over.load(Ordering::Relaxed) {
                        return Ok((witness, took));
                    }
                }
            })?);
        }
        Ok(())
    }

    fn judge(self: Box<Self>, dead: Dead) -> anyhow::Result<Outcome> {
        let Self { mut orphaned, is_over, sleepers } = *self;
        let (has_more, took) = orphaned.peek()?;
        if !has_more && took == Took::Empty {
            is_over.store(true, Ordering::Relaxed);
        }
        for sleeper in sleepers {
            let (witness, found) = sleeper.wakes("a consumer")??;
            let expected = if has_more { Took::Some } else { took };
            ensure!(
                found == expected,
                "a consumer that slept found {found:?}, expected {expected:?}"
            );
            orphaned.put_back(witness);
        }
        Box::new(orphaned).judge(dead)
    }
}
