//! Which operation a victim is killed in, and which trial its survivors stand.

mod consumers;
mod producers;

use std::fmt;

use testing::Unique;

use crate::ends::Kind;
use crate::mark::Act;
use crate::trial::Trial;
use crate::trials::toys;

type Play = dyn Fn(&Act) -> anyhow::Result<()>;
type Make = dyn Fn(Unique) -> anyhow::Result<Box<dyn Trial>>;

/// A victim's part, and the survivors that are asked afterwards.
pub struct Scenario {
    name: String,
    victim: Box<Play>,
    casualty: Option<Box<Play>>,
    survivors: Box<Make>,
    has_meddler: bool,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Scenario {
    pub(crate) fn new(
        name: String,
        victim: impl Fn(&Act) -> anyhow::Result<()> + 'static,
        survivors: impl Fn(Unique) -> anyhow::Result<Box<dyn Trial>> + 'static,
    ) -> Self {
        let (victim, survivors) = (Box::new(victim), Box::new(survivors));
        Self { name, victim, casualty: None, survivors, has_meddler: false }
    }

    /// The same, with another process that does this at the victim's first stage, and is killed then.
    fn casualty(mut self, part: impl Fn(&Act) -> anyhow::Result<()> + 'static) -> Self {
        self.casualty = Some(Box::new(part));
        self
    }

    /// The same, with a survivor that does something while the victim stands in its operation.
    fn meddled(mut self) -> Self {
        self.has_meddler = true;
        self
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn play(&self, act: &Act) -> anyhow::Result<()> {
        (self.victim)(act)
    }

    /// The part of a process that dies before the victim's operation.
    pub(crate) fn play_casualty(&self) -> Option<&Play> {
        self.casualty.as_deref()
    }

    pub(crate) fn survivors(&self, name: Unique) -> anyhow::Result<Box<dyn Trial>> {
        (self.survivors)(name)
    }

    pub(crate) fn has_meddler(&self) -> bool {
        self.has_meddler
    }
}

/// All scenarios, in the order of the table: first for both kinds of rings, and then to test the sweep itself.
pub fn scenarios() -> Vec<Scenario> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        all.extend(producers::all(kind));
        all.extend(consumers::all(kind));
    }
    all.extend(consumers::guests());
    all.extend(toys());
    all
}
