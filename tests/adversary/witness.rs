//! Checks what one end receives against what it was promised.

use std::collections::BTreeSet;

use common::sync::{AtomicU8, AtomicU64, Ordering};
use fanout::error::RecvError;

use crate::ends::{Accounted, Act, Reading, Seen, Step, Style};
use crate::homes::Part;
use crate::plan::Plan;
use crate::tally::Tally;

/// What all ends of a round share.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) plan: Plan,
    pub(crate) is_of_messages: bool,
    /// How many messages were sent: [`UNKNOWN`] until the producer is about to end.
    sent: AtomicU64,
    pub(crate) aborts: bool,
}

const UNKNOWN: u64 = u64::MAX;

impl Truth {
    pub(crate) fn new(plan: Plan, is_of_messages: bool, aborts: bool) -> Self {
        Self { plan, is_of_messages, sent: AtomicU64::new(UNKNOWN), aborts }
    }

    /// How many messages were sent, if the producer has ended or is about to.
    pub(crate) fn sent(&self) -> Option<u64> {
        let sent = self.sent.load(Ordering::Acquire);
        (sent != UNKNOWN).then_some(sent)
    }

    /// Sets how many messages were sent.
    pub(crate) fn ends_after(&self, sent: u64) {
        self.sent.store(sent, Ordering::Release);
    }
}

/// How often each message was taken by a member of a group.
#[derive(Debug)]
pub(crate) struct Ledger(Vec<AtomicU8>);

impl Ledger {
    pub(crate) fn new(count: u64) -> Self {
        Self((0..count).map(|_| AtomicU8::new(0)).collect())
    }

    /// Each of the first `sent` messages went to exactly one member.
    pub(crate) fn check(&self, group: &str, sent: u64) -> Vec<String> {
        let counts = self.0.iter().enumerate().map(|(n, count)| (n, count.load(Ordering::Relaxed)));
        let wrong = counts.filter(|&(n, count)| u64::from(count) != u64::from((n as u64) < sent));
        let line = |(n, count)| format!("message {n} of {sent} went to {count} members of {group}");
        wrong.take(3).map(line).collect()
    }
}

/// Where a member records what it has taken.
pub(crate) enum Book<'a> {
    /// This end is no member.
    None,
    /// A member in a thread.
    Ledger(&'a Ledger),
    /// A member in a process: a file, which survives a kill.
    File(&'a std::fs::File),
}

/// One end's life, from the moment it joined.
pub(crate) struct Witness<'a> {
    truth: &'a Truth,
    book: Book<'a>,
    part: Part,
    /// For a broadcast consumer: the next message that it must see for good.
    expected: u64,
    /// For a tap or a member: the number after the message seen last.
    after: u64,
    /// For a tap: the message that it began with, and the first that it received.
    begin: Option<u64>,
    first: Option<u64>,
    /// For a member: messages that it has claimed and forgotten. They come again, or are lost when
    /// it leaves.
    forgotten: BTreeSet<u64>,
    wrong: Option<String>,
}

impl<'a> Witness<'a> {
    pub(crate) fn new(truth: &'a Truth, book: Book<'a>, part: Part, end: &dyn Reading) -> Self {
        let first = end.first().map(|first| truth.plan.number_at(first).ok_or(first));
        let wrong = match first {
            Some(Err(first)) => Some(format!("was promised {first}, where no message begins")),
            _ => None,
        };
        let expected = first.and_then(Result::ok).unwrap_or(0);
        let (begin, first, forgotten) = (None, None, BTreeSet::new());
        Self { truth, book, part, expected, after: 0, begin, first, forgotten, wrong }
    }

    /// Lets the end act, and checks the result. Returns whether it may go on.
    pub(crate) fn watch(
        &mut self,
        end: &mut dyn Reading,
        at: &mut Act<'_>,
    ) -> Result<bool, String> {
        let (mut cursor, mut last, mut seen) = (self.expected, None, 0);
        let step = end.act(at, &mut |message| {
            seen += u64::from(message.is_final);
            match self.identify(&message, cursor) {
                Ok(number) => {
                    cursor = number + 1;
                    last = Some(number);
                    self.note(number, message.is_final);
                }
                Err(wrong) => drop(self.wrong.get_or_insert(wrong)),
            }
        });
        at.tally.add_many("messages checked", seen);
        if let (Some(number), Some(accounted)) = (last, end.accounted()) {
            self.account(number, accounted);
        }
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        match step {
            Step::Went => Ok(true),
            Step::Ended(ended) => self.end(ended, end.accounted(), at.tally).map(|()| false),
        }
    }

