//! Aeron IPC: a log in shared memory, through the C client and media driver that the crates
//! `rusteron-client` and `rusteron-media-driver` build and wrap.
//!
//! Building those needs cmake 3.30 and libclang, so they are no default: `--features aeron`. Both can
//! be had from pip (`pip install cmake libclang`); then cmake has to be on the `PATH`, `LIBCLANG_PATH`
//! says where `libclang.so` is, and `BINDGEN_EXTRA_CLANG_ARGS=-I...` where a compiler keeps its
//! `stddef.h`, which pip's libclang lacks.
//!
//! The driver runs as one thread of the sender's process, and whatever it costs counts. Messages are
//! claimed in the log, written in place, committed one by one, and polled.

#[cfg(feature = "aeron")]
mod log;

use super::Contender;
use crate::crew::Place;
use crate::question::{Question, Size};

const NAME: &str = "aeron ipc (rusteron 0.2)";

/// The longest message that can be claimed is a little shorter than this.
const LONGEST: usize = 1408;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let consumers = match question {
        Question::OneWay(Size::Fixed(size)) if size < LONGEST - 32 => 1,
        Question::FanOut(consumers) => consumers,
        _ => return vec![],
    };
    [("try_claim, terms of 64 MiB", 64 << 20), ("try_claim, terms of 1 MiB", 1 << 20)]
        .into_iter()
        .map(|(mode, term)| contender(question, mode, term, consumers))
        .collect()
}

#[cfg(feature = "aeron")]
fn contender(question: Question, mode: &str, term: usize, consumers: usize) -> Contender {
    let sides = (Place::Processes, consumers + 1);
    Contender::rival(question, (NAME, mode), sides, move |job| log::build(job, term, consumers))
}

#[cfg(not(feature = "aeron"))]
fn contender(question: Question, mode: &str, _: usize, _: usize) -> Contender {
    let why = "not compiled: needs cargo feature aeron, cmake 3.30 and libclang";
    Contender::missing(question, (NAME, mode), why)
}
