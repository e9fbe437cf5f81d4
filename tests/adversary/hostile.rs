//! A process that may write control writes what no end would ever write. Healthy ends may get typed
//! errors, wrong messages or none. But none of them may crash, panic, reach outside the mapping, or wait
//! beyond its timeout.
//!
//! The round runs in a process of its own, so that a crash can be observed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::sync::{AtomicBool, AtomicU64, Ordering};
use fanout::memory::{Room, control_len};
use fanout::{Start, ends, records};
use testing::{Dice, message};

use crate::ends::{Act, Producing, Reading, Sending, Step, Style, Writing};
use crate::guarded::Guarded;
use crate::homes::{self, Home, Part};
use crate::moods::Mood;
use crate::plan::{Message, Plan};
use crate::tally::{self, Tally};
use crate::watch::{self, Beat};

/// The variable that tells a child to play; its value is the seed.
pub(crate) const CHILD: &str = "FANOUT_ADVERSARY_HOSTILE";

/// The variable that says how long the child plays, in milliseconds.
pub(crate) const LENGTH: &str = "FANOUT_ADVERSARY_HOSTILE_MS";

/// How long a call with a timeout of milliseconds may take. Other programs use the machine as well.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long a round lasts.
const ROUND: Duration = Duration::from_millis(60);

/// Where the consumers' lines begin, how long those of one are, and where among them those of a group begin: in words.
const ROOMS: usize = control_len(0) as usize / size_of::<AtomicU64>();
const ROOM: usize = size_of::<Room>() / size_of::<AtomicU64>();
const GROUP: usize = Room::GROUP / size_of::<AtomicU64>();

/// The exit code of a child that has found something and cannot go on.
pub(crate) const STUCK: u8 = 3;

struct Round {
    seed: u64,
    memory: Arc<Guarded>,
    home: Home,
    plan: Plan,
    until: Instant,
    /// The vandal has stopped, to show whether the ends then go on.
    is_calm: AtomicBool,
    writes_data: bool,
    /// How many ends are still playing.
    playing: AtomicU64,
    /// Ends that count as dead: they do nothing any more.
    graves: Mutex<Vec<Box<dyn Reading>>>,
}

/// What the child process does.
pub(crate) fn child(seed: u64) -> ExitCode {
    let length = std::env::var(LENGTH).ok().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let until = Instant::now() + Duration::from_millis(length);
    remember_panics();
    let (mut dice, mut tally, mut next) = (Dice::new(seed), Tally::default(), seed);
    while Instant::now() < until {
        println!("round: {next:#x}");
        round(next, &mut tally);
        next = dice.word();
    }
    print!("{}", tally.write());
    ExitCode::SUCCESS
}

static PANIC: Mutex<String> = Mutex::new(String::new());

/// Keeps the text and place of a panic instead of printing it.
fn remember_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = message(info.payload());
        // Printed as well, in case the panic cannot be caught.
        eprintln!("panicked at {place}: {text}");
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = format!("{text} at {place}");
    }));
}

fn round(seed: u64, tally: &mut Tally) {
    let mut dice = Dice::new(seed);
    let first = dice.pick(&[0, 0, 1 << 20, u64::MAX - (1 << 20) + 1]);
    let (memory, home, plan, sender) = build(&mut dice, first);
    let until = Instant::now() + ROUND;
    let (is_calm, writes_data) = (AtomicBool::new(false), dice.once_in(2));
    let (playing, graves) = (AtomicU64::new(4), Mutex::default());
    let round = Round { seed, memory, home, plan, until, is_calm, writes_data, playing, graves };
    let names = ["producer", "reader 1", "reader 2", "reader 3", "vandal"];
    let beats: Vec<_> = names.iter().map(|name| Beat::new(name)).collect();
    thread::scope(|scope| {
        let round = &round;
        let mut threads = Vec::new();
        let (mut own, beat) = (dice.split(), beats[0].clone());
        threads.push(scope.spawn(move || round.send(sender, &mut own, &beat)));
        for beat in &beats[1..4] {
            let (mut own, beat) = (dice.split(), beat.clone());
            threads.push(scope.spawn(move || round.read(&mut own, &beat)));
        }
        let (mut own, beat) = (dice.split(), beats[4].clone());
        threads.push(scope.spawn(move || round.vandalise(&mut own, &beat)));
        while threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(Duration::from_millis(1));
            if let Some(who) = watch::stuck(&beats, TIMEOUT) {
                round.tell_stuck(&beats, &who);
            }
        }
        for thread in threads {
            if let Ok(told) = thread.join() {
                tally.merge(&told);
            }
        }
    });
    tally.add("rounds of hostile words");
}

