//! Rings of records within one process.

use std::sync::Arc;

use day3::{JoinOptions, Start};
use day4::{Local, Reader, Writer};

/// Both ends of a local ring of records.
pub(crate) fn local(memory: &Arc<Local>) -> (Writer, Reader) {
    // SAFETY: a ring of records, and the writer is the only one.
    let writer = unsafe { Writer::from_memory(memory.clone()) };
    // SAFETY: a ring of records.
    let reader = unsafe { Reader::from_memory(memory.clone(), Start::Oldest, &JoinOptions::new()) };
    (writer, reader.unwrap())
}
