//! Runs one producer against its consumers, and checks what arrived.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use common::affinity;
use common::payload::Tally;
use crossbeam_utils::Backoff;

/// One side of a race.
pub type Side<'a> = Box<dyn FnOnce() -> anyhow::Result<Tally> + Send + 'a>;

/// What has to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Everything, at each consumer.
    Each,
    /// Everything, at all consumers together.
    Together,
}

/// Says whether `sides` threads or processes have a core each.
pub fn fits(sides: usize) -> bool {
    sides <= affinity::cores().len()
}

/// What a rival's side does while it cannot go on: looks again at once where every side has a core,
/// and spins a little and yields where they share them.
pub struct Idle {
    fits: bool,
    backoff: Backoff,
}

impl Idle {
    /// For one of so many sides.
    pub fn new(sides: usize) -> Self {
        Self { fits: fits(sides), backoff: Backoff::new() }
    }

    /// Before the next look.
    #[inline(always)]
    pub fn wait(&self) {
        if self.fits { std::hint::spin_loop() } else { self.backoff.snooze() }
    }

    /// After a look that found something.
    #[inline(always)]
    pub fn reset(&self) {
        self.backoff.reset();
    }
}

/// Lets all sides go at once; the time from when the first of them goes until the last has finished.
///
/// The sides read the clock themselves: whoever started them may not get a core before they are done.
/// They are pinned where each can have a core to itself.
///
/// # Errors
///
/// If a side fails, or if what arrived is not what was sent.
pub fn race(
    messages: u64,
    delivery: Delivery,
    producer: Side<'_>,
    consumers: Vec<Side<'_>>,
) -> anyhow::Result<Duration> {
    let cores = affinity::cores();
    let pinned = fits(consumers.len() + 1);
    let start = Barrier::new(consumers.len() + 1);
    let (cores, start) = (&cores, &start);
    let ready = move |core: usize, side: Side<'_>| {
        if pinned {
            affinity::pin(cores, core);
        }
        start.wait();
        let started = Instant::now();
        side().map(|tally| Lap { tally, started, ended: Instant::now() })
    };
    let (sent, received) = std::thread::scope(|scope| {
        let sender = scope.spawn(move || ready(0, producer));
        let receivers: Vec<_> = consumers
            .into_iter()
            .enumerate()
            .map(|(i, consumer)| scope.spawn(move || ready(i + 1, consumer)))
            .collect();
        let sent = sender.join();
        let received: Vec<_> = receivers.into_iter().map(|receiver| receiver.join()).collect();
        (sent, received)
    });
    let panicked = |_| anyhow!("a thread panicked");
    let sent = sent.map_err(panicked)??;
    let received =
        received.into_iter().map(|side| side.map_err(panicked)?).collect::<Result<Vec<_>, _>>()?;
    check(messages, delivery, sent.tally, received.iter().map(|lap| lap.tally).collect())?;
    let laps = || received.iter().chain([&sent]);
    let started = laps().map(|lap| lap.started).min().unwrap_or(sent.started);
    let ended = laps().map(|lap| lap.ended).max().unwrap_or(sent.ended);
    Ok(ended - started)
}

/// What a side moved, and when.
struct Lap {
    tally: Tally,
    started: Instant,
    ended: Instant,
}

fn check(
    messages: u64,
    delivery: Delivery,
    sent: Tally,
    received: Vec<Tally>,
) -> anyhow::Result<()> {
    ensure!(sent.count == messages, "{} of {messages} messages were sent", sent.count);
    let totals = match delivery {
        Delivery::Each => received,
        Delivery::Together => vec![received.into_iter().fold(Tally::default(), Tally::and)],
    };
    for total in totals {
        ensure!(total == sent, "{total:?} arrived of {sent:?}");
    }
    Ok(())
}
