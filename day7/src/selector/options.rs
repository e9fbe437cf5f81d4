//! How a selector is made, and what can go wrong with it.

use std::io;

use day5::Strategy;

use crate::ready::{BoardError, MOST_SEATS};

use super::MOST_PLAIN;

/// How a selector is to be.
#[derive(Clone, Copy, Debug)]
pub struct SelectorOptions {
    pub(super) quantum: u64,
    pub(super) seats: usize,
    pub(super) waiting: Strategy,
}

impl Default for SelectorOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// No budget is larger: what is used is counted in 63 bits.
const MOST_QUANTUM: u64 = 1 << 40;

impl SelectorOptions {
    /// A quantum of 64 KiB, and as many seats as there can be.
    pub fn new() -> Self {
        Self { quantum: 1 << 16, seats: MOST_SEATS, waiting: Strategy::Adaptive }
    }

    /// How many bytes a ring may use with each visit.
    #[must_use]
    pub fn quantum(mut self, bytes: u64) -> Self {
        self.quantum = bytes;
        self
    }

    /// How many seats there are: 1 to [`MOST_SEATS`].
    #[must_use]
    pub fn seats(mut self, seats: usize) -> Self {
        self.seats = seats;
        self
    }

    /// How it waits while no ring has anything: adaptively, unless this says otherwise.
    #[must_use]
    pub fn waiting(mut self, strategy: Strategy) -> Self {
        self.waiting = strategy;
        self
    }

    pub(super) fn checked_quantum(&self) -> Result<u64, SelectorError> {
        let is_good = (1..=MOST_QUANTUM).contains(&self.quantum);
        if is_good { Ok(self.quantum) } else { Err(SelectorError::Quantum { found: self.quantum }) }
    }
}

/// Why there is no selector.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// The quantum cannot be that.
    #[error("a quantum has 1 to {most} bytes, found {found}: some kilobytes suit most", most = MOST_QUANTUM)]
    Quantum {
        /// What was asked for.
        found: u64,
    },
    /// There is no board for the seats.
    #[error(transparent)]
    Board(#[from] BoardError),
}

/// Why a ring was not added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// There are too many rings without a seat.
    #[error("a selector takes {most} rings without a seat, and has as many: give them seats (add_seated)", most = MOST_PLAIN)]
    Plain,
    /// All seats are taken.
    #[error("all {seats} seats are taken: remove a ring, or make a selector with more seats (at most {most})", most = MOST_SEATS)]
    Seats {
        /// How many there are.
        seats: usize,
    },
    /// For the descriptor of a selector that is polled the kernel gave no descriptor, or no thread.
    #[error("no descriptor or thread for one more ring that is polled: {0}")]
    System(#[from] io::Error),
}
