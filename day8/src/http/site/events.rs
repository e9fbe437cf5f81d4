//! A queue's records, as server-sent events.

use std::io::Write;
use std::time::{Duration, Instant};

use common::QueueName;
use day2::OpenError;
use day3::ring::RawTap;
use day3::{Ending, JoinError, JoinOptions, RecvError, Start, TryRecvError};
use day4::tap::Tap;
use day5::{Adaptive, Pollable};
use serde::Serialize;

use super::{Refused, Site, offload, parameter};
use crate::http::{Answered, Head, HttpError, Responder, Status, Stream};
use crate::{is_shutting_down, readable, sleep};

/// How often something is sent if nothing else is: so that a client that has gone is found out.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a tap without a descriptor sleeps between two looks.
const NAP: Duration = Duration::from_millis(4);
/// So much of a record is shown, in bytes.
const MOST_SHOWN: usize = 16 << 10;

/// A tap on whatever queue. It writes nothing there, and the producer does not wait for it.
enum Watcher {
    /// Its descriptor is readable when it is worth a look.
    Records(Pollable<Tap<Adaptive>>),
    Messages(RawTap),
}

/// The first event: the tap is there.
#[derive(Serialize)]
struct Begin<'a> {
    name: &'a str,
    kind: &'static str,
    message_type: Option<&'a str>,
}

/// A record, or its beginning.
#[derive(Serialize)]
struct Record<'a> {
    /// How many came before it, since the tap is there; what was missed is counted.
    number: u64,
    /// What the producer says that it is.
    kind: u16,
    bytes: usize,
    /// It, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// It, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

#[derive(Serialize)]
struct Missed {
    /// Since the last such event.
    missed: u64,
    /// Since the tap is there.
    total: u64,
}

#[derive(Serialize)]
struct End {
    ending: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    received: u64,
    missed: u64,
}

impl Watcher {
    fn open(name: &QueueName, start: Start) -> Result<Self, JoinError> {
        let options = JoinOptions::new().timeout(Duration::ZERO);
        match RawTap::open(name, start, &options) {
            Ok(tap) => return Ok(Self::Messages(tap)),
            // Nothing is waited for: clients that name what never becomes a queue would hold up all others.
            Err(JoinError::Open(
                error @ (OpenError::NotFound { .. } | OpenError::NotReady { .. }),
            )) => return Err(error.into()),
            // Something else; or a queue with private rooms, which its host hands out.
            Err(_) => {}
        }
        let tap = Tap::<Adaptive>::open_with(name, start, &JoinOptions::new())?;
        Ok(Self::Records(Pollable::napping(tap).map_err(|error| system(name, &error))?))
    }

    fn try_recv(&mut self, into: &mut Vec<u8>) -> Result<u16, TryRecvError> {
        match self {
            Self::Records(tap) => tap.try_recv_kind(into),
            Self::Messages(tap) => tap.try_recv(into).map(|()| 0),
        }
    }

    /// Waits until it may be worth a look.
    async fn wait(&self) {
        match self {
            // What cannot be polled is looked at now and then.
            Self::Records(tap) if readable(tap).await.is_ok() => {}
            _ => sleep(NAP).await,
        }
    }

    fn received(&self) -> u64 {
        match self {
            Self::Records(tap) => tap.get_ref().received(),
            Self::Messages(tap) => tap.received(),
        }
    }

    fn lost(&self) -> u64 {
        match self {
            Self::Records(tap) => tap.get_ref().lost(),
            Self::Messages(tap) => tap.lost(),
        }
    }

    fn ending(&self) -> Ending {
        match self {
            Self::Records(tap) => tap.get_ref().ending(),
            Self::Messages(tap) => tap.ending(),
        }
    }

    fn begin<'a>(&'a self, name: &'a QueueName) -> Begin<'a> {
        let name = name.as_str();
        match self {
            Self::Records(_) => Begin { name, kind: "records", message_type: None },
            Self::Messages(tap) => {
                Begin { name, kind: "ring", message_type: Some(tap.message_type()) }
            }
        }
    }

    fn end(&self, error: RecvError) -> End {
        let (ending, why) = match (error, self.ending()) {
            (RecvError::Closed, _) => ("closed", String::new()),
            (RecvError::Aborted, Ending::Aborted { reason }) => ("aborted", reason),
            (RecvError::Aborted, _) => ("aborted", String::new()),
            (RecvError::ProducerDied, _) => ("died", error.to_string()),
            (error, _) => ("failed", error.to_string()),
        };
        End { ending, why, received: self.received(), missed: self.lost() }
    }
}

fn system(name: &QueueName, error: &std::io::Error) -> JoinError {
    let errno = nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or_default());
    let (name, errno) = (name.clone(), common::OsError::new(errno));
    OpenError::System { name, call: "timerfd_create", errno }.into()
}

