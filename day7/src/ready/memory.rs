//! The page that a board lies in.

use core::ops::Deref;
use std::os::fd::OwnedFd;

use common::QueueName;
use common::sync::{Arc, Ordering};
use day2::page::CommonPage;
use day2::{CreateError, OpenError};

use super::{Board, Lines, MAGIC, MOST_SEATS, Seat};

/// The board's page, mapped shared.
#[derive(Debug)]
pub(super) struct Place(CommonPage);

impl Deref for Place {
    type Target = Lines;

    #[inline(always)]
    fn deref(&self) -> &Lines {
        // SAFETY: the page is mapped while this lives, at least as long (asserted beside `Lines`), page-aligned, and
        // the lines are all atomics.
        unsafe { self.0.start().cast().as_ref() }
    }
}

/// Why there is no board.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// So many seats a board cannot have.
    #[error("a board has 1 to {most} seats, found {found}: ask for as many as there will be producers", most = MOST_SEATS)]
    Seats {
        /// How many were asked for.
        found: usize,
    },
    /// The system gave no page.
    #[error(transparent)]
    Page(#[from] CreateError),
}

/// Why a descriptor is no seat.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeatError {
    /// It is no page that can be mapped, and that nobody can cut short.
    #[error(transparent)]
    Page(#[from] OpenError),
    /// It is not a board.
    #[error("expected a board, which begins with {expected:#018x}, found {found:#018x}: take the descriptor from the selector", expected = MAGIC)]
    NoBoard {
        /// What it begins with.
        found: u64,
    },
    /// It has no such seat.
    #[error(
        "the board has {seats} seats, expected one below that, found {number}: take the number from the selector"
    )]
    Number {
        /// The number that was given.
        number: usize,
        /// How many seats there are.
        seats: u64,
    },
}

fn label() -> QueueName {
    "/fanout-ready".parse().expect("a valid name")
}

impl Board {
    /// A board with so many seats.
    ///
    /// # Errors
    ///
    /// [`BoardError`].
    pub fn create(seats: usize) -> Result<Self, BoardError> {
        if !(1..=MOST_SEATS).contains(&seats) {
            return Err(BoardError::Seats { found: seats });
        }
        let place = Arc::new(Place(CommonPage::new(&label())?));
        place.head.magic.store(MAGIC, Ordering::Relaxed);
        place.head.seats.store(seats as u64, Ordering::Relaxed);
        Ok(Self { place, seats })
    }

    /// A descriptor of the board, for another process: [`Seat::from_fd`].
    ///
    /// # Errors
    ///
    /// What the kernel said: this process is at its limit of descriptors.
    pub fn descriptor(&self) -> std::io::Result<OwnedFd> {
        self.place.0.descriptor()
    }
}

impl Seat {
    /// The seat of this number of a board that another process has handed over.
    ///
    /// # Errors
    ///
    /// [`SeatError`].
    pub fn from_fd(descriptor: OwnedFd, number: usize) -> Result<Self, SeatError> {
        let place = Place(CommonPage::from_fd(&label(), descriptor)?);
        // The descriptor came after these words, through the kernel.
        let found = place.head.magic.load(Ordering::Relaxed);
        if found != MAGIC {
            return Err(SeatError::NoBoard { found });
        }
        let seats = place.head.seats.load(Ordering::Relaxed);
        if number >= MOST_SEATS || number as u64 >= seats {
            return Err(SeatError::Number { number, seats });
        }
        Ok(Self::new(Arc::new(place), number))
    }

    /// The same, of a board whose owner says that it is one and has this seat. What stands in the board's head is not
    /// asked: other producers can write there, and would keep newcomers out.
    ///
    /// # Errors
    ///
    /// [`SeatError`].
    pub(crate) fn of_server(descriptor: OwnedFd, number: usize) -> Result<Self, SeatError> {
        if number >= MOST_SEATS {
            return Err(SeatError::Number { number, seats: MOST_SEATS as u64 });
        }
        let place = Place(CommonPage::from_fd(&label(), descriptor)?);
        Ok(Self::new(Arc::new(place), number))
    }
}