fn build(dice: &mut Dice, first: u64) -> (Arc<Guarded>, Home, Plan, Box<dyn Sending>) {
    let (mood, seed) = (Mood::draw(dice), dice.word());
    let unattended = homes::unattended(dice);
    if dice.once_in(2) {
        let capacity = dice.pick(&[1, 2, 4, 16, 128]);
        let memory = Guarded::messages(capacity, first);
        // SAFETY: the memory was made for this type, and has no other producer.
        let producer = unsafe {
            ends::Producer::<Message, Mood>::from_memory_with(memory.clone(), unattended)
        };
        let home = Home::Messages { memory: memory.clone() };
        let plan = Plan::messages(seed, 100_000, first);
        (memory, home, plan, Box::new(Producing(producer.waiting(mood))))
    } else {
        let capacity = dice.pick(&[4096, 4096, 8192]);
        let memory = Guarded::records(capacity, first);
        // SAFETY: the memory has no other writer.
        let writer =
            unsafe { records::ends::Writer::<Mood>::from_memory_with(memory.clone(), unattended) };
        let home = Home::Records { memory: memory.clone() };
        // Records of one length tile the ring, so a reader that walks over it never stumbles.
        let largest = dice.pick(&[0, writer.largest()]);
        let plan = Plan::records(seed, 100_000, first, largest);
        (memory, home, plan, Box::new(Writing(writer.waiting(mood))))
    }
}

impl Round {
    fn report(&self, what: &str) {
        tally::report(format!("hostile, round {:#x}, {}: {what}", self.seed, self.memory.line()));
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Runs `f`, which must not panic. Returns whether it did not.
    fn guard<R>(&self, what: &str, f: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(f)) {
            Ok(done) => Some(done),
            Err(_) => {
                let said = PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // What it read does not matter.
                let what = what.split(" as ").next().unwrap_or(what);
                self.report(&format!("{what} panicked: {said}"));
                None
            }
        }
    }

    fn send(&self, sender: Box<dyn Sending>, dice: &mut Dice, beat: &Beat) -> Tally {
        let (mut tally, mut next) = (Tally::default(), 0);
        let mut sender = sender;
        while !self.is_over() && next + 1 < self.plan.count() {
            beat.does("sends");
            let mut act = Act { dice, tally: &mut tally, style: Style::Timed };
            let sent = self.guard("sending", || {
                if act.dice.once_in(50) {
                    sender.survey(&mut act);
                }
                sender.act(&mut act, &self.plan, &mut next)
            });
            match sent {
                Some(Ok(())) => {}
                Some(Err(error)) => tally.add(&format!("sends refused: {error:?}")),
                None => break,
            }
        }
        tally.add_many("messages sent to hostile words", next);
        beat.does("closes");
        self.guard("closing", || drop(sender));
        self.playing.fetch_sub(1, Ordering::Relaxed);
        beat.is_done();
        tally
    }

    fn read(&self, dice: &mut Dice, beat: &Beat) -> Tally {
        let mut tally = Tally::default();
        while !self.is_over() {
            let start = dice.pick(&[Start::Oldest, Start::Latest]);
            let group = dice.pick(&["one", "another"]);
            let part = match dice.below(5) {
                0 | 1 => Part::Broadcast(start),
                2 | 3 => Part::Member { group, start, holds: dice.once_in(4) },
                _ => Part::Tap(start),
            };
            beat.does(&format!("joins as {part:?}"));
            let timeout = Duration::from_millis(dice.below(20));
            let joined = self
                .guard(&format!("joining as {part:?}"), || self.home.join(&part, timeout, dice));
            match joined {
                Some(Ok(end)) => self.live(end, &part, dice, (beat, &mut tally)),
                Some(Err(_)) => tally.add("joins refused among hostile words"),
                None => {}
            }
        }
        self.playing.fetch_sub(1, Ordering::Relaxed);
        beat.is_done();
        tally
    }

    fn live(
        &self,
        mut end: Box<dyn Reading>,
        part: &Part,
        dice: &mut Dice,
        (beat, tally): (&Beat, &mut Tally),
    ) {
        let (what, mut sum) = (format!("reads as {part:?}"), 0u64);
        for _ in 0..dice.pick(&[1, 5, 50, 500]) {
            if self.is_over() {
                break;
            }
            beat.does(&what);
            let mut act = Act { dice, tally, style: Style::Timed };
            let step = self.guard(&what, || {
                end.act(&mut act, &mut |seen| {
                    sum = seen.bytes.iter().fold(sum, |sum, &byte| sum.wrapping_add(byte.into()));
                })
            });
            match step {
                Some(Step::Went) => {
                    tally.add("reads among hostile words");
                    if dice.once_in(100) {
                        tally.add_many("consumers listed", self.home.consumers().len() as u64);
                    }
                }
                Some(Step::Ended(ended)) => {
                    let text = format!("{ended:?}");
                    let name = text.split(['{', '(']).next().unwrap_or_default();
                    tally.add(&format!("reads ended by hostile words: {name}"));
                    break;
                }
                None => break,
            }
        }
        core::hint::black_box(sum);
        if let Some(slot) = end.slot().filter(|_| dice.once_in(8)) {
            tally.add("deaths among hostile words");
            self.memory.kill(slot);
            self.graves.lock().unwrap_or_else(PoisonError::into_inner).push(end);
            return;
        }
        beat.does("leaves");
        self.guard("leaving", || drop(end));
    }

