//! How the command waits until Day 5 lets it sleep: it looks again every millisecond at the latest.

use std::thread;
use std::time::{Duration, Instant};

use fanout::wait::{Doorbell, Side, Wait};

/// Looks at once a few times, then gives the core away, then naps longer and longer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nap;

/// How many looks go by before the core is given away, and before the first nap.
const SPINS: u32 = 16;
const YIELDS: u32 = 64;
/// The first nap, and the longest.
const SHORTEST: Duration = Duration::from_micros(50);
const LONGEST: Duration = Duration::from_millis(1);

impl Wait for Nap {
    fn until<R>(
        &mut self,
        _: Side,
        _: &Doorbell,
        deadline: Option<Instant>,
        mut poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let (mut looks, mut nap) = (0, SHORTEST);
        loop {
            if let Some(answer) = poll() {
                return Some(answer);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            match looks {
                0..SPINS => std::hint::spin_loop(),
                SPINS..YIELDS => thread::yield_now(),
                _ => {
                    thread::sleep(nap);
                    nap = (nap * 2).min(LONGEST);
                }
            }
            looks = looks.saturating_add(1);
        }
    }
}
