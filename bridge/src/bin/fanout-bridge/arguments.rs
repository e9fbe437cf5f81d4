//! The command line, whose options may also come from the environment.

use std::time::Duration;

use bridge::inbound::{From, InOptions};
use bridge::metrics::Direction as Way;
use bridge::outbound::OutOptions;
use bridge::stream::{Storage, StreamOptions};
use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Parser, Subcommand, ValueEnum};
use common::QueueName;
use day3::Unattended;
use day3::control::{MOST_SLOTS, NAME_BYTES, SLOTS};
use day3::roster::is_group_name;
use yardstick::value::{permissions, seconds, size};

use crate::convoy::{Carrier, Plan, Work};
use crate::login::Login;
use crate::point::point;

/// Carry queues between hosts, over NATS JetStream
///
/// On the host that has the queue, `out` publishes each message to a stream. On any other host, `in` makes a queue of the same
/// name and publishes the stream's messages in it: the same bytes, in the same order, each exactly once, also
/// after a crash. Nothing is dropped: while the server is away or the stream is full, the queue fills, and its producer waits.
#[derive(Parser)]
#[command(name = "fanout-bridge", version, after_help = MORE)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) direction: Direction,
}

const MORE: &str = "\
Examples:
  host A$ fanout pub prices < ticks
  host A$ fanout bridge out prices nats://hub:4222 --stream PRICES
  host B$ fanout bridge in prices nats://hub:4222 --stream PRICES
  host B$ fanout sub prices

  Over a cluster of three servers, encrypted, kept by all three:
  $ fanout bridge out prices tls://hub1,tls://hub2,tls://hub3 --stream PRICES --replicas 3 --creds bridge.creds

  Two queues in one stream, a subject for each:
  $ fanout bridge out bids,asks nats://hub --stream BOOK --subject 'book.{queue}'

  A password is never on the command line, where every user of the host could read it:
  $ FANOUT_NATS_PASSWORD=\u{2026} fanout bridge in prices nats://hub --stream PRICES --user anna

Exit codes:
    0  done: the queue has ended, and all of it was carried
    1  an error, told in one line on stderr
    2  the command line is wrong
    3  a producer gave up before it had sent everything; what it sent was carried
  129  the terminal was closed (SIGHUP)
  130  interrupted (SIGINT, Ctrl-C)
  131  quit (SIGQUIT, Ctrl-\\)
  143  terminated (SIGTERM)
After a signal the bridge stops so that it can be started again, and then goes on where it was. A second signal kills
it at once, and that loses nothing, either.";

#[derive(Subcommand)]
pub(crate) enum Direction {
    /// From queues of this host to a stream
    Out(Out),
    /// From a stream to queues of this host
    In(In),
}

/// What both directions have.
#[derive(Args)]
struct Common {
    /// The queue's name, or several, separated by commas
    queue: String,
    /// The server's address, or several of one cluster, separated by commas. With tls:// instead of nats:// the
    /// connection has to be encrypted
    #[arg(env = "FANOUT_NATS_URL", hide_env_values = true)]
    url: String,
    /// The stream's name; `out` makes the stream if there is none
    #[arg(long, value_name = "NAME", env = "FANOUT_BRIDGE_STREAM")]
    stream: String,
    /// The subject that the messages have in the stream [default: fanout.STREAM]. For several queues there has to be
    /// a {queue} in it, which stands for each one's name
    #[arg(long, value_name = "SUBJECT", env = "FANOUT_BRIDGE_SUBJECT")]
    subject: Option<String>,
    /// Do not stop for messages that are lost, but count them; with `out`, the producer does not wait for this bridge
    #[arg(long, env = "FANOUT_BRIDGE_LOSSY", value_parser = FalseyValueParser::new())]
    lossy: bool,
    /// When the queue has ended, wait for the next one of that name
    #[arg(long, env = "FANOUT_BRIDGE_FOLLOW", value_parser = FalseyValueParser::new())]
    follow: bool,
    /// Fail if there is nothing to carry yet, `out` no queue and `in` no stream, instead of waiting for it
    #[arg(long, env = "FANOUT_BRIDGE_NO_WAIT", value_parser = FalseyValueParser::new())]
    no_wait: bool,
    /// Answer `GET /metrics` with figures (OpenMetrics) at this address, such as 127.0.0.1:9464, or at this port of
    /// the loopback interface
    #[arg(long, value_name = "ADDRESS", env = "FANOUT_BRIDGE_METRICS")]
    metrics: Option<String>,
    /// Say nothing but errors
    #[arg(long, short, env = "FANOUT_BRIDGE_QUIET", value_parser = FalseyValueParser::new())]
    quiet: bool,
}

