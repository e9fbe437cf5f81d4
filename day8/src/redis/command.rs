//! The commands: which there are, how many arguments they have, and what they answer.
//!
//! Texts of errors are those of Redis 7, byte for byte: clients look at them.

mod keys;
mod pubsub;
mod server;
mod strings;

use super::Redis;
use super::answers::Answers;
use super::channels::Listener;
use super::number;

pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub(super) const SYNTAX: &str = "ERR syntax error";
pub(super) const NO_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
/// How much of what a client sent an error repeats.
const MOST_REPEATED: usize = 128;

/// What a connection knows about its client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: i64,
    pub(super) name: Vec<u8>,
    /// From its first SUBSCRIBE on.
    pub(super) listener: Option<Listener>,
}

impl Client {
    pub(super) fn new(id: i64) -> Self {
        Self { id, name: Vec::new(), listener: None }
    }

    /// Whether it listens to a channel. It may send hardly anything then.
    #[inline]
    pub(super) fn listens(&self) -> bool {
        self.listener.as_ref().is_some_and(|listener| !listener.channels.is_empty())
    }
}

/// How the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    /// The answers so far are written, and the connection ends.
    Close,
    /// There was no room for it. Nothing has happened: it is to be tried again later.
    Again,
}

/// A request that is executed.
pub(super) struct Call<'a, 'b> {
    pub(super) service: &'a Redis,
    pub(super) client: &'a mut Client,
    /// With the command's name.
    pub(super) arguments: &'a [&'a [u8]],
    pub(super) answers: &'a mut Answers<'b>,
}

/// What a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Memory: it may add to the store.
    Memory,
}

/// When a command may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// Not while the client listens to a channel.
    NotListening,
}

/// A command.
pub(super) struct Command {
    pub(super) name: &'static str,
    /// How many arguments, with the name; negative: at least so many.
    pub(super) arity: i64,
    /// As COMMAND tells them.
    pub(super) flags: &'static [&'static str],
    /// The first key, the last one, and the step between them.
    pub(super) keys: (i64, i64, i64),
    needs: Needs,
    when: When,
    run: fn(&mut Call<'_, '_>) -> Flow,
}

const NO_KEYS: (i64, i64, i64) = (0, 0, 0);
const ONE_KEY: (i64, i64, i64) = (1, 1, 1);
const ALL_KEYS: (i64, i64, i64) = (1, -1, 1);

const fn command(
    name: &'static str,
    arity: i64,
    flags: &'static [&'static str],
    keys: (i64, i64, i64),
    run: fn(&mut Call<'_, '_>) -> Flow,
) -> Command {
    Command { name, arity, flags, keys, needs: Needs::Nothing, when: When::NotListening, run }
}

impl Command {
    const fn with_memory(mut self) -> Self {
        self.needs = Needs::Memory;
        self
    }

    const fn always(mut self) -> Self {
        self.when = When::Always;
        self
    }
}

/// All of them; the most frequent ones first.
pub(super) static COMMANDS: &[Command] = &[
    command("get", 2, &["readonly", "fast"], ONE_KEY, strings::get),
    command("set", -3, &["write", "denyoom"], ONE_KEY, strings::set).with_memory(),
    command("incr", 2, &["write", "denyoom", "fast"], ONE_KEY, strings::incr).with_memory(),
    command("mget", -2, &["readonly", "fast"], ALL_KEYS, strings::mget),
    command("mset", -3, &["write", "denyoom"], (1, -1, 2), strings::mset).with_memory(),
    command("del", -2, &["write"], ALL_KEYS, keys::del),
    command("exists", -2, &["readonly", "fast"], ALL_KEYS, keys::exists),
    command("expire", -3, &["write", "fast"], ONE_KEY, keys::expire),
    command("ttl", 2, &["readonly", "fast"], ONE_KEY, keys::ttl),
    command("publish", 3, &["pubsub", "loading", "stale", "fast"], NO_KEYS, pubsub::publish),
    command("ping", -1, &["fast"], NO_KEYS, server::ping).always(),
    command("echo", 2, &["loading", "stale", "fast"], NO_KEYS, server::echo),
    command("dbsize", 1, &["readonly", "fast"], NO_KEYS, keys::dbsize),
    command("flushall", -1, &["write"], NO_KEYS, keys::flushall),
    command("config", -2, &[], NO_KEYS, server::config),
    command("command", -1, &["loading", "stale"], NO_KEYS, server::command),
    command("hello", -1, &HELLO_FLAGS, NO_KEYS, server::hello),
    command("client", -2, &[], NO_KEYS, server::client),
    command("quit", -1, &HELLO_FLAGS, NO_KEYS, server::quit).always(),
    command("subscribe", -2, &PUBSUB_FLAGS, NO_KEYS, pubsub::subscribe).always(),
    command("unsubscribe", -1, &PUBSUB_FLAGS, NO_KEYS, pubsub::unsubscribe).always(),
];

