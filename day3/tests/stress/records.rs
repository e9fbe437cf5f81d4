//! What the processes wrote down: all that is left of the dead.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use testing::Folder;

/// A folder of records, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Records {
    folder: Folder,
    count: usize,
}

impl Records {
    pub(crate) fn new() -> Self {
        Self { folder: Folder::new(), count: 0 }
    }

    /// A file for one more process to write to.
    pub(crate) fn next(&mut self) -> PathBuf {
        self.count += 1;
        self.folder.join(&self.count.to_string())
    }

    pub(crate) fn read(&self) -> Vec<Record> {
        (1..=self.count).map(|n| Record::read(&self.folder.join(&n.to_string()))).collect()
    }
}

/// The lines that one process wrote.
#[derive(Debug)]
pub(crate) struct Record(String);

impl Record {
    /// Reads what is there. A process that was killed early has written nothing.
    pub(crate) fn read(path: &Path) -> Self {
        let mut text = fs::read_to_string(path).unwrap_or_default();
        // Its writer was killed in the middle of a line without an end.
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        Self(text)
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.0.lines().any(|found| found == line)
    }

    /// Where consumers stood when the producer was gone and everything was read.
    pub(crate) fn ends(&self) -> impl Iterator<Item = u64> {
        self.numbers("end").map(|numbers| numbers[0])
    }

    /// The messages that a member received, as runs.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        self.numbers("run").map(|numbers| numbers[0]..numbers[0] + numbers[1])
    }

    /// How often a member received older messages than before: what a dead member had left.
    pub(crate) fn backs(&self) -> usize {
        self.numbers("back").count()
    }

    /// The first word of the last line.
    pub(crate) fn last_word(&self) -> &str {
        self.0.lines().last().and_then(|line| line.split(' ').next()).unwrap_or("nothing")
    }

    fn numbers(&self, first_word: &str) -> impl Iterator<Item = Vec<u64>> {
        self.0.lines().filter_map(move |line| {
            let numbers = line.strip_prefix(first_word)?.split_whitespace();
            Some(numbers.map(|number| number.parse().unwrap()).collect())
        })
    }
}
