//! What goes over the socket; see the [module](super).

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::path::Path;

use day2::header::MAGIC;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendFlags, Shutdown,
    SocketAddrUnix, SocketFlags, SocketType, recvmsg, shutdown, socket_with,
};

use super::{NotifyError, failed};

const HELLO: usize = 16;
const VERSION: u32 = 2;
const ROLE: u32 = 3;

/// How everything is sent: without waiting, and without a signal that kills.
pub(super) const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// What a consumer says first.
pub(super) fn hello() -> [u8; HELLO] {
    let mut hello = [0; HELLO];
    hello[..8].copy_from_slice(&MAGIC.to_le_bytes());
    hello[8..12].copy_from_slice(&VERSION.to_le_bytes());
    hello[12..].copy_from_slice(&ROLE.to_le_bytes());
    hello
}

/// Whether a peer has said what it should. It stays in the queue.
pub(super) fn is_hello(socket: &OwnedFd) -> Result<bool, Errno> {
    // One byte more, so that one that is too long is seen to be.
    let mut bytes = [0; HELLO + 1];
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    // No room for descriptors: that there were some is told by a flag.
    let mut none = RecvAncillaryBuffer::default();
    let packet =
        retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut none, flags))?;
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
    Ok(packet.bytes == HELLO
        && !packet.flags.contains(ReturnFlags::CTRUNC)
        && bytes.starts_with(&MAGIC.to_le_bytes())
        && (word(8), word(12)) == (VERSION, ROLE))
}

/// Ends a connection for the other side; it is closed later.
pub(super) fn hang_up(socket: &OwnedFd) {
    // It fails if the other side was faster.
    let _ = shutdown(socket, Shutdown::Both);
}

pub(super) fn socket() -> Result<OwnedFd, NotifyError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed("socket"))
}

pub(super) fn address(path: &Path) -> Result<SocketAddrUnix, NotifyError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    // An empty path, and a leading NUL, would mean another name space.
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() > 107 {
        return Err(NotifyError::Path { path: path.to_owned() });
    }
    SocketAddrUnix::new(path).map_err(failed("sockaddr_un"))
}
