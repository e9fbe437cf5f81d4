//! What these tests share: peers that break the protocol.

use std::io::{IoSlice, PipeReader, PipeWriter, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect,
    listen, recv, sendmsg, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use testing::{DEADLINE, eventually};

/// The first bytes of every packet.
pub(crate) const MAGIC: &[u8; 8] = b"FANOUT\0\0";

/// A packet: magic, then numbers.
pub(crate) fn packet(numbers: &[u32]) -> Vec<u8> {
    let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
    MAGIC.iter().copied().chain(numbers).collect()
}

/// A socket that is connected to `path`, and has sent nothing.
pub(crate) fn dial(path: &Path) -> OwnedFd {
    let socket = unconnected();
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    socket
}

/// A socket that gives up waiting after the tests' deadline.
pub(crate) fn unconnected() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(DEADLINE.as_secs() as i64)).unwrap();
    socket
}

/// A socket that listens at `path`, without a server that accepts.
pub(crate) fn listener(path: &Path) -> OwnedFd {
    let socket = unconnected();
    bind(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&socket, Backlog::new(8).unwrap()).unwrap();
    socket
}

pub(crate) fn say(socket: &OwnedFd, bytes: &[u8]) {
    say_with(socket, bytes, &[]);
}

pub(crate) fn say_with(socket: &OwnedFd, bytes: &[u8], descriptors: &[OwnedFd]) {
    let numbers: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &[] } else { &rights[..] };
    let bytes = [IoSlice::new(bytes)];
    sendmsg::<()>(socket.as_raw_fd(), &bytes, control, MsgFlags::MSG_NOSIGNAL, None).unwrap();
}

/// The next packet. It is empty if the peer hung up, in whatever way.
pub(crate) fn hear(socket: &OwnedFd) -> Vec<u8> {
    let mut bytes = [0; 256];
    match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
        Ok(len) => bytes[..len].to_vec(),
        Err(Errno::ECONNRESET) => Vec::new(),
        Err(errno) => panic!("nothing heard: {errno}"),
    }
}

/// A descriptor, and a token that tells when its last copy is closed.
pub(crate) fn token() -> (OwnedFd, Token) {
    let (reader, writer): (PipeReader, PipeWriter) = std::io::pipe().unwrap();
    (writer.into(), Token(reader))
}

#[derive(Debug)]
pub(crate) struct Token(PipeReader);

impl Token {
    /// Waits until every copy of the descriptor is closed.
    pub(crate) fn gone(mut self) {
        let read = std::thread::spawn(move || self.0.read(&mut [0]).unwrap());
        eventually("every copy of the descriptor is closed", || read.is_finished());
        assert_eq!(read.join().unwrap(), 0);
    }
}
