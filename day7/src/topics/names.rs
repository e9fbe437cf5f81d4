//! Names of topics, and the patterns that match them.

use core::fmt;
use core::str::FromStr;

/// The most bytes that a topic or a pattern may have.
pub const MOST_BYTES: usize = 120;

/// What a topic cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// It has a part without a character, or none at all.
    #[error(
        "{found:?} is no topic: a part of it is empty; write parts with dots between them, such as orders.eu.17"
    )]
    Empty {
        /// The topic as it was given.
        found: String,
    },
    /// It is too long.
    #[error("a topic has at most {MOST_BYTES} bytes, found {found}: shorten it")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// It has a character that no topic has.
    #[error(
        "{found:?} is no topic, because of {character:?}: its parts are of letters and digits (a-z, A-Z, 0-9), - and _, \
         such as orders.eu.17; only patterns have * and >"
    )]
    Character {
        /// The topic as it was given.
        found: String,
        /// The character.
        character: char,
    },
}

/// What is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// One of its parts could not be a topic's, and is neither `*` nor `>`.
    #[error("{found:?} is no pattern: {why}")]
    Part {
        /// The pattern as it was given.
        found: String,
        /// What is wrong with it as a topic.
        why: TopicError,
    },
    /// The `>` is not its last part.
    #[error(
        "{found:?} is no pattern: > stands for the rest, and only as the last part; use * for one part in the middle"
    )]
    Rest {
        /// The pattern as it was given.
        found: String,
    },
}

/// The name of a topic: parts of letters, digits, `-` and `_`, with dots between them; at most [`MOST_BYTES`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Box<str>);

/// Whether a topic could be called so.
fn check(name: &str) -> Result<(), TopicError> {
    if name.len() > MOST_BYTES {
        return Err(TopicError::TooLong { found: name.len() });
    }
    for part in name.split('.') {
        let found = || name.to_owned();
        if part.is_empty() {
            return Err(TopicError::Empty { found: found() });
        }
        let is_odd =
            |character: &char| !character.is_ascii_alphanumeric() && !"-_".contains(*character);
        if let Some(character) = part.chars().find(is_odd) {
            return Err(TopicError::Character { found: found(), character });
        }
    }
    Ok(())
}

impl Topic {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`TopicError`].
    pub fn new(name: &str) -> Result<Self, TopicError> {
        check(name)?;
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(name: &str) -> Result<Self, TopicError> {
        Self::new(name)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which topics a subscriber wants: a topic's name, in which `*` stands for any one part, and `>`, as the last part, for
/// one or more.
///
/// ```
/// use day7::topics::Pattern;
///
/// let pattern: Pattern = "orders.*.17".parse()?;
/// assert!(pattern.matches("orders.eu.17") && !pattern.matches("orders.17"));
/// let pattern: Pattern = "orders.>".parse()?;
/// assert!(pattern.matches("orders.eu.17") && !pattern.matches("orders"));
/// assert!("orders.>.17".parse::<Pattern>().is_err());
/// # Ok::<(), day7::topics::PatternError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Checks a pattern.
    ///
    /// # Errors
    ///
    /// [`PatternError`].
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let mut parts: Vec<&str> = pattern.split('.').collect();
        let rest = parts.iter().position(|&part| part == ">");
        if rest.is_some_and(|rest| rest + 1 < parts.len()) {
            return Err(PatternError::Rest { found: pattern.to_owned() });
        }
        // As a topic that it matches, and that is as long.
        for part in &mut parts {
            if matches!(*part, "*" | ">") {
                *part = "x";
            }
        }
        check(&parts.join(".")).map_err(|why| {
            let found = pattern.to_owned();
            let why = match why {
                TopicError::Empty { .. } => TopicError::Empty { found: found.clone() },
                TopicError::Character { character, .. } => {
                    TopicError::Character { found: found.clone(), character }
                }
                why => why,
            };
            PatternError::Part { found, why }
        })?;
        Ok(Self(pattern.into()))
    }

    /// The pattern, as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches this topic.
    pub fn matches(&self, topic: &str) -> bool {
        let mut topic = topic.split('.');
        for part in self.0.split('.') {
            match (part, topic.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (part, Some(found)) if part == found => {}
                _ => return false,
            }
        }
        topic.next().is_none()
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(pattern: &str) -> Result<Self, PatternError> {
        Self::new(pattern)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
