//! Values as a user types them: a label, a user, a way to wait.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use fanout::NAME_BYTES;
use fanout::wait::Strategy;
pub(crate) use yardstick::value::{permissions, seconds, size};

/// Reads a label. A label that does not fit into a slot is refused, not cut off.
pub(crate) fn label(text: &str) -> Result<String, String> {
    if text.len() <= NAME_BYTES {
        return Ok(text.to_owned());
    }
    Err(format!("expected at most {NAME_BYTES} bytes, found {}: shorten it", text.len()))
}

/// Whose queues are joined beside one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trusted {
    User(u32),
    Any,
}

/// Reads a user, by name or number, or `any`.
pub(crate) fn trusted(text: &str) -> Result<Trusted, String> {
    if text == "any" {
        return Ok(Trusted::Any);
    }
    if let Ok(user) = text.parse() {
        return Ok(Trusted::User(user));
    }
    match nix::unistd::User::from_name(text) {
        Ok(Some(user)) => Ok(Trusted::User(user.uid.as_raw())),
        _ => Err("expected a user of this host, by name or number, or any".to_owned()),
    }
}

/// Reads a way to wait.
pub(crate) fn strategy() -> impl TypedValueParser<Value = Strategy> {
    let names = Strategy::ALL.map(Strategy::name);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Strategy>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_told_by_name_or_number() {
        assert_eq!(trusted("any"), Ok(Trusted::Any));
        assert_eq!(trusted("1000"), Ok(Trusted::User(1000)));
        assert_eq!(trusted("root"), Ok(Trusted::User(0)));
        for refused in ["", "-1", "no such user", "4294967296"] {
            assert!(trusted(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn a_label_is_taken_whole_or_not_at_all() {
        let longest = "l".repeat(NAME_BYTES);
        assert_eq!(label(&longest), Ok(longest.clone()));
        assert!(label(&(longest + "l")).is_err());
    }
}
