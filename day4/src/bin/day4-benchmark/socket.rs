//! The rival: a plain `SOCK_SEQPACKET` socket. Each message is written into a buffer, copied into the
//! kernel, copied out of it into another buffer, and read there.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, getsockopt, recv, send, socketpair, sockopt,
};
use yardstick::bytes::{Tally, buffer};
use yardstick::descriptors::make_room;

use crate::wheel::Load;

/// Both ends, with room in the kernel for about `room` bytes if it allows.
pub(crate) fn pair(room: usize) -> anyhow::Result<(OwnedFd, OwnedFd)> {
    let (family, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
    let ends = socketpair(family, SockType::SeqPacket, None, flags).context("socketpair")?;
    for end in [&ends.0, &ends.1] {
        make_room(end, room).context("making room in a socket")?;
    }
    Ok(ends)
}

/// How many bytes the kernel keeps for messages on their way, with its own records of them.
pub(crate) fn room(end: &impl AsFd) -> anyhow::Result<usize> {
    getsockopt(end, sockopt::SndBuf).context("asking for SO_SNDBUF")
}

/// The writing side.
pub(crate) fn sender(end: &OwnedFd, load: &Load) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut lengths = load.lengths.clone();
    let mut words = buffer(lengths.most());
    let message: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    for _ in 0..load.messages {
        let len = lengths.draw();
        tally.write(&mut message[..len], load.touch);
        let sent = send(end.as_raw_fd(), &message[..len], MsgFlags::MSG_NOSIGNAL)
            .with_context(|| format!("sending a message of {len} bytes"))?;
        ensure!(sent == len, "{sent} of {len} bytes of a message were sent");
    }
    Ok(tally)
}

/// The reading side. An empty message looks like the end of the stream, so messages are counted.
pub(crate) fn receiver(end: &OwnedFd, load: &Load) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut words = buffer(load.lengths.most());
    let message: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    for _ in 0..load.messages {
        // With this flag the answer is the length that was sent, even if the buffer is too short.
        let len = recv(end.as_raw_fd(), message, MsgFlags::MSG_TRUNC).context("receiving")?;
        ensure!(len <= message.len(), "a message of {len} bytes came, longer than any was sent");
        tally.read(&message[..len], load.touch);
    }
    Ok(tally)
}
