//! What can go wrong.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why there is no connection to the server. No message shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is none.
    #[error(
        "expected an address such as nats://127.0.0.1:4222, or several separated by commas, found {found}: {why}"
    )]
    Address {
        /// What was given, without a login.
        found: String,
        /// What is wrong with it.
        why: String,
    },
    /// Several ways to log in were given.
    #[error("expected one login, found {first} and {second}: leave one of them out")]
    TwoLogins {
        /// One way.
        first: String,
        /// Another way.
        second: String,
    },
    /// Nobody answers there.
    #[error("no NATS server answers at {url}: {why}; start it, or correct the address")]
    Away {
        /// Without a login.
        url: String,
        /// What the client said.
        why: String,
    },
    /// The server does not know who we are, or does not believe it.
    #[error("the NATS server at {url} does not let us in {login}{}: correct the login, or have the server's operator add it", because(.why))]
    NotAuthorised {
        /// Without a login.
        url: String,
        /// How we tried to log in.
        login: String,
        /// What the server said beyond that; mostly nothing.
        why: String,
    },
    /// The server answers, and then does not want us.
    #[error("the NATS server at {url} refused the connection: {why}")]
    Refused {
        /// Without a login.
        url: String,
        /// What the server said.
        why: String,
    },
    /// The two sides do not agree on how to encrypt, or one does not trust the other.
    #[error("no encrypted connection to the NATS server at {url}: {why}")]
    Tls {
        /// Without a login.
        url: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The server has no streams.
    #[error("the NATS server at {url} has no JetStream{}: start it with -js, or have its operator enable JetStream for this account", because(.why))]
    NoJetStream {
        /// Without a login.
        url: String,
        /// What the server said.
        why: String,
    },
    /// The server has JetStream, but it does not answer, as in a cluster that has lost most of its servers.
    #[error("JetStream does not answer at {url}: {why}; see that most servers of the cluster run")]
    JetStreamAway {
        /// Without a login.
        url: String,
        /// What the server or the client said.
        why: String,
    },
    /// A file of the login cannot be read.
    #[error("cannot read the {what} {}: {why}", path.display())]
    File {
        /// Which file.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the operating system said.
        why: String,
    },
    /// A file of the login holds something else.
    #[error("expected {expected}, in the {what} {}, found {found}", path.display())]
    Malformed {
        /// Which file.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// What is in it, without quoting it.
        found: String,
    },
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(" ({why})") }
}

/// Why nobody can ask for figures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The address is none.
    #[error(
        "expected an address of this host and a port, such as 127.0.0.1:9464 or 9464, found {found}"
    )]
    Address {
        /// What was given.
        found: String,
    },
    /// Another program listens there, or we may not, or this host does not have the address.
    #[error(
        "cannot offer metrics at {address}: {why}; stop what listens there, or choose another port"
    )]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the operating system said.
        why: String,
    },
}

/// Why a NATS message does not say what a bridge's says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It has no position.
    #[error(
        "expected a message of a bridge, found one without a position (header Nats-Msg-Id): give the bridge a stream \
         of its own"
    )]
    Foreign,
    /// A header says something else.
    #[error(
        "expected {expected} in the header {header}, found \"{}\": give the bridge a stream of its own",
        .found.escape_debug()
    )]
    Malformed {
        /// The header's name.
        header: &'static str,
        /// What it says.
        found: String,
        /// What it should say.
        expected: &'static str,
    },
    /// Its headers are none.
    #[error("expected headers of NATS, found something else: give the bridge a stream of its own")]
    Headers,
    /// The payload ends within a message, or holds another number of messages.
    #[error(
        "expected whole messages in a pack, found {rest} bytes that are none: give the bridge a stream of its own"
    )]
    Pack {
        /// How many bytes are left.
        rest: usize,
    },
}

