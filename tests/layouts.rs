//! Each struct in shared memory says that changing it raises the version of the layout, and is pinned by
//! assertions.

mod support;

use std::fs;
use std::path::Path;

use support::sources;

/// The struct's name, from the line that begins it.
fn name(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("struct ")?;
    rest.split(|c: char| !c.is_ascii_alphanumeric()).next()
}

/// What is wrong with this source's `repr(C)` structs, and how many of them there are.
fn faults(text: &str) -> (usize, Vec<String>) {
    let lines: Vec<_> = text.lines().collect();
    let (mut count, mut faults) = (0, Vec::new());
    for at in (0..lines.len()).filter(|&at| lines[at] == "#[repr(C)]") {
        count += 1;
        let name = lines[at..].iter().find_map(|line| name(line)).unwrap();
        let above = lines[..at].iter().rev();
        let mut above = above.take_while(|line| line.starts_with("///") || line.starts_with("#["));
        if !above.any(|line| line.contains("LAYOUT_VERSION")) {
            faults.push(format!("{name}: nothing says that a change raises LAYOUT_VERSION"));
        }
        let pins = [format!("assert!(offset_of!({name}, "), format!("assert!(size_of::<{name}")];
        if !pins.iter().any(|pin| text.contains(pin)) {
            faults.push(format!("{name}: no assertion pins where its fields lie"));
        }
    }
    (count, faults)
}

#[test]
fn each_struct_in_shared_memory_names_the_version_and_is_pinned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut structs = 0;
    for folder in
        ["day2/src", "day3/src", "day4/src", "day5/src", "day6/src", "day7/src", "day8/src"]
    {
        for file in sources(&root.join(folder)) {
            if file.components().any(|part| part.as_os_str() == "bin") {
                continue;
            }
            let (count, faults) = faults(&fs::read_to_string(&file).unwrap());
            assert!(faults.is_empty(), "{}: {}", file.display(), faults.join("; "));
            structs += count;
        }
    }
    assert!(structs > 8, "only {structs} structs found");
}

#[test]
fn a_struct_that_nothing_pins_is_found() {
    let bare = "/// A line.\n#[repr(C)]\nstruct Line {\n}\n";
    assert_eq!(faults(bare).1.len(), 2);
    let named =
        "/// A line; see LAYOUT_VERSION.\n#[derive(Debug)]\n#[repr(C)]\npub struct Line {\n}\n";
    assert_eq!(faults(named).1.len(), 1);
    let pinned = format!("{named}const _: () = assert!(size_of::<Line>() == 8);\n");
    assert_eq!(faults(&pinned), (1, Vec::new()));
}
