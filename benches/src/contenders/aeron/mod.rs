//! Aeron IPC: a log in shared memory, through the C client and media driver that the crates
//! `rusteron-client` and `rusteron-media-driver` build and wrap.
//!
//! Building those needs cmake 3.30 and libclang, so Aeron is not a default: `--features aeron`. Both
//! can be installed with pip (`pip install cmake libclang`). Then cmake has to be on the `PATH`,
//! `LIBCLANG_PATH` says where `libclang.so` is, and `BINDGEN_EXTRA_CLANG_ARGS=-I...` where a compiler
//! keeps its `stddef.h`, which pip's libclang lacks. Aeron's C library is linked with libbsd and
//! libuuid.
//!
//! The media driver runs as one thread of the sender's process, and its costs count. It has to run
//! often, because it tells the sender how far consumers are. So Aeron has one side more, and on two
//! cores all sides yield. Without that, a log as small as the other rivals' rings is several times as
//! slow. Aeron's own default is terms of 64 MiB, and a short run would touch their pages for the first
//! time. Messages are claimed in the log, written in place, committed one by one, and polled.

#[cfg(feature = "aeron")]
mod log;

use super::{Contender, ROOM};
use crate::question::{Question, Size};

const NAME: &str = "rusteron 0.2";

/// The longest message that can be claimed is a little shorter than this.
const LONGEST: usize = 1408;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let consumers = match question {
        Question::OneWay(Size::Fixed(size)) if size < LONGEST - 32 => 1,
        Question::FanOut(consumers) => consumers,
        _ => return vec![],
    };
    [("aeron ipc, terms of 4 MiB", ROOM), ("aeron ipc, terms of 64 MiB", 64 << 20)]
        .into_iter()
        .map(|(mode, term)| contender(question, mode, term, consumers))
        .collect()
}

#[cfg(feature = "aeron")]
fn contender(question: Question, mode: &str, term: usize, consumers: usize) -> Contender {
    let sides = (crate::crew::Place::Processes, sides(consumers));
    Contender::rival(question, (NAME, mode), sides, move |job| log::build(job, term, consumers))
}

/// The number of sides: the sender, the driver, and the consumers.
#[cfg(feature = "aeron")]
fn sides(consumers: usize) -> usize {
    consumers + 2
}

#[cfg(not(feature = "aeron"))]
fn contender(question: Question, mode: &str, _: usize, _: usize) -> Contender {
    let why = "not compiled: needs cargo feature aeron, cmake 3.30, libclang and libbsd";
    Contender::missing(question, (NAME, mode), why)
}
