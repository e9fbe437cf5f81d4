//! HTTP/1.1: a small framework over [`Socket`](crate::Socket)s.
//!
//! A [`Handler`] gets a [`Request`] and a [`Responder`]. It may read the request's [`Body`], and it answers once: with
//! bytes, or with a [`Stream`]. [`Http`] is the service that does the rest. It keeps connections alive, answers pipelined
//! requests in their order, and writes dates, lengths and chunks.
//!
//! # Strict on purpose
//!
//! Two programs that disagree about where a request ends can be played against one another: that is request smuggling.
//! So this reader takes what RFC 9112 says, and nothing else:
//!
//! | input | answer |
//! |---|---|
//! | a bare CR or LF, a folded line, a space before a colon, a control character | 400 |
//! | Content-Length twice, or not only digits, or beside Transfer-Encoding | 400 |
//! | Transfer-Encoding where `chunked` is not last, or twice, or in HTTP/1.0 | 400 |
//! | another transfer coding | 501 |
//! | no Host in HTTP/1.1, two of them, or one that is no host | 400 |
//! | a version other than 1.0 and 1.1 | 505 |
//! | a request line over the limit; headers over the limit; more than [`MOST_FIELDS`] of them | 414; 431; 431 |
//! | a body over the limit | 413 |
//! | half a head for too long | 408 |
//! | an expectation other than `100-continue` | 417 |
//!
//! After each of these the connection is closed. It is closed gently: the client reads the answer, and no reset.
//!
//! # Where the bytes are
//!
//! The head of a request without a body stays in the socket's buffer while the handler runs; nothing is copied and nothing
//! is allocated. A request with a body has its head copied once, into memory that the connection keeps, because the
//! buffer is needed for the body.
//!
//! A client sends the same headers again and again. So each connection remembers those that it has read last, up to a KiB.
//! The next ones are compared with them byte by byte, and read only if they differ.

mod body;
mod chunked;
mod connection;
mod date;
mod error;
mod head;
mod request;
mod response;
pub mod site;
mod status;
mod target;

pub use body::Body;
pub use connection::{Handler, Http, HttpOptions};
pub use error::{HttpError, Refusal};
pub use head::{MOST_FIELDS, Version};
pub use request::{Head, Request};
pub use response::{Answered, Responder, Response, Stream};
pub use status::Status;
pub use target::{Authority, decoded};
