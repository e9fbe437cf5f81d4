//! The consumers that a producer signals: it lets them in and forgets them, and waits for none of
//! them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::process::Origin;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, fchmod};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{SocketFlags, accept_with, bind, listen};
use rustix::time::Timespec;

use super::error::not_bound;
use super::socket::{address, hang_up, is_hello, socket};
use super::{NotifyError, failed};
use crate::closer::Closer;

/// How many consumers a producer signals. One more is turned away.
pub const MOST_PEERS: usize = 256;

/// How many peers may be connected without a hello. One more, and the oldest of them is turned
/// away.
const MOST_STRANGERS: usize = 64;

/// How many consumers may connect while the producer is busy.
const BACKLOG: i32 = 1024;

/// The consumers that a producer signals.
#[derive(Debug)]
pub(super) struct State {
    listener: Option<Listener>,
    strangers: Vec<OwnedFd>,
    pub(super) peers: Vec<OwnedFd>,
    pub(super) closer: Closer,
    pub(super) turned_away: u64,
    pub(super) signals: u64,
    is_hung_up: bool,
    origin: Origin,
}

impl Default for State {
    fn default() -> Self {
        Self {
            listener: None,
            strangers: Vec::new(),
            peers: Vec::new(),
            closer: Closer::default(),
            turned_away: 0,
            signals: 0,
            is_hung_up: false,
            origin: Origin::here(),
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl State {
    /// No consumer yet; they will come through this listener.
    pub(super) fn listening(listener: Listener) -> Self {
        let mut state = Self::default();
        state.listener = Some(listener);
        state
    }

    /// Ends all connections, and closes the listener. The child of a fork leaves that to its parent.
    pub(super) fn hang_up(&mut self) {
        self.is_hung_up = true;
        let listener = self.listener.take();
        let mut sockets: Vec<_> = self.peers.drain(..).chain(self.strangers.drain(..)).collect();
        if self.origin.is_here() {
            listener.iter().for_each(Listener::remove);
            // The peers learn of it at once: closing may take a moment.
            sockets.iter().for_each(hang_up);
        }
        sockets.extend(listener.map(|listener| listener.socket));
        self.closer.close(sockets);
    }

    /// Lets new consumers in, reads the hellos that have come, and forgets the peers that have hung
    /// up. It waits for no peer.
    pub(super) fn attend(&mut self) {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let listener = self.listener.iter().map(|listener| listener.socket.as_fd());
        let strangers = self.strangers.iter().map(AsFd::as_fd);
        let speakers = strangers.chain(listener);
        let speakers = speakers.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN));
        // A peer's packets stay in its queue, so they mean nothing here. Only the end of the
        // connection counts.
        let peers = self.peers.iter();
        let peers = peers.map(|peer| PollFd::from_borrowed_fd(peer.as_fd(), PollFlags::RDHUP));
        let mut polled: Vec<_> = peers.chain(speakers).collect();
        if retry_on_intr(|| poll(&mut polled, Some(&zero))) == Ok(0) {
            return;
        }
        let ready: Vec<_> = polled.iter().map(|socket| !socket.revents().is_empty()).collect();
        let mut ready = ready.into_iter();
        let mut is_ready = || ready.next().unwrap_or(false);
        let gone: Vec<_> = self.peers.extract_if(.., |_| is_ready()).collect();
        let speaking: Vec<_> = self.strangers.extract_if(.., |_| is_ready()).collect();
        let door_is_ready = self.listener.is_some() && is_ready();
        self.closer.close(gone);
        for socket in speaking {
            self.meet(socket);
        }
        if door_is_ready {
            self.let_in();
        }
    }

    fn let_in(&mut self) {
        for _ in 0..BACKLOG {
            if self.closer.is_behind() {
                return;
            }
            let Some(listener) = &mut self.listener else { return };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match accept_with(&listener.socket, flags) {
                Ok(socket) => self.meet(socket),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE) if listener.spare.take().is_some() => {
                    // A consumer that cannot be let in learns it from the end of its connection,
                    // and does not wait in vain.
                    let Ok(socket) = accept_with(&listener.socket, flags) else { return };
                    self.turn_away(socket);
                    // There may be a descriptor for the next consumer when that one is closed.
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Looks for the hello of a peer that has connected.
    pub(super) fn meet(&mut self, socket: OwnedFd) {
        match is_hello(&socket) {
            Ok(true) if self.peers.len() < MOST_PEERS && !self.is_hung_up => {
                self.peers.push(socket)
            }
            Err(Errno::AGAIN) => {
                if self.strangers.len() == MOST_STRANGERS {
                    let oldest = self.strangers.remove(0);
                    self.turn_away(oldest);
                }
                self.strangers.push(socket);
            }
            _ => self.turn_away(socket),
        }
    }

    fn turn_away(&mut self, socket: OwnedFd) {
        self.turned_away += 1;
        hang_up(&socket);
        self.closer.close([socket]);
    }
}

/// A socket at a path of our own, and a spare descriptor to give up when there is no other.
#[derive(Debug)]
pub(super) struct Listener {
    socket: OwnedFd,
    spare: Option<OwnedFd>,
    path: PathBuf,
    identity: (u64, u64),
}

impl Listener {
    /// Listens at `given`. If that fails, the path is left as it was.
    pub(super) fn bind(given: &Path) -> Result<Self, NotifyError> {
        let address = address(given)?;
        // Absolute: this process may change its working directory before it removes the path.
        let path = std::path::absolute(given).map_err(failed("getcwd"))?;
        let socket = socket()?;
        // Linux gives the file the mode that the socket has when it is bound.
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed("fchmod"))?;
        bind(&socket, &address).map_err(|errno| not_bound(given, errno))?;
        let identity = identity(&path).map_err(failed("lstat"))?;
        let listener = Self { spare: spare(&socket), socket, path, identity };
        let listening = listen(&listener.socket, BACKLOG).map_err(failed("listen"));
        listening.inspect_err(|_| listener.remove())?;
        Ok(listener)
    }

    /// Removes the path, if it still belongs to this socket.
    fn remove(&self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = path.symlink_metadata()?;
    Ok((found.dev(), found.ino()))
}

/// A descriptor that can be given up.
fn spare(other: &OwnedFd) -> Option<OwnedFd> {
    other.try_clone().ok()
}
