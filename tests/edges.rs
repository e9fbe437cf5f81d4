//! Each ordering names its happens-before edge, and each edge has both of its ends.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use support::sources;

/// Where the orderings are. `sync.rs`, the door to atomics, only passes them on.
const FOLDERS: [&str; 8] = [
    "common/src",
    "day2/src",
    "day3/src",
    "day4/src",
    "day5/src",
    "day6/src",
    "day7/src",
    "day8/src",
];

/// What one end of an edge does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// A store or a fence with Release: it publishes what comes before it.
    Tells,
    /// A load or a fence with Acquire: what comes after it sees what was published.
    Learns,
    /// A full fence, or a read-modify-write with both.
    Both,
}

/// An ordering in a source, and the labels above it.
#[derive(Clone, Debug)]
struct End {
    place: String,
    does: Does,
    labels: Vec<String>,
}

/// A source, without comments at the ends of lines and without tests.
fn source(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let lines =
        text.lines().take_while(|line| !line.starts_with("#[cfg(all(test")).map(str::to_owned);
    lines.take_while(|line| line != "#[cfg(test)]").collect()
}

/// What an ordering in this line of code does; `None` in a comment.
fn ordering(line: &str) -> Option<Does> {
    let code = line.split("//").next().unwrap_or_default();
    let mut words =
        code.split(|c: char| !c.is_ascii_alphanumeric()).filter_map(|word| match word {
            "Release" => Some(Does::Tells),
            "Acquire" => Some(Does::Learns),
            "AcqRel" | "SeqCst" => Some(Does::Both),
            _ => None,
        });
    words.next()
}

/// The labels of a comment: `// edge: a -> b, c <-> d. Why.`
fn labels(line: &str) -> Option<Vec<String>> {
    let labels = line.trim_start().strip_prefix("// edge: ")?;
    let labels = labels.split('.').next()?.split(", ");
    Some(labels.map(|label| label.trim().to_owned()).collect())
}

/// All ends in a source. An ordering's labels stand above it, and no other ordering is in between.
fn ends(name: &str, lines: &[String]) -> Vec<End> {
    let (mut ends, mut above) = (Vec::new(), Vec::new());
    for (number, line) in lines.iter().enumerate() {
        if let Some(found) = labels(line) {
            above = found;
        } else if let Some(does) = ordering(line) {
            let place = format!("{name}:{}", number + 1);
            ends.push(End { place, does, labels: std::mem::take(&mut above) });
        } else if line.trim_start().starts_with("fn ") || line.contains(" fn ") {
            above.clear();
        }
    }
    ends
}

/// What is wrong: an ordering without a label, a label that is no edge, or an edge with only one end.
fn faults(ends: &[End]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut edges = BTreeMap::<&str, Vec<&End>>::new();
    for end in ends {
        if end.labels.is_empty() {
            faults.push(format!("{}: of which edge is this an end?", end.place));
        }
        for label in &end.labels {
            edges.entry(label).or_default().push(end);
        }
    }
    for (label, ends) in edges {
        let mutual = label.contains(" <-> ");
        if !mutual && !label.contains(" -> ") {
            faults.push(format!("{}: {label:?} is no edge", ends[0].place));
        }
        let tells = |end: &&&End| end.does == Does::Tells || end.does == Does::Both;
        let learns = |end: &&&End| end.does == Does::Learns || end.does == Does::Both;
        let both = |end: &&&End| end.does == Does::Both;
        let has_ends = if mutual {
            ends.iter().filter(both).count() >= 2
        } else {
            ends.len() >= 2
                && ends.iter().any(|end| tells(&end))
                && ends.iter().any(|end| learns(&end))
        };
        if !has_ends {
            let places: Vec<_> = ends.iter().map(|end| &end.place).collect();
            faults.push(format!("edge {label}: one of its ends is missing, found {places:?}"));
        }
    }
    faults
}

/// The sources by name. Programs are not among them.
fn all() -> Vec<(String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in FOLDERS {
        for file in sources(&root.join(folder)) {
            let name = file.strip_prefix(root).unwrap().display().to_string();
            if !name.contains("/bin/") && name != "common/src/sync.rs" {
                all.push((name, source(&file)));
            }
        }
    }
    all
}

fn all_ends(sources: &[(String, Vec<String>)]) -> Vec<End> {
    sources.iter().flat_map(|(name, lines)| ends(name, lines)).collect()
}

#[test]
fn each_ordering_names_its_edge_and_each_edge_has_both_ends() {
    let ends = all_ends(&all());
    assert!(ends.len() > 30, "only {} orderings found", ends.len());
    let faults = faults(&ends);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The comment's lines, up to the code that it stands above.
fn comment(lines: &[String], first: usize) -> Range<usize> {
    let is_comment = |line: &String| line.trim_start().starts_with("//");
    let len = lines[first..].iter().take_while(|line| is_comment(line)).count();
    first..first + len
}

#[test]
fn no_label_can_be_removed() {
    let sources = all();
    let faults_before = faults(&all_ends(&sources)).len();
    for (nth, (name, lines)) in sources.iter().enumerate() {
        for first in (0..lines.len()).filter(|&line| labels(&lines[line]).is_some()) {
            let mut without = sources.clone();
            without[nth].1.drain(comment(lines, first));
            let faults_without = faults(&all_ends(&without)).len();
            assert!(
                faults_without > faults_before,
                "{name}:{}: this label is no ordering's",
                first + 1
            );
        }
    }
}

#[test]
fn an_edge_needs_an_end_that_tells_and_one_that_learns() {
    let found = |text: &str| {
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        faults(&ends("x.rs", &lines))
    };
    let tells = "// edge: a -> b\nx.store(1, Ordering::Release);\n";
    let learns = "// edge: a -> b. Why.\nx.load(ordering!(\"m\", Acquire));\n";
    assert_eq!(found(&format!("{tells}{learns}")), [""; 0]);
    assert_eq!(found(tells).len(), 1);
    assert_eq!(found(&format!("{learns}{learns}")).len(), 1);
    assert_eq!(found(&format!("{tells}{learns}y.load(Acquire);\n")).len(), 1, "no label");
    assert_eq!(found("// edge: a <-> b\nfence(SeqCst);\n").len(), 1);
    assert_eq!(found("/// Acquire\n// Release\n"), [""; 0], "comments");
}
