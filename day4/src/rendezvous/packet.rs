//! Packets between two processes of this host, and the descriptors that go with them (`SCM_RIGHTS`).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use day2::header::MAGIC;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, recv, recvmsg, sendmsg};

/// Longer than any packet of a rendezvous, so that a packet that is too long shows.
const PACKET: usize = 128;

/// Most descriptors that the kernel attaches to one packet (`SCM_MAX_FD`).
const MOST_DESCRIPTORS: usize = 253;

/// Before the descriptors in a control message: its length, level and type.
const CONTROL_HEADER: usize = size_of::<libc::cmsghdr>();

/// Words that hold the control message with the most descriptors.
const CONTROL_WORDS: usize =
    (CONTROL_HEADER + MOST_DESCRIPTORS * size_of::<RawFd>()).div_ceil(size_of::<u64>());

/// A packet, and what came with it.
#[derive(Debug)]
pub struct Packet {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
    /// Whether the kernel could not give this process every descriptor.
    pub cut: bool,
}

/// No descriptors.
pub const NONE: &[OwnedFd] = &[];

/// Sends a packet, without waiting, with these descriptors.
///
/// # Errors
///
/// What the kernel said.
pub fn send(socket: &OwnedFd, bytes: &[u8], descriptors: &[impl AsRawFd]) -> Result<(), Errno> {
    let descriptors: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let control = if descriptors.is_empty() { &[] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let bytes = [IoSlice::new(bytes)];
    uninterrupted(|| sendmsg::<()>(socket.as_raw_fd(), &bytes, control, flags, None)).map(drop)
}

/// Receives a packet, without waiting; the kernel closes descriptors that come with it.
///
/// An empty one is the end.
///
/// # Errors
///
/// What the kernel said.
pub fn receive_bytes(socket: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = [0; PACKET];
    let flags = MsgFlags::MSG_DONTWAIT;
    let len = uninterrupted(|| recv(socket.as_raw_fd(), &mut bytes, flags))?;
    Ok(bytes[..len].to_vec())
}

/// Receives a packet and its descriptors, without waiting; none of them survives an `exec`.
///
/// An empty one is the end.
///
/// # Errors
///
/// What the kernel said.
pub fn receive(socket: &OwnedFd) -> Result<Packet, Errno> {
    receive_up_to(socket, PACKET)
}

/// The same, for packets of up to `most` bytes. What is longer is cut off.
///
/// # Errors
///
/// What the kernel said.
pub fn receive_up_to(socket: &OwnedFd, most: usize) -> Result<Packet, Errno> {
    let mut bytes = vec![0; most];
    let mut control = [0u64; CONTROL_WORDS];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let (len, cut) = uninterrupted(|| {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let control = Some(bytemuck::cast_slice_mut(&mut control));
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, control, flags)?;
        Ok((message.bytes, message.flags.contains(MsgFlags::MSG_CTRUNC)))
    })?;
    let descriptors = descriptors(bytemuck::cast_slice(&control));
    bytes.truncate(len);
    Ok(Packet { bytes, descriptors, cut })
}

/// Takes what the kernel put into the control buffer of a packet, which was zero before.
///
/// nix does not look into a buffer whose message was cut; the descriptors in it would stay open for ever.
fn descriptors(control: &[u8]) -> Vec<OwnedFd> {
    let (header, numbers) = control.split_at(CONTROL_HEADER);
    let number = |at: usize| i32::from_ne_bytes([0, 1, 2, 3].map(|i| header[at + i]));
    let (level, kind) = (number(CONTROL_HEADER - 8), number(CONTROL_HEADER - 4));
    if (level, kind) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
        return Vec::new();
    }
    // The length, header and all, stands first: 8 bytes or 4.
    let mut len = [0; size_of::<usize>()];
    len.copy_from_slice(&header[..size_of::<usize>()]);
    let len = usize::from_ne_bytes(len).saturating_sub(CONTROL_HEADER).min(numbers.len());
    let (numbers, _) = numbers[..len].as_chunks::<4>();
    let own = |number: &[u8; 4]| {
        // SAFETY: the kernel has just opened this descriptor for us; no other owner knows of it.
        unsafe { OwnedFd::from_raw_fd(RawFd::from_ne_bytes(*number)) }
    };
    numbers.iter().map(own).collect()
}

/// Waits until one of `sockets` has something, or `deadline` has passed; says how many have.
///
/// # Errors
///
/// What the kernel said.
pub fn wait(sockets: &mut [PollFd<'_>], deadline: Option<Instant>) -> Result<i32, Errno> {
    uninterrupted(|| poll(sockets, until(deadline)))
}

/// Waits until `socket` has something to read, or `deadline` has passed: `false` then.
///
/// # Errors
///
/// What the kernel said.
pub fn readable(socket: &OwnedFd, deadline: Instant) -> Result<bool, Errno> {
    let socket = PollFd::new(socket.as_fd(), nix::poll::PollFlags::POLLIN);
    wait(&mut [socket], Some(deadline)).map(|ready| ready > 0)
}

/// The time until then in milliseconds, rounded up, so that a poll does not end just before the deadline.
fn until(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now());
    PollTimeout::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
}

fn uninterrupted<R>(mut call: impl FnMut() -> Result<R, Errno>) -> Result<R, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => continue,
            result => return result,
        }
    }
}

/// What each packet begins with: magic, the protocol's version, and a number that says what it is.
pub fn head(version: u32, code: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(code.to_le_bytes());
    bytes
}

/// The version of the protocol that a packet is of; `None` if this is no packet of any.
pub fn version(bytes: &[u8]) -> Option<u32> {
    if !bytes.starts_with(&MAGIC.to_le_bytes()) {
        return None;
    }
    word(bytes, 8)
}

/// The four bytes from `at` on, as a little-endian number.
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The eight bytes from `at` on, as a little-endian number.
pub fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
