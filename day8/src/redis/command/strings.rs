//! GET, SET, INCR, MGET, MSET.

use crate::redis::number;
use crate::redis::store::Expiry;

use super::{Call, Flow, NOT_AN_INTEGER, SYNTAX};

#[inline]
pub(super) fn get(call: &mut Call<'_, '_>) -> Flow {
    match call.service.store.borrow_mut().get(call.arguments[1]) {
        Some(value) => call.answers.value(value),
        None => call.answers.nil(),
    }
    Flow::Continue
}

pub(super) fn mget(call: &mut Call<'_, '_>) -> Flow {
    let mut store = call.service.store.borrow_mut();
    call.answers.array(call.arguments.len() - 1);
    for key in &call.arguments[1..] {
        match store.get(key) {
            Some(value) => call.answers.value(value),
            None => call.answers.nil(),
        }
    }
    Flow::Continue
}

pub(super) fn mset(call: &mut Call<'_, '_>) -> Flow {
    let pairs = &call.arguments[1..];
    if !pairs.len().is_multiple_of(2) {
        return call.wrong_arity("mset");
    }
    let mut store = call.service.store.borrow_mut();
    for pair in pairs.chunks_exact(2) {
        store.set(pair[0], pair[1], Expiry::Never);
    }
    call.answers.ok();
    Flow::Continue
}

pub(super) fn incr(call: &mut Call<'_, '_>) -> Flow {
    let key = call.arguments[1];
    let mut store = call.service.store.borrow_mut();
    let before = store.get(key).map_or(Some(0), |value| number::parse(value));
    let Some(before) = before else { return call.error(NOT_AN_INTEGER) };
    let Some(after) = before.checked_add(1) else {
        return call.error("ERR increment or decrement would overflow");
    };
    store.set(key, itoa::Buffer::new().format(after).as_bytes(), Expiry::Keep);
    call.answers.integer(after);
    Flow::Continue
}

/// Under which condition SET sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    Always,
    IfNew,
    IfThere,
}

/// How a time is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Time {
    milliseconds: bool,
    absolute: bool,
}

/// What stands behind a key and its value.
struct Options<'a> {
    only: Only,
    keeps_time: bool,
    gets: bool,
    time: Option<(Time, &'a [u8])>,
}

#[inline]
pub(super) fn set(call: &mut Call<'_, '_>) -> Flow {
    if call.arguments.len() > 3 {
        return set_with_options(call);
    }
    let mut store = call.service.store.borrow_mut();
    store.set(call.arguments[1], call.arguments[2], Expiry::Never);
    call.answers.ok();
    Flow::Continue
}

fn set_with_options(call: &mut Call<'_, '_>) -> Flow {
    let Some(options) = read_options(&call.arguments[3..]) else { return call.error(SYNTAX) };
    let (key, value) = (call.arguments[1], call.arguments[2]);
    let mut store = call.service.store.borrow_mut();
    let expiry = match options.time {
        None if options.keeps_time => Expiry::Keep,
        None => Expiry::Never,
        Some((time, text)) => {
            let Some(number) = number::parse(text) else { return call.error(NOT_AN_INTEGER) };
            match expiry(time, number, store.now()) {
                Some(time) => Expiry::At(time),
                None => return call.error("ERR invalid expire time in 'set' command"),
            }
        }
    };
    let is_there = store.contains(key);
    if options.gets {
        match store.get(key) {
            Some(value) => call.answers.value(value),
            None => call.answers.nil(),
        }
    }
    let sets = match options.only {
        Only::Always => true,
        Only::IfNew => !is_there,
        Only::IfThere => is_there,
    };
    if sets {
        store.set(key, value, expiry);
    }
    match (options.gets, sets) {
        (true, _) => {}
        (false, true) => call.answers.ok(),
        (false, false) => call.answers.nil(),
    }
    Flow::Continue
}

/// When a key expires; `None`: the time is none that can be.
fn expiry(time: Time, number: i64, now: u64) -> Option<u64> {
    let number = u64::try_from(number).ok().filter(|number| *number > 0)?;
    let most = i64::MAX as u64;
    let milliseconds = if time.milliseconds { number } else { number.checked_mul(1_000)? };
    let milliseconds = if time.absolute { milliseconds } else { milliseconds.checked_add(now)? };
    (milliseconds <= most).then_some(milliseconds)
}

/// `None`: wrong syntax.
fn read_options<'a>(words: &[&'a [u8]]) -> Option<Options<'a>> {
    let mut options = Options { only: Only::Always, keeps_time: false, gets: false, time: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let time = match word.to_ascii_lowercase().as_slice() {
            b"nx" if options.only != Only::IfThere => {
                options.only = Only::IfNew;
                continue;
            }
            b"xx" if options.only != Only::IfNew => {
                options.only = Only::IfThere;
                continue;
            }
            b"get" => {
                options.gets = true;
                continue;
            }
            b"keepttl" if options.time.is_none() => {
                options.keeps_time = true;
                continue;
            }
            b"ex" => Time { milliseconds: false, absolute: false },
            b"px" => Time { milliseconds: true, absolute: false },
            b"exat" => Time { milliseconds: false, absolute: true },
            b"pxat" => Time { milliseconds: true, absolute: true },
            _ => return None,
        };
        // As in Redis, the same one may be given twice: the last counts.
        if options.keeps_time || options.time.is_some_and(|(other, _)| other != time) {
            return None;
        }
        options.time = Some((time, words.next()?));
    }
    Some(options)
}
