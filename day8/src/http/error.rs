//! What ends a request before it is answered.

use core::fmt;

use super::status::Status;
use crate::SocketError;

/// A request that is not served: the status that says so, and why. The connection is closed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the client is told.
    pub status: Status,
    /// What was found, and what was expected.
    pub why: &'static str,
}

impl Refusal {
    /// A refusal with this status, for this reason.
    pub const fn new(status: Status, why: &'static str) -> Self {
        Self { status, why }
    }

    /// The request does not follow the rules of the protocol.
    pub(crate) const fn malformed(why: &'static str) -> Self {
        Self::new(Status::BAD_REQUEST, why)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status, self.why)
    }
}

impl std::error::Error for Refusal {}

/// Why a handler did not finish its answer.
///
/// A handler passes it on with `?`. If the answer has not begun, a refusal becomes the answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The request is not served: its body is malformed or too long, or the handler says so.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The connection has ended, or takes too long.
    #[error(transparent)]
    Socket(#[from] SocketError),
}