/// Events on their way to a client.
struct Feed<'a> {
    stream: Stream<'a>,
    event: Vec<u8>,
    last: Instant,
    told: u64,
}

impl Feed<'_> {
    async fn tell(&mut self, event: &str, data: &impl Serialize) -> Result<(), HttpError> {
        self.event.clear();
        // JSON has no line ends outside of strings, and none in them.
        let _ = write!(self.event, "event: {event}\ndata: ");
        if serde_json::to_writer(&mut self.event, data).is_err() {
            return Ok(());
        }
        self.event.extend_from_slice(b"\n\n");
        self.last = Instant::now();
        self.stream.write(&self.event).await
    }

    /// Tells what was missed since it was told last.
    async fn catch_up(&mut self, total: u64) -> Result<(), HttpError> {
        let missed = total - self.told;
        if missed == 0 {
            return Ok(());
        }
        self.told = total;
        self.tell("missed", &Missed { missed, total }).await
    }

    async fn record(&mut self, number: u64, kind: u16, bytes: &[u8]) -> Result<(), HttpError> {
        let shown = &bytes[..bytes.len().min(MOST_SHOWN)];
        let text = match str::from_utf8(shown) {
            Ok(text) => Some(text),
            // It may have been cut in the middle of a character.
            Err(error) if error.error_len().is_none() && shown.len() < bytes.len() => {
                str::from_utf8(&shown[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        let hex = text.is_none().then(|| hexadecimal(shown));
        self.tell("record", &Record { number, kind, bytes: bytes.len(), text, hex }).await
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect()
}

fn digit(digit: u8) -> char {
    char::from(b"0123456789abcdef"[usize::from(digit)])
}

impl Site {
    /// Shows what goes through a queue, until the queue or the client ends.
    pub(super) async fn events(
        &self,
        name: QueueName,
        head: Head<'_>,
        responder: Responder<'_>,
    ) -> Result<Answered, HttpError> {
        let start = match parameter(head.query(), "from") {
            Some("oldest") => Start::Oldest,
            None | Some("latest") => Start::Latest,
            Some(_) => {
                return responder
                    .text(Status::BAD_REQUEST, "expected from=oldest or from=latest")
                    .await;
            }
        };
        // The host of a queue with private rooms is asked, so another thread does it.
        let asked = name.clone();
        let opened = offload(&self.offloaded, move || Watcher::open(&asked, start)).await;
        let watcher = match opened.and_then(|watcher| watcher.map_err(|error| refused(&error))) {
            Ok(watcher) => watcher,
            Err(refused) => return refused.tell(responder).await,
        };
        let response = responder
            .status(Status::OK)
            .header("Content-Type", "text/event-stream")
            .header("X-Content-Type-Options", "nosniff")
            .header("Cache-Control", "no-store");
        let stream = response.stream().await?;
        let feed = Feed { stream, event: Vec::new(), last: Instant::now(), told: 0 };
        follow(name, watcher, feed).await
    }
}

async fn follow(
    name: QueueName,
    mut watcher: Watcher,
    mut feed: Feed<'_>,
) -> Result<Answered, HttpError> {
    if !feed.stream.is_wanted() {
        return feed.stream.finish().await;
    }
    feed.tell("begin", &watcher.begin(&name)).await?;
    let mut bytes = Vec::new();
    while !is_shutting_down() {
        let received = watcher.try_recv(&mut bytes);
        feed.catch_up(watcher.lost()).await?;
        match received {
            Ok(kind) => {
                let number = watcher.received() + watcher.lost() - 1;
                feed.record(number, kind, &bytes).await?;
            }
            Err(TryRecvError::Empty) => {
                if feed.last.elapsed() >= HEARTBEAT {
                    feed.last = Instant::now();
                    // A comment, which browsers pass over.
                    feed.stream.write(b":\n\n").await?;
                }
                feed.stream.flush().await?;
                watcher.wait().await;
            }
            Err(TryRecvError::End(error)) => {
                feed.tell("end", &watcher.end(error)).await?;
                break;
            }
        }
    }
    feed.stream.finish().await
}

fn refused(error: &JoinError) -> Refused {
    let status = match error {
        JoinError::Open(OpenError::NotFound { .. }) => Status::NOT_FOUND,
        JoinError::Open(OpenError::Permission { .. } | OpenError::Owner { .. }) => {
            Status::FORBIDDEN
        }
        JoinError::Open(OpenError::System { .. }) => Status::SERVICE_UNAVAILABLE,
        // A queue of another kind, or none at all.
        _ => Status::CONFLICT,
    };
    Refused { status, why: error.to_string() }
}
