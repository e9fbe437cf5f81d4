//! A way to wait that also rings a seat.

use std::time::Instant;

use day3::doorbell::Doorbell;
use day3::wait::{Side, Wait};
use day5::Adaptive;

use super::Seat;

/// Waits as `W` does, and tells a selector when this end has woken somebody: it rings a [`Seat`].
///
/// A producer that waits like this tells the selector of messages; a consumer tells it of room. Both ring only if the
/// selector, or somebody else, has announced a sleep at the ring's doorbell. So an end that is busy pays one plain load
/// as before. The end of the end, too, is told: a posting that is dropped rings.
///
/// Without a seat (`Default`) it is just `W`.
///
/// ```
/// # mod fanout {
/// #     pub use day3::*;
/// #     pub mod records { pub use day4::*; }
/// #     pub use day5::Adaptive;
/// #     pub mod select { pub use day7::{ready::Posting, selector::Selector}; }
/// # }
/// use fanout::records::{Reader, Writer};
/// use fanout::select::{Posting, Selector};
/// use fanout::{Adaptive, Start};
///
/// let name = format!("/doc-posting-{}", std::process::id());
/// let writer = Writer::create(&name, 4096)?;
/// let mut reader = Reader::join(&name, Start::Oldest)?;
/// let mut selector = Selector::new()?;
/// let key = selector.add_seated(reader.outlook())?;
/// let seat = selector.seat(key).expect("it has one");
/// let mut writer = writer.waiting(Posting::new(seat, Adaptive::default()));
/// writer.send(b"hello")?;
/// assert_eq!(selector.wait().key, key);
/// assert_eq!(&*reader.try_recv()?, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Posting<W = Adaptive> {
    seat: Option<Seat>,
    inner: W,
}

impl<W> Posting<W> {
    /// Waits as `inner` does, and rings `seat`.
    pub fn new(seat: Seat, inner: W) -> Self {
        Self { seat: Some(seat), inner }
    }

    /// The same, with a seat or without.
    pub fn with(seat: Option<Seat>, inner: W) -> Self {
        Self { seat, inner }
    }
}

impl<W: Wait> Wait for Posting<W> {
    #[inline]
    fn until<R>(
        &mut self,
        side: Side,
        doorbell: &Doorbell,
        deadline: Option<Instant>,
        poll: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        self.inner.until(side, doorbell, deadline, poll)
    }

    fn rung(&self, side: Side) {
        self.inner.rung(side);
        if let Some(seat) = &self.seat {
            seat.ring();
        }
    }
}

impl<W> Drop for Posting<W> {
    /// An end that is dropped has ended its ring, or left it, before its way to wait is dropped.
    fn drop(&mut self) {
        if let Some(seat) = &self.seat {
            seat.ring();
        }
    }
}
