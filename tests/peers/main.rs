//! What the test suites of nine peers ask of a queue, asked of ours.
//!
//! Each test's first line names the peer and says in our words what its suite asks. What does not apply to
//! one producer with consumers, groups and taps is left out: rendezvous channels, unbounded ones, several
//! senders, messages with a destructor. No line is copied.
//!
//! | module | peer | tests |
//! |---|---|---:|
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
