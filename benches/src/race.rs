//! Runs one producer against its consumers, and checks what arrived.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use common::affinity;
use common::payload::Tally;

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

/// Lets all sides go at once; the time from then until the last consumer has finished.
///
/// Sides are pinned where each can have a core to itself.
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
    let pinned = consumers.len() < cores.len();
    let start = Barrier::new(consumers.len() + 2);
    let (cores, start) = (&cores, &start);
    let ready = move |core: usize, side: Side<'_>| {
        if pinned {
            affinity::pin(cores, core);
        }
        start.wait();
        side()
    };
    let (sent, received, elapsed) = std::thread::scope(|scope| {
        let sender = scope.spawn(move || ready(0, producer));
        let receivers: Vec<_> = consumers
            .into_iter()
            .enumerate()
            .map(|(i, consumer)| scope.spawn(move || ready(i + 1, consumer)))
            .collect();
        start.wait();
        let started = Instant::now();
        let sent = sender.join();
        let received: Vec<_> = receivers.into_iter().map(|receiver| receiver.join()).collect();
        (sent, received, started.elapsed())
    });
    let panicked = |_| anyhow!("a thread panicked");
    let sent = sent.map_err(panicked)??;
    let received =
        received.into_iter().map(|side| side.map_err(panicked)?).collect::<Result<Vec<_>, _>>()?;
    ensure!(sent.count == messages, "{} of {messages} messages were sent", sent.count);
    let totals = match delivery {
        Delivery::Each => received,
        Delivery::Together => vec![received.into_iter().fold(Tally::default(), Tally::and)],
    };
    for total in totals {
        ensure!(total == sent, "{total:?} arrived of {sent:?}");
    }
    Ok(elapsed)
}