/// The name of a group of a queue.
fn group(text: &str) -> Result<String, String> {
    match is_group_name(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected 1 to {NAME_BYTES} bytes without a NUL")),
    }
}

/// A time that a server can count in nanoseconds.
fn age(text: &str) -> Result<Duration, String> {
    let most = Duration::from_nanos(i64::MAX as u64);
    match seconds(text)? {
        age if age <= most => Ok(age),
        _ => Err(format!("expected at most {} seconds, which are 292 years", most.as_secs())),
    }
}

#[derive(Args)]
pub(crate) struct Out {
    #[command(flatten)]
    common: Common,
    /// Share the queue's messages with the other members of this group, instead of carrying all of them. While it
    /// has no member, the group holds the producer back
    #[arg(long, value_name = "NAME|all", default_value = "all", value_parser = group, env = "FANOUT_BRIDGE_GROUP")]
    group: String,
    /// Put small messages together into NATS messages of at most this size: far faster
    #[arg(long, value_name = "BYTES", value_parser = size, env = "FANOUT_BRIDGE_PACK")]
    pack: Option<u64>,
    /// Where the servers keep the stream [default: file]
    #[arg(long, value_enum, value_name = "WHERE", env = "FANOUT_BRIDGE_STORAGE")]
    storage: Option<Kept>,
    /// How many servers keep the stream [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5), env = "FANOUT_BRIDGE_REPLICAS")]
    replicas: Option<u8>,
    /// How much the stream holds. When it is full, the bridge waits, and so does the producer
    #[arg(long, value_name = "BYTES", value_parser = size, env = "FANOUT_BRIDGE_MAX_BYTES")]
    max_bytes: Option<u64>,
    /// For how long the stream keeps a message, whether it was read or not
    #[arg(long, value_name = "SECONDS", value_parser = age, env = "FANOUT_BRIDGE_MAX_AGE")]
    max_age: Option<Duration>,
    // Last: what follows it would stand under its heading.
    #[command(flatten)]
    login: Login,
}

#[derive(Args)]
pub(crate) struct In {
    #[command(flatten)]
    common: Common,
    /// Where in the stream to begin, if there is no queue yet that is gone on with: oldest, latest, a number of the
    /// stream's, or a time such as 2026-11-22T12:00:00Z
    #[arg(long, value_name = "WHERE", default_value = "oldest", value_parser = point, env = "FANOUT_BRIDGE_FROM")]
    from: From,
    /// Share the stream's messages with the bridges of this group on other hosts: each message goes to one host, and to
    /// another one if that host did not get it read
    #[arg(long, value_name = "NAME", env = "FANOUT_BRIDGE_GROUP")]
    group: Option<String>,
    /// How much the queue holds, rounded up to a power of two; K, M and G are understood
    #[arg(long, value_name = "BYTES", default_value = "1M", value_parser = size, env = "FANOUT_BRIDGE_CAPACITY")]
    capacity: u64,
    /// How many consumers the queue has room for, taps not counted
    #[arg(long, value_name = "N", default_value_t = SLOTS, value_parser = slots, env = "FANOUT_BRIDGE_SLOTS")]
    slots: usize,
    /// Who may open the queue: octal permissions, as of a file; consumers have to read and write
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = permissions, env = "FANOUT_BRIDGE_MODE")]
    mode: u32,
    /// Hold the first message until this many consumers are attached; 0 starts at once
    #[arg(long, value_name = "N", default_value_t = 1, env = "FANOUT_BRIDGE_WAIT_FOR")]
    wait_for: usize,
    /// What to do with messages while no consumer is attached
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Unheard::Wait, env = "FANOUT_BRIDGE_WHEN_NOBODY_LISTENS")]
    when_nobody_listens: Unheard,
    // Last: what follows it would stand under its heading.
    #[command(flatten)]
    login: Login,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kept {
    /// On disk: the stream outlives its servers' processes
    File,
    /// In memory
    Memory,
}

#[derive(Clone, Copy, ValueEnum)]
enum Unheard {
    /// Wait until a consumer comes
    Wait,
    /// Publish them: a consumer that comes later finds what the queue still holds
    Overwrite,
    /// End with an error
    Refuse,
}

fn slots(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(count) if (1..=MOST_SLOTS).contains(&count) => Ok(count),
        _ => Err(format!("expected 1 to {MOST_SLOTS} consumers")),
    }
}

/// What stands for the queue's name in a subject.
const PLACE: &str = "{queue}";

