//! Requests that are read piece by piece, because the socket's buffer does not hold them.
//!
//! What was announced costs nothing: memory is taken for what has come.

use super::number;
use super::request::{
    Arguments, Limits, MOST_LINE, ProtocolError, check_count, check_length, words,
};

/// Which line is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Inline,
    Count,
    Length,
}

#[derive(Debug)]
enum State {
    /// Nothing has come.
    Start,
    /// In the middle of a line, or behind the "\r" that ends it.
    Line(Line, Vec<u8>),
    /// In the middle of an argument, of which so many bytes have yet to come.
    Argument { left: usize },
    /// Behind an argument, in front of so many bytes that end it.
    End { left: usize },
}

/// What has come of a long request.
#[derive(Debug)]
pub(super) struct Long {
    state: State,
    /// How many arguments have yet to come, with the one that is being read.
    left: usize,
    arguments: Vec<Vec<u8>>,
    /// How much memory the arguments have.
    held: usize,
    /// There was no memory for it: what comes is thrown away.
    is_refused: bool,
}

/// What a step has led to.
#[derive(Debug)]
pub(super) enum Progress {
    /// More has to come.
    Going,
    /// The request is there. It has no arguments if there was no memory for it.
    Whole(Arguments<'static>, Memory),
    Wrong(ProtocolError),
}

/// Whether there was memory for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    Enough,
    Refused,
}

/// What an argument needs besides its bytes.
const ARGUMENT: usize = size_of::<Vec<u8>>() + 16;

impl Long {
    pub(super) fn new() -> Self {
        let (state, arguments) = (State::Start, Vec::new());
        Self { state, left: 0, arguments, held: 0, is_refused: false }
    }

    /// How much memory the request has so far.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes some of the bytes, at least one, and says how many. The request may hold up to `most` bytes.
    pub(super) fn take(&mut self, bytes: &[u8], limits: &Limits, most: usize) -> (usize, Progress) {
        let (mut taken, mut progress) = (0, Progress::Going);
        while taken < bytes.len() && matches!(progress, Progress::Going) {
            let (more, next) = self.step(&bytes[taken..], limits, most);
            (taken, progress) = (taken + more, next);
        }
        (taken, progress)
    }

    fn step(&mut self, bytes: &[u8], limits: &Limits, most: usize) -> (usize, Progress) {
        match &mut self.state {
            State::Start => {
                let (line, skipped) = match bytes[0] {
                    b'*' => (Line::Count, 1),
                    _ => (Line::Inline, 0),
                };
                self.state = State::Line(line, Vec::new());
                (skipped, Progress::Going)
            }
            State::Line(line, so_far) => {
                let line = *line;
                let (taken, is_whole) = match take_line(so_far, line, bytes) {
                    Ok(taken) => taken,
                    Err(error) => return (bytes.len(), Progress::Wrong(error)),
                };
                let progress = if is_whole { self.end_line(line, limits) } else { Progress::Going };
                (taken, progress)
            }
            State::Argument { left } => {
                let taken = bytes.len().min(*left);
                let left = *left - taken;
                self.keep(&bytes[..taken], left, most);
                self.state =
                    if left > 0 { State::Argument { left } } else { State::End { left: 2 } };
                (taken, Progress::Going)
            }
            State::End { left } => {
                // As in Redis, what these bytes are does not matter.
                let taken = bytes.len().min(*left);
                *left -= taken;
                let is_over = *left == 0;
                (taken, if is_over { self.end_argument() } else { Progress::Going })
            }
        }
    }

    fn end_line(&mut self, line: Line, limits: &Limits) -> Progress {
        let State::Line(_, text) = core::mem::replace(&mut self.state, State::Start) else {
            unreachable!("a line has ended")
        };
        match self.next_state(line, &text, limits) {
            Ok(progress) => progress,
            Err(error) => Progress::Wrong(error),
        }
    }

    fn next_state(
        &mut self,
        line: Line,
        text: &[u8],
        limits: &Limits,
    ) -> Result<Progress, ProtocolError> {
        match line {
            Line::Inline => return Ok(Progress::Whole(words(text)?, Memory::Enough)),
            Line::Count => {
                let count = number::parse(text).ok_or(ProtocolError::Count)?;
                self.left = check_count(count, limits)?;
                if self.left == 0 {
                    return Ok(self.whole());
                }
                self.state = State::Line(Line::Length, Vec::new());
            }
            Line::Length => {
                let (&first, digits) = text.split_first().unwrap_or((&b'\r', &[]));
                if first != b'$' {
                    return Err(ProtocolError::NoDollar { found: first });
                }
                let len = number::parse(digits).ok_or(ProtocolError::Length)?;
                let left = check_length(len, limits)?;
                self.state =
                    if left > 0 { State::Argument { left } } else { State::End { left: 2 } };
                if !self.is_refused {
                    self.arguments.push(Vec::new());
                    self.held += ARGUMENT;
                }
            }
        }
        Ok(Progress::Going)
    }

    /// Keeps a piece of an argument, behind which `left` bytes have yet to come.
    fn keep(&mut self, piece: &[u8], left: usize, most: usize) {
        if self.is_refused {
            return;
        }
        if self.held + piece.len() > most {
            (self.arguments, self.held, self.is_refused) = (Vec::new(), 0, true);
            return;
        }
        let argument = self.arguments.last_mut().expect("an argument has begun");
        let needed = argument.len() + piece.len();
        if needed > argument.capacity() {
            // Twice as much each time, but never more than was announced.
            let capacity = (2 * argument.capacity()).clamp(needed, needed + left);
            argument.reserve_exact(capacity - argument.len());
        }
        argument.extend_from_slice(piece);
        self.held += piece.len();
    }

    fn end_argument(&mut self) -> Progress {
        self.left -= 1;
        if self.left == 0 {
            return self.whole();
        }
        self.state = State::Line(Line::Length, Vec::new());
        Progress::Going
    }

    fn whole(&mut self) -> Progress {
        let memory = if self.is_refused { Memory::Refused } else { Memory::Enough };
        Progress::Whole(Arguments::Words(core::mem::take(&mut self.arguments)), memory)
    }
}

/// Takes bytes up to the end of the line. Says how many, and whether the end was there.
fn take_line(
    so_far: &mut Vec<u8>,
    line: Line,
    bytes: &[u8],
) -> Result<(usize, bool), ProtocolError> {
    let (last, too_long) = match line {
        Line::Inline => (b'\n', ProtocolError::LongLine),
        Line::Count => (b'\r', ProtocolError::LongCount),
        Line::Length => (b'\r', ProtocolError::LongLength),
    };
    if line != Line::Inline && so_far.last() == Some(&b'\r') {
        // Whatever stands behind the "\r" is a line's end for Redis.
        so_far.pop();
        return Ok((1, true));
    }
    let end = memchr::memchr(last, bytes);
    let piece = &bytes[..end.unwrap_or(bytes.len())];
    // The "$" of a length is in front of its line.
    let most = MOST_LINE + usize::from(line == Line::Length && so_far.first() == Some(&b'$'));
    if so_far.len() + piece.len() > most {
        return Err(too_long);
    }
    so_far.extend_from_slice(piece);
    match end {
        None => Ok((bytes.len(), false)),
        Some(end) if line == Line::Inline => Ok((end + 1, true)),
        Some(end) => {
            so_far.push(last);
            Ok((end + 1, false))
        }
    }
}
