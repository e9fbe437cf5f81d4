//! The pages of the library's ends list all of their methods: each table is compared with the sources.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use support::sources;

/// Each end: its table, the crate that defines it, and the names of its `impl` blocks there.
const ENDS: [(&str, &str, &[&str]); 10] = [
    ("producer", "day3", &["Producer"]),
    ("consumer", "day3", &["Consumer", "Receiver"]),
    ("member", "day3", &["Member", "Receiver"]),
    ("evictable", "day3", &["Evictable", "Copying"]),
    ("tap", "day3", &["Tap", "Copying"]),
    ("records/writer", "day4", &["Writer"]),
    ("records/reader", "day4", &["Reader", "Receiver"]),
    ("records/member", "day4", &["Member", "Receiver"]),
    ("records/evictable", "day4", &["Evictable", "Copying"]),
    ("records/tap", "day4", &["Tap", "Copying"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The type whose own methods this line begins: `Tap` for `impl<W: Wait> Tap<W> {`.
fn owner(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?.strip_suffix(" {")?;
    let (_, rest) = if rest.starts_with('<') { rest.split_once("> ")? } else { ("", rest.trim()) };
    let path = rest.split('<').next()?;
    (!rest.contains(" for ")).then(|| path.rsplit("::").next().unwrap_or(path))
}

fn name_of(line: &str) -> Option<String> {
    let line = line.trim_start().strip_prefix("pub ")?;
    let line = ["const ", "unsafe "].iter().fold(line, |line, word| line.trim_start_matches(word));
    let name = line.strip_prefix("fn ")?.split(['(', '<']).next()?;
    Some(name.to_owned())
}

fn public_methods(text: &str, types: &[&str]) -> BTreeSet<String> {
    let (mut methods, mut inside) = (BTreeSet::new(), false);
    for line in text.lines() {
        if line.starts_with("impl") {
            inside = owner(line).is_some_and(|owner| types.contains(&owner));
        } else if line.starts_with('}') {
            inside = false;
        } else if inside {
            methods.extend(name_of(line));
        }
    }
    methods
}

fn listed(table: &str) -> Vec<String> {
    let rows = table.lines().filter_map(|line| line.strip_prefix("| [`")?.split_once("`]("));
    let rows = rows.map(|(name, rest)| {
        let target = rest.split(')').next().unwrap();
        let fits = target.ends_with(&format!("::{name}")) || target.contains(&format!(".{name}-"));
        assert!(fits, "{name} leads to {target}");
        name.to_owned()
    });
    rows.collect()
}

#[test]
fn each_end_s_page_lists_each_of_its_methods_once() {
    let library = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (table, package, types) in ENDS {
        let file = format!("methods/{table}.md");
        assert!(library.contains(&format!("include_str!(\"{file}\")")), "no page shows {file}");
        let listed = listed(&std::fs::read_to_string(root().join("src").join(&file)).unwrap());
        let mut expected = BTreeSet::new();
        for source in sources(&root().join(package).join("src")) {
            expected.extend(public_methods(&std::fs::read_to_string(source).unwrap(), types));
        }
        assert!(!expected.is_empty(), "{table}: no method found in {package}/src");
        let found: BTreeSet<String> = listed.iter().cloned().collect();
        assert_eq!(found, expected, "src/{file} and the methods of {types:?} in {package}/src");
        assert_eq!(listed.len(), found.len(), "src/{file} names a method twice");
    }
}

/// The methods of a source are all found.
#[test]
fn methods_are_found_in_a_source() {
    let source = "impl<T: Pod, W: Wait> Tap<T, W> {\n    pub fn open<N>(name: N) {\n    }\n    fn own() {}\n\
                  pub unsafe fn over(x: u8) {\n}\nimpl<W: Wait> fmt::Debug for Tap<W> {\n    pub fn no() {}\n}\n\
                  impl<W> reader::Member<W> {\n    pub const fn slot(&self) {}\n}\n";
    let names = |types| public_methods(source, types).into_iter().collect::<Vec<_>>();
    assert_eq!(names(&["Tap"]), ["open", "over"]);
    assert_eq!(names(&["Member"]), ["slot"]);
    assert!(names(&["Writer"]).is_empty());
}
