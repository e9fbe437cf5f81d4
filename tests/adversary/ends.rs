//! Ends that do something else each time, on rings of messages and on rings of records.

mod messages;
mod records;

use fanout::error::{RecvError, RecvTimeoutError, SendError, TryRecvError};
use testing::Dice;

use crate::plan::Plan;
use crate::tally::Tally;

pub(crate) use messages::{MessageEnd, MessageTap, Producing};
pub(crate) use records::{RecordEnd, RecordTap, Writing};

/// How broadcast ends give back what they have borrowed.
pub(crate) mod give_back {
    pub(crate) use super::messages::give_back as message;
    pub(crate) use super::records::give_back as records;
}

/// The result of one act of a reading end.
#[derive(Debug)]
pub(crate) enum Step {
    /// Something was read, or might have been.
    Went,
    /// The end of the queue was reached.
    Ended(RecvError),
}

/// A message that an end received.
pub(crate) struct Seen<'a> {
    /// The sequence at which the message begins, if the end can tell.
    pub(crate) at: Option<u64>,
    pub(crate) bytes: &'a [u8],
    /// Whether the message will not come again.
    pub(crate) is_final: bool,
}

/// What an act may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Everything, even calls without a timeout.
    Free,
    /// Every call that waits has a timeout.
    Timed,
    /// Nothing is released before it is written down: a consumer that is killed leaves no message that it alone
    /// knows of.
    WrittenDown,
}

/// An end that sends.
pub(crate) trait Sending: Send {
    /// Does something, and counts in `next` how far it has come.
    fn act(&mut self, at: &mut Act<'_>, plan: &Plan, next: &mut u64) -> Result<(), SendError>;
    /// Looks which consumers are there, and waits for them, but not for long.
    fn survey(&mut self, at: &mut Act<'_>);
    /// The sequence of the next message.
    fn next_sequence(&self) -> u64;
    /// Closes, aborts, or is dropped.
    fn end(&mut self, abort: bool);
}

/// An end that reads.
pub(crate) trait Reading: Send {
    /// Does something, and passes on what it reads.
    fn act(&mut self, at: &mut Act<'_>, see: &mut dyn FnMut(Seen<'_>)) -> Step;
    /// The first sequence that it was promised. A tap is promised nothing.
    fn first(&self) -> Option<u64> {
        None
    }
    /// Its slot. A tap has none.
    fn slot(&self) -> Option<usize> {
        None
    }
    /// How many messages a tap has accounted for.
    fn accounted(&self) -> Option<Accounted> {
        None
    }
}

/// What a tap has received and lost, added up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accounted {
    pub(crate) messages: u64,
    /// Whether the sum ends with the message received last. A tap that received several messages at
    /// once, of which the first was torn, has already moved on to messages that can still be read.
    pub(crate) is_exact: bool,
}

/// What an end needs to act.
pub(crate) struct Act<'a> {
    pub(crate) dice: &'a mut Dice,
    pub(crate) tally: &'a mut Tally,
    pub(crate) style: Style,
}

impl Act<'_> {
    /// A kind of call: 0 tries, 1 has a timeout, 2 waits for as long as it takes.
    fn urgency(&mut self) -> u64 {
        self.dice.below(if self.style == Style::Timed { 2 } else { 3 })
    }

    /// A short timeout, or none left.
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

/// What a program may do with what it has borrowed.
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

    /// Whether the same messages come again.
    fn comes_again(self) -> bool {
        match self {
            Self::Dropped => false,
            Self::GivenBack | Self::Forgotten => true,
        }
    }

    /// Does it. Only a broadcast end can give something back.
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
