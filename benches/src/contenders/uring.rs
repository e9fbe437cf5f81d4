//! `io_uring`, a ring for each side, over a pair of Unix streams.
//!
//! Each message goes to the kernel together with the wait for the next message, in one call: the send
//! is put into the ring and submitted together with the receive. The socket is registered. The same
//! call collects the completions, and no thread is interrupted for them (`DEFER_TASKRUN`), if the
//! kernel supports that.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, ensure};
use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};
use nix::libc::MSG_WAITALL;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use yardstick::bytes::buffer;

use super::Contender;
use crate::line::{Receiving, Sending, request};
use crate::load::{Sink, Source};
use crate::question::Question;

/// The socket's place among the registered descriptors.
const END: types::Fixed = types::Fixed(0);

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::Request { place, .. } = question else { return vec![] };
    // Any other error is reported by the row when it runs.
    let old = ring(true).is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput);
    let mode = if old { "send+recv a call" } else { "send+recv a call, DEFER_TASKRUN" };
    vec![Contender::rival(question, ("io_uring 0.7", mode), (place, 2), move |job| {
        let len = job.most();
        let (family, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
        let (a, b) = socketpair(family, SockType::Stream, None, flags).context("socketpair")?;
        let side = |end| move || Line::new(end, len, !old);
        Ok(request(job, side(a), side(b)))
    })]
}

/// A ring that only its own thread uses.
fn ring(deferred: bool) -> io::Result<IoUring> {
    let mut ring = IoUring::builder();
    if deferred {
        ring.setup_single_issuer().setup_coop_taskrun().setup_defer_taskrun();
    }
    ring.build(4)
}

/// One side: its ring, and what it has given to the kernel.
struct Line {
    ring: IoUring,
    /// The kernel may write there even when this side is gone, so the memory is never freed.
    out: &'static mut [u64],
    place: &'static mut [u64],
    len: usize,
    /// How many completions are still to come.
    due: usize,
    _end: OwnedFd,
}

impl Line {
    fn new(end: OwnedFd, len: usize, deferred: bool) -> anyhow::Result<Self> {
        let ring = ring(deferred).context("the kernel refuses io_uring_setup")?;
        ring.submitter().register_files(&[end.as_raw_fd()]).context("registering a socket")?;
        let [out, place] = [(); 2].map(|()| buffer(len).leak());
        Ok(Self { ring, out, place, len, due: 0, _end: end })
    }

    fn push(&mut self, entry: &Entry) -> anyhow::Result<()> {
        // SAFETY: both buffers are never freed, and are not touched until `settle` has returned.
        unsafe { self.ring.submission().push(entry) }.context("the ring is full")?;
        self.due += 1;
        Ok(())
    }

    /// Waits until everything that was pushed is done.
    fn settle(&mut self) -> anyhow::Result<()> {
        while self.due > 0 {
            match self.ring.submit_and_wait(self.due) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => drop(done.context("io_uring_enter")?),
            }
            for done in self.ring.completion() {
                self.due -= 1;
                let moved = done.result();
                if moved < 0 {
                    return Err(io::Error::from_raw_os_error(-moved))
                        .context("sending or receiving");
                }
                ensure!(moved as usize == self.len, "{moved} of {} bytes were moved", self.len);
            }
        }
        Ok(())
    }
}

impl Sending for Line {
    /// The message is sent when [`receive`](Receiving::receive) waits.
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        source.write(&mut bytemuck::cast_slice_mut(self.out)[..self.len]);
        let send = opcode::Send::new(END, self.out.as_ptr().cast(), self.len as u32);
        self.push(&send.flags(MSG_WAITALL).build())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.settle()
    }
}

impl Receiving for Line {
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        let receive = opcode::Recv::new(END, self.place.as_mut_ptr().cast(), self.len as u32);
        self.push(&receive.flags(MSG_WAITALL).build())?;
        self.settle()?;
        sink.read(&bytemuck::cast_slice(self.place)[..self.len]);
        Ok(())
    }
}
