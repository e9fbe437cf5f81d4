//! Findings that have been reported and are not repaired yet: they are counted, and do not fail a run.
//!
//! Each has a small test of its own in `tests/hostile_words.rs`, marked `#[ignore = "bug: …"]`. A repair removes
//! the mark there, and the line here.

/// What the finding says, in parts that follow one another; and its name.
const KNOWN: &[(&[&str], &str)] = &[];

/// To join a ring whose `published` lies before what is reserved less a lap never ends; so nobody writes
/// over the head line while somebody joins.
pub(crate) const JOINS_HANG: bool = false;

/// To open a tap at [`Start::Latest`](fanout::Start::Latest) never ends where no message begins at
/// `published`; so nobody does that in a ring of records.
pub(crate) const LATEST_TAPS_HANG: bool = false;

/// A producer that asks who is there takes note of a newcomer without looking where it stands, and overruns
/// it: see `tests/newcomers.rs`. So nobody asks, and no producer does so by itself.
pub(crate) const ASKING_OVERRUNS: bool = false;

/// Whether what a member has claimed and forgotten comes again to the same member, as it does to a broadcast
/// consumer; otherwise it is lost.
pub(crate) const FORGOTTEN_CLAIMS_COME_AGAIN: bool = true;

/// The name of the finding, if it is known.
pub(crate) fn name(finding: &str) -> Option<&'static str> {
    let says = |parts: &[&str]| {
        let mut rest = finding;
        parts.iter().all(|part| match rest.split_once(part) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
    };
    KNOWN.iter().find(|(parts, _)| says(parts)).map(|(_, name)| *name)
}
