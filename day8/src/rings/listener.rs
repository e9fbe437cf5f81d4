//! The service's side: who is let in.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::OsError;
use day4::rendezvous::RendezvousError;
use day4::rendezvous::socket::Listening;
use day7::line::wire::{self, Answer, STREAM};
use day7::line::{Caller, Connection, Plan, ServerEnds, Visitors};
use day7::ready::MOST_SEATS;
use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;

use super::set::NoPlace;
use super::{RING, RingTransport, Rings};

/// Listens for connections over rings. Nothing here waits.
#[derive(Debug)]
pub(crate) struct RingListener {
    visitors: Visitors,
    plan: Plan,
}

impl RingListener {
    /// Listens at this path, for processes of its own user, and root's.
    ///
    /// # Errors
    ///
    /// [`RendezvousError`]; what was at the path before is left there.
    pub(crate) fn bind(path: impl AsRef<Path>) -> Result<Self, RendezvousError> {
        let listening = Listening::bind(path)?;
        let path = listening.path().to_owned();
        let visitors = Visitors::new(listening).map_err(|error| RendezvousError::System {
            path,
            call: "epoll_create",
            errno: OsError::new(error),
        })?;
        let plan = Plan::new(Plan::rounded(RING), Plan::rounded(RING)).expect("it is rounded");
        Ok(Self { visitors, plan })
    }

    /// Where it listens, as an absolute path.
    pub(crate) fn path(&self) -> &Path {
        self.visitors.path()
    }

    /// How long until a client that has connected and says nothing is to be sent away, by the next
    /// [`accept`](Self::accept); `None` if there is none.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.visitors.time_left()
    }

    /// The next connection, if a client has said hello. Once there is none, the descriptor tells when to ask again.
    ///
    /// # Errors
    ///
    /// [`WouldBlock`](io::ErrorKind::WouldBlock); or what the kernel said: no descriptor, for example. Clients wait.
    pub(crate) fn accept(&mut self, rings: &Rings) -> io::Result<RingTransport> {
        loop {
            let caller = match self.visitors.hear() {
                Ok(Some(caller)) => caller,
                Ok(None) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(RendezvousError::System { errno, .. }) => return Err(errno.into()),
                Err(error) => return Err(io::Error::other(error)),
            };
            if let Some(transport) = self.let_in(caller, rings) {
                return Ok(transport);
            }
        }
    }

    /// Lets a client in, or tells it why not.
    fn let_in(&self, caller: Caller, rings: &Rings) -> Option<RingTransport> {
        let no = |status, number| Answer::no(status, number);
        if !caller.is_welcome(&[STREAM], false) {
            caller.tell(&no(wire::REFUSED, 0), &[]);
            return None;
        }
        let id = caller.id;
        let connection = Arc::new(Connection::Socket(caller.socket));
        let refuse = |answer: Answer| {
            connection.tell(&answer, &[]);
            None
        };
        let made = ServerEnds::create(c"fanout-service", self.plan, Arc::clone(&connection));
        let (object, ends) = match made {
            Ok(made) => made,
            Err((_, errno)) => return refuse(no(wire::FAILED, errno as u64)),
        };
        let (place, board, seat) = match rings.add(ends.requests.outlook(), &connection) {
            Ok(placed) => placed,
            Err(NoPlace::Full) => return refuse(no(wire::FULL, MOST_SEATS as u64)),
            Err(NoPlace::System(error)) => {
                let errno = error.raw_os_error().unwrap_or(Errno::EIO as i32);
                return refuse(no(wire::FAILED, errno as u64));
            }
        };
        let answer = Answer {
            version: wire::VERSION,
            status: wire::LET_IN,
            descriptors: 2,
            seat: seat as u32,
            requests: self.plan.requests(),
            answers: self.plan.answers(),
            client: id,
            ..Answer::default()
        };
        let went = connection.tell(&answer, &[object.as_fd(), board.as_fd()]);
        went.then(|| RingTransport::new(ends, place, id))
    }
}

/// One descriptor: that of a set, which has the socket that listens, and all who have connected and said nothing yet.
impl Source for RingListener {
    fn register(&mut self, poller: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.visitors.as_fd().as_raw_fd()).register(poller, token, interest)
    }

    fn reregister(
        &mut self,
        poller: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.visitors.as_fd().as_raw_fd()).reregister(poller, token, interest)
    }

    fn deregister(&mut self, poller: &Registry) -> io::Result<()> {
        SourceFd(&self.visitors.as_fd().as_raw_fd()).deregister(poller)
    }
}
