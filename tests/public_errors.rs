//! Public errors can grow, and none of them shows a type of another crate than the standard library.

mod support;

use std::fs;
use std::path::Path;

use support::sources;

const FOLDERS: [&str; 10] = [
    "common/src",
    "day2/src",
    "day3/src",
    "day4/src",
    "day5/src",
    "day6/src",
    "day7/src",
    "day8/src",
    "bridge/src",
    "src",
];

/// These have two answers each, the one that was waited for and an end. Loops match on them without a wildcard.
const TWO_ANSWERS: [&str; 6] = [
    "TrySendError",
    "SendTimeoutError",
    "TryRecvError",
    "RecvTimeoutError",
    "ChangedTimeoutError",
    "TryPublishError",
];

/// Errors as the crates underneath have them.
const FOREIGN: [&str; 5] = ["Errno", "nix::", "rustix::", "libc::", "async_nats::"];

/// What is wrong with this source's public errors, and their names.
fn faults(text: &str) -> (Vec<&str>, Vec<String>) {
    let lines: Vec<_> = text.lines().collect();
    let (mut names, mut faults) = (Vec::new(), Vec::new());
    for (at, line) in lines.iter().enumerate() {
        let Some(rest) = line.trim_start().strip_prefix("pub enum ") else { continue };
        let name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        if !name.ends_with("Error") {
            continue;
        }
        names.push(name);
        let above = lines[..at].iter().rev().map(|line| line.trim_start());
        let mut above = above.take_while(|line| line.starts_with("///") || line.starts_with("#["));
        let can_grow = above.any(|line| line == "#[non_exhaustive]");
        if can_grow == TWO_ANSWERS.contains(&name) {
            faults.push(format!("{name}: non_exhaustive or not? found {can_grow}"));
        }
        // Formatted sources close an enum where they open it.
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = format!("{indent}}}");
        let body = lines[at..].iter().take_while(|line| **line != end);
        for line in body.filter(|line| !line.trim_start().starts_with("//")) {
            if let Some(foreign) = FOREIGN.iter().find(|foreign| line.contains(*foreign)) {
                faults.push(format!("{name}: {foreign} is public in {line:?}"));
            }
        }
    }
    (names, faults)
}

#[test]
fn public_errors_can_grow_and_are_our_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = Vec::new();
    for folder in FOLDERS {
        for file in sources(&root.join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            let (names, faults) = faults(&text);
            assert!(faults.is_empty(), "{}: {}", file.display(), faults.join("; "));
            known.extend(names.into_iter().map(str::to_owned));
        }
    }
    for name in TWO_ANSWERS.iter().chain(&["JoinError", "NotifyError", "RendezvousError"]) {
        assert!(known.iter().any(|known| known == name), "no {name} among {known:?}");
    }
}

#[test]
fn an_error_that_shows_another_crate_s_type_is_found() {
    let open =
        "/// Why.\n#[non_exhaustive]\npub enum JoinError {\n    /// Errno.\n    Os(OsError),\n}\n";
    assert_eq!(faults(open), (vec!["JoinError"], Vec::new()));
    assert_eq!(faults(&open.replace("OsError", "Errno")).1.len(), 1);
    assert_eq!(faults(&open.replace("#[non_exhaustive]\n", "")).1.len(), 1);
    assert_eq!(faults(&open.replace("JoinError", "TryRecvError")).1.len(), 1, "it has two answers");
}
