//! Findings that have been reported and are not repaired yet: they are counted, and do not fail a run.
//!
//! Each has a small test of its own in `tests/hostile_words.rs`, marked `#[ignore = "bug: …"]`. A repair removes
//! the mark there, and the line here.

/// What the finding says, in parts that follow one another; and its name.
const KNOWN: &[(&[&str], &str)] = &[];

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