impl Common {
    fn plan(
        &self,
        matches: &ArgMatches,
        login: &Login,
        way: Way,
        work: impl Fn(QueueName, StreamOptions) -> Work,
    ) -> Result<Plan, String> {
        let typed = matches.value_source("url") == Some(ValueSource::CommandLine);
        let server = login.options(matches, &self.url, typed)?;
        let mut carriers = Vec::new();
        for queue in self.queues()? {
            let stream = self.stream(&queue)?;
            let name = queue.bare().to_owned();
            carriers.push(Carrier { name, work: work(queue, stream) });
        }
        let (stream, metrics, quiet) = (self.stream.clone(), self.metrics.clone(), self.quiet);
        Ok(Plan { way, server, stream, metrics, quiet, carriers })
    }

    /// They are not read by the parser, which would quote a password that somebody typed in the wrong place.
    fn queues(&self) -> Result<Vec<QueueName>, String> {
        let mut queues: Vec<QueueName> = Vec::new();
        for name in self.queue.split(',') {
            if name.contains('@') || name.contains("://") {
                return Err("expected the queue's name before the server's address".to_owned());
            }
            let queue = name.parse::<QueueName>().map_err(|error| error.to_string())?;
            if queues.contains(&queue) {
                return Err(format!("the queue {} is given twice", queue.bare()));
            }
            queues.push(queue);
        }
        let has_place = self.subject.as_ref().is_some_and(|subject| subject.contains(PLACE));
        if queues.len() > 1 && !has_place {
            return Err(format!(
                "several queues need a subject each: give --subject with {PLACE} in it, such as \
                 --subject 'fanout.{}.{PLACE}'",
                self.stream
            ));
        }
        Ok(queues)
    }

    fn stream(&self, queue: &QueueName) -> Result<StreamOptions, String> {
        let options = StreamOptions::new(&self.stream);
        let Some(subject) = &self.subject else { return Ok(options) };
        if !subject.contains(PLACE) {
            return Ok(options.subject(subject));
        }
        let name = queue.bare();
        if name.contains(['.', '*', '>']) || name.contains(char::is_whitespace) {
            return Err(format!(
                "the queue's name {name} cannot be a part of a subject, which a dot, a space, * and > would change: \
                 carry it alone, with a --subject without {PLACE}"
            ));
        }
        Ok(options.subject(subject.replace(PLACE, name)).subjects(subject.replace(PLACE, "*")))
    }
}

impl Out {
    pub(crate) fn plan(&self, matches: &ArgMatches) -> Result<Plan, String> {
        self.common.plan(matches, &self.login, Way::Out, |queue, stream| {
            Work::Out(self.options(queue, stream))
        })
    }

    fn options(&self, queue: QueueName, mut stream: StreamOptions) -> OutOptions {
        if let Some(kept) = self.storage {
            stream = stream.storage(match kept {
                Kept::File => Storage::File,
                Kept::Memory => Storage::Memory,
            });
        }
        if let Some(replicas) = self.replicas {
            stream = stream.replicas(replicas.into());
        }
        if let Some(bytes) = self.max_bytes {
            stream = stream.max_bytes(bytes);
        }
        if let Some(age) = self.max_age {
            stream = stream.max_age(age);
        }
        let Common { lossy, follow, no_wait, .. } = self.common;
        let mut options =
            OutOptions::new(queue, stream).lossy(lossy).follow(follow).wait_for_queue(!no_wait);
        if self.group != "all" {
            options = options.group(&self.group);
        }
        match self.pack {
            // More than memory has is as good as no bound.
            Some(bytes) => options.pack(usize::try_from(bytes).unwrap_or(usize::MAX)),
            None => options,
        }
    }
}

impl In {
    pub(crate) fn plan(&self, matches: &ArgMatches) -> Result<Plan, String> {
        let Self { wait_for, slots, .. } = self;
        if wait_for > slots {
            return Err(format!(
                "--wait-for {wait_for} would wait for ever: the queue has room for {slots} consumers; raise --slots"
            ));
        }
        self.common.plan(matches, &self.login, Way::In, |queue, stream| {
            Work::In(self.options(queue, stream))
        })
    }

    fn options(&self, queue: QueueName, stream: StreamOptions) -> InOptions {
        let Common { lossy, follow, no_wait, .. } = self.common;
        let unattended = match self.when_nobody_listens {
            Unheard::Wait => Unattended::Wait,
            Unheard::Overwrite => Unattended::Overwrite,
            Unheard::Refuse => Unattended::Refuse,
        };
        let options = InOptions::new(queue, stream)
            .from(self.from)
            .capacity(self.capacity)
            .slots(self.slots)
            .permissions(self.mode)
            .unattended(unattended)
            .wait_for(self.wait_for)
            .lossy(lossy)
            .follow(follow)
            .wait_for_stream(!no_wait);
        match &self.group {
            Some(group) => options.group(group),
            None => options,
        }
    }
}
