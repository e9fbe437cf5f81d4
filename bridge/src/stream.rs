//! The stream: what it is, where it ends, and where in it a message of the queue is.

use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessage, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{self, Context, ErrorCode};
use common::Sequence;
use day4::record_len;
use serde_json::{Value, json};

use crate::envelope::{Content, Envelope, Position};
use crate::error::{EnvelopeError, StreamError};
use crate::pack;

/// How long a server may take to say what a stream is.
const ANSWER: Duration = Duration::from_secs(2);
/// For how long a cluster may lack servers for a stream.
const GATHERING: Duration = Duration::from_secs(5);

/// Which stream, and what it is to be if there is none yet.
#[derive(Clone, Debug)]
pub struct StreamOptions {
    pub(crate) name: String,
    pub(crate) subject: Option<String>,
    pub(crate) subjects: Option<String>,
    pub(crate) storage: Option<Storage>,
    pub(crate) replicas: Option<usize>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_age: Option<Duration>,
    /// For how long a new stream remembers the ids of messages; `None` leaves it to the server.
    pub(crate) remembers: Option<Duration>,
}

/// Where the server keeps a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// On disk: it outlives the server's process.
    File,
    /// In memory.
    Memory,
}

impl Storage {
    fn kind(self) -> StorageType {
        match self {
            Self::File => StorageType::File,
            Self::Memory => StorageType::Memory,
        }
    }
}

impl StreamOptions {
    /// The stream of this name. One that is there is taken as it is; a new one is on disk, has one replica, and refuses
    /// messages when it is full.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            name,
            subject: None,
            subjects: None,
            storage: None,
            replicas: None,
            max_bytes: None,
            max_age: None,
            remembers: None,
        }
    }

    /// The subject that messages have; `fanout.` and the stream's name unless said otherwise.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// The subjects that a new stream takes, such as `fanout.*`, if it is for more than this one.
    #[must_use]
    pub fn subjects(mut self, pattern: impl Into<String>) -> Self {
        self.subjects = Some(pattern.into());
        self
    }

    /// Where the server keeps it.
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = Some(storage);
        self
    }

    /// How many servers keep it: 1 to 5.
    #[must_use]
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// How many bytes it holds. When it is full, the bridge waits, and so does the producer.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// For how long it keeps a message, whether it was read or not.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// The stream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn config(&self) -> Config {
        let subject = self.subjects.clone().or_else(|| self.subject.clone());
        let subject = subject.unwrap_or_else(|| default_subject(&self.name));
        Config {
            name: self.name.clone(),
            subjects: vec![subject],
            storage: self.storage.unwrap_or(Storage::File).kind(),
            num_replicas: self.replicas.unwrap_or(1),
            max_bytes: self.max_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            max_messages: -1,
            max_messages_per_subject: -1,
            max_consumers: -1,
            max_message_size: -1,
            max_age: self.max_age.unwrap_or_default(),
            duplicate_window: self.window(),
            discard: DiscardPolicy::New,
            description: Some("a queue of Fanout".to_owned()),
            ..Config::default()
        }
    }

    /// For how long a new stream remembers ids: no longer than messages. Zero leaves it to the server.
    fn window(&self) -> Duration {
        let remembers = self.remembers.unwrap_or_default();
        self.max_age.map_or(remembers, |age| remembers.min(age))
    }

    /// Whether the stream that is there is what the options ask for.
    fn check(&self, found: &Config) -> Result<(), StreamError> {
        let differs = |what, expected: String, found: String| {
            let name = self.name.clone();
            Err(StreamError::Differs { name, what, expected, found })
        };
        let kind = |kind: &StorageType| format!("{kind:?}").to_lowercase();
        match self.storage.map(Storage::kind) {
            Some(storage) if storage != found.storage => {
                return differs("storage", kind(&storage), kind(&found.storage));
            }
            _ => {}
        }
        match self.replicas {
            Some(replicas) if replicas != found.num_replicas => {
                return differs("replicas", replicas.to_string(), found.num_replicas.to_string());
            }
            _ => {}
        }
        match self.max_bytes {
            Some(bytes) if i64::try_from(bytes).ok() != Some(found.max_bytes) => {
                return differs("max-bytes", bytes.to_string(), found.max_bytes.to_string());
            }
            _ => {}
        }
        match self.max_age {
            Some(age) if age != found.max_age => {
                differs("max-age", format!("{age:?}"), format!("{:?}", found.max_age))
            }
            _ => Ok(()),
        }
    }
}

