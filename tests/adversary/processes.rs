//! Processes that keep the rules, and are stopped and killed at any moment.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fanout::Start;
use nix::sys::signal::Signal;
use testing::{Dice, Process};

use crate::ends::{Act, Producing, Sending, Style, Writing};
use crate::homes::{self, Home, LET_IN, Part};
use crate::honest::TIMEOUT;
use crate::moods::Mood;
use crate::plan::Plan;
use crate::tally::{self, Tally};
use crate::witness::{Book, Truth, Witness};

/// The variable that tells a child its part.
pub(crate) const CHILD: &str = "FANOUT_ADVERSARY_CHILD";

/// The group whose members are killed.
const SHARED: Part = Part::Member { group: "shared", start: Start::Oldest, holds: true };

/// How many messages a round sends at most.
const COUNT: u64 = 200_000;

struct Round {
    seed: u64,
    home: Home,
    capacity: u64,
    truth: Truth,
    until: Instant,
}

/// What a process has to know for its part, as one line.
struct Script {
    home: Home,
    truth: Truth,
    part: Part,
    book: PathBuf,
    seed: u64,
}

fn script(round: &Round, part: &Part, book: &std::path::Path, seed: u64) -> String {
    let (kind, name) = match &round.home {
        Home::NamedMessages { name, .. } => ("messages", name),
        Home::NamedRecords { name } => ("records", name),
        other => unreachable!("no other process reaches {other:?}"),
    };
    let part = match part {
        Part::Broadcast(_) => "broadcast",
        Part::Member { .. } => "member",
        Part::Tap(_) => "tap",
    };
    let (first, capacity) = (round.truth.plan.start(0), round.capacity);
    let (book, round) = (book.display(), round.seed);
    format!("{kind} {name} {first} {capacity} {round} {part} {seed} {book}")
}

fn read_script(line: &str) -> Option<Script> {
    let mut words = line.split(' ');
    let kind = words.next()?;
    let name = words.next()?.to_owned();
    let mut number = || words.next()?.parse::<u64>().ok();
    let (first, capacity, round) = (number()?, number()?, number()?);
    let part = words.next()?;
    let seed = words.next()?.parse().ok()?;
    let book = PathBuf::from(words.next()?);
    let (home, plan) = match kind {
        "messages" => (Home::NamedMessages { name, capacity }, Plan::messages(round, COUNT, first)),
        _ => {
            let plan = Plan::records(round, COUNT, first, capacity as usize - 8);
            (Home::NamedRecords { name }, plan)
        }
    };
    let part = match part {
        "broadcast" => Part::Broadcast(Start::Latest),
        "member" => SHARED,
        _ => Part::Tap(Start::Latest),
    };
    let is_of_messages = home.is_of_messages();
    let truth = Truth::new(plan, is_of_messages, false);
    Some(Script { home, truth, part, book, seed })
}

/// What a child process does: it plays its part until the queue ends.
pub(crate) fn child(line: &str) -> ExitCode {
    let script = read_script(line).expect("a script that the parent wrote");
    let Script { home, truth, part, book, seed } = &script;
    let mut dice = Dice::new(*seed);
    let file = File::options().append(true).create(true).open(book).expect("a book to write in");
    let end = match home.join(part, LET_IN, &mut dice) {
        Ok(end) => end,
        // The queue may have ended before this process began.
        Err(wrong) if wrong.contains("no queue") => return ExitCode::SUCCESS,
        Err(wrong) => {
            println!("finding: {part:?} could not join: {wrong}");
            return ExitCode::FAILURE;
        }
    };
    let mut end = end;
    let book = if *part == SHARED { Book::File(&file) } else { Book::None };
    let mut witness = Witness::new(truth, book, part.clone(), &*end);
    let mut tally = Tally::default();
    let style = if *part == SHARED { Style::WrittenDown } else { Style::Free };
    let lived = witness.live(&mut *end, u64::MAX, (&mut dice, &mut tally), style, || {});
    drop(end);
    print!("{}", tally.write());
    match lived {
        Ok(_) => ExitCode::SUCCESS,
        Err(wrong) => {
            println!("finding: {part:?}: {wrong}");
            ExitCode::FAILURE
        }
    }
}

