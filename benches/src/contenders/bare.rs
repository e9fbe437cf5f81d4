//! Tasks over this project's bare rings, one there and one back: what a server and its clients cost
//! without a register, a selector or buffers. Answers come in the order of the requests.

use anyhow::Context;
use fanout::ends as ring;
use fanout::records::ends;
use fanout::{Adaptive, Sleep, Spin, Start, Wait};

use super::fanout::{Ends, Slots, names};
use super::{CAPACITY, Contender, ROOM, Standing};
use crate::Packet;
use crate::crew::Crew;
use crate::load::Job;
use crate::question::{Question, Rest};
use crate::task::{Answering, Asking, tasks};

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::Task { place, outstanding, rest } = question else { return vec![] };
    let row = |name, mode: &'static str, build: fn(&Job, usize) -> Crew| {
        let build = move |job: &Job| Ok(build(job, outstanding));
        let row = Contender::rival(question, (name, mode), (place, 2), build);
        row.standing(Standing::Fanout)
    };
    let (ring, records) = ("fanout ring", "fanout records");
    match rest {
        Rest::Spinning => vec![
            row(ring, "bare, two rings, spin", slots::<Spin>),
            row(records, "bare, two rings, spin", frames::<Spin>),
        ],
        Rest::Sleeping => vec![
            row(ring, "bare, two rings, sleep", slots::<Sleep>),
            row(records, "bare, two rings, sleep", frames::<Sleep>),
            row(records, "bare, two rings, adaptive", frames::<Adaptive>),
        ],
    }
}

type Messages<W> = Slots<8, W>;

fn slots<W: Wait + Send + 'static>(job: &Job, outstanding: usize) -> Crew {
    let len = job.most();
    let side = move |ours: String, theirs: String| {
        move || {
            let out = ring::Producer::<_, W>::create(&*ours, CAPACITY as u64)?;
            let join = Box::new(move || Ok(ring::Consumer::<_, W>::join(&*theirs, Start::Oldest)?));
            Ok(Messages::<W> { out, join, back: None, len })
        }
    };
    let [a, b] = names(job);
    tasks(job, outstanding, side(a.clone(), b.clone()), side(b, a))
}

impl<W: Wait> Asking for Messages<W> {
    fn meet(&mut self) -> anyhow::Result<()> {
        self.join()
    }

    #[inline(always)]
    fn ask(&mut self, write: impl FnOnce(&mut Packet)) -> anyhow::Result<()> {
        let mut request = [0; 8];
        write(&mut request);
        Ok(self.out.send(request)?)
    }

    #[inline(always)]
    fn collect(&mut self, mut take: impl FnMut(&Packet)) -> anyhow::Result<()> {
        let answers = self.back()?.recv_batch(CAPACITY)?;
        let (head, tail) = answers.slices();
        head.iter().chain(tail).for_each(&mut take);
        Ok(())
    }
}

impl<W: Wait> Answering for Messages<W> {
    fn meet(&mut self) -> anyhow::Result<()> {
        self.join()
    }

    #[inline(always)]
    fn serve(&mut self, mut work: impl FnMut(&Packet, &mut Packet)) -> anyhow::Result<()> {
        let Ends { out, back, .. } = self;
        let requests = back.as_mut().context("the client's ring has not been joined")?;
        let requests = requests.recv_batch(CAPACITY)?;
        let (head, tail) = requests.slices();
        for request in head.iter().chain(tail) {
            let mut answer = [0; 8];
            work(request, &mut answer);
            out.send(answer)?;
        }
        Ok(())
    }
}

type Records<W> = Ends<ends::Writer<W>, ends::Reader<W>>;

fn frames<W: Wait + Send + 'static>(job: &Job, outstanding: usize) -> Crew {
    let len = job.most();
    let side = move |ours: String, theirs: String| {
        move || {
            let out = ends::Writer::<W>::create(&*ours, ROOM as u64)?;
            let join = Box::new(move || Ok(ends::Reader::<W>::join(&*theirs, Start::Oldest)?));
            Ok(Records::<W> { out, join, back: None, len })
        }
    };
    let [a, b] = names(job);
    tasks(job, outstanding, side(a.clone(), b.clone()), side(b, a))
}

/// Writes a message in place.
#[inline(always)]
fn place<W: Wait>(
    out: &mut ends::Writer<W>,
    write: impl FnOnce(&mut Packet),
) -> anyhow::Result<()> {
    let mut place = out.reserve(size_of::<Packet>())?;
    // Records are aligned to 8 bytes.
    write(bytemuck::from_bytes_mut(&mut place));
    place.publish(size_of::<Packet>());
    Ok(())
}

impl<W: Wait> Asking for Records<W> {
    fn meet(&mut self) -> anyhow::Result<()> {
        self.join()
    }

    #[inline(always)]
    fn ask(&mut self, write: impl FnOnce(&mut Packet)) -> anyhow::Result<()> {
        place(&mut self.out, write)
    }

    #[inline(always)]
    fn collect(&mut self, mut take: impl FnMut(&Packet)) -> anyhow::Result<()> {
        let answers = self.back()?.recv_batch(ROOM / 4)?;
        answers.iter().for_each(|answer| take(bytemuck::from_bytes(answer)));
        Ok(())
    }
}

impl<W: Wait> Answering for Records<W> {
    fn meet(&mut self) -> anyhow::Result<()> {
        self.join()
    }

    #[inline(always)]
    fn serve(&mut self, mut work: impl FnMut(&Packet, &mut Packet)) -> anyhow::Result<()> {
        let Ends { out, back, .. } = self;
        let requests = back.as_mut().context("the client's ring has not been joined")?;
        for request in requests.recv_batch(ROOM / 4)?.iter() {
            place(out, |answer| work(bytemuck::from_bytes(request), answer))?;
        }
        Ok(())
    }
}