/// What a stream does that loses messages: it drops some that nobody has read, or does not say what it has.
fn carelessness(found: &Config) -> Option<Careless> {
    let drops_old = found.discard == DiscardPolicy::Old;
    if found.no_ack {
        return Some(Careless { what: "acknowledges nothing (no-ack)", acknowledges: false });
    }
    let what = if found.retention == RetentionPolicy::Interest {
        "drops what no consumer waits for (retention interest)"
    } else if found.max_messages_per_subject > 0 && (drops_old || !found.discard_new_per_subject) {
        "keeps only some messages of a subject (max-msgs-per-subject)"
    } else if drops_old && (found.max_bytes > 0 || found.max_messages > 0) {
        "drops the oldest messages when it is full (discard old)"
    } else {
        return None;
    };
    Some(Careless { what, acknowledges: true })
}

/// How a stream loses messages.
#[derive(Clone, Copy, Debug)]
struct Careless {
    what: &'static str,
    /// Whether one can write to it at all.
    acknowledges: bool,
}

/// Why an operation on a stream did not succeed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server, or the stream's leader, is away: it may come back.
    Away,
    /// Asking again would not help.
    Refused(StreamError),
}

impl From<StreamError> for Fault {
    fn from(error: StreamError) -> Self {
        Self::Refused(error)
    }
}

/// A stream that the server has.
pub(crate) struct Track {
    pub(crate) client: Client,
    pub(crate) context: Context,
    pub(crate) stream: Stream<()>,
    pub(crate) name: String,
    pub(crate) subject: String,
    /// Whether the stream has no other subject: then one counts what all have written.
    pub(crate) is_alone: bool,
    /// When the stream was made. Another one of its name has another time.
    created: i128,
    careless: Option<Careless>,
    /// Whether messages may be lost.
    may_lose: bool,
}

/// The end of what a stream holds.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The stream's sequence that the next message expects to be the last: of the stream, or of the subject.
    pub(crate) expected: u64,
    pub(crate) last: Option<Last>,
    /// Whether the stream has no other subject now.
    pub(crate) is_alone: bool,
    /// Whether the stream has no messages at all.
    pub(crate) is_empty: bool,
    /// Whether several servers keep the stream now.
    pub(crate) is_replicated: bool,
}

/// The last message of a subject.
#[derive(Debug)]
pub(crate) struct Last {
    /// Its number in the stream.
    number: u64,
    pub(crate) envelope: Envelope,
    /// Behind its last message, in the queue that it came from.
    pub(crate) source_end: u64,
    /// Behind its last message, as the stream counts.
    pub(crate) end: Position,
}

impl Track {
    /// The stream, which is made if there is none and `create` says so.
    pub(crate) async fn open(
        client: &Client,
        options: &StreamOptions,
        create: bool,
    ) -> Result<Self, Fault> {
        let context = jetstream::new(client.clone());
        let stream = context.get_stream_no_info(&options.name).await;
        let stream = stream.map_err(|_| StreamError::Name { name: options.name.clone() })?;
        if let Some(subject) = &options.subject {
            // Nothing is made for a subject that no message can have: such a stream would take messages of others.
            check_subject(subject)?;
        }
        let found = match info(&context, &options.name).await {
            Err(Fault::Refused(StreamError::NotFound { .. })) if create => {
                let made = create_stream(&context, options).await;
                match (info(&context, &options.name).await, made) {
                    (Err(Fault::Refused(StreamError::NotFound { .. })), Err(fault)) => {
                        return Err(fault);
                    }
                    // Another bridge may have been faster. Then the server refuses this one, for whatever it finds first.
                    (found, _) => found?,
                }
            }
            found => found?,
        };
        if found.cluster.is_some() && info(&context, &options.name).await?.created != found.created
        {
            // It is just being made.
            return Err(Fault::Away);
        }
        options.check(&found.config)?;
        let subject = subject(options, &found.config, create)?;
        let is_alone = found.config.subjects == [subject.as_str()];
        let (client, name) = (client.clone(), options.name.clone());
        let (created, careless) =
            (found.created.unix_timestamp_nanos(), carelessness(&found.config));
        let may_lose = false;
        Ok(Self { client, context, stream, name, subject, is_alone, created, careless, may_lose })
    }