    fn identify(&self, message: &Seen<'_>, cursor: u64) -> Result<u64, String> {
        let plan = &self.truth.plan;
        let is_broadcast = matches!(self.part, Part::Broadcast(_));
        let at = match message.at {
            // A record does not tell its own number, so it has to be the next.
            None if !self.truth.is_of_messages => Some(plan.start(cursor)),
            at => at,
        };
        let number = plan.identify(at, message.bytes)?;
        if is_broadcast && number != cursor {
            return Err(format!("expected message {cursor}, found {number}"));
        }
        // What a member that was killed had in hand may be older than what this one has read.
        let may_go_back = matches!(self.book, Book::File(_));
        if !is_broadcast && number < self.after && !may_go_back {
            return Err(format!("message {number} came after {}", self.after - 1));
        }
        Ok(number)
    }

    fn note(&mut self, number: u64, is_final: bool) {
        self.first.get_or_insert(number);
        if !is_final {
            self.forgotten.insert(number);
            return;
        }
        self.forgotten.remove(&number);
        (self.expected, self.after) = (number + 1, number + 1);
        self.write_down(number);
    }

    fn write_down(&mut self, number: u64) {
        match self.book {
            Book::None => {}
            Book::Ledger(ledger) => {
                ledger.0[number as usize].fetch_add(1, Ordering::Relaxed);
            }
            Book::File(mut file) => {
                use std::io::Write;
                if let Err(error) = file.write_all(&number.to_ne_bytes()) {
                    self.wrong = Some(format!("its book: {error}"));
                }
            }
        }
    }

    /// A tap has to know at any time how many messages it has passed.
    fn account(&mut self, number: u64, accounted: Accounted) {
        if !accounted.is_exact {
            return;
        }
        let begin = (number + 1).wrapping_sub(accounted.messages);
        let known = *self.begin.get_or_insert(begin);
        if known != begin {
            let wrong = format!("received and lost say it began at {begin}, at first {known}");
            self.wrong.get_or_insert(wrong);
        }
    }

    fn end(
        &self,
        how: RecvError,
        accounted: Option<Accounted>,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let wanted = if self.truth.aborts { RecvError::Aborted } else { RecvError::Closed };
        if how != wanted {
            return Err(format!("ended with {how:?}, expected {wanted:?}"));
        }
        tally.add("ends seen");
        // A process does not know the number, and need not: the group's books are compared at the
        // end.
        let Some(sent) = self.truth.sent() else { return Ok(()) };
        if matches!(self.part, Part::Broadcast(_)) && self.expected != sent {
            return Err(format!("the end came after {} of {sent} messages", self.expected));
        }
        if let (Some(first), Some(accounted)) = (self.first, accounted) {
            let begin = sent.wrapping_sub(accounted.messages);
            if begin > first || self.begin.is_some_and(|known| known != begin) {
                let (known, accounted) = (self.begin, accounted.messages);
                return Err(format!(
                    "began at {known:?}, received {first} first, accounts for {accounted} of {sent}"
                ));
            }
        }
        Ok(())
    }

    /// Acts until the end is reached, or `acts` times. Forgotten messages are then lost with the
    /// end.
    pub(crate) fn live(
        &mut self,
        end: &mut dyn Reading,
        acts: u64,
        (dice, tally): (&mut testing::Dice, &mut Tally),
        style: Style,
        mut beat: impl FnMut(),
    ) -> Result<bool, String> {
        let mut goes_on = true;
        for _ in 0..acts {
            beat();
            goes_on = self.watch(end, &mut Act { dice, tally, style })?;
            if !goes_on {
                break;
            }
        }
        for number in core::mem::take(&mut self.forgotten) {
            self.write_down(number);
        }
        Ok(goes_on)
    }
}
