//! `fanout pub`: lines in, messages out.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use fanout::{Producer, QueueName, QueueOptions, SLOTS};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::line::{Line, for_size, size_for};
use super::nap::Nap;
use super::signals::Signals;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The queue's name
    name: QueueName,
    /// Hold the first message until this many consumers are attached; 0 starts at once
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = consumers)]
    wait_for: usize,
    /// Send the lines of this file, instead of stdin's
    #[arg(long)]
    file: Option<PathBuf>,
    /// The longest line in bytes, without its newline: at most 65536
    #[arg(long, default_value_t = 1024, value_name = "BYTES")]
    max_size: usize,
    /// How many messages the queue holds: a power of two
    #[arg(long, default_value_t = 1024, value_name = "MESSAGES")]
    capacity: u64,
}

fn consumers(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if count <= SLOTS => Ok(count),
        _ => Err(format!("expected 0 to {SLOTS} consumers: a queue has no more slots")),
    }
}

/// How long a step may take before signals are looked at.
const SLICE: Duration = Duration::from_millis(50);
/// How many lines are written before they are published together.
const BATCH: usize = 64;

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    // Opened first: a file that is not there should not make a queue.
    let input = match &arguments.file {
        Some(path) => {
            Input::File(open(path).with_context(|| format!("cannot read {}", path.display()))?)
        }
        None => Input::Stdin(std::io::stdin()),
    };
    for_size!(size_for(arguments.max_size)?, publish, arguments, input, signals)
}

fn open(path: &Path) -> std::io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() { Err(ErrorKind::IsADirectory.into()) } else { Ok(file) }
}

fn publish<const N: usize>(
    arguments: &Arguments,
    input: Input,
    signals: &Signals,
) -> anyhow::Result<()> {
    let options = QueueOptions::new(arguments.capacity).message_type(&Line::<N>::type_name());
    let producer = Producer::<Line<N>>::create_with(&arguments.name, &options)?.waiting(Nap);
    let mut publisher =
        Publisher { producer, signals, max_size: arguments.max_size, warned: BTreeSet::new() };
    while publisher.producer.wait_for_consumers(arguments.wait_for, SLICE).is_err() {
        signals.check()?;
    }
    let mut lines = Lines::new(input, arguments.max_size);
    while lines.read_more(signals)? {
        publisher.send_all(&mut lines)?;
    }
    publisher.send_all(&mut lines)?;
    publisher.finish()
}

struct Publisher<'a, const N: usize> {
    producer: Producer<Line<N>, Nap>,
    signals: &'a Signals,
    max_size: usize,
    /// Slots of dead consumers that we have spoken of.
    warned: BTreeSet<usize>,
}

impl<const N: usize> Publisher<'_, N> {
    /// Sends the whole lines that have been read.
    fn send_all(&mut self, lines: &mut Lines) -> anyhow::Result<()> {
        loop {
            let batch = lines.next_lines(BATCH);
            if batch.is_empty() {
                return lines.check_unfinished();
            }
            let mut rest = &batch[..];
            while !rest.is_empty() {
                rest = &rest[self.send_some(lines, rest)?..];
            }
        }
    }

    /// Sends as many of these lines as there is room for, at least one; says how many.
    fn send_some(&mut self, lines: &mut Lines, batch: &[Range<usize>]) -> anyhow::Result<usize> {
        self.wait_for_room()?;
        let mut places = self.producer.try_reserve_up_to(batch.len())?;
        let (head, tail) = places.slices();
        let (mut written, mut too_long) = (0, None);
        for (place, line) in head.iter_mut().chain(tail).zip(batch) {
            let bytes = &lines.buffer[line.clone()];
            let len = bytes.strip_suffix(b"\n").unwrap_or(bytes).len();
            if len > self.max_size {
                too_long = Some(len);
                break;
            }
            place.set(bytes);
            written += 1;
        }
        places.publish_first(written);
        lines.number += written as u64;
        too_long.map_or(Ok(written), |len| Err(lines.too_long(len)))
    }

    fn wait_for_room(&mut self) -> anyhow::Result<()> {
        let mut looks = 0u32;
        while self.producer.try_reserve(1).is_err() {
            looks += 1;
            if looks < 64 {
                thread::yield_now();
                continue;
            }
            self.signals.check()?;
            thread::sleep(Duration::from_micros(200));
            if looks.is_multiple_of(5000) {
                self.warn_of_the_dead();
            }
        }
        Ok(())
    }

    /// Closes, and waits until everyone has read everything.
    fn finish(mut self) -> anyhow::Result<()> {
        self.producer.close();
        let mut slices = 0u32;
        while self.producer.drain(SLICE).is_err() {
            self.signals.check()?;
            slices += 1;
            if slices.is_multiple_of(20) {
                self.warn_of_the_dead();
            }
        }
        Ok(())
    }

    /// A consumer that was killed holds its place, and us.
    fn warn_of_the_dead(&mut self) {
        for consumer in self.producer.consumers() {
            if consumer.lag > 0 && is_dead(consumer.owner) && self.warned.insert(consumer.slot) {
                eprintln!(
                    "warning: consumer {} (pid {}) died without leaving and holds {} messages back; \
                     if nobody else needs them, stop this with Ctrl-C, which removes the queue",
                    consumer.slot, consumer.owner, consumer.lag
                );
            }
        }
    }
}