    /// Fails if the stream does not keep what it is given. A bridge that may lose messages needs acknowledgements only.
    pub(crate) fn check_keeps(&mut self, lossy: bool) -> Result<(), StreamError> {
        self.may_lose = lossy;
        self.check_careless(self.careless)
    }

    fn check_careless(&self, found: Option<Careless>) -> Result<(), StreamError> {
        match found {
            Some(Careless { what, acknowledges }) if !self.may_lose || !acknowledges => {
                Err(StreamError::Careless { name: self.name.clone(), what })
            }
            _ => Ok(()),
        }
    }

    /// What the server says of the stream, if it is still the one that was opened.
    async fn info(&self) -> Result<Info, Fault> {
        let gone = || StreamError::Gone { name: self.name.clone() };
        match info(&self.context, &self.name).await {
            Ok(info) if info.created.unix_timestamp_nanos() == self.created => Ok(info),
            Ok(_) | Err(Fault::Refused(StreamError::NotFound { .. })) => Err(gone().into()),
            Err(fault) => Err(fault),
        }
    }

    /// Fails if the stream is not the one any more that was opened: its numbers would mean other messages.
    pub(crate) async fn check_same(&self) -> Result<(), Fault> {
        self.info().await.map(drop)
    }

    /// Where the stream ends now.
    pub(crate) async fn tail(&self, framed: bool) -> Result<Tail, Fault> {
        let Info { config, state, .. } = self.info().await?;
        if !config.subjects.iter().any(|pattern| matches(pattern, &self.subject)) {
            return Err(differing_subject(&self.name, &self.subject, &config).into());
        }
        // Somebody may have changed it while the bridge ran.
        self.check_careless(carelessness(&config))?;
        let is_alone = config.subjects == [self.subject.as_str()];
        let (is_empty, is_replicated) = (state.messages == 0, config.num_replicas > 1);
        let Some(last) = self.get(&json!({ "last_by_subj": self.subject })).await? else {
            let expected = if is_alone { state.last_sequence } else { 0 };
            return Ok(Tail { expected, last: None, is_alone, is_replicated, is_empty });
        };
        let expected =
            if is_alone { state.last_sequence.max(last.sequence) } else { last.sequence };
        let last = Last::of(&last, framed).map_err(|error| self.foreign(last.sequence, error))?;
        Ok(Tail { expected, last: Some(last), is_alone, is_replicated, is_empty })
    }

    /// The number that the stream's next message will have.
    pub(crate) async fn next(&self) -> Result<u64, Fault> {
        Ok(self.info().await?.state.last_sequence + 1)
    }

    /// Where in the stream a consumer begins that has everything before this position; 0 is the first message there is.
    ///
    /// The messages of one queue stand in order, so this looks at as many of them as their number has binary digits.
    pub(crate) async fn find(&self, position: Position) -> Result<u64, Fault> {
        let info = self.info().await?;
        let (mut from, mut to) = (info.state.first_sequence, info.state.last_sequence + 1);
        let Some((_, last)) = self.at_or_after(to.saturating_sub(1)).await? else { return Ok(0) };
        if last.at.identity != position.identity {
            // Another queue came behind it. One cannot tell which comes first: all are looked at.
            return Ok(0);
        }
        let mut found = 0;
        while from < to {
            let middle = from + (to - from) / 2;
            match self.at_or_after(middle).await? {
                Some((at, envelope)) if is_reached(&envelope, position) => {
                    if envelope.at.identity == position.identity {
                        found = at;
                    }
                    from = at + 1;
                }
                _ => to = middle,
            }
        }
        Ok(found)
    }