/// A consumer in a process of its own.
struct Player {
    child: Process,
    part: Part,
    book: PathBuf,
}

/// One round: sends for at most `length` to processes that are killed and stopped.
pub(crate) fn round(seed: u64, length: Duration) -> Tally {
    let mut dice = Dice::new(seed);
    let until = Instant::now() + length;
    let mut tally = Tally::default();
    let (home, mut sender, plan, capacity) = build(seed, &mut dice);
    let is_of_messages = home.is_of_messages();
    let truth = Truth::new(plan, is_of_messages, false);
    let round = Round { seed, home, capacity, truth, until };
    // The group joins before the first message, and holds the producer back from then on.
    match round.home.join(&SHARED, LET_IN, &mut dice) {
        Ok(member) => drop(member),
        Err(wrong) => round.report(&wrong),
    }
    let mut taken = Taken::default();
    thread::scope(|scope| {
        let (round, mut dice_of_sender) = (&round, dice.split());
        let producer = scope.spawn(move || {
            let sent = round.send(&mut *sender, &mut dice_of_sender);
            (sender, sent)
        });
        round.disturb(&mut dice, &mut tally, &mut taken);
        let Ok((sender, sent)) = producer.join() else {
            round.report("the producer panicked: see above");
            return;
        };
        tally.merge(&sent);
        round.drain(&mut dice, &mut tally, &mut taken);
        drop(sender);
    });
    round.check(&taken);
    tally.add_many("messages sent", round.truth.sent().unwrap_or(0));
    tally.add("rounds of processes");
    tally
}

fn build(seed: u64, dice: &mut Dice) -> (Home, Box<dyn Sending>, Plan, u64) {
    let mood = Mood::draw(dice);
    if dice.once_in(2) {
        let capacity = dice.pick(&[1, 2, 8, 64, 1024]);
        let (home, producer) = homes::named_messages(seed, capacity, 0);
        let plan = Plan::messages(seed, COUNT, 0);
        (home, Box::new(Producing(producer.waiting(mood))), plan, capacity)
    } else {
        let capacity = dice.pick(&[4096, 8192, 1 << 16]);
        let (home, writer) = homes::named_records(seed, capacity, 0);
        let plan = Plan::records(seed, COUNT, 0, capacity as usize - 8);
        (home, Box::new(Writing(writer.waiting(mood))), plan, capacity)
    }
}

/// What the members of the group have reported.
#[derive(Debug, Default)]
struct Taken {
    /// How many members took each message, and how many of them were not killed.
    numbers: BTreeMap<u64, (u64, u64)>,
    kills: u64,
}

impl Taken {
    fn read(&mut self, book: &PathBuf, killed: bool) {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(book) {
            let _ = file.read_to_end(&mut bytes);
        }
        let _ = std::fs::remove_file(book);
        for number in bytes.chunks_exact(8) {
            let times = self.numbers.entry(bytemuck::pod_read_unaligned(number)).or_default();
            *times = (times.0 + 1, times.1 + u64::from(!killed));
        }
    }
}

impl Round {
    fn report(&self, what: &str) {
        tally::report(format!("processes, round {:#x}, {}: {what}", self.seed, self.home.line()));
    }

    fn send(&self, sender: &mut dyn Sending, dice: &mut Dice) -> Tally {
        let (mut tally, mut next) = (Tally::default(), 0);
        let plan = &self.truth.plan;
        while next < plan.count() && Instant::now() < self.until {
            let mut act = Act { dice, tally: &mut tally, style: Style::Free };
            if let Err(error) = sender.act(&mut act, plan, &mut next) {
                self.report(&error.to_string());
                break;
            }
        }
        self.truth.ends_after(next);
        sender.end(false);
        tally
    }