/// Whether no such process runs. One of another pid namespace cannot be seen, and passes for dead:
/// this is for a warning, not for a decision.
fn is_dead(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // The state follows the name, which is in brackets and may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Where lines come from.
enum Input {
    File(File),
    Stdin(std::io::Stdin),
}

impl Input {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(file) => file.as_fd(),
            Self::Stdin(stdin) => stdin.as_fd(),
        }
    }
}

/// Input, cut into lines as it comes.
struct Lines {
    input: Input,
    buffer: Vec<u8>,
    /// Everything before this has been handed out.
    start: usize,
    /// No newline lies between `start` and this.
    searched: usize,
    /// How many lines have been sent.
    number: u64,
    max_size: usize,
    ended: bool,
}

/// How much is read at a time.
const CHUNK: usize = 1 << 16;

impl Lines {
    fn new(input: Input, max_size: usize) -> Self {
        let buffer = Vec::with_capacity(2 * CHUNK);
        Self { input, buffer, start: 0, searched: 0, number: 0, max_size, ended: false }
    }

    /// Waits for input, and reads it; `false` at its end.
    fn read_more(&mut self, signals: &Signals) -> anyhow::Result<bool> {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        loop {
            signals.check()?;
            let mut polled = [PollFd::new(self.input.as_fd(), PollFlags::POLLIN)];
            let slice = PollTimeout::try_from(SLICE).unwrap_or(PollTimeout::ZERO);
            match poll(&mut polled, slice) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => bail!("waiting for input failed: {errno}"),
            }
            let filled = self.buffer.len();
            self.buffer.resize(filled + CHUNK, 0);
            // Past std's own buffer, which could hold lines that poll does not know of.
            let read = match &mut self.input {
                Input::File(file) => file.read(&mut self.buffer[filled..]),
                Input::Stdin(stdin) => nix::unistd::read(stdin.as_fd(), &mut self.buffer[filled..])
                    .map_err(std::io::Error::from),
            };
            self.buffer.truncate(filled + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => {
                    self.ended = true;
                    return Ok(false);
                }
                Ok(_) => return Ok(true),
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => {
                    let fd = self.input.as_fd().as_raw_fd();
                    return Err(error).with_context(|| format!("reading input (fd {fd}) failed"));
                }
            }
        }
    }

    /// Where up to `most` whole lines lie in the buffer; at the end of input also the rest.
    fn next_lines(&mut self, most: usize) -> Vec<Range<usize>> {
        let mut lines = Vec::new();
        while lines.len() < most {
            let rest = &self.buffer[self.searched..];
            let end = match rest.iter().position(|&byte| byte == b'\n') {
                Some(newline) => self.searched + newline + 1,
                None => {
                    self.searched = self.buffer.len();
                    if !self.ended || self.start == self.buffer.len() {
                        break;
                    }
                    self.buffer.len()
                }
            };
            lines.push(self.start..end);
            self.start = end;
            self.searched = end;
        }
        lines
    }

    /// A line that has no end yet is refused as soon as it is too long.
    fn check_unfinished(&self) -> anyhow::Result<()> {
        let len = self.buffer.len() - self.start;
        if len > self.max_size { Err(self.too_long(len)) } else { Ok(()) }
    }

    fn too_long(&self, len: usize) -> anyhow::Error {
        anyhow::anyhow!(
            "line {} has {len} bytes or more, the limit is {}: raise --max-size; \
             {} lines were sent",
            self.number + 1,
            self.max_size,
            self.number
        )
    }
}