    /// Checks that the stream has all of a queue from this sequence on, up to its last message.
    ///
    /// A message is refused if somebody else's stands where it should, and the next one may be taken again. So the last
    /// message does not prove that those before it are there.
    pub(crate) async fn check_whole(
        &self,
        first: u64,
        last: &Last,
        framed: bool,
    ) -> Result<(), Fault> {
        let broken = |number| StreamError::Broken { name: self.name.clone(), number };
        let (first, mut number) = (Sequence::new(first), last.number);
        let (identity, mut needed) =
            (last.envelope.source.identity, Sequence::new(last.envelope.source.sequence));
        let oldest = self.info().await?.state.first_sequence;
        while first.is_before(needed) && number > oldest {
            number -= 1;
            let wanted = json!({ "seq": number });
            let Some(message) = self.get(&wanted).await? else { continue };
            if message.subject.as_str() != self.subject {
                continue;
            }
            let before = Last::of(&message, framed).map_err(|_| broken(number))?;
            let (begin, end) = (before.envelope.source.sequence, Sequence::new(before.source_end));
            if before.envelope.source.identity != identity || end.is_before(needed) {
                return Err(broken(number).into());
            }
            if Sequence::new(begin).is_before(needed) {
                needed = Sequence::new(begin);
            }
        }
        Ok(())
    }

    /// The first message of the subject from there on.
    pub(crate) async fn at_or_after(
        &self,
        sequence: u64,
    ) -> Result<Option<(u64, Envelope)>, Fault> {
        let wanted = json!({ "seq": sequence, "next_by_subj": self.subject });
        let Some(message) = self.get(&wanted).await? else { return Ok(None) };
        let envelope = Envelope::parse(Some(&message.headers));
        let envelope = envelope.map_err(|error| self.foreign(message.sequence, error))?;
        Ok(Some((message.sequence, envelope)))
    }

    /// A message as it lies in the stream. The client's own call does not tell a message that it cannot read from a
    /// server that is away.
    async fn get(&self, wanted: &Value) -> Result<Option<StreamMessage>, Fault> {
        let answer = self.context.request(format!("STREAM.MSG.GET.{}", self.name), wanted).await;
        let mut found: Value = match answer.map_err(|_| Fault::Away)? {
            Response::Ok(found) => found,
            Response::Err { error } if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                return Ok(None);
            }
            Response::Err { error } => return Err(self.fault(&error)),
        };
        let raw = serde_json::from_value::<RawMessage>(found["message"].take());
        let raw = raw.map_err(|_| Fault::Away)?;
        let number = raw.sequence;
        let message = StreamMessage::try_from(raw);
        Ok(Some(message.map_err(|_| self.foreign(number, EnvelopeError::Headers))?))
    }

    pub(crate) fn foreign(&self, sequence: u64, why: EnvelopeError) -> StreamError {
        StreamError::Foreign { name: self.name.clone(), sequence, why }
    }

    pub(crate) fn fault(&self, error: &jetstream::Error) -> Fault {
        fault(&self.name, error)
    }
}

/// Whether the message is not behind this position; a message of another queue comes before all of this one.
fn is_reached(envelope: &Envelope, position: Position) -> bool {
    let (at, wanted) = (Sequence::new(envelope.at.sequence), Sequence::new(position.sequence));
    envelope.at.identity != position.identity || !wanted.is_before(at)
}

impl Last {
    fn of(message: &StreamMessage, framed: bool) -> Result<Self, EnvelopeError> {
        let envelope = Envelope::parse(Some(&message.headers))?;
        let len = length(&envelope, &message.payload, framed)?;
        let end = Position {
            identity: envelope.at.identity,
            sequence: envelope.at.sequence.wrapping_add(len),
        };
        let source_end = envelope.source.sequence.wrapping_add(len);
        Ok(Self { number: message.sequence, envelope, source_end, end })
    }
}

/// How much of a ring the messages in this payload take.
pub(crate) fn length(
    envelope: &Envelope,
    payload: &[u8],
    framed: bool,
) -> Result<u64, EnvelopeError> {
    match envelope.content {
        Content::Closed | Content::Aborted => Ok(0),
        Content::One { .. } if framed => Ok(record_len(payload.len()) as u64),
        Content::One { .. } => Ok(1),
        Content::Pack { .. } if framed => pack::records(payload)
            .map(|message| message.map(|(_, message)| record_len(message.len()) as u64))
            .sum(),
        Content::Pack { count } => Ok(u64::from(count)),
    }
}