/// Why a stream cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The name is none that a stream can have.
    #[error("expected a stream's name without spaces and dots, found \"{}\"", .name.escape_debug())]
    Name {
        /// What was found.
        name: String,
    },
    /// The subject is none that a message can have.
    #[error(
        "expected a subject such as fanout.prices, of words between dots, without spaces, * and >, found \"{}\"",
        .found.escape_debug()
    )]
    Subject {
        /// What was found.
        found: String,
    },
    /// There is no such stream.
    #[error("the server has no stream {name}: start `fanout bridge out` first, which makes it")]
    NotFound {
        /// The stream's name.
        name: String,
    },
    /// The server keeps no streams.
    #[error(
        "the server has no JetStream ({why}): start it with `nats-server -js`, or allow it for this account"
    )]
    NoJetStream {
        /// What the server said.
        why: String,
    },
    /// The stream is not what the options ask for.
    #[error(
        "the stream {name} is there with another configuration: expected {what} {expected}, found {found}; leave the \
         option out to take the stream as it is, or choose another stream"
    )]
    Differs {
        /// The stream's name.
        name: String,
        /// What differs.
        what: &'static str,
        /// What the options say.
        expected: String,
        /// What the stream has.
        found: String,
    },
    /// The server refuses.
    #[error("the server refuses the stream {name}: {why}")]
    Refused {
        /// The stream's name.
        name: String,
        /// What the server said.
        why: String,
    },
    /// The stream was removed while a bridge used it; perhaps there is another one of its name.
    #[error(
        "the stream {name} was removed while the bridge used it, and what it held is gone: start the bridge again, and it \
         goes on from its queue"
    )]
    Gone {
        /// The stream's name.
        name: String,
    },
    /// Somebody else has written to the stream, and a message of the queue has found no place.
    #[error(
        "the stream {name} does not have all of the queue's messages in order: somebody else has written to it, at message \
         {number} or behind it; remove the stream's messages from there on, or carry the queue to another stream"
    )]
    Broken {
        /// The stream's name.
        name: String,
        /// The number of the last message in order, or of a strange one.
        number: u64,
    },
    /// The stream loses messages that nobody has read.
    #[error(
        "the stream {name} {what}, and the bridge loses nothing: change the stream, choose another one, or carry with \
         --lossy where messages may be missed"
    )]
    Careless {
        /// The stream's name.
        name: String,
        /// What it does.
        what: &'static str,
    },
    /// The stream gives each message to one consumer, and forgets it.
    #[error(
        "the stream {name} gives each message to one consumer (retention workqueue), so that no two hosts can have all of them: \
         share the work with --group, or choose another stream"
    )]
    WorkQueue {
        /// The stream's name.
        name: String,
    },
    /// The server does not let this user use streams as a bridge does.
    #[error(
        "the server does not let us do what a bridge has to: {why}; have its operator allow it"
    )]
    Prohibited {
        /// What the server said.
        why: String,
    },
    /// The name is none that a group of a stream can have.
    #[error(
        "expected a group's name without spaces, dots, slashes, * and >, found \"{}\"",
        .found.escape_debug()
    )]
    Group {
        /// What was found.
        found: String,
    },
    /// A consumer of that name is there, and does something else.
    #[error(
        "the stream {name} has a consumer {group} already, with another configuration: expected {what} {expected}, found \
         {found}; choose another group"
    )]
    OtherConsumer {
        /// The stream's name.
        name: String,
        /// The consumer's name.
        group: String,
        /// What differs.
        what: &'static str,
        /// What a bridge needs.
        expected: String,
        /// What the consumer has.
        found: String,
    },
    /// The consumer that hosts share was deleted.
    #[error(
        "somebody has deleted the consumer {group} of the stream {name}, and with it what this group has done: start the bridges \
         again to begin anew where --from says, or with another --group"
    )]
    ConsumerGone {
        /// The stream's name.
        name: String,
        /// The consumer's name.
        group: String,
    },
    /// A message in the stream does not come from a bridge.
    #[error("message {sequence} of the stream {name}: {why}")]
    Foreign {
        /// The stream's name.
        name: String,
        /// The message's number in the stream.
        sequence: u64,
        /// What is wrong with it.
        why: EnvelopeError,
    },
}

