//! A program that does to a queue what its rules allow, in an order that nobody would think of, and then
//! what no rule allows. See CONTRIBUTING.md, "What takes longer".
//!
//! | variable | meaning |
//! |---|---|
//! | `FANOUT_ADVERSARY_SECONDS` | how long it runs in all; 18 unless said otherwise |
//! | `FANOUT_ADVERSARY_SEED` | repeats a run, as far as threads allow |
//! | `FANOUT_ADVERSARY_MODES` | some of `threads,processes,hostile`; all unless said otherwise |
//! | `FANOUT_ADVERSARY_ROUND` | plays one round again, with the seed that a finding names |

mod dice;
mod ends;
mod homes;
mod honest;
mod moods;
mod plan;
mod tally;
mod watch;
mod witness;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use dice::Dice;
use tally::Tally;

/// How long a round lasts.
const ROUND: Duration = Duration::from_millis(150);

fn main() -> ExitCode {
    let mut tally = Tally::default();
    let seconds = variable("SECONDS").and_then(|text| text.parse().ok()).unwrap_or(18);
    let seed = variable("SEED").and_then(|text| number(&text)).unwrap_or_else(draw);
    println!("adversary: seed {seed:#x}, {seconds} s");
    let mut dice = Dice::new(seed);
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        tally.merge(&honest::round(dice.word(), ROUND));
    }
    for (event, times) in tally.iter() {
        println!("{times:>12}  {event}");
    }
    ExitCode::from(u8::from(!tally::findings().is_empty()))
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

/// Ends at once, with what is left behind removed.
fn give_up() -> ! {
    std::process::exit(101)
}