    /// Writes words that must not be written.
    fn vandalise(&self, dice: &mut Dice, beat: &Beat) -> Tally {
        let mut tally = Tally::default();
        if dice.once_in(12) {
            self.besiege(dice, &mut tally);
        }
        while !self.is_over() && !self.is_calm.load(Ordering::Relaxed) {
            beat.does("writes");
            let (index, value) = (self.target(dice), self.value(dice));
            let word = self.word(index);
            let times = dice.pick(&[1, 1, 1, 1, 20, 3000]);
            let before = word.load(Ordering::Relaxed);
            {
                for turn in 0..times {
                    word.store(value.wrapping_add(turn), Ordering::Relaxed);
                }
            }
            tally.add_many("hostile words", times);
            if dice.once_in(2) {
                thread::sleep(Duration::from_micros(dice.below(300)));
            }
            if dice.once_in(3) {
                // Otherwise the ends would get nowhere.
                word.store(before, Ordering::Relaxed);
            }
        }
        beat.is_done();
        tally
    }

    /// Changes one word as fast as it can while any end plays. An end that looks until it has seen the same
    /// value twice would look for ever.
    fn besiege(&self, dice: &mut Dice, tally: &mut Tally) {
        tally.add("sieges of one word");
        let word = self.word(self.target(dice));
        while self.playing.load(Ordering::Relaxed) > 0 && !self.is_calm.load(Ordering::Relaxed) {
            for _ in 0..1000 {
                word.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A word by its number: control's words first, then the trail's, then the data's.
    fn word(&self, index: usize) -> &AtomicU64 {
        let [lines, trail] = self.memory.words();
        let data = self.memory.data_words();
        let parts = [lines, trail, data];
        let mut rest = index;
        for part in parts {
            if let Some(word) = part.get(rest) {
                return word;
            }
            rest -= part.len();
        }
        unreachable!("{index} is no word")
    }

    fn target(&self, dice: &mut Dice) -> usize {
        let [lines, trail] = self.memory.words().map(<[AtomicU64]>::len);
        let data = self.memory.data_words().len();
        let mut below = |bound: usize| dice.below(bound as u64) as usize;
        let slot = ROOMS + ROOM * below(6);
        let group = ROOMS + ROOM * below(3) + GROUP;
        match below(16) {
            0..5 => below(5),
            5 => 16,
            6 => 32 + below(2),
            7 | 8 => slot + below(6),
            9 => slot + below(GROUP),
            10 | 11 => group + below(4),
            12 | 13 => lines + below(trail),
            14 if self.writes_data => lines + trail + below(data),
            _ => below(lines),
        }
    }

    fn value(&self, dice: &mut Dice) -> u64 {
        let [lines, trail] = self.memory.words();
        let capacity = self.memory.capacity();
        let published = lines[1].load(Ordering::Relaxed);
        let near = dice.pick(&[0, 1, 7, 8, capacity - 1, capacity, capacity + 1, 1 << 40, 1 << 62]);
        match dice.below(12) {
            0 => dice.pick(&[0, 1, 2, u64::MAX, 1 << 63, (1 << 63) - 1]),
            1..4 => published.wrapping_add(near),
            4..6 => published.wrapping_sub(near),
            6 => published ^ (1 << 63),
            7 => lines[dice.below(200) as usize].load(Ordering::Relaxed),
            8 => trail[dice.below(trail.len() as u64) as usize].load(Ordering::Relaxed),
            9 => published ^ (1 << dice.below(64)),
            10 => dice.below(300),
            _ => dice.word(),
        }
    }

    /// A call has waited beyond its timeout. Reports whether it goes on once the writing stops, and
    /// ends the child.
    fn tell_stuck(&self, beats: &[Arc<Beat>], who: &str) {
        self.is_calm.store(true, Ordering::Relaxed);
        thread::sleep(TIMEOUT);
        let after = watch::stuck(beats, 2 * TIMEOUT);
        let how = if after.is_some() { "for good" } else { "while words change" };
        let [lines, _] = self.memory.words();
        let head: Vec<_> = lines[..5].iter().map(|word| word.load(Ordering::Relaxed)).collect();
        self.report(&format!(
            "hangs {how}: {who}; reserved, published, state, widest, wanted: {head:x?}"
        ));
        std::process::exit(STUCK.into());
    }
}
