//! Where a server of tasks is: under a name, or at a path.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use fanout::records::hosting;
use fanout::tasks::{BindError, Server, ServerOptions};
use fanout::{QueueName, error::NameError};

/// A name such as `jobs`, which is one among the names of the queues; or a path such as `./jobs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Name(QueueName),
    Path(PathBuf),
}

impl FromStr for Place {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match QueueName::new(text) {
            // A name may begin with a slash. A second one makes it a path.
            Err(_) if text.len() > 1 && text.contains('/') => Ok(Self::Path(text.into())),
            name => name.map(Self::Name),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

impl Place {
    /// The socket there.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Name(name) => hosting::path_of(name),
            Self::Path(path) => path.clone(),
        }
    }

    /// A server that listens there.
    pub(crate) fn bind(&self, options: &ServerOptions) -> Result<Server, BindError> {
        match self {
            Self::Name(name) => Server::host(name, options),
            Self::Path(path) => Server::bind(path, options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_inside_makes_a_path() {
        for name in ["jobs", "/jobs"] {
            assert_eq!(name.parse(), Ok(Place::Name("jobs".parse().unwrap())));
        }
        for path in ["./jobs", "/run/jobs", "../jobs", "run/jobs", "//"] {
            assert_eq!(path.parse(), Ok(Place::Path(path.into())));
        }
        for refused in ["", "/", ".", "..", "a\nb"] {
            assert!(refused.parse::<Place>().is_err(), "{refused:?}");
        }
    }
}