const HELLO_FLAGS: [&str; 7] =
    ["noscript", "loading", "stale", "fast", "no_auth", "allow_busy", "no_multi"];
const PUBSUB_FLAGS: [&str; 4] = ["pubsub", "noscript", "loading", "stale"];

/// The command of this name, in whatever case.
#[inline]
pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether there may be so many arguments.
fn fits(arity: i64, arguments: usize) -> bool {
    let arguments = arguments as i64;
    if arity >= 0 { arguments == arity } else { arguments >= -arity }
}

impl Call<'_, '_> {
    /// Executes the request. It has at least one argument.
    #[inline]
    pub(super) fn execute(&mut self) -> Flow {
        let Some(command) = find(self.arguments[0]) else { return self.unknown() };
        if !fits(command.arity, self.arguments.len()) {
            return self.wrong_arity(command.name);
        }
        if command.needs == Needs::Memory && !self.service.has_memory_for(self.arguments) {
            return self.error(NO_MEMORY);
        }
        if self.client.listens() && command.when == When::NotListening {
            return self.not_now(command.name);
        }
        (command.run)(self)
    }

    /// Refuses the request: there was no memory to read it.
    #[cold]
    pub(super) fn refuse(answers: &mut Answers<'_>) {
        answers.error(NO_MEMORY);
    }

    #[cold]
    fn unknown(&mut self) -> Flow {
        let name = self.arguments[0];
        // A browser that was made to talk to us: what follows are not its words.
        if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
            return Flow::Close;
        }
        let mut text = b"ERR unknown command '".to_vec();
        text.extend(repeated(name, MOST_REPEATED));
        text.extend(b"', with args beginning with: ");
        let start = text.len();
        for argument in &self.arguments[1..] {
            let Some(left @ 1..) = MOST_REPEATED.checked_sub(text.len() - start) else { break };
            text.push(b'\'');
            text.extend(repeated(argument, left));
            text.extend(b"' ");
        }
        without_line_ends(&mut text);
        self.error(text)
    }

    #[cold]
    fn not_now(&mut self, command: &str) -> Flow {
        self.error(format!(
            "ERR Can't execute '{command}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context"
        ))
    }

    #[cold]
    fn wrong_arity(&mut self, command: &str) -> Flow {
        self.error(format!("ERR wrong number of arguments for '{command}' command"))
    }

    #[cold]
    fn unknown_subcommand(&mut self, command: &str) -> Flow {
        let mut text = b"ERR unknown subcommand '".to_vec();
        text.extend(repeated(self.arguments[1], MOST_REPEATED));
        text.extend(format!("'. Try {command} HELP.").as_bytes());
        without_line_ends(&mut text);
        self.error(text)
    }

    #[cold]
    fn error(&mut self, text: impl AsRef<[u8]>) -> Flow {
        self.answers.error(text);
        Flow::Continue
    }

    /// The argument as an integer.
    fn integer(&self, argument: usize) -> Option<i64> {
        self.arguments.get(argument).and_then(|text| number::parse(text))
    }
}

/// As much of a client's bytes as an error repeats: as in Redis, up to a zero byte.
fn repeated(bytes: &[u8], most: usize) -> &[u8] {
    let bytes = &bytes[..bytes.len().min(most)];
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// A line's end in the middle of an error would end it.
fn without_line_ends(text: &mut [u8]) {
    for byte in text {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
}
