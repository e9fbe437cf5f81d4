//! What the test suites of nine peers ask of a queue, asked of ours; and what no peer's suite asks.
//!
//! Each test's first line names the peer, and says in our words what its suite asks. Left out is what
//! cannot be asked of one producer with consumers, groups and taps: rendezvous channels, unbounded
//! channels, several senders, messages with a destructor.
//!
//! | module | peer | tests |
//! |---|---|---:|
//! | `bus` | bus | 15 |
//! | `crossbeam` | crossbeam-channel, its selector too | 33 |
//! | `rtrb` | rtrb | 21 |
//! | `disruptor` | disruptor | 18 |
//! | `bbqueue` | bbqueue | 25 |
//! | `flume` | flume | 15 |
//! | `kanal` | kanal | 17 |
//! | `iceoryx2` | iceoryx2 | 37 |
//! | `tokio` | tokio's broadcast | 24 |
//! | `misuse` | nobody: misuse of every trait and handle | 60 |
#![forbid(unsafe_code)]

mod bbqueue;
mod bus;
mod crossbeam;
mod disruptor;
mod flume;
mod help;
mod iceoryx2;
mod kanal;
mod misuse;
mod rtrb;
mod tokio;

/// The table above is right, and each test names its peer.
#[test]
fn the_table_is_right() {
    for (module, peer, source) in [
        ("bus", "bus", include_str!("bus.rs")),
        ("crossbeam", "crossbeam-channel", include_str!("crossbeam.rs")),
        ("rtrb", "rtrb", include_str!("rtrb.rs")),
        ("disruptor", "disruptor", include_str!("disruptor.rs")),
        ("bbqueue", "bbqueue", include_str!("bbqueue.rs")),
        ("flume", "flume", include_str!("flume.rs")),
        ("kanal", "kanal", include_str!("kanal.rs")),
        ("iceoryx2", "iceoryx2", include_str!("iceoryx2.rs")),
        ("tokio", "tokio broadcast", include_str!("tokio.rs")),
        ("misuse", "misuse", include_str!("misuse.rs")),
    ] {
        let count = |start: &str| source.lines().filter(|line| line.starts_with(start)).count();
        let tests = count("#[test]");
        assert_eq!(count(&format!("/// {peer}")), tests, "{module}");
        let row = |line: &&str| line.starts_with(&format!("//! | `{module}` |"));
        let row = include_str!("main.rs").lines().find(row).unwrap_or_default();
        assert!(row.ends_with(&format!("| {tests} |")), "{tests} tests, and a row {row:?}");
    }
}
