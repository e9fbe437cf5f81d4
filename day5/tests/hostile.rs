//! Peers that abuse the descriptors that they share with the producer in every way they can. The
//! producer finishes, and so does a consumer that keeps the rules.
#![cfg(not(loom))]

#[macro_use]
mod queue;

use std::io::{ErrorKind, IoSlice, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use day3::TryRecvError;
use day5::{Adaptive, Notifier, Notify, Pollable};
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};
use queue::{consumer, ring};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, connect, sendmsg, shutdown, socket_with,
};
use testing::{Folder, eventually, until_ready};

/// A consumer's first packet.
const HELLO: [u8; 16] = *b"FANOUT\0\0\x02\0\0\0\x03\0\0\0";
/// A consumer's first packet in version 1, which passed an eventfd.
const OLD_HELLO: [u8; 16] = *b"FANOUT\0\0\x01\0\0\0\x03\0\0\0";

/// How often the producer signals.
const ROUNDS: u64 = 40;

/// Connects to `path`.
fn knock(path: &Path) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

/// Sends these bytes with these descriptors, if that is possible without waiting.
fn pass(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags).is_ok()
}

/// Connects to `path`, and sends these bytes with these descriptors.
fn say(path: &Path, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> OwnedFd {
    let socket = knock(path);
    assert!(bytes.is_empty() || pass(&socket, bytes, descriptors));
    socket
}

/// A producer signals an honest consumer again and again, and `attack` acts before each signal.
/// Returns how many peers were left before the producer ended.
#[track_caller]
fn outlasts(mut attack: impl FnMut(u64, &Path) + Send + 'static) -> usize {
    let folder = Folder::new();
    let place = folder.join("socket");
    let (memory, producer) = ring(64);
    let notifier = Notifier::bind(&place).unwrap();
    let mut producer = producer.waiting(Notify::new(notifier.clone(), Adaptive::default()));
    let mut honest = Pollable::connect(consumer(&memory), &place).unwrap();
    let path = place.clone();
    let sending = thread::spawn(move || {
        for number in 0..ROUNDS {
            attack(number, &path);
            assert_eq!(honest.try_recv(), Err(TryRecvError::Empty));
            producer.send(number).unwrap();
            assert_eq!(next!(honest), Ok(number));
        }
        let peers = notifier.peers();
        drop(producer);
        peers
    });
    eventually("the producer goes on", || sending.is_finished());
    sending.join().unwrap()
}

#[test]
fn an_eventfd_that_blocks_holds_up_nobody() {
    let full = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let mut sockets = Vec::new();
    let peers = outlasts(move |round, path| match round {
        0 => sockets.push(say(path, &OLD_HELLO, &[full.as_fd()])),
        1 => {
            fcntl_setfl(&full, OFlags::empty()).unwrap();
            rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        }
        _ => {}
    });
    assert_eq!(peers, 1, "a peer that passes one is turned away");
}

#[test]
fn peers_that_never_read_hold_up_nobody() {
    let mut sockets = Vec::new();
    let peers = outlasts(move |round, path| match round {
        0 => sockets.extend((0..3).map(|_| say(path, &HELLO, &[]))),
        1 => {
            setsockopt(&sockets[0], sockopt::RcvBuf, &1).unwrap();
            setsockopt(&sockets[1], sockopt::SndBuf, &1).unwrap();
            fcntl_setfl(&sockets[2], OFlags::empty()).unwrap();
        }
        _ => {}
    });
    assert_eq!(peers, 4, "they are there, and have signals that they have not read");
}

#[test]
fn a_peer_that_shuts_a_half_down_is_forgotten() {
    for half in [Shutdown::Read, Shutdown::Write, Shutdown::Both] {
        let mut sockets = Vec::new();
        let peers = outlasts(move |round, path| match round {
            0 | 5 => sockets.push(say(path, &HELLO, &[])),
            // One socket that the producer has let in, and one that it has not.
            3 | 6 => shutdown(sockets.last().unwrap(), half).unwrap(),
            _ => {}
        });
        assert_eq!(peers, 1, "{half:?}");
    }
}

#[test]
fn peers_that_talk_on_hold_up_nobody() {
    let mut sockets = Vec::new();
    let peers = outlasts(move |round, path| {
        match round {
            0 => sockets.push(say(path, &HELLO, &[])),
            1 => sockets.push(say(path, b"GET / HTTP/1.1", &[])),
            2 => sockets.push(knock(path)),
            _ => {}
        }
        for socket in &sockets {
            let descriptors = [socket.as_fd(); 4];
            while pass(socket, &[7; 5000], &descriptors) {}
            let _ = pass(socket, b"", &[]);
        }
    });
    assert_eq!(peers, 2, "one has said hello, whatever it said then");
}

/// A descriptor of a TCP connection whose last close takes an hour, and the other side, which does
/// not read.
fn lingering() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    let error = loop {
        if let Err(error) = near.write(&[0; 1 << 16]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    near.set_nonblocking(false).unwrap();
    setsockopt(&near, sockopt::Linger, &linger { l_onoff: 1, l_linger: 3600 }).unwrap();
    (near.into(), far)
}

#[test]
fn descriptors_that_nobody_can_close_hold_up_nobody() {
    let (mut sockets, mut held) = (Vec::new(), Vec::new());
    outlasts(move |round, path| {
        // With a hello, after a hello, and instead of a hello. Then the peer hangs up.
        let words = [&HELLO[..], b"GET / HTTP/1.1"];
        let socket = match round {
            0 | 1 => {
                let (near, far) = lingering();
                held.push(far);
                say(path, words[round as usize], &[near.as_fd()])
            }
            2 | 3 => {
                let socket = if round == 2 { say(path, &HELLO, &[]) } else { knock(path) };
                let (near, far) = lingering();
                held.push(far);
                assert!(pass(&socket, b"and this", &[near.as_fd()]));
                socket
            }
            10 => return sockets.clear(),
            _ => return,
        };
        sockets.push(socket);
    });
}

#[test]
fn what_a_newcomer_passes_does_not_hold_up_the_end() {
    let (near, _far) = lingering();
    let folder = Folder::new();
    let place = folder.join("socket");
    let (_memory, producer) = ring(64);
    let notifier = Notifier::bind(&place).unwrap();
    let producer = producer.waiting(Notify::new(notifier, Adaptive::default()));
    // The producer ends before it has let this peer in.
    drop(say(&place, &HELLO, &[near.as_fd()]));
    drop(near);
    let ending = thread::spawn(move || drop(producer));
    eventually("it ends", || ending.is_finished());
    ending.join().unwrap();
}

#[test]
fn peers_that_talk_nonsense_are_turned_away_and_hold_up_nobody() {
    let folder = Folder::new();
    let place = folder.join("socket");
    let (memory, producer) = ring(64);
    let notifier = Notifier::bind(&place).unwrap();
    let mut producer = producer.waiting(Notify::new(notifier.clone(), Adaptive::default()));
    let mut consumer = Pollable::connect(consumer(&memory), &place).unwrap();
    let mut next_ring = |number| {
        assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
        producer.send(number).unwrap();
        assert_eq!(next!(consumer), Ok(number));
    };
    let consumers_role = *b"FANOUT\0\0\x02\0\0\0\x01\0\0\0";
    let counter = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let counter = counter.as_fd();
    let wrong: [(&[u8], &[BorrowedFd<'_>]); 7] = [
        (b"GET / HTTP/1.1", &[]),
        (&HELLO[..15], &[]),
        (&[&HELLO[..], b"x"].concat(), &[]),
        (&consumers_role, &[]),
        (&OLD_HELLO, &[]),
        (&OLD_HELLO, &[counter]),
        (&HELLO, &[counter]),
    ];
    for (n, (bytes, descriptors)) in wrong.iter().enumerate() {
        let socket = say(&place, bytes, descriptors);
        next_ring(n as u64);
        assert_eq!(notifier.turned_away(), n as u64 + 1, "{n}");
        until_ready(&socket);
        assert_eq!(notifier.peers(), 1, "{n}");
    }
    let before = notifier.turned_away();
    // Silent peers stay, but not all of them. A peer that says hello late is let in.
    let silent: Vec<_> = (0..65).map(|_| say(&place, b"", &[])).collect();
    next_ring(100);
    assert_eq!(notifier.turned_away(), before + 1);
    drop(silent);
    eventually("they are forgotten", || {
        next_ring(101);
        notifier.turned_away() == before + 65
    });
    assert_eq!(notifier.peers(), 1);
    let _late = say(&place, &HELLO, &[]);
    next_ring(102);
    assert_eq!((notifier.turned_away(), notifier.peers()), (before + 65, 2));
}
