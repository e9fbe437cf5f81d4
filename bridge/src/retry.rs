//! Going on when the server is away.

use std::time::{Duration, Instant};

use async_nats::Client;

use crate::error::{ServerError, StreamError};
use crate::progress::Progress;
use crate::server::ServerOptions;
use crate::stop::Stop;
use crate::stream::Fault;

/// The first pause before something is tried again.
const FIRST: Duration = Duration::from_millis(20);
/// The longest one.
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that grow.
#[derive(Debug)]
pub(crate) struct Pauses(Duration);

impl Pauses {
    pub(crate) fn new() -> Self {
        Self(FIRST)
    }

    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST);
    }

    pub(crate) fn reset(&mut self) {
        self.0 = FIRST;
    }
}

/// Does this until the server gives an answer, or says that it will give none.
pub(crate) async fn persist<T>(
    progress: &Progress,
    mut ask: impl AsyncFnMut() -> Result<T, Fault>,
) -> Result<T, StreamError> {
    let mut pauses = Pauses::new();
    loop {
        // What it has said of other requests does not count.
        progress.forget_complaint();
        let mut asked = core::pin::pin!(ask());
        let answer = loop {
            match tokio::time::timeout(Stop::SLICE, asked.as_mut()).await {
                Ok(answer) => break answer,
                Err(_) => check_allowed(progress)?,
            }
        };
        match answer {
            Ok(answer) => return Ok(answer),
            Err(Fault::Refused(error)) => return Err(error),
            Err(Fault::Away) => pauses.pause().await,
        }
    }
}

/// Fails if the server has said that we may not ask. It answers nothing else then.
pub(crate) fn check_allowed(progress: &Progress) -> Result<(), StreamError> {
    let is_ours = |said: &String| said.contains("ermissions") && said.contains("$JS.");
    match progress.complaint().filter(is_ours) {
        Some(why) => Err(StreamError::Prohibited { why }),
        None => Ok(()),
    }
}

/// For how long a cluster may have no leader when a bridge starts.
const ELECTION: Duration = Duration::from_secs(60);

/// Connects. A cluster that is just choosing a leader is waited for.
pub(crate) async fn connect(
    server: &ServerOptions,
    name: &str,
    progress: &Progress,
) -> Result<Client, ServerError> {
    let began = Instant::now();
    loop {
        match server.connect(name, progress).await {
            Err(ServerError::JetStreamAway { .. }) if began.elapsed() < ELECTION => {}
            connected => return connected,
        }
    }
}

/// Does this, unless somebody asks to stop before it is done.
pub(crate) async fn unless_stopped<T>(stop: &Stop, work: impl Future<Output = T>) -> Option<T> {
    let mut work = core::pin::pin!(work);
    loop {
        if stop.is_stopped() {
            return None;
        }
        if let Ok(done) = tokio::time::timeout(Stop::SLICE, &mut work).await {
            return Some(done);
        }
    }
}
