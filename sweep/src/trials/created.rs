//! A producer dies while it creates its queue, or puts it in the place of another.

use std::time::Duration;

use anyhow::{bail, ensure};
use fanout::error::{JoinError, OpenError};
use fanout::{JoinOptions, QueueName, Start};
use testing::Unique;

use super::{replace, succeed};
use crate::ends::{Kind, Part};
use crate::trial::{Dead, Outcome, Trial};

/// A queue that is half made is taken for one that is just being made, for a while. So this is tried only with one
/// victim in so many.
const SELDOM: u32 = 64;

/// Nobody is there yet. Consumers and another producer come afterwards.
pub(crate) struct Created {
    kind: Kind,
    name: Unique,
}

impl Created {
    pub(crate) fn new(kind: Kind, name: Unique) -> Self {
        Self { kind, name }
    }

    /// What a consumer finds that does not wait.
    fn found(&self, part: Part) -> anyhow::Result<&'static str> {
        let options = JoinOptions::new().timeout(Duration::ZERO);
        match self.kind.join(&self.name, part, Start::Oldest, &options) {
            Ok(_) => Ok("ready"),
            Err(JoinError::Open(OpenError::NotFound { .. })) => Ok("no name"),
            Err(JoinError::Open(OpenError::NotReady { .. })) => Ok("not ready"),
            Err(error) => bail!("{part:?} cannot join a queue that is half made: {error}"),
        }
    }
}

impl Trial for Created {
    fn name(&self) -> &QueueName {
        &self.name
    }

    fn judge(self: Box<Self>, dead: Dead) -> anyhow::Result<Outcome> {
        let found = self.found(Part::Broadcast)?;
        ensure!(found == "ready" || !dead.is_done, "a queue was created, and is {found}");
        for part in [Part::Member(super::GROUP), Part::Tap] {
            let other = self.found(part)?;
            ensure!(found == other, "a consumer finds it {found}, {part:?} finds it {other}");
        }
        match found {
            "no name" => {}
            "not ready" if !dead.pid.is_multiple_of(SELDOM) => self.name.remove(),
            "ready" if dead.pid.is_multiple_of(2) => drop(self.kind.resume(&self.name)?),
            _ => replace(self.kind, &self.name)?,
        }
        succeed(self.kind, &self.name)?;
        Ok(found.to_owned())
    }
}
