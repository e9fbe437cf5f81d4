//! The processes at the two ends, seen from the test: one sends messages that follow from their numbers, others check
//! them.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::QueueName;
use nix::sys::signal::Signal;
use testing::{Folder, another};

use super::bound::{DEADLINE, Ended, Run};
use super::message::Shape;
use super::order::{DRAINED, Note, ORDER, Order, Taken};

/// Such a process, seen from the test.
#[derive(Debug)]
struct Peer {
    run: Run,
    note: Note,
    path: PathBuf,
    // Last: it holds the note.
    _folder: Folder,
}

impl Peer {
    #[track_caller]
    fn start(what: &str, test: &str, order: Order) -> Self {
        let folder = Folder::new();
        let path = folder.join("note");
        let note = Note::open(&path);
        let mut command = another(test);
        command.env(ORDER, order.with("note", path.display()).text());
        Self { run: Run::start(what, &command), note, path, _folder: folder }
    }

    /// Waits until it has got to this number. There is no limit, as long as it gets further.
    #[track_caller]
    fn until(&mut self, number: u64) {
        let (mut last, mut changed) = (None, Instant::now());
        loop {
            let next = self.note.read();
            if next.is_some_and(|next| next >= number) {
                return;
            }
            if next != last {
                (last, changed) = (next, Instant::now());
            }
            assert!(self.run.is_running(), "it has ended at {next:?}, before {number}");
            assert!(changed.elapsed() < DEADLINE, "it stays at {next:?}, before {number}");
            sleep(Duration::from_millis(5));
        }
    }
}

/// A process that sends messages 0, 1, 2 and so on, up to a given number, unless it is told to end before. In the end it waits until
/// its consumers have read everything.
#[derive(Debug)]
pub(crate) struct Producer(Peer);

/// What a producer is to do.
#[derive(Clone, Debug)]
pub(crate) struct Sending(Order);

impl Producer {
    /// Starts a producer of `count` messages in a queue of a mebibyte, which closes the queue in the end.
    #[track_caller]
    pub(crate) fn start(name: &QueueName, shape: Shape, count: u64) -> Self {
        Self::of(name, shape, count).start()
    }

    /// The same, with more to be said before it starts.
    pub(crate) fn of(name: &QueueName, shape: Shape, count: u64) -> Sending {
        Sending(Order::of(name, shape).with("count", count).with("capacity", 1 << 20))
    }

    /// How many messages were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.0.note.read().unwrap_or(0)
    }

    /// Waits until so many were sent.
    #[track_caller]
    pub(crate) fn until_sent(&mut self, count: u64) {
        self.0.until(count);
    }

    /// Waits until everything was sent, and read by all its consumers.
    #[track_caller]
    pub(crate) fn until_drained(&mut self) {
        let (mut last, mut changed) = (self.sent(), Instant::now());
        while !self.0.run.stdout().contains(DRAINED) {
            let sent = self.sent();
            if sent != last {
                (last, changed) = (sent, Instant::now());
            }
            assert!(self.0.run.is_running(), "the producer has ended after {sent}");
            assert!(changed.elapsed() < DEADLINE, "not everything was read of {sent}");
            sleep(Duration::from_millis(5));
        }
    }

    /// Kills it as `kill -9` does.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.0.run.kill();
    }

    /// Starts it again: it takes over the queue if that is there, and creates one otherwise.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.0.run.forget();
        self.0.run.restart();
    }

    /// Whether it is running.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.run.is_running()
    }

    /// Waits until everything was sent and read, and has it end the queue as it was told to.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> u64 {
        self.until_drained();
        self.end()
    }

    /// Has it send no more, and end the queue when all that it has sent is read; does not wait for that.
    #[track_caller]
    pub(crate) fn hang_up(&mut self) {
        self.0.run.hang_up();
    }

    /// Has it send no more, and end the queue when all that it has sent is read. Returns how much that was.
    #[track_caller]
    pub(crate) fn end(&mut self) -> u64 {
        self.0.run.hang_up();
        self.0.run.wait().with(0);
        self.sent()
    }
}

impl Sending {
    fn with(self, key: &str, value: impl ToString) -> Self {
        Self(self.0.with(key, value))
    }

    /// With a ring of so many bytes.
    pub(crate) fn capacity(self, bytes: u64) -> Self {
        self.with("capacity", bytes)
    }

    /// With the first message at this sequence.
    pub(crate) fn first(self, sequence: u64) -> Self {
        self.with("first", sequence)
    }

    /// It gives the queue up in the end, for this reason.
    pub(crate) fn aborting(self, reason: &str) -> Self {
        self.with("abort", reason)
    }

    /// It sends nothing before so many consumers are there.
    pub(crate) fn waiting_for(self, consumers: usize) -> Self {
        self.with("consumers", consumers)
    }

    /// It rests for so long after each [`BATCH`] bytes.
    pub(crate) fn resting(self, pause: Duration) -> Self {
        self.with("pause", pause.as_micros())
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(self) -> Producer {
        Producer(Peer::start("the producer", "kit::roles::sends", self.0))
    }
}

/// A process that reads a queue to its end, or to a given number, and checks every message.
#[derive(Debug)]
pub(crate) struct Consumer(Peer);

/// What a consumer is to do.
#[derive(Clone, Debug)]
pub(crate) struct Receiving(Order);

/// What a consumer has received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// The number of the first message.
    pub(crate) first: u64,
    /// The number after that of the last one.
    pub(crate) next: u64,
    /// How many messages came a second time, marked as such, because a member before had died with them.
    pub(crate) redelivered: u64,
    /// The checksum of those that it received since it was started last.
    pub(crate) checksum: u64,
    /// How the queue ended: `closed`, `aborted REASON`, `died`, or `not` if it stopped before.
    pub(crate) ended: String,
}