/// Why a queue is not carried out any further. What the stream has not acknowledged stays in the queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutError {
    /// There is no connection.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The stream cannot be used.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The queue cannot be joined.
    #[error(transparent)]
    Join(#[from] day3::JoinError),
    /// The queue gives no more.
    #[error(transparent)]
    Recv(#[from] day3::RecvError),
    /// This process lacks something.
    #[error("cannot start to carry: {why}")]
    Runtime {
        /// What the system or the client said.
        why: String,
    },
    /// The client takes no message.
    #[error("the client could not publish: {why}")]
    Publish {
        /// What it said.
        why: String,
    },
    /// Another bridge does the same.
    #[error(
        "process {process} carries {queue} to the stream {stream} already: stop it first, or choose another stream"
    )]
    Busy {
        /// The queue.
        queue: common::QueueName,
        /// The stream.
        stream: String,
        /// The other bridge's process, in its pid namespace.
        process: u32,
    },
    /// The queue ended, and another one of its name came, while the bridge was joining.
    #[error("the queue {queue} was replaced by another one just now: start the bridge again")]
    Replaced {
        /// Its name.
        queue: common::QueueName,
    },
    /// The queue has forgotten messages that the stream does not have.
    #[error(
        "the stream {stream} has this queue's messages up to sequence {expected}, and the queue begins at {found}: what \
         lies between is lost; carry it to another stream, or purge this one to begin here"
    )]
    Gap {
        /// The stream.
        stream: String,
        /// Where the queue begins.
        found: u64,
        /// Where the stream ends.
        expected: u64,
    },
    /// Another queue comes to the same subject.
    #[error(
        "another bridge carries another queue to the same subject of the stream {stream}: stop one of the two, and give each \
         queue a stream or a subject of its own"
    )]
    Intruder {
        /// The stream.
        stream: String,
    },
    /// The stream's last message ends where none of the queue's messages ends.
    #[error(
        "the stream's last message ends {found} bytes into what the queue has, where a message of the queue ends after \
         {expected}: the stream holds another queue of the same identity; give the bridge a stream of its own"
    )]
    Boundary {
        /// Where it ends.
        found: u64,
        /// Where a message ends.
        expected: u64,
    },
    /// The stream has no room for a message even when it is empty.
    #[error(
        "the stream {stream} is empty, and has no room for the message at sequence {sequence}: let the stream hold more \
         (max-bytes), send shorter messages, or --pack fewer; everything before it was carried"
    )]
    NoRoom {
        /// The stream.
        stream: String,
        /// The message's sequence in the queue.
        sequence: u64,
    },
    /// The server takes no message that long.
    #[error(
        "the message at sequence {sequence} needs {found} bytes, and the server takes {most}: raise the server's \
         max_payload, or send shorter messages; everything before it was carried"
    )]
    TooLarge {
        /// Its sequence in the queue.
        sequence: u64,
        /// Its length in bytes.
        found: usize,
        /// The most that the server takes, without headers.
        most: usize,
    },
    /// The stream holds messages of another type.
    #[error(
        "the stream {stream} holds {expected}, and the queue {found}: carry it to another stream"
    )]
    TypeDiffers {
        /// The stream.
        stream: String,
        /// What the stream holds.
        expected: String,
        /// What the queue holds.
        found: String,
    },
}

/// Why a queue is not carried in any further. The queue keeps what was published in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InError {
    /// There is no connection.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The stream cannot be used.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The queue cannot be created.
    #[error(transparent)]
    Create(#[from] day3::CreateError),
    /// The queue that is there cannot be gone on with.
    #[error(transparent)]
    Resume(#[from] day3::ResumeError),
    /// The queue cannot be looked at.
    #[error(transparent)]
    Open(#[from] day2::OpenError),
    /// The queue that was closed cannot be removed.
    #[error(transparent)]
    Remove(#[from] day2::RemoveError),
    /// The queue takes no more.
    #[error(transparent)]
    Send(#[from] day3::SendError),
    /// This process lacks something.
    #[error("cannot start to carry: {why}")]
    Runtime {
        /// What the system or the client said.
        why: String,
    },
    /// A queue of that name is there, and it is no copy of what the stream holds.
    #[error(
        "there is a queue {queue} already, and the stream {stream} does not have its messages: remove it with `fanout rm \
         {queue}`, or choose another name"
    )]
    OtherQueue {
        /// Its name.
        queue: common::QueueName,
        /// The stream.
        stream: String,
    },
    /// The stream does not have all messages any more.
    #[error(
        "the stream {stream} has lost messages: the queue needs sequence {expected}, and the stream goes on at {found} \
         (message {message}); with --lossy the bridge counts them, and begins a new queue there"
    )]
    Gap {
        /// The stream.
        stream: String,
        /// What the queue needs next.
        expected: u64,
        /// What the stream has.
        found: u64,
        /// The stream's number of that message.
        message: u64,
    },
    /// The queue ends within a message of the stream.
    #[error(
        "the queue {queue} ends within message {message} of the stream {stream}: it is no copy of what the stream \
         holds; remove it with `fanout rm {queue}`, or choose another name"
    )]
    Boundary {
        /// Its name.
        queue: common::QueueName,
        /// The stream.
        stream: String,
        /// The stream's number of the message.
        message: u64,
    },
    /// A message does not fit.
    #[error(
        "the message at sequence {sequence} has {found} bytes, the longest that the queue can hold has {most}: raise \
         --capacity, and remove the queue that is there"
    )]
    TooLarge {
        /// Its sequence.
        sequence: u64,
        /// Its length in bytes.
        found: usize,
        /// The most.
        most: usize,
    },
    /// The stream's messages are not what the queue holds.
    #[error(
        "the queue {queue} holds {expected}, and message {message} of the stream {stream} is {found}: remove the queue, or \
         choose another name"
    )]
    TypeDiffers {
        /// The queue.
        queue: common::QueueName,
        /// The stream.
        stream: String,
        /// The stream's number of the message.
        message: u64,
        /// What the queue holds.
        expected: String,
        /// What the message is.
        found: String,
    },
}
