//! `fanout topic`: publishing under a name, subscribing with patterns.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::{Args, Subcommand};
use fanout::error::OpenError;
use fanout::topics::{
    DEFAULT_SPACE, Departed, Departure, JoinSpaceError, KeepLast, Pattern, Published, Publisher,
    PublisherInfo, PublisherOptions, RecvTimeoutError, Space, SubscribeOptions, Subscriber,
    SubscriberInfo, Topic, TryPublishError,
};
use fanout::{Policy, QueueName};

use super::column::width;
use super::input::{Cut, Input, Piece};
use super::output::Output;
use super::terminal::{Notice, say};
use super::value::size;
use super::{LINE, print};
use yardstick::signals::Signals;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish messages under a topic: those that are given, or the lines that come from stdin
    Pub(PubArguments),
    /// Receive what is published under topics that match a pattern, and write it to stdout
    Sub(SubArguments),
    /// List who publishes, and who subscribes to what
    Ls(LsArguments),
}

#[derive(Args)]
struct PubArguments {
    /// The topic, such as orders.eu.17
    #[arg(value_parser = Topic::new)]
    topic: Topic,
    /// The messages; without any, each line from stdin is one
    messages: Vec<String>,
    /// Where publishers and subscribers find one another
    #[arg(long, default_value = DEFAULT_SPACE, value_name = "NAME")]
    space: QueueName,
    /// Hold the first message until this many subscriptions match the topic
    #[arg(long, default_value_t = 0, value_name = "N")]
    wait_for: usize,
    /// Keep the last message for subscribers that come late (`sub --last`), while this runs, if it is no longer than this
    #[arg(long, value_name = "BYTES", value_parser = size)]
    keep_last: Option<u64>,
    /// How much the publisher's ring holds, rounded up to a power of two; K, M and G are understood
    #[arg(long, default_value = "1M", value_name = "BYTES", value_parser = size)]
    capacity: u64,
}

#[derive(Args)]
struct SubArguments {
    /// Which topics: names, in which * stands for one part, and > at the end for one or more
    #[arg(required = true, value_parser = Pattern::new)]
    patterns: Vec<Pattern>,
    /// Where publishers and subscribers find one another
    #[arg(long, default_value = DEFAULT_SPACE, value_name = "NAME")]
    space: QueueName,
    /// Begin with the last message of each topic, as far as publishers keep them
    #[arg(long)]
    last: bool,
    /// What publishers do while this subscriber is too slow: block (wait for it), lossy (go on, and this
    /// says at the end how many messages it missed), or evict=5s (wait no longer than that)
    #[arg(long, value_name = "POLICY", default_value_t)]
    policy: Policy,
    /// End after this many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Write each message's topic before it, and a space
    #[arg(long)]
    topic_names: bool,
}

#[derive(Args)]
struct LsArguments {
    /// Where publishers and subscribers find one another
    #[arg(long, default_value = DEFAULT_SPACE, value_name = "NAME")]
    space: QueueName,
}

/// How long a step may take before the command looks at signals.
const SLICE: Duration = Duration::from_millis(50);

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    match &arguments.command {
        Command::Pub(arguments) => publish(arguments, signals),
        Command::Sub(arguments) => subscribe(arguments, signals),
        Command::Ls(arguments) => list(arguments),
    }
}

fn publish(arguments: &PubArguments, signals: &Signals) -> anyhow::Result<()> {
    let space = Space::open(&arguments.space)?;
    let mut options = PublisherOptions::new().capacity(arguments.capacity);
    if let Some(bytes) = arguments.keep_last {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        options = options.keep_last(KeepLast { topics: 1, bytes });
    }
    let mut publisher = Publisher::create(&space, &options)?;
    wait_for_subscribers(&space, arguments, signals)?;
    let topic = arguments.topic.as_str();
    if arguments.messages.is_empty() {
        let mut input = Input::open(None, Cut::Lines)?;
        loop {
            let goes_on = input.read_more(signals, || ())?;
            while let Some(Piece { bytes, kind }) = input.peek() {
                send(&mut publisher, topic, bytes, kind, signals)?;
                input.take();
            }
            // An unfinished line is refused as soon as it is too long.
            let (len, most) = (input.unfinished(), publisher.largest(topic));
            ensure!(
                len <= most,
                "a line has {len} bytes or more, the longest that fits has {most}: raise --capacity"
            );
            if !goes_on {
                break;
            }
        }
    }
    for message in &arguments.messages {
        send(&mut publisher, topic, message.as_bytes(), LINE, signals)?;
    }
    let mut notice = Notice::new();
    while publisher.finish(SLICE).is_err() {
        signals.check()?;
        notice.still(|| "waiting for subscribers that have not read everything".to_owned());
    }
    if publisher.unwanted() > 0 && arguments.keep_last.is_none() {
        let (unwanted, all) = (publisher.unwanted(), publisher.published());
        say(&format!("nobody was subscribed to {topic} for {unwanted} of {all} messages"));
    }
    Ok(())
}

fn wait_for_subscribers(
    space: &Space,
    arguments: &PubArguments,
    signals: &Signals,
) -> anyhow::Result<()> {
    let (topic, wanted, mut notice) = (&arguments.topic, arguments.wait_for, Notice::new());
    let matches = |one: &SubscriberInfo| one.lives && one.pattern.matches(topic.as_str());
    while wanted > 0 && space.subscribers().iter().filter(|one| matches(one)).count() < wanted {
        signals.check()?;
        notice.still(|| {
            format!(
                "waiting for {wanted} subscribers to {topic}, such as `fanout topic sub {topic}`"
            )
        });
        std::thread::sleep(SLICE / 10);
    }
    Ok(())
}

