//! A program that does to a queue what its rules allow, in an order that nobody would think of, and then
//! what no rule allows. See CONTRIBUTING.md, "What takes longer".
//!
//! | variable | meaning |
//! |---|---|
//! | `FANOUT_ADVERSARY_SECONDS` | how long it runs in all; 18 unless said otherwise |
//! | `FANOUT_ADVERSARY_SEED` | repeats a run, as far as threads allow |
//! | `FANOUT_ADVERSARY_MODES` | some of `threads,processes,hostile`; all unless said otherwise |
//! | `FANOUT_ADVERSARY_ROUND` | plays again and again the round that a finding names |

mod ends;
mod guarded;
mod homes;
mod honest;
mod hostile;
mod known;
mod moods;
mod plan;
mod processes;
mod tally;
mod trial;
mod watch;
mod witness;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use tally::Tally;
use testing::Dice;

/// How many seconds it runs by default.
const SECONDS: u64 = 18;

/// How long a round of threads lasts.
const ROUND: Duration = Duration::from_millis(150);

/// The modes.
const MODES: [&str; 3] = ["threads", "processes", "hostile"];

fn main() -> ExitCode {
    if let Ok(script) = std::env::var(processes::CHILD) {
        return processes::child(&script);
    }
    if let Some(seed) = std::env::var(hostile::CHILD).ok().and_then(|text| number(&text)) {
        return hostile::child(seed);
    }
    if !is_meant() {
        return ExitCode::SUCCESS;
    }
    let seconds = variable("SECONDS").and_then(|text| number(&text)).unwrap_or(SECONDS);
    let seed = variable("SEED").and_then(|text| number(&text)).unwrap_or_else(draw);
    println!("adversary: {seconds} s, FANOUT_ADVERSARY_SEED={seed:#x} repeats it");
    let tally = play(seed, Duration::from_secs(seconds));
    leave_nothing();
    conclude(tally)
}

/// `cargo test NAME` runs every test program, with NAME as an argument.
fn is_meant() -> bool {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let is_list = arguments.iter().any(|argument| argument == "--list");
    let mut names = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    !is_list && (names.peek().is_none() || names.any(|name| "adversary".contains(&**name)))
}

/// Plays rounds of each mode in turns. The seed of each round follows from the first seed.
fn play(seed: u64, length: Duration) -> Tally {
    let modes = variable("MODES").unwrap_or_else(|| MODES.join(","));
    let again = variable("ROUND").and_then(|text| number(&text));
    let (mut dice, mut tally) = (Dice::new(seed), Tally::default());
    let until = Instant::now() + length;
    while Instant::now() < until {
        let mut next = || again.unwrap_or_else(|| dice.word());
        for mode in modes.split(',') {
            match mode {
                // Three short rounds for one long round.
                "threads" => (0..3).for_each(|_| tally.merge(&honest::round(next(), ROUND))),
                "processes" => tally.merge(&processes::round(next(), 3 * ROUND)),
                "hostile" => tally.merge(&trial::run(next(), 4 * ROUND)),
                other => panic!("a mode is one of {MODES:?}, found {other:?}"),
            }
        }
    }
    tally
}

/// Prints what happened, and whether it was allowed.
fn conclude(tally: Tally) -> ExitCode {
    for (event, times) in tally.iter() {
        println!("{times:>12}  {event}");
    }
    let findings = tally::findings();
    let (known, new): (Vec<_>, Vec<_>) =
        findings.iter().partition(|(finding, _)| known::name(finding).is_some());
    for (finding, times) in known {
        println!("{times:>12}  known: {}", known::name(finding).unwrap_or_default());
    }
    for (finding, times) in &new {
        println!("{times:>12}  FINDING: {finding}");
    }
    println!("{} messages checked, {} findings", tally.count("messages checked"), new.len());
    ExitCode::from(u8::from(!new.is_empty()))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("FANOUT_ADVERSARY_{name}")).ok()
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn draw() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Removes this process's objects from memory. Their names begin with its own prefix.
fn leave_nothing() {
    let own = homes::prefix();
    let Ok(entries) = std::fs::read_dir("/dev/shm") else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(own.trim_start_matches('/')) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Ends at once, and leaves nothing behind.
fn give_up() -> ! {
    leave_nothing();
    let _ = conclude(Tally::default());
    std::process::exit(101)
}