/// What the server says of a stream.
async fn info(context: &Context, name: &str) -> Result<Info, Fault> {
    let answer = context.request(format!("STREAM.INFO.{name}"), &());
    // In a cluster nobody answers while the stream has no leader, and the client would wait for longer.
    let answer = tokio::time::timeout(ANSWER, answer).await.map_err(|_| Fault::Away)?;
    match answer.map_err(|_| Fault::Away)? {
        // Servers that are just making a stream together say of it what each of them believes, such as when it was created.
        Response::Ok(Info { cluster: Some(cluster), .. }) if cluster.leader.is_none() => {
            Err(Fault::Away)
        }
        // So does one that was asked by several bridges at once to make it: the stream is there, and its date is not yet.
        Response::Ok(info) if info.created.unix_timestamp() < 0 => Err(Fault::Away),
        Response::Ok(info) => Ok(info),
        Response::Err { error } => Err(fault(name, &error)),
    }
}

async fn create_stream(context: &Context, options: &StreamOptions) -> Result<(), Fault> {
    let began = Instant::now();
    loop {
        let error = match context.create_stream(options.config()).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let name = options.name.clone();
        return match error.kind() {
            // A cluster that has just chosen a leader does not know all of its servers yet.
            CreateStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::CLUSTER_NO_PEERS
                    && began.elapsed() < GATHERING =>
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            CreateStreamErrorKind::JetStream(error) => Err(fault(&name, &error)),
            CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::Response => Err(Fault::Away),
            _ => Err(StreamError::Refused { name, why: error.to_string() }.into()),
        };
    }
}

fn default_subject(name: &str) -> String {
    format!("fanout.{name}")
}

/// The subject that the options name, or the only one that the stream has. A stream that copies another one has the
/// subjects of that one: it can be read, and not be written.
fn subject(options: &StreamOptions, found: &Config, writes: bool) -> Result<String, StreamError> {
    let origin = found.mirror.as_ref().or(match found.sources.as_deref() {
        Some([only]) => Some(only),
        _ => None,
    });
    let wanted = match (&options.subject, &found.subjects[..], origin) {
        (Some(subject), ..) => subject.clone(),
        (None, [only], _) if check_subject(only).is_ok() => only.clone(),
        (None, [], Some(origin)) => default_subject(&origin.name),
        (None, ..) => default_subject(&options.name),
    };
    check_subject(&wanted)?;
    let copies = found.mirror.is_some() || found.sources.as_ref().is_some_and(|s| !s.is_empty());
    let is_taken = found.subjects.iter().any(|pattern| matches(pattern, &wanted));
    if is_taken || (copies && !writes) {
        return Ok(wanted);
    }
    Err(differing_subject(&options.name, &wanted, found))
}

/// Whether a message can have this subject.
fn check_subject(subject: &str) -> Result<(), StreamError> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    let is_plain =
        |token: &str| !token.is_empty() && !["*", ">"].contains(&token) && !token.contains(is_odd);
    match subject.split('.').all(is_plain) {
        true => Ok(()),
        false => Err(StreamError::Subject { found: subject.to_owned() }),
    }
}

fn differing_subject(name: &str, wanted: &str, found: &Config) -> StreamError {
    StreamError::Differs {
        name: name.to_owned(),
        what: "subject",
        expected: wanted.to_owned(),
        found: found.subjects.join(", "),
    }
}

/// Whether a subject is one of those that a pattern means.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some("*"), Some(_)) => {}
            (Some(expected), Some(found)) if expected == found => {}
            _ => return false,
        }
    }
}

/// What the server's answer means.
pub(crate) fn fault(name: &str, error: &jetstream::Error) -> Fault {
    let name = name.to_owned();
    match error.error_code() {
        ErrorCode::STREAM_NOT_FOUND => StreamError::NotFound { name }.into(),
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
            StreamError::NoJetStream { why: error.to_string() }.into()
        }
        // It wants acknowledgements, which only a bridge with a group gives.
        ErrorCode::CONSUMER_PULL_REQUIRES_ACK | ErrorCode::CONSUMER_WQ_REQUIRES_EXPLICIT_ACK => {
            StreamError::WorkQueue { name }.into()
        }
        // There is no leader now, or it does not answer.
        _ if error.code() == 503 || error.code() == 408 => Fault::Away,
        _ => StreamError::Refused { name, why: error.to_string() }.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_server_matches() {
        for (pattern, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} {subject}");
        }
    }
}
