//! What the tests of sockets share: the transports, and pairs of sockets over each of them.

#![allow(dead_code, reason = "each test uses some of it")]

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::thread;

use day8::rings::{RingOptions, RingStream};
use day8::{Address, Connector, Isolation, Listener, Runtime, Socket, yield_now};
use testing::{DEADLINE, Folder};

/// What bytes go through. Another kind needs a line here, and one in each match below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Unix,
    Channel,
    Ring,
}

impl Transport {
    pub(crate) const ALL: [Self; 4] = [Self::Tcp, Self::Unix, Self::Channel, Self::Ring];
}

pub(crate) fn both_isolations() -> [Isolation; 2] {
    [Isolation::None, Isolation::Mprotect]
}

/// How a client gets a connection.
pub(crate) enum Connect {
    Address(Address, Option<Folder>),
    Channel(Connector),
    /// A client of rings blocks. So a bridge connects for it, which is a socket to the runtime.
    Ring(Folder, UnixListener),
}

/// In the folder of a listener over rings: where it listens, and where its bridges do.
const RINGS: &str = "rings";
const BRIDGE: &str = "bridge";

impl Connect {
    /// A new connection, as a socket of the runtime that runs.
    pub(crate) async fn connect(&self) -> Socket {
        match self {
            Self::Channel(connector) => connector.connect().await.unwrap(),
            Self::Address(address, _) => Socket::connect(address).await.unwrap(),
            Self::Ring(folder, bridge) => {
                let socket = Socket::connect(&Address::Unix(folder.join(BRIDGE))).await.unwrap();
                let (stream, _) = bridge.accept().unwrap();
                let path = folder.join(RINGS);
                thread::spawn(move || carry(&stream, &path));
                socket
            }
        }
    }
}

/// Carries bytes between a socket and a service that listens over rings, both ways, until both have ended.
fn carry(stream: &UnixStream, path: &Path) {
    let options = RingOptions::new().timeout(DEADLINE);
    let (mut answers, mut requests) = RingStream::connect_with(path, &options).unwrap().split();
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut from = stream;
            if io::copy(&mut from, &mut requests).is_ok() {
                requests.finish();
            }
            // A service that has seen enough reads no more. What the client sends all the same is thrown away.
            let _ = io::copy(&mut from, &mut io::sink());
        });
        let mut to = stream;
        let _ = io::copy(&mut answers, &mut to);
        let _ = stream.shutdown(Shutdown::Write);
    });
}

/// A listener of this kind, at a place of its own.
pub(crate) fn listen(transport: Transport) -> (Listener, Connect) {
    match transport {
        Transport::Channel => {
            let (listener, connector) = Listener::channel();
            (listener, Connect::Channel(connector))
        }
        Transport::Tcp => {
            let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.address().unwrap();
            (listener, Connect::Address(address, None))
        }
        Transport::Unix => {
            let folder = Folder::new();
            let listener = Listener::bind(&Address::Unix(folder.join("socket"))).unwrap();
            let address = listener.address().unwrap();
            (listener, Connect::Address(address, Some(folder)))
        }
        Transport::Ring => {
            let folder = Folder::new();
            let listener = Listener::bind(&Address::Ring(folder.join(RINGS))).unwrap();
            let bridge = UnixListener::bind(folder.join(BRIDGE)).unwrap();
            (listener, Connect::Ring(folder, bridge))
        }
    }
}

/// Two ends of one connection, both in the runtime that runs.
pub(crate) async fn pair(transport: Transport) -> (Socket, Socket) {
    if transport == Transport::Channel {
        return Socket::pair().unwrap();
    }
    let connect = CONNECTS.with_borrow(|connects| Rc::clone(&connects[transport as usize]));
    let near = connect.connect().await;
    loop {
        if let Some(far) = ACCEPTED.with_borrow_mut(Vec::pop) {
            return (near, far);
        }
        yield_now().await;
    }
}

thread_local! {
    /// Where the runtime of this thread listens, for each transport.
    static CONNECTS: RefCell<Vec<Rc<Connect>>> = const { RefCell::new(Vec::new()) };
    /// What it has accepted.
    static ACCEPTED: RefCell<Vec<Socket>> = const { RefCell::new(Vec::new()) };
}

/// Runs this with the two ends of one connection.
pub(crate) fn with_pair<T: 'static, F: Future<Output = T> + 'static>(
    transport: Transport,
    isolation: Isolation,
    run: impl FnOnce(Socket, Socket) -> F + 'static,
) -> T {
    let runtime = Runtime::new(isolation).unwrap();
    let mut connects = Vec::new();
    for transport in Transport::ALL {
        let (listener, connect) = listen(transport);
        let keep = |socket| async {
            ACCEPTED.with_borrow_mut(|accepted| accepted.push(socket));
            Ok(())
        };
        runtime.serve(listener, keep).unwrap();
        connects.push(Rc::new(connect));
    }
    CONNECTS.set(connects);
    runtime
        .block_on(async move {
            let (near, far) = pair(transport).await;
            run(near, far).await
        })
        .unwrap()
}

/// Bytes that look random.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    (0..len as u64).map(|place| testing::mix(place) as u8).collect()
}

/// Tells whether two long texts differ.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, &byte| testing::mix(sum ^ u64::from(byte)))
}
