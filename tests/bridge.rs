//! `fanout bridge` runs a program of its own.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use support::{fanout, stderr, stdout};
use testing::{Folder, run};

/// A program that says who it is, and with what it was started.
fn pretend(folder: &Path, mode: u32) {
    let path = folder.join("fanout-bridge");
    let script = format!("#!/bin/sh\necho {}\nprintf '[%s]\\n' \"$@\"\nexit 7\n", folder.display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The command as if it were installed in this folder.
fn installed(folder: &Folder, arguments: &[&str]) -> Command {
    let copy = folder.join("fanout");
    // Never over one that is there: it may be a link to the program itself.
    if !copy.exists() && fs::hard_link(env!("CARGO_BIN_EXE_fanout"), &copy).is_err() {
        fs::copy(env!("CARGO_BIN_EXE_fanout"), &copy).unwrap();
    }
    let mut command = Command::new(copy);
    command.args(arguments);
    command
}

#[test]
fn the_bridge_gets_all_arguments_as_they_are() {
    let (home, bin) = (Folder::new(), Folder::new());
    pretend(bin.path(), 0o755);
    for arguments in [
        &["out", "q", "nats://h", "--stream", "S P", "-q", "--", "--x"][..],
        &["--help"],
        &["-h"],
        &["help", "in"],
        &["--version"],
        &[],
    ] {
        let whole = [&["bridge"], arguments].concat();
        let output = run(installed(&home, &whole).env("PATH", bin.path()));
        let mut said = format!("{}\n", bin.path().display());
        match arguments {
            [] => said.push_str("[]\n"),
            some => said.extend(some.iter().map(|argument| format!("[{argument}]\n"))),
        }
        assert_eq!(
            (stdout(&output), output.status.code()),
            (said.as_str(), Some(7)),
            "{arguments:?}"
        );
    }
}

#[test]
fn the_bridge_beside_the_command_comes_first() {
    let (home, bin, elsewhere) = (Folder::new(), Folder::new(), Folder::new());
    pretend(bin.path(), 0o755);
    // Not a program: it is passed over.
    pretend(elsewhere.path(), 0o644);
    let path = format!("{}::.:{}", elsewhere.path().display(), bin.path().display());
    let found = |home: &Folder| {
        let output = run(installed(home, &["bridge"]).env("PATH", &path).current_dir(home.path()));
        stdout(&output).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(found(&home), bin.path().display().to_string());
    pretend(home.path(), 0o755);
    assert_eq!(found(&home), home.path().display().to_string());
    fs::remove_file(home.join("fanout-bridge")).unwrap();
    symlink("nothing", home.join("fanout-bridge")).unwrap();
    assert_eq!(found(&home), bin.path().display().to_string());
}

#[test]
fn a_missing_bridge_is_told_with_what_to_do() {
    let home = Folder::new();
    let output = run(installed(&home, &["bridge", "out", "q"]).env("PATH", home.path()));
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("cargo build --release -p bridge"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let help = run(&mut fanout(&["--help"]));
    assert!(stdout(&help).contains("bridge"), "{}", stdout(&help));
}
