//! Protocols that are wrong on purpose, and one that is right: they test the sweep itself.

use std::ptr::NonNull;

use anyhow::{bail, ensure};
use common::sync::{AtomicU64, Ordering};
use fanout::QueueName;
use fanout::segment::{Expected, Geometry, Kind, Mode, READY_TIMEOUT, Segment, page_size};
use testing::Unique;

use super::PATIENCE;
use crate::mark::Act;
use crate::scenario::Scenario;
use crate::trial::{Dead, Outcome, Trial};

/// How a toy keeps two words equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It writes one after the other. A death in between leaves them different.
    OneByOne,
    /// It writes a copy of both, and then says with one store which copy counts.
    CopyFirst,
    /// It takes a lock that nobody frees after its death. The survivors wait for the lock for ever.
    Locked,
    /// It writes nothing, but leaves an object behind.
    Littered,
}

/// The words: two copies of a pair, which of them counts, and a lock.
struct Words {
    segment: Segment,
}

impl Words {
    fn create(name: &QueueName) -> anyhow::Result<Self> {
        let expected = Expected::messages::<u64>(Kind::Log, "toy");
        let geometry = Geometry::plan(&expected, 1, 0, page_size(), page_size())?;
        Ok(Self { segment: Segment::create(name, geometry, 0o600, |_| ())? })
    }

    fn open(name: &QueueName) -> anyhow::Result<Self> {
        Ok(Self { segment: Segment::open(name, Mode::Reader, READY_TIMEOUT)? })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.segment.control_len() / size_of::<AtomicU64>());
        let words: NonNull<AtomicU64> = self.segment.control().cast();
        // SAFETY: within control (asserted).
        let word = unsafe { words.add(index) };
        // SAFETY: control is page-aligned, and stays mapped while the segment lives; any bytes are a word.
        unsafe { word.as_ref() }
    }

    fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Release);
    }

    fn get(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Acquire)
    }

    /// The pair that counts.
    fn pair(&self) -> (u64, u64) {
        let copy = 2 * self.get(CHOICE) as usize;
        (self.get(copy), self.get(copy + 1))
    }
}

const CHOICE: usize = 4;
const LOCK: usize = 5;

/// The survivor of a toy.
pub(crate) struct Toy {
    way: Way,
    words: Words,
    name: Unique,
}

impl Toy {
    fn create(way: Way, name: Unique) -> anyhow::Result<Self> {
        let words = Words::create(&name)?;
        Ok(Self { way, words, name })
    }
}

/// The victim's operation.
fn act(way: Way, act: &Act) -> anyhow::Result<()> {
    let words = Words::open(act.name())?;
    act.operate(|| match way {
        Way::OneByOne => {
            words.set(0, 1);
            words.set(1, 1);
        }
        Way::CopyFirst => {
            words.set(2, 1);
            words.set(3, 1);
            words.set(CHOICE, 1);
        }
        Way::Locked => {
            words.set(LOCK, 1);
            words.set(LOCK, 0);
        }
        Way::Littered => {
            let litter = format!("/dev/shm{}-litter", act.name());
            let _ = std::fs::write(&litter, []);
            let _ = std::fs::remove_file(&litter);
        }
    });
    Ok(())
}

impl Trial for Toy {
    fn name(&self) -> &QueueName {
        &self.name
    }

    fn judge(self: Box<Self>, dead: Dead) -> anyhow::Result<Outcome> {
        // A survivor that hangs: the judge itself is not to wait for it.
        while self.words.get(LOCK) != 0 {
            std::thread::sleep(PATIENCE);
        }
        let (one, other) = self.words.pair();
        ensure!(one == other, "the words are to be equal, and are {one} and {other}");
        let writes = matches!(self.way, Way::OneByOne | Way::CopyFirst);
        if dead.is_done && writes && one == 0 {
            bail!("the words were written, and are not there");
        }
        Ok(if one == 1 { "written" } else { "not written" }.to_owned())
    }
}

/// The scenarios of all toys.
pub(crate) fn toys() -> Vec<Scenario> {
    let toy = |name: &str, way| {
        let survivors = move |name| Ok(Box::new(Toy::create(way, name)?) as Box<dyn Trial>);
        Scenario::new(format!("toy: {name}"), move |victim: &Act| act(way, victim), survivors)
    };
    vec![
        toy("one by one", Way::OneByOne),
        toy("copy first", Way::CopyFirst),
        toy("locked", Way::Locked),
        toy("littered", Way::Littered),
    ]
}
