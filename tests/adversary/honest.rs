//! Threads that keep the rules, and do everything that the rules allow.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use fanout::Start;
use testing::Dice;

use crate::ends::{Act, Reading, Sending, Style};
use crate::homes::{self, Home, LET_IN, Part, Stage};
use crate::tally::{self, Tally};
use crate::watch::{self, Beat};
use crate::witness::{Book, Ledger, Truth, Witness};

/// How long a call may take before we say that it hangs. The machine may be busy.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A group that always has a member; and a group that often has none, and holds the producer back.
const ANCHORED: Part = Part::Member { group: "anchored", start: Start::Oldest, holds: false };
const HOLDING: Part = Part::Member { group: "holding", start: Start::Oldest, holds: true };

struct Round {
    seed: u64,
    home: Home,
    truth: Truth,
    anchored: Ledger,
    holding: Ledger,
    until: Instant,
    /// Whether wanderers leave as soon as they have joined.
    is_restless: bool,
    /// The producer after its end. To drop it would remove the name, and a thread may be about to
    /// join.
    ended: Mutex<Option<Box<dyn Sending>>>,
}

/// One round: sends for at most `length` through a ring that is drawn at random, with ends that
/// come and go.
pub(crate) fn round(seed: u64, length: Duration) -> Tally {
    let mut dice = Dice::new(seed);
    let Stage { home, sender, plan } = homes::build(&mut dice, 20_000);
    let (count, aborts) = (plan.count(), dice.once_in(4));
    let is_of_messages = home.is_of_messages();
    let truth = Truth::new(plan, is_of_messages, aborts);
    let (anchored, holding) = (Ledger::new(count), Ledger::new(count));
    let until = Instant::now() + length;
    let (is_restless, ended) = (dice.once_in(2), Mutex::new(None));
    let round = Round { seed, home, truth, anchored, holding, until, is_restless, ended };
    let mut all = play(&round, sender, &mut dice);
    let sent = round.truth.sent().unwrap_or(0);
    for (group, ledger) in [("anchored", &round.anchored), ("holding", &round.holding)] {
        for wrong in ledger.check(group, sent) {
            round.report(group, &wrong);
        }
    }
    all.add("rounds of threads");
    all.add_many("messages sent", sent);
    all
}

fn play(round: &Round, sender: Box<dyn Sending>, dice: &mut Dice) -> Tally {
    let names = ["producer", "broadcast", "anchor", "holder", "wanderer 1", "wanderer 2"];
    let beats: Vec<_> = names.iter().map(|name| Beat::new(name)).collect();
    let mut all = Tally::default();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        let mut begin = |index: usize, job: Job| {
            threads.push(start(scope, round, beats[index].clone(), dice.split(), job));
        };
        // They join before the first message is sent.
        let parts = [Part::Broadcast(Start::Oldest), ANCHORED, HOLDING];
        let mut ends = parts.map(|part| (round.join(&part, &mut Dice::new(round.seed)), part));
        for (index, (end, part)) in ends.iter_mut().enumerate() {
            if let Some(end) = end.take() {
                let stays = *part != HOLDING;
                let part = part.clone();
                begin(index + 1, Box::new(move |at| at.dwell(end, part, stays)));
            }
        }
        begin(4, Box::new(|at| at.wander()));
        begin(5, Box::new(|at| at.wander()));
        begin(0, Box::new(move |at| at.send(sender)));
        while threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(Duration::from_millis(1));
            if let Some(who) = watch::stuck(&beats, TIMEOUT) {
                round.report("watchdog", &format!("hangs: {who}"));
                crate::give_up();
            }
        }
        for (thread, name) in threads.into_iter().zip(names) {
            match thread.join() {
                Ok(tally) => all.merge(&tally),
                Err(_) => round.report(name, "a thread panicked: see above"),
            }
        }
    });
    all
}

type Job = Box<dyn FnOnce(&mut Actor<'_>) -> Result<(), String> + Send>;

/// One thread of a round.
struct Actor<'a> {
    round: &'a Round,
    beat: Arc<Beat>,
    dice: Dice,
    tally: Tally,
}

fn start<'s>(
    scope: &'s Scope<'s, '_>,
    round: &'s Round,
    beat: Arc<Beat>,
    dice: Dice,
    job: Job,
) -> thread::ScopedJoinHandle<'s, Tally> {
    scope.spawn(move || {
        let mut actor = Actor { round, beat, dice, tally: Tally::default() };
        if let Err(wrong) = job(&mut actor) {
            round.report("an end", &wrong);
        }
        actor.beat.is_done();
        actor.tally
    })
}

impl Round {
    fn report(&self, who: &str, what: &str) {
        tally::report(format!(
            "threads, round {:#x}, {}: {who}: {what}",
            self.seed,
            self.home.line()
        ));
    }

