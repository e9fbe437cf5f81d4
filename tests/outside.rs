//! A crate outside the workspace, with `fanout` as its only dependency, can name all that it needs.

mod support;

use std::fmt::Write;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long the compiler and the program may take together on a busy machine.
const DEADLINE: Duration = Duration::from_secs(480);

/// The crates whose pages the library shows as its own.
const DAYS: [&str; 5] = ["common", "day2", "day3", "day4", "day5"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A process group that is killed when the test ends: cargo starts compilers.
struct Group(Child);

impl Group {
    fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(
                started.elapsed() < DEADLINE,
                "the crate was not built and run in {DEADLINE:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
        }
        let _ = self.0.wait();
    }
}

/// One line of an example in the documentation, as rustdoc shows it.
struct Line {
    place: String,
    text: String,
}

/// The lines that the days' examples show. Hidden lines are left out.
fn examples() -> Vec<Line> {
    let mut lines = Vec::new();
    for day in DAYS {
        for file in support::sources(&root().join(day).join("src")) {
            if !file.components().any(|part| part.as_os_str() == "bin") {
                lines.extend(examples_of(&file));
            }
        }
    }
    lines
}

fn examples_of(file: &Path) -> Vec<Line> {
    // The code fence that we are in, and whether its content is Rust.
    let (mut lines, mut fence) = (Vec::new(), None);
    for (number, line) in fs::read_to_string(file).unwrap().lines().enumerate() {
        let line = line.trim_start();
        let Some(text) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            fence = None;
            continue;
        };
        let text = text.trim();
        if let Some(label) = text.strip_prefix("```") {
            fence =
                if fence.is_none() { Some(label.is_empty() || label == "no_run") } else { None };
        } else if fence == Some(true) && !text.starts_with("# ") && text != "#" {
            let place = format!("{}:{}", file.display(), number + 1);
            lines.push(Line { place, text: text.to_owned() });
        }
    }
    lines
}

/// One module for each import that an example shows.
fn imports(lines: &[Line]) -> String {
    let imports = lines.iter().filter(|line| line.text.starts_with("use fanout::"));
    let imports = imports.filter(|line| !line.text.contains("::stream::"));
    let mut text = String::from("#![allow(unused_imports)]\n");
    for (number, Line { place, text: line }) in imports.enumerate() {
        writeln!(text, "mod import_{number} {{\n    // {place}\n    {line}\n}}").unwrap();
    }
    assert!(text.contains("import_5"), "the examples' imports were not found");
    text
}

/// The crate lies in a folder that stays, so that the next run compiles less.
fn crate_outside(imports: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    fs::create_dir_all(folder.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [workspace]\n\n[dependencies]\nfanout = {{ path = {:?}, default-features = false }}\n",
        root()
    );
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    // The versions of our own lock file, so that nothing is fetched.
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    fs::copy(root().join("tests/outside/program.rs"), folder.join("src/main.rs")).unwrap();
    fs::write(folder.join("src/imports.rs"), imports).unwrap();
    folder
}

#[test]
fn a_crate_with_fanout_alone_can_name_and_use_all_that_it_needs() {
    let folder = crate_outside(&imports(&examples()));
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--offline", "--quiet", "--target-dir"]).arg(folder.join("target"));
    command
        .current_dir(&folder)
        .env("RUSTFLAGS", "-Dwarnings")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    // Its output is printed by the test, and so stands beside the failure.
    command.stdin(Stdio::null()).process_group(0);
    let status = Group(command.spawn().unwrap()).wait();
    assert!(
        status.success(),
        "the crate in {} was not built, or its program failed",
        folder.display()
    );
}

#[test]
fn no_example_names_the_crate_of_a_day() {
    let lines = examples();
    assert!(lines.len() > 100, "only {} lines of examples found", lines.len());
    let named = |line: &&Line| DAYS[1..].iter().any(|day| line.text.contains(&format!("{day}::")));
    let found: Vec<_> = lines.iter().filter(named).map(|line| &line.place).collect();
    assert!(found.is_empty(), "a user has no such crate: name it as `fanout` does: {found:?}");
}
