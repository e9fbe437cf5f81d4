//! Findings that are reported and not repaired yet. They are counted, and do not fail a run.
//!
//! Each has a small test in `tests/hostile_words.rs`, marked `#[ignore = "bug: …"]`. The repair removes the mark
//! there, and the line here.

/// Parts of the finding's text, in order; and its name.
const KNOWN: &[(&[&str], &str)] = &[];

/// The name of the finding, if it is a known finding.
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
