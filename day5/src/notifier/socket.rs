//! What is sent over the socket; see the [module](super).

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

/// The flags of every send: do not wait, and raise no SIGPIPE.
pub(super) const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// The first packet of a consumer.
pub(super) fn hello() -> [u8; HELLO] {
    let mut hello = [0; HELLO];
    hello[..8].copy_from_slice(&MAGIC.to_le_bytes());
    hello[8..12].copy_from_slice(&VERSION.to_le_bytes());
    hello[12..].copy_from_slice(&ROLE.to_le_bytes());
    hello
}

/// Whether a peer has sent the right hello. The packet stays in the queue.
pub(super) fn is_hello(socket: &OwnedFd) -> Result<bool, Errno> {
    // One byte more, so that a packet that is too long is recognized.
    let mut bytes = [0; HELLO + 1];
    let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
    // No room for descriptors. A flag says if there were any.
    let mut none = RecvAncillaryBuffer::default();
    let packet =
        retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut none, flags))?;
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
    Ok(packet.bytes == HELLO
        && !packet.flags.contains(ReturnFlags::CTRUNC)
        && bytes.starts_with(&MAGIC.to_le_bytes())
        && (word(8), word(12)) == (VERSION, ROLE))
}

/// Ends a connection for the other side. The descriptor is closed later.
pub(super) fn hang_up(socket: &OwnedFd) {
    // It fails if the other side has hung up already.
    let _ = shutdown(socket, Shutdown::Both);
}

pub(super) fn socket() -> Result<OwnedFd, NotifyError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed("socket"))
}

pub(super) fn address(path: &Path) -> Result<SocketAddrUnix, NotifyError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    // An empty path or a leading NUL would mean another name space.
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() > 107 {
        return Err(NotifyError::Path { path: path.to_owned() });
    }
    SocketAddrUnix::new(path).map_err(failed("sockaddr_un"))
}