impl Received {
    fn parse(ended: &Ended) -> Self {
        let line = ended.stdout.lines().find_map(|line| line.strip_prefix("received "));
        let line = line.unwrap_or_else(|| panic!("no report: {}{}", ended.stdout, ended.stderr));
        let mut words = line.splitn(5, ' ');
        let mut number = || words.next().unwrap().parse().unwrap();
        let (first, next, redelivered, checksum) = (number(), number(), number(), number());
        Self { first, next, redelivered, checksum, ended: words.next().unwrap().to_owned() }
    }

    /// Checks that these are all messages before number `count`, each once, and that the queue was closed then.
    #[track_caller]
    pub(crate) fn is_all(&self, shape: Shape, count: u64) {
        self.is_all_until(shape, count, "closed");
    }

    /// The same, where the queue ended in this way.
    #[track_caller]
    pub(crate) fn is_all_until(&self, shape: Shape, count: u64, ended: &str) {
        let checksum = shape.checksum(0..count);
        let expected =
            Self { first: 0, next: count, redelivered: 0, checksum, ended: ended.to_owned() };
        assert_eq!(*self, expected);
    }
}

impl Consumer {
    /// Starts a consumer that expects messages from number 0 on, with the sequences that they have in a queue that
    /// begins with sequence 0. It waits for the queue, and it follows: a producer that dies may have a successor.
    #[track_caller]
    pub(crate) fn start(name: &QueueName, shape: Shape) -> Self {
        Self::of(name, shape).start()
    }

    /// The same, with more to be said before it starts.
    pub(crate) fn of(name: &QueueName, shape: Shape) -> Receiving {
        Receiving(Order::of(name, shape).with("from", 0))
    }

    /// The number after that of the last message that it has checked.
    pub(crate) fn next(&self) -> u64 {
        self.0.note.read().unwrap_or(0)
    }

    /// Waits until it has checked all messages before this one. There is no limit, as long as it gets further.
    #[track_caller]
    pub(crate) fn until(&mut self, number: u64) {
        self.0.until(number);
    }

    /// Kills it as `kill -9` does.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.0.run.kill();
    }

    /// Starts it again. A member of a group goes on behind what it has checked. Others begin with what the ring has.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.0.run.forget();
        self.0.run.restart();
    }

    /// Whether it is running. It ends by itself as soon as a message is not what it should be.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.run.is_running()
    }

    /// Fails if it has found something wrong.
    #[track_caller]
    pub(crate) fn goes_on(&mut self) {
        assert!(self.is_running(), "the consumer has ended: {}", self.0.run.stderr());
    }

    /// Freezes it: it holds back its producer.
    pub(crate) fn freeze(&mut self) {
        self.0.run.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&mut self) {
        self.0.run.signal(Signal::SIGCONT);
    }

    /// What it has received when it ends. Fails if it found anything wrong.
    #[track_caller]
    pub(crate) fn finish(&mut self) -> Received {
        // As long as it gets further, it may take its time.
        let mut last = (self.next(), Instant::now());
        while self.is_running() {
            let next = self.next();
            if next != last.0 {
                last = (next, Instant::now());
            }
            assert!(last.1.elapsed() < DEADLINE, "the consumer waits for {next}");
            sleep(Duration::from_millis(5));
        }
        Received::parse(&self.0.run.wait().with(0))
    }

    /// What a consumer that [shares](Receiving::sharing) has received so far.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        Taken::all(&self.0.path)
    }

    /// Waits until it ends because of something wrong, and returns what it said.
    #[track_caller]
    pub(crate) fn objects(&mut self) -> String {
        self.0.run.wait().with(101).stderr
    }
}

impl Receiving {
    fn with(self, key: &str, value: impl ToString) -> Self {
        Self(self.0.with(key, value))
    }

    fn without(self, key: &str) -> Self {
        Self(self.0.without(key))
    }

    /// It begins with any message. From the message's sequence follows its number.
    pub(crate) fn beginning_anywhere(self) -> Self {
        self.without("from")
    }

    /// It begins with the message of this number.
    pub(crate) fn beginning_with(self, number: u64) -> Self {
        self.with("from", number)
    }

    /// Message 0 has this sequence.
    pub(crate) fn origin(self, sequence: u64) -> Self {
        self.with("origin", sequence)
    }

    /// It stops before this number.
    pub(crate) fn up_to(self, number: u64) -> Self {
        self.with("count", number)
    }

    /// It is a member of this group, which holds the producer back also while it is not there.
    pub(crate) fn member(self, group: &str) -> Self {
        self.with("group", group)
    }

    /// It is a member of a group with others: any message may come next, but only later ones. They must have their
    /// numbers.
    pub(crate) fn sharing(self) -> Self {
        self.without("from").with("sharing", true)
    }

    /// It takes a rest for so long after each message.
    pub(crate) fn resting(self, pause: Duration) -> Self {
        self.with("pause", pause.as_micros())
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(self) -> Consumer {
        Consumer(Peer::start("the consumer", "kit::roles::receives", self.0))
    }
}
