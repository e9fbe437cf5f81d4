//! DEL, EXISTS, EXPIRE, TTL, DBSIZE, FLUSHALL.

use crate::redis::store::{Left, Store};

use super::{Call, Flow, NOT_AN_INTEGER, SYNTAX};

pub(super) fn del(call: &mut Call<'_, '_>) -> Flow {
    count(call, |store, key| store.remove(key))
}

pub(super) fn exists(call: &mut Call<'_, '_>) -> Flow {
    count(call, |store, key| store.contains(key))
}

/// Answers for how many keys it is so.
fn count(call: &mut Call<'_, '_>, is_so: impl Fn(&mut Store, &[u8]) -> bool) -> Flow {
    let mut store = call.service.store.borrow_mut();
    let keys = call.arguments[1..].iter().filter(|key| is_so(&mut store, key)).count();
    call.answers.integer(keys as i64);
    Flow::Continue
}

/// Under which condition EXPIRE changes a key's time.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    none_so_far: bool,
    one_so_far: bool,
    later: bool,
    earlier: bool,
}

pub(super) fn expire(call: &mut Call<'_, '_>) -> Flow {
    let key = call.arguments[1];
    let conditions = match read_conditions(&call.arguments[3..]) {
        Ok(conditions) => conditions,
        Err(error) => return call.error(error),
    };
    let Some(seconds) = call.integer(2) else { return call.error(NOT_AN_INTEGER) };
    let mut store = call.service.store.borrow_mut();
    let now = store.now();
    let time = seconds.checked_mul(1_000).and_then(|time| time.checked_add_unsigned(now));
    let Some(time) = time else {
        return call.error("ERR invalid expire time in 'expire' command");
    };
    if !store.contains(key) || !conditions.hold(store.expires(key), time) {
        call.answers.integer(0);
        return Flow::Continue;
    }
    match u64::try_from(time) {
        Ok(time) if time > now => store.expire_at(key, time),
        _ => store.remove(key),
    };
    call.answers.integer(1);
    Flow::Continue
}

impl Conditions {
    /// A key without a time expires later than any other.
    fn hold(self, before: Option<u64>, time: i64) -> bool {
        let before = before.map(|before| i64::try_from(before).unwrap_or(i64::MAX));
        !(self.none_so_far && before.is_some()
            || self.one_so_far && before.is_none()
            || self.later && before.is_none_or(|before| time <= before)
            || self.earlier && before.is_some_and(|before| time >= before))
    }
}

fn read_conditions(words: &[&[u8]]) -> Result<Conditions, Vec<u8>> {
    let mut conditions = Conditions::default();
    for word in words {
        match word.to_ascii_lowercase().as_slice() {
            b"nx" => conditions.none_so_far = true,
            b"xx" => conditions.one_so_far = true,
            b"gt" => conditions.later = true,
            b"lt" => conditions.earlier = true,
            _ => {
                let mut text = [b"ERR Unsupported option ", *word].concat();
                text.truncate(memchr::memchr(0, &text).unwrap_or(text.len()));
                super::without_line_ends(&mut text);
                return Err(text);
            }
        }
    }
    let Conditions { none_so_far, one_so_far, later, earlier } = conditions;
    if none_so_far && (one_so_far || later || earlier) {
        let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
        return Err(text.into());
    }
    if later && earlier {
        return Err("ERR GT and LT options at the same time are not compatible".into());
    }
    Ok(conditions)
}

pub(super) fn ttl(call: &mut Call<'_, '_>) -> Flow {
    let seconds = match call.service.store.borrow_mut().left(call.arguments[1]) {
        Left::NoKey => -2,
        Left::Forever => -1,
        Left::Milliseconds(left) => (left.saturating_add(500) / 1_000) as i64,
    };
    call.answers.integer(seconds);
    Flow::Continue
}

pub(super) fn dbsize(call: &mut Call<'_, '_>) -> Flow {
    call.answers.integer(call.service.store.borrow().len() as i64);
    Flow::Continue
}

pub(super) fn flushall(call: &mut Call<'_, '_>) -> Flow {
    match &call.arguments[1..] {
        [] => {}
        // It never stops the others, so the two are one.
        [how] if how.eq_ignore_ascii_case(b"sync") || how.eq_ignore_ascii_case(b"async") => {}
        _ => return call.error(SYNTAX),
    }
    call.service.store.borrow_mut().clear();
    call.answers.ok();
    Flow::Continue
}
