//! What the modules share: unique names, a watchdog, ends in one line, and sealed messages.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use bytemuck::Pod;
use common::sync::{AtomicU64, Ordering};
use fanout::error::{RecvError, SendError, TryRecvError, TrySendError};
use fanout::records::{self, Reader, Writer};
use fanout::{Consumer, Member, Producer, Start, Tap};
use testing::{Unique, mix};

/// How long a test may use a name before the watchdog ends the whole run. It does not measure speed.
const DEADLINE: Duration = Duration::from_secs(120);

/// A timeout without an end: the watchdog ends what never happens.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// Short enough to be spent in a test.
pub(crate) const SHORT: Duration = Duration::from_millis(2);

/// A receiver's answer after the last message.
pub(crate) const CLOSED: TryRecvError = TryRecvError::End(RecvError::Closed);

/// The answer of a producer that has closed.
pub(crate) const SHUT: TrySendError = TrySendError::End(SendError::Closed);

static COUNTER: AtomicU64 = AtomicU64::new(0);
static NAMES: Mutex<BTreeMap<u64, (Instant, PathBuf)>> = Mutex::new(BTreeMap::new());
static WATCHDOG: Once = Once::new();

/// A unique name of a queue. The object is removed with it, and the watchdog watches it.
pub(crate) struct Name {
    number: u64,
    unique: Unique,
}

impl Name {
    pub(crate) fn new() -> Self {
        WATCHDOG.call_once(|| drop(std::thread::spawn(watch)));
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let this = Self { number, unique: Unique::new("peers") };
        names().insert(number, (Instant::now(), this.path()));
        this
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.unique.path()
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.unique.as_str()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        names().remove(&self.number);
    }
}

fn remove(path: &Path) {
    let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path));
}

fn names() -> MutexGuard<'static, BTreeMap<u64, (Instant, PathBuf)>> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// If a test holds a name for too long, ends the run, and removes what it has left.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let names = names();
        if names.values().any(|(since, _)| since.elapsed() > DEADLINE) {
            for (since, path) in names.values() {
                eprintln!("watchdog: {} in use for {:?}", path.display(), since.elapsed());
                remove(path);
            }
            std::process::abort();
        }
    }
}

/// Yields the core until the condition holds.
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

/// A ring, and the end that writes it.
pub(crate) fn ring<T: Pod>(capacity: u64) -> (Name, Producer<T>) {
    let name = Name::new();
    let producer = Producer::create(&*name, capacity).unwrap();
    (name, producer)
}

/// A ring with one broadcast consumer.
pub(crate) fn pair<T: Pod>(capacity: u64) -> (Name, Producer<T>, Consumer<T>) {
    let (name, producer) = ring(capacity);
    let consumer = consumer(&name);
    (name, producer, consumer)
}

/// A broadcast consumer from the oldest message on.
pub(crate) fn consumer<T: Pod>(name: &str) -> Consumer<T> {
    Consumer::join(name, Start::Oldest).unwrap()
}

/// A member of a group. The group's first member begins at the oldest message.
pub(crate) fn member<T: Pod>(name: &str, group: &str) -> Member<T> {
    Member::join(name, group, Start::Oldest).unwrap()
}

/// A tap from the oldest message on.
pub(crate) fn tap<T: Pod>(name: &str) -> Tap<T> {
    Tap::open(name, Start::Oldest).unwrap()
}

/// A ring of records, and the end that writes it.
pub(crate) fn writer(capacity: u64) -> (Name, Writer) {
    let name = Name::new();
    let writer = Writer::create(&*name, capacity).unwrap();
    (name, writer)
}

/// A ring of records with one broadcast consumer.
pub(crate) fn written(capacity: u64) -> (Name, Writer, Reader) {
    let (name, writer) = writer(capacity);
    let reader = reader(&name);
    (name, writer, reader)
}

/// A broadcast consumer of records, from the oldest on.
pub(crate) fn reader(name: &str) -> Reader {
    Reader::join(name, Start::Oldest).unwrap()
}

/// A member of a group of records.
pub(crate) fn worker(name: &str, group: &str) -> records::Member {
    records::Member::join(name, group, Start::Oldest).unwrap()
}

/// A tap on records, from the oldest on.
pub(crate) fn records_tap(name: &str) -> records::Tap {
    records::Tap::open(name, Start::Oldest).unwrap()
}

/// Everything that a consumer can get now.
pub(crate) fn now<T: Pod>(consumer: &mut Consumer<T>) -> Vec<T> {
    std::iter::from_fn(|| consumer.try_recv().ok()).collect()
}

/// Everything up to the end of the queue.
pub(crate) fn rest<T: Pod>(consumer: &mut Consumer<T>) -> Vec<T> {
    let all = std::iter::from_fn(|| consumer.recv().ok()).collect();
    assert_eq!(consumer.try_recv().err(), Some(CLOSED));
    all
}

/// Everything that a tap can get now.
pub(crate) fn tapped<T: Pod>(tap: &mut Tap<T>) -> Vec<T> {
    std::iter::from_fn(|| tap.try_recv().ok()).collect()
}

/// A message that shows if a part of it belongs to another message.
pub(crate) fn sealed(n: u64) -> [u64; 4] {
    [n, mix(n), !n, mix(!n)]
}

/// The number of a message that is whole.
pub(crate) fn opened(message: [u64; 4]) -> u64 {
    assert_eq!(message, sealed(message[0]), "a message of two");
    message[0]
}

/// A message of any length that shows if a part of it belongs to another message.
pub(crate) fn bytes(n: u64, len: usize) -> Vec<u8> {
    let words = (0..).flat_map(|i: u64| mix(n ^ (i << 40)).to_le_bytes());
    n.to_le_bytes().into_iter().chain(words).take(len.max(8)).collect()
}

/// The number of such a message that is whole.
pub(crate) fn number(message: &[u8]) -> u64 {
    let n = u64::from_le_bytes(message[..8].try_into().unwrap());
    assert_eq!(message, bytes(n, message.len()), "a message of two");
    n
}
