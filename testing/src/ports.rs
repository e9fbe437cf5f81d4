//! Ports of the loopback interface.

use std::cell::Cell;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::time::SystemTime;

use crate::mix;

/// Ports that the kernel does not give to outgoing connections. A client that calls again and again while its server is
/// away could otherwise be given the server's port, and be connected to itself.
const PORTS: Range<u64> = 10_000..32_000;

/// A port that nobody had a moment ago. Somebody may take it before a server does.
pub fn free_port() -> u16 {
    thread_local! {
        static NEXT: Cell<u64> = Cell::new({
            let clock = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
            mix(clock ^ u64::from(std::process::id()))
        });
    }
    loop {
        let number = NEXT.replace(mix(NEXT.get()));
        let port = (PORTS.start + number % (PORTS.end - PORTS.start)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
