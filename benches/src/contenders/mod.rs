//! The contenders, each used as its documentation advises.

mod aeron;
mod bare;
mod bus;
mod channels;
mod counters;
mod crossbeam;
mod disruptor;
mod eventfd;
mod fanout;
mod iceoryx2;
mod limits;
mod merging;
mod mqueue;
mod queues;
mod readiness;
mod ringfire;
mod rtrb;
mod selector;
mod shaq;
mod shm;
mod st3;
mod streams;
mod tasks;
mod tokio;
mod uring;
mod zeromq;

use serde::Serialize;

use crate::crew::{Build, Crew, Place};
use crate::load::Job;
use crate::question::Question;

/// How many messages every ring of 64-byte messages holds.
pub const CAPACITY: usize = 1024;
/// How many messages a batch has.
pub const BATCH: usize = 64;
/// How many bytes a ring, pipe or socket holds, if its messages have another size.
pub const ROOM: usize = 4 << 20;

/// What a row is in its part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A limit of the machine: the first limit of a part bounds the other rows.
    Limit,
    /// This project.
    Fanout,
    /// Another project, or the kernel.
    Rival,
}

/// How many messages become visible, or are handed over to the kernel, at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// One message at a time.
    Singly,
    /// Several messages at a time.
    Batches,
}

/// One row of the table: a way to pass messages, used in one way.
pub struct Contender {
    /// The question that the row answers.
    pub question: Question,
    /// What the row is in its part of the table.
    pub standing: Standing,
    /// The contender's name, with its version.
    pub name: &'static str,
    /// How it is used.
    pub mode: String,
    /// One message at a time or several.
    pub style: Style,
    /// Where the sides are.
    pub place: Place,
    /// How many threads or processes of ours run at the same time.
    pub sides: usize,
    /// Makes the sides, or says why they cannot be made.
    pub build: Result<Box<Build>, String>,
}

impl Style {
    /// The style for this number of messages at a time.
    pub fn of(batch: usize) -> Self {
        if batch > 1 { Self::Batches } else { Self::Singly }
    }
}

impl Contender {
    /// A rival that passes one message at a time.
    pub fn rival(
        question: Question,
        (name, mode): (&'static str, impl Into<String>),
        (place, sides): (Place, usize),
        build: impl Fn(&Job) -> anyhow::Result<Crew> + 'static,
    ) -> Self {
        let (standing, style, mode) = (Standing::Rival, Style::Singly, mode.into());
        let build: Result<Box<Build>, String> = Ok(Box::new(build));
        Self { question, standing, name, mode, style, place, sides, build }
    }

    /// A rival that cannot take part on this machine, and why.
    pub fn missing(
        question: Question,
        (name, mode): (&'static str, impl Into<String>),
        why: impl Into<String>,
    ) -> Self {
        let row = Self::rival(question, (name, mode), (Place::Processes, 0), |_| unreachable!());
        Self { build: Err(why.into()), ..row }
    }

    /// The same row in another style.
    #[must_use]
    pub fn style(self, style: Style) -> Self {
        Self { style, ..self }
    }

    /// The same row with another standing.
    #[must_use]
    pub fn standing(self, standing: Standing) -> Self {
        Self { standing, ..self }
    }
}

/// All rows that answer a question: limits first, then this project, then rivals.
pub fn of(question: Question) -> Vec<Contender> {
    let parts: [fn(Question) -> Vec<Contender>; 26] = [
        limits::rows,
        fanout::rows,
        tasks::rows,
        selector::rows,
        queues::rows,
        bare::rows,
        shm::rows,
        counters::rows,
        eventfd::rows,
        streams::rows,
        readiness::rows,
        uring::rows,
        mqueue::rows,
        zeromq::rows,
        iceoryx2::rows,
        aeron::rows,
        rtrb::rows,
        disruptor::rows,
        bus::rows,
        tokio::rows,
        ringfire::rows,
        shaq::rows,
        st3::rows,
        crossbeam::rows,
        channels::rows,
        merging::rows,
    ];
    parts.into_iter().flat_map(|rows| rows(question)).collect()
}
