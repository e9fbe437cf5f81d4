//! Ends that do something else each time, over rings of messages and rings of records alike.

mod messages;
mod records;

use fanout::error::{RecvError, RecvTimeoutError, SendError, TryRecvError};
use testing::Dice;

use crate::plan::Plan;
use crate::tally::Tally;

pub(crate) use messages::{MessageEnd, MessageTap, Producing};
pub(crate) use records::{RecordEnd, RecordTap, Writing};

/// How broadcast ends give back what they were lent.
pub(crate) mod give_back {
    pub(crate) use super::messages::give_back as message;
    pub(crate) use super::records::give_back as records;
}

/// What came of one act of a reading end.
#[derive(Debug)]
pub(crate) enum Step {
    /// Something was read, or might have been.
    Went,
    /// It is over.
    Ended(RecvError),
}

/// A message that an end was shown.
pub(crate) struct Seen<'a> {
    /// The sequence at which it begins, if the end can tell.
    pub(crate) at: Option<u64>,
    pub(crate) bytes: &'a [u8],
    /// Whether it will not come again.
    pub(crate) is_final: bool,
}

/// What an act may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Everything, also calls without a deadline.
    Free,
    /// Every call that waits has a deadline.
    Timed,
}

/// An end that sends.
pub(crate) trait Sending: Send {
    /// Does something, and says in `next` how far it came.
    fn act(&mut self, at: &mut Act<'_>, plan: &Plan, next: &mut u64) -> Result<(), SendError>;
    /// Looks at who is there, and waits for them, but not for long.
    fn survey(&mut self, at: &mut Act<'_>);
    /// The sequence of the next message.
    fn next_sequence(&self) -> u64;
    /// Ends, one way or another.
    fn end(&mut self, abort: bool);
}

/// An end that reads.
pub(crate) trait Reading: Send {
    /// Does something, and shows what it reads.
    fn act(&mut self, at: &mut Act<'_>, see: &mut dyn FnMut(Seen<'_>)) -> Step;
    /// The first sequence that it was promised; a tap is promised nothing.
    fn first(&self) -> Option<u64> {
        None
    }
    /// The slot that it has; a tap has none.
    fn slot(&self) -> Option<usize> {
        None
    }
    /// How many messages a tap knows of.
    fn accounted(&self) -> Option<Accounted> {
        None
    }
}

/// What a tap has received and lost together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accounted {
    pub(crate) messages: u64,
    /// Whether nothing of it lies beyond the message that was received last. A tap that has received
    /// several at once, and the first of them torn, has gone on to where the next ones can be had.
    pub(crate) is_exact: bool,
}

/// What an end needs to do something.
pub(crate) struct Act<'a> {
    pub(crate) dice: &'a mut Dice,
    pub(crate) tally: &'a mut Tally,
    pub(crate) style: Style,
}

impl Act<'_> {
    /// A kind of call: 0 tries, 1 has a deadline, 2 waits for as long as it takes.
    fn urgency(&mut self) -> u64 {
        self.dice.below(if self.style == Style::Free { 3 } else { 2 })
    }

    /// A deadline that is soon, or has passed.
    fn soon(&mut self) -> std::time::Duration {
        std::time::Duration::from_micros(self.dice.pick(&[0, 1, 50, 500, 2000]))
    }
}

fn settled(ended: RecvError) -> Step {
    Step::Ended(ended)
}

fn tried<R>(outcome: Result<R, TryRecvError>) -> Result<R, Step> {
    outcome.map_err(|error| match error {
        TryRecvError::Empty => Step::Went,
        TryRecvError::End(end) => settled(end),
    })
}

fn timed<R>(outcome: Result<R, RecvTimeoutError>) -> Result<R, Step> {
    outcome.map_err(|error| match error {
        RecvTimeoutError::TimedOut(_) => Step::Went,
        RecvTimeoutError::End(end) => settled(end),
    })
}

/// What a program may do with what it was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Dropped,
    GivenBack,
    Forgotten,
}

impl Fate {
    fn draw(dice: &mut Dice, has_give_back: bool) -> Self {
        match dice.below(8) {
            0 => Self::Forgotten,
            1 | 2 if has_give_back => Self::GivenBack,
            _ => Self::Dropped,
        }
    }

    /// Whether what was lent is lent again.
    fn comes_again(self) -> bool {
        match self {
            Self::Dropped => false,
            Self::GivenBack | Self::Forgotten => true,
        }
    }

    /// Does it to what was lent; only a broadcast end can give something back.
    fn befall<T>(self, lent: T, give_back: Option<impl FnOnce(T)>) {
        match (self, give_back) {
            (Self::GivenBack, Some(give_back)) => give_back(lent),
            (Self::Forgotten, _) => core::mem::forget(lent),
            _ => drop(lent),
        }
    }

    fn count(self, tally: &mut Tally) {
        match self {
            Self::Dropped => tally.add("batches released"),
            Self::GivenBack => tally.add("batches given back"),
            Self::Forgotten => tally.add("batches forgotten"),
        }
    }
}