    fn start(&self, part: Part, dice: &mut Dice) -> Player {
        let seed = dice.word();
        let book = std::env::temp_dir()
            .join(format!("fanout-adversary-{}-{seed:x}.book", std::process::id()));
        let program = std::env::current_exe().expect("this program's path");
        let mut command = Command::new(program);
        command.env(CHILD, script(self, &part, &book, seed)).stdout(Stdio::piped());
        let child = Process::start(&mut command);
        Player { child, part, book }
    }

    /// Kills, stops and replaces consumers until the producer has ended.
    fn disturb(&self, dice: &mut Dice, tally: &mut Tally, taken: &mut Taken) {
        let parts = [SHARED, SHARED, Part::Broadcast(Start::Latest), Part::Tap(Start::Latest)];
        let mut players: Vec<_> = parts.into_iter().map(|part| self.start(part, dice)).collect();
        let began = Instant::now();
        while self.truth.sent().is_none() {
            thread::sleep(Duration::from_micros(dice.below(8000)));
            let index = dice.below(players.len() as u64) as usize;
            if dice.once_in(3) {
                self.kill(&mut players[index], tally, taken);
                let part = players[index].part.clone();
                players[index] = self.start(part, dice);
            } else {
                players[index].child.signal(Signal::SIGSTOP);
                thread::sleep(Duration::from_micros(dice.below(4000)));
                players[index].child.signal(Signal::SIGCONT);
                tally.add("processes stopped, and continued");
            }
            if began.elapsed() > TIMEOUT {
                self.report("hangs: the producer has not ended");
                drop(players);
                crate::give_up();
            }
        }
        for mut player in players {
            self.wait_for(&mut player, tally, taken);
        }
    }

    fn kill(&self, player: &mut Player, tally: &mut Tally, taken: &mut Taken) {
        player.child.kill();
        tally.add("processes killed");
        taken.kills += u64::from(player.part == SHARED);
        taken.read(&player.book, true);
        self.hear(player, tally);
    }

    /// Reads what a process has printed.
    fn hear(&self, player: &mut Player, tally: &mut Tally) {
        let mut said = String::new();
        if let Some(mut stdout) = player.child.0.stdout.take() {
            let _ = stdout.read_to_string(&mut said);
        }
        for line in said.lines() {
            tally.read(line);
            if let Some(finding) = tally::told(line) {
                self.report(finding);
            }
        }
    }

    fn wait_for(&self, player: &mut Player, tally: &mut Tally, taken: &mut Taken) {
        match player.child.ended_within(TIMEOUT) {
            Some(status) if status.success() => {}
            Some(status) => self.report(&format!("{:?} ended with {status}", player.part)),
            None => {
                self.report(&format!("hangs: {:?} does not see the end", player.part));
                player.child.kill();
            }
        }
        taken.read(&player.book, false);
        self.hear(player, tally);
    }

    /// As a member, takes what the other members have left.
    fn drain(&self, dice: &mut Dice, tally: &mut Tally, taken: &mut Taken) {
        let mut rest = self.start(SHARED, dice);
        self.wait_for(&mut rest, tally, taken);
    }

    /// Each message went to one member, or to more than one if the first was killed with it in hand: none is
    /// missing, and no more were repeated than the dead can have held.
    fn check(&self, taken: &Taken) {
        let sent = self.truth.sent().unwrap_or(0);
        let plan = &self.truth.plan;
        let twice: Vec<_> = taken.numbers.iter().filter(|(_, times)| times.1 > 1).take(3).collect();
        if !twice.is_empty() {
            self.report(&format!("members that lived took messages more than once: {twice:?}"));
        }
        let missing: Vec<u64> =
            (0..sent).filter(|number| !taken.numbers.contains_key(number)).take(9).collect();
        if !missing.is_empty() {
            self.report(&format!("lost with {} killed members: {missing:?}", taken.kills));
        }
        let size = |number: u64| plan.start(number + 1).wrapping_sub(plan.start(number));
        let repeated: u64 =
            taken.numbers.iter().map(|(&number, times)| size(number) * (times.0 - 1)).sum();
        let (kills, capacity) = (taken.kills, self.capacity);
        if repeated > kills * capacity {
            self.report(&format!(
                "{repeated} repeated with {kills} killed members that held at most {capacity} each"
            ));
        }
    }
}
