//! What the tests of all members share: names that no other test uses, processes that do not outlive
//! their test, waiting that ends, randomness that can be repeated, and the checks that judges of
//! exercises share.
//!
//! A failure here is a panic, because that is how a test fails.

use std::time::Duration;

mod dice;
pub mod documents;
mod folder;
pub mod judge;
mod name;
mod panics;
mod ports;
mod privileges;
mod process;
mod ready;
mod wait;

pub use dice::{Dice, mix, number_from_environment};
pub use folder::Folder;
pub use name::Unique;
pub use panics::{message, panics};
pub use ports::free_port;
pub use privileges::unprivileged;
pub use process::{Ended, Process, Program, another, run};
pub use ready::{is_ready, until_ready};
pub use wait::{eventually, promptly, within};

/// Far longer than anything in a test takes. A test that reaches it hangs.
pub const DEADLINE: Duration = Duration::from_secs(100);

/// A text that is unique to this call, on this machine.
fn unique() -> String {
    // Not an atomic of `common::sync`: under loom it would belong to one model.
    static NEXT: std::sync::Mutex<u32> = std::sync::Mutex::new(0);
    let mut next = NEXT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    *next += 1;
    format!("{}-{next}", std::process::id())
}
