//! What a client asks about the server, or tells it about itself.

use crate::redis::glob;

use super::{COMMANDS, Call, Command, Flow, SYNTAX, find};

/// What clients take us for: they choose by it what they send.
const SERVER: &str = "redis";
/// The version whose answers these are.
const VERSION: &str = "7.0.15";

pub(super) fn ping(call: &mut Call<'_, '_>) -> Flow {
    match &call.arguments[1..] {
        words @ ([] | [_]) if call.client.listens() => {
            call.answers.array(2);
            call.answers.bulk("pong");
            call.answers.bulk(words.first().copied().unwrap_or_default());
        }
        [] => call.answers.raw(b"+PONG\r\n"),
        [message] => call.answers.bulk(message),
        _ => return call.wrong_arity("ping"),
    }
    Flow::Continue
}

pub(super) fn echo(call: &mut Call<'_, '_>) -> Flow {
    call.answers.bulk(call.arguments[1]);
    Flow::Continue
}

pub(super) fn quit(call: &mut Call<'_, '_>) -> Flow {
    call.answers.ok();
    Flow::Close
}

pub(super) fn config(call: &mut Call<'_, '_>) -> Flow {
    if !call.arguments[1].eq_ignore_ascii_case(b"get") {
        return call.unknown_subcommand("CONFIG");
    }
    let patterns = &call.arguments[2..];
    if patterns.is_empty() {
        return call.wrong_arity("config|get");
    }
    let parameters = call.service.parameters();
    let wanted: Vec<(&[u8], &str)> = parameters
        .iter()
        .filter_map(|(name, value)| {
            let is_it = |pattern: &&&[u8]| glob::matches(pattern, name.as_bytes());
            let pattern = patterns.iter().find(is_it)?;
            // As in Redis, a name that is asked for comes back as it was written.
            let is_name = pattern.eq_ignore_ascii_case(name.as_bytes());
            Some((if is_name { pattern } else { name.as_bytes() }, value.as_str()))
        })
        .collect();
    call.answers.array(2 * wanted.len());
    for (name, value) in wanted {
        call.answers.bulk(name);
        call.answers.bulk(value);
    }
    Flow::Continue
}

pub(super) fn command(call: &mut Call<'_, '_>) -> Flow {
    let Some(subcommand) = call.arguments.get(1) else {
        call.answers.array(COMMANDS.len());
        for command in COMMANDS {
            describe(call, Some(command));
        }
        return Flow::Continue;
    };
    let names = &call.arguments[2..];
    match subcommand.to_ascii_lowercase().as_slice() {
        b"count" if names.is_empty() => call.answers.integer(COMMANDS.len() as i64),
        b"count" => return call.wrong_arity("command|count"),
        b"list" if names.is_empty() => {
            call.answers.array(COMMANDS.len());
            for command in COMMANDS {
                call.answers.bulk(command.name);
            }
        }
        b"list" => return call.error(SYNTAX),
        // Nobody has written them: clients do without.
        b"docs" => call.answers.array(0),
        b"info" if names.is_empty() => {
            call.answers.array(COMMANDS.len());
            for command in COMMANDS {
                describe(call, Some(command));
            }
        }
        b"info" => {
            call.answers.array(names.len());
            for name in names {
                describe(call, find(name));
            }
        }
        _ => return call.unknown_subcommand("COMMAND"),
    }
    Flow::Continue
}

/// What clients know commands by: name, arity, flags, and where their keys stand. The rest is left empty.
fn describe(call: &mut Call<'_, '_>, command: Option<&Command>) {
    let answers = &mut *call.answers;
    let Some(command) = command else { return answers.nil() };
    answers.array(10);
    answers.bulk(command.name);
    answers.integer(command.arity);
    answers.array(command.flags.len());
    for flag in command.flags {
        answers.raw(format!("+{flag}\r\n").as_bytes());
    }
    let (first, last, step) = command.keys;
    for number in [first, last, step] {
        answers.integer(number);
    }
    for _ in 0..4 {
        answers.array(0);
    }
}

pub(super) fn hello(call: &mut Call<'_, '_>) -> Flow {
    let arguments = call.arguments;
    if arguments.len() > 1 {
        match call.integer(1) {
            None => return call.error("ERR Protocol version is not an integer or out of range"),
            Some(2) => {}
            Some(_) => return call.error("NOPROTO unsupported protocol version"),
        }
    }
    let mut words = arguments.get(2..).unwrap_or_default();
    while let [word, rest @ ..] = words {
        words = match rest {
            // Everybody is the default user, who has no password.
            [user, _, rest @ ..] if word.eq_ignore_ascii_case(b"auth") => {
                if *user != b"default" {
                    return call.error(BAD_USER);
                }
                rest
            }
            [name, rest @ ..] if word.eq_ignore_ascii_case(b"setname") => {
                if !set_name(call, name) {
                    return call.error(BAD_NAME);
                }
                rest
            }
            _ => return bad_option(call, word),
        };
    }
    let answers = &mut *call.answers;
    answers.array(14);
    for (name, value) in [("server", SERVER), ("version", VERSION)] {
        answers.bulk(name);
        answers.bulk(value);
    }
    for (name, value) in [("proto", 2), ("id", call.client.id)] {
        answers.bulk(name);
        answers.integer(value);
    }
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        answers.bulk(name);
        answers.bulk(value);
    }
    answers.bulk("modules");
    answers.array(0);
    Flow::Continue
}

#[cold]
fn bad_option(call: &mut Call<'_, '_>, word: &[u8]) -> Flow {
    let word = super::repeated(word, usize::MAX);
    let mut text = [b"ERR Syntax error in HELLO option '", word, b"'"].concat();
    super::without_line_ends(&mut text);
    call.error(text)
}

const BAD_USER: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Says whether the name is one.
fn set_name(call: &mut Call<'_, '_>, name: &[u8]) -> bool {
    let is_good = name.iter().all(|byte| matches!(byte, b'!'..=b'~'));
    if is_good {
        call.client.name = name.to_vec();
    }
    is_good
}

pub(super) fn client(call: &mut Call<'_, '_>) -> Flow {
    let arguments = call.arguments;
    match (arguments[1].to_ascii_lowercase().as_slice(), &arguments[2..]) {
        (b"id", []) => call.answers.integer(call.client.id),
        (b"id", _) => return call.wrong_arity("client|id"),
        (b"getname", []) if call.client.name.is_empty() => call.answers.nil(),
        (b"getname", []) => call.answers.bulk(&call.client.name),
        (b"getname", _) => return call.wrong_arity("client|getname"),
        (b"setname", [name]) if set_name(call, name) => call.answers.ok(),
        (b"setname", [_]) => return call.error(BAD_NAME),
        (b"setname", _) => return call.wrong_arity("client|setname"),
        _ => return call.unknown_subcommand("CLIENT"),
    }
    Flow::Continue
}
