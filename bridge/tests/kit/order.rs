//! What a test tells a process at one end of a queue, and how that says how far it is.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::QueueName;

use super::message::Shape;

/// The environment variable that a process finds its order in.
pub(super) const ORDER: &str = "FANOUT_TEST_ORDER";

/// What a producer prints when everything was sent, and read by its consumers.
pub(super) const DRAINED: &str = "everything is read";

/// What a process is to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Order(BTreeMap<String, String>);

impl Order {
    pub(super) fn of(name: &QueueName, shape: Shape) -> Self {
        let order = Self::default();
        order.with("name", name.bare()).with("shape", shape.text())
    }

    pub(super) fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.0.insert(key.to_owned(), value.to_string());
        self
    }

    pub(super) fn without(mut self, key: &str) -> Self {
        self.0.remove(key);
        self
    }

    pub(super) fn text(&self) -> String {
        self.0.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }

    pub(super) fn received() -> Self {
        let text = std::env::var(ORDER).expect("a process of its own, started by another test");
        let entries = text.lines().map(|line| line.split_once('=').expect("an order"));
        Self(entries.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key).map(|text| text.parse().unwrap())
    }

    pub(super) fn pause(&self) -> Duration {
        Duration::from_micros(self.number("pause").unwrap_or(0))
    }

    pub(super) fn name(&self) -> QueueName {
        self.get("name").unwrap().parse().unwrap()
    }

    pub(super) fn note(&self) -> &Path {
        Path::new(self.get("note").unwrap())
    }

    pub(super) fn shape(&self) -> Shape {
        Shape::parse(self.get("shape").unwrap())
    }
}

/// How far a process is, in a file that outlives it.
#[derive(Debug)]
pub(super) struct Note(File);

impl Note {
    pub(super) fn open(path: &Path) -> Self {
        Self(
            File::options().create(true).truncate(false).read(true).write(true).open(path).unwrap(),
        )
    }

    pub(super) fn write(&self, next: u64) {
        self.0.write_all_at(&next.to_le_bytes(), 0).unwrap();
    }

    pub(super) fn read(&self) -> Option<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        Some(u64::from_le_bytes(bytes))
    }
}

/// A message that a member of a shared group has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Taken {
    pub(crate) number: u64,
    pub(crate) redelivered: bool,
}

impl Taken {
    fn path(note: &Path) -> PathBuf {
        note.with_extension("taken")
    }

    /// The file that a member adds them to.
    pub(super) fn list(note: &Path) -> File {
        File::options().create(true).append(true).open(Self::path(note)).unwrap()
    }

    /// Adds it.
    pub(super) fn add(self, mut list: &File) {
        list.write_all(&(self.number << 1 | u64::from(self.redelivered)).to_le_bytes()).unwrap();
    }

    /// All that were added.
    pub(super) fn all(note: &Path) -> Vec<Self> {
        let bytes = fs::read(Self::path(note)).unwrap_or_default();
        let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        words.map(|word| Self { number: word >> 1, redelivered: word & 1 != 0 }).collect()
    }
}