    fn join(&self, part: &Part, dice: &mut Dice) -> Option<Box<dyn Reading>> {
        match self.home.join(part, LET_IN, dice) {
            Ok(end) => Some(end),
            Err(wrong) => {
                self.report("join", &wrong);
                None
            }
        }
    }

    fn book(&self, part: &Part) -> Book<'_> {
        match part {
            Part::Member { group: "anchored", .. } => Book::Ledger(&self.anchored),
            Part::Member { .. } => Book::Ledger(&self.holding),
            _ => Book::None,
        }
    }
}

impl Actor<'_> {
    fn send(&mut self, mut sender: Box<dyn Sending>) -> Result<(), String> {
        let (round, mut next) = (self.round, 0);
        let plan = &round.truth.plan;
        while next < plan.count() && Instant::now() < round.until {
            self.beat.does("sends");
            let style = Style::Free;
            let mut act = Act { dice: &mut self.dice, tally: &mut self.tally, style };
            sender.act(&mut act, plan, &mut next).map_err(|error| error.to_string())?;
            if sender.next_sequence() != plan.start(next) {
                let (found, wanted) = (sender.next_sequence(), plan.start(next));
                return Err(format!("the next sequence is {found}, expected {wanted}"));
            }
            if self.dice.once_in(64) {
                self.beat.does("looks around");
                sender.survey(&mut Act { dice: &mut self.dice, tally: &mut self.tally, style });
                thread::sleep(Duration::from_micros(self.dice.below(200)));
            }
        }
        round.truth.ends_after(next);
        sender.end(round.truth.aborts);
        self.tally.add(if round.truth.aborts { "queues aborted" } else { "queues closed" });
        *round.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Ok(())
    }

    /// Reads to the end: with one end, or with an end that leaves and comes back.
    fn dwell(&mut self, end: Box<dyn Reading>, part: Part, stays: bool) -> Result<(), String> {
        let mut end = Some(end);
        loop {
            let acts = if stays { u64::MAX } else { 1 + self.dice.below(40) };
            let Some(here) = end.take() else { return Ok(()) };
            if !self.live(here, &part, acts)? {
                return Ok(());
            }
            self.beat.does("joins again");
            end = self.round.join(&part, &mut self.dice);
        }
    }

    /// Joins as any kind of end, reads for a while, and leaves.
    fn wander(&mut self) -> Result<(), String> {
        while Instant::now() < self.round.until && self.round.truth.sent().is_none() {
            let start = self.dice.pick(&[Start::Oldest, Start::Latest]);
            let part = match self.dice.below(6) {
                0 | 1 => Part::Broadcast(start),
                2 => ANCHORED,
                3 => HOLDING,
                _ => Part::Tap(start),
            };
            self.beat.does("joins");
            self.tally.add(match part {
                Part::Broadcast(_) => "joins of broadcast consumers",
                Part::Member { .. } => "joins of members",
                Part::Tap(_) => "taps opened",
            });
            let end = self.round.home.join(&part, LET_IN, &mut self.dice);
            let stays: &[u64] =
                if self.round.is_restless { &[0, 1, 2] } else { &[0, 1, 3, 10, 50, 300] };
            let acts = self.dice.pick(stays);
            self.live(end?, &part, acts)?;
        }
        Ok(())
    }

    /// One end's life. Returns whether it may come again.
    fn live(&mut self, mut end: Box<dyn Reading>, part: &Part, acts: u64) -> Result<bool, String> {
        let round = self.round;
        let mut witness = Witness::new(&round.truth, round.book(part), part.clone(), &*end);
        let what = format!("reads as {part:?}");
        let (beat, both) = (&self.beat, (&mut self.dice, &mut self.tally));
        let beat = || beat.does(&what);
        let goes_on = witness
            .live(&mut *end, acts, both, Style::Free, beat)
            .map_err(|wrong| format!("{part:?}: {wrong}"))?;
        self.leave(end);
        Ok(goes_on)
    }

    fn leave(&mut self, end: Box<dyn Reading>) {
        let slot = end.slot();
        self.beat.does("leaves");
        if slot.is_none() || !self.dice.once_in(4) {
            self.tally.add("left");
            return;
        }
        let consumers = self.round.home.consumers();
        let own = consumers.into_iter().find(|consumer| Some(consumer.slot) == slot);
        // SAFETY: this thread has borrowed nothing from the end, and does not use it any more.
        let evicted = own.is_some_and(|own| unsafe { self.round.home.evict(&own) });
        self.tally.add("evicted");
        if !evicted {
            self.round.report("evict", "there was nobody in its own slot");
        }
        if self.dice.once_in(8) {
            self.tally.add("ends forgotten");
            core::mem::forget(end);
        }
    }
}
