//! POSIX message queues, one each way: `mq_send` and a blocking `mq_receive`. The kernel keeps the
//! message. A queue holds one message, because there is never more than one on its way.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use anyhow::Context;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;
use yardstick::bytes::buffer;

use super::Contender;
use crate::crew::Crew;
use crate::interrupt::again;
use crate::line::{Receiving, Sending, request};
use crate::load::{Job, Sink, Source};
use crate::question::Question;

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::Request { place, .. } = question else { return vec![] };
    let who = ("POSIX message queue", "blocking mq_receive");
    vec![Contender::rival(question, who, (place, 2), queues)]
}

fn queues(job: &Job) -> anyhow::Result<Crew> {
    let len = job.most();
    let make = |end| create(&format!("{}.{end}", job.name), len);
    let (there, back) = (make("there")?, make("back")?);
    let (told, tells) = (there.try_clone()?, back.try_clone()?);
    let server = move || Ok(Side::new(tells, told, len));
    Ok(request(job, server, move || Ok(Side::new(there, back, len))))
}

/// Makes a queue that no other process can open. On Linux, its descriptor is all that is needed.
fn create(name: &str, len: usize) -> anyhow::Result<OwnedFd> {
    let how = MQ_OFlag::O_RDWR | MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_CLOEXEC;
    let attributes = MqAttr::new(0, 1, i64::try_from(len)?, 0);
    let queue = mq_open(name, how, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes));
    let queue = queue.with_context(|| {
        format!(
            "mq_open, a queue of 1 message of {len} bytes: see the limits in /proc/sys/fs/mqueue and \
             ulimit -q"
        )
    })?;
    // SAFETY: the descriptor is new. Nothing else owns it, so only dropping this closes it.
    let queue = unsafe { OwnedFd::from_raw_fd(queue.into_raw_fd()) };
    mq_unlink(name).context("mq_unlink")?;
    Ok(queue)
}

/// A queue for each direction.
struct Side {
    out: Queue,
    back: Queue,
    buffer: Vec<u64>,
    len: usize,
}

impl Side {
    fn new(out: OwnedFd, back: OwnedFd, len: usize) -> Self {
        Self { out: Queue::of(out), back: Queue::of(back), buffer: buffer(len), len }
    }
}

/// A queue that is closed when it is dropped.
struct Queue {
    queue: MqdT,
    _closes: OwnedFd,
}

impl Queue {
    fn of(descriptor: OwnedFd) -> Self {
        // SAFETY: the descriptor is a queue's, and stays open beside this.
        let queue = unsafe { MqdT::from_raw_fd(descriptor.as_raw_fd()) };
        Self { queue, _closes: descriptor }
    }
}

impl Sending for Side {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let message = &mut bytemuck::cast_slice_mut(&mut self.buffer)[..self.len];
        source.write(message);
        again(|| mq_send(&self.out.queue, message, 0)).context("mq_send")
    }
}

impl Receiving for Side {
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        let message = &mut bytemuck::cast_slice_mut(&mut self.buffer)[..self.len];
        let len = again(|| mq_receive(&self.back.queue, message, &mut 0)).context("mq_receive")?;
        sink.read(&message[..len]);
        Ok(())
    }
}
