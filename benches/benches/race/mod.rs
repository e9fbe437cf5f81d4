//! Runs one producer against its consumers as threads of this process, and checks that each consumer got
//! everything.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};
use benches::crew::fits;
use yardstick::affinity;
use yardstick::payload::Tally;

/// One side of a race.
pub(crate) type Side<'a> = Box<dyn FnOnce() -> anyhow::Result<Tally> + Send + 'a>;

/// Lets all sides start at the same moment. The time runs from the first start to the last end.
///
/// The sides read the clock themselves: the thread that started them may not get a core before they
/// are done. They are pinned if each can have a core to itself.
///
/// # Errors
///
/// If a side fails, or if what arrived is not what was sent.
pub(crate) fn race(
    messages: u64,
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
    ensure!(sent.tally.count == messages, "{} of {messages} were sent", sent.tally.count);
    for lap in &received {
        ensure!(lap.tally == sent.tally, "{:?} arrived of {:?}", lap.tally, sent.tally);
    }
    let laps = || received.iter().chain([&sent]);
    let started = laps().map(|lap| lap.started).min().unwrap_or(sent.started);
    let ended = laps().map(|lap| lap.ended).max().unwrap_or(sent.ended);
    Ok(ended - started)
}

/// What a side moved, with its start and end.
struct Lap {
    tally: Tally,
    started: Instant,
    ended: Instant,
}