fn send(
    publisher: &mut Publisher,
    topic: &str,
    message: &[u8],
    kind: u16,
    signals: &Signals,
) -> anyhow::Result<()> {
    let mut notice = Notice::new();
    loop {
        signals.check()?;
        match publisher.publish_timeout(topic, message, kind, SLICE) {
            Ok(_) => return Ok(()),
            Err(TryPublishError::Full) => notice.still(|| {
                format!("the ring {} is full: waiting for its slowest subscriber", publisher.ring())
            }),
            Err(TryPublishError::End(end)) => return Err(end.into()),
        }
    }
}

fn subscribe(arguments: &SubArguments, signals: &Signals) -> anyhow::Result<()> {
    let space = Space::open(&arguments.space)?;
    let mut options = SubscribeOptions::new().policy(arguments.policy).label("fanout topic sub");
    if arguments.last {
        options = options.with_last();
    }
    let patterns: Vec<_> = arguments.patterns.iter().map(Pattern::as_str).collect();
    let mut subscriber = Subscriber::subscribe_all(&space, &patterns, &options)?;
    let mut stdout = BufWriter::new(Output::new(signals)?);
    let (mut received, mut missed) = (0u64, 0u64);
    let outcome =
        receive(arguments, signals, &mut subscriber, &mut stdout, &mut |published: &Published| {
            received += 1;
            missed += published.missed;
        });
    // Ctrl-C is how most subscribers end. Only if the reader has gone, there is nothing to report to.
    let is_lossy = arguments.policy != Policy::Block;
    if is_lossy && !outcome.as_ref().is_err_and(super::is_broken_pipe) {
        say(&format!("{received} messages received, {missed} missed"));
    }
    outcome
}

fn receive(
    arguments: &SubArguments,
    signals: &Signals,
    subscriber: &mut Subscriber,
    stdout: &mut BufWriter<Output<'_>>,
    count: &mut impl FnMut(&Published),
) -> anyhow::Result<()> {
    let (mut left, mut silence) = (arguments.count.unwrap_or(u64::MAX), Notice::new());
    let mut published = Published::default();
    while left > 0 {
        signals.check()?;
        if !subscriber.try_recv_into(&mut published)? {
            stdout.flush()?;
            match subscriber.recv_timeout(SLICE) {
                Ok(next) => published = next,
                Err(RecvTimeoutError::TimedOut(_)) => {
                    depart(subscriber.take_departures())?;
                    silence.still(|| {
                        format!("subscribed in {}: waiting for a message", arguments.space)
                    });
                    stdout.get_ref().check_reader()?;
                    continue;
                }
                Err(RecvTimeoutError::End(end)) => return Err(end.into()),
            }
        }
        silence.over();
        left -= 1;
        count(&published);
        if arguments.topic_names {
            write!(stdout, "{} ", published.topic)?;
        }
        stdout.write_all(&published.payload)?;
        if published.kind == LINE {
            stdout.write_all(b"\n")?;
        }
    }
    Ok(stdout.flush()?)
}

/// Says who has gone, but for those that were done.
fn depart(departures: Vec<Departure>) -> anyhow::Result<()> {
    for Departure { process, why, .. } in departures {
        match why {
            Departed::Died => say(&format!(
                "the publisher in process {process} died, and everything that it had published is written"
            )),
            Departed::Broken(why) => say(&format!("the publisher in process {process}: {why}")),
            Departed::Evicted => bail!(
                "this subscriber was evicted by the publisher in process {process}, because it kept it waiting for \
                 longer than it had promised: start it again to go on"
            ),
            _ => {}
        }
    }
    Ok(())
}

fn list(arguments: &LsArguments) -> anyhow::Result<()> {
    let space = match Space::existing(&arguments.space) {
        Ok(space) => space,
        Err(JoinSpaceError::Open(OpenError::NotFound { name })) => {
            return print(&format!("nobody publishes or subscribes in {name}\n"));
        }
        Err(error) => return Err(error.into()),
    };
    print(&table(&space.publishers(), &space.subscribers())?)
}

fn table(
    publishers: &[PublisherInfo],
    subscribers: &[SubscriberInfo],
) -> Result<String, std::fmt::Error> {
    let rings = publishers.iter().map(|one| one.ring.as_str().len());
    let patterns = subscribers.iter().map(|one| one.pattern.as_str().len());
    let wide = width(rings.chain(patterns), "publisher's ring");
    let dead = |lives: bool| if lives { "" } else { "  <- dead" };
    let mut out = format!("{:<wide$}{:>12}  keeps\n", "publisher's ring", "process");
    for PublisherInfo { ring, process, keeps_last, lives, .. } in publishers {
        let keeps = if *keeps_last { "last" } else { "-" };
        writeln!(out, "{:<wide$}{process:>12}  {keeps}{}", ring.as_str(), dead(*lives))?;
    }
    writeln!(out, "{:<wide$}{:>12}  policy", "pattern", "process")?;
    for SubscriberInfo { pattern, process, policy, lives, .. } in subscribers {
        writeln!(out, "{:<wide$}{process:>12}  {policy}{}", pattern.as_str(), dead(*lives))?;
    }
    Ok(out)
}
