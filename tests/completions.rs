//! The completion scripts: every subcommand that a user should know, and files only where one is asked for.

mod support;

use std::process::Command;

use support::fanout;
use testing::{Folder, run};

fn script(shell: &str) -> String {
    let output = run(&mut fanout(&["completions", shell]));
    assert!(output.status.success(), "{shell}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn completions_name_every_subcommand_but_the_hidden_ones() {
    for shell in ["bash", "zsh", "fish"] {
        let script = script(shell);
        for command in [
            "demo",
            "pub",
            "sub",
            "topic",
            "ls",
            "stat",
            "evict",
            "forget",
            "rm",
            "clean",
            "serve",
            "call",
            "bridge",
            "completions",
            "help",
        ] {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(!script.contains("consumer\""), "{shell}: {script}");
        assert!(!script.contains("demo-consumer") && !script.contains("demo_consumer"), "{shell}");
    }
}

#[test]
fn zsh_is_told_what_is_a_file_and_what_is_not() {
    let script = script("zsh");
    // `_default` completes files.
    assert!(!script.contains("_default"), "{script}");
    let files: Vec<&str> = script.lines().filter(|line| line.contains("_files")).collect();
    let of = |option: &str| files.iter().filter(|line| line.contains(option)).count();
    assert_eq!((files.len(), of("--file="), of("--trace=")), (2, 1, 1), "{files:?}");
}

#[test]
fn fish_is_told_what_is_a_file_and_what_is_not() {
    let script = script("fish");
    assert!(script.lines().any(|line| line == "complete -c fanout -f"), "{script}");
    assert!(script.contains("using_subcommand completions\" -a \"bash "), "{script}");
    for line in script.lines().filter(|line| line.contains(" -r")) {
        let file = line.contains("-l file ") || line.contains("-l trace ");
        assert_eq!(line.contains(" -F"), file, "{line}");
        assert_eq!(line.contains(" -r -f"), !file, "{line}");
    }
}

/// What bash's function offers for these words. The last word is being typed.
fn offered(folder: &Folder, words: &[&str]) -> Vec<String> {
    // The arguments that bash calls it with: the command, the word being typed, and the word
    // before.
    let call = r#"
        source "$0"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _fanout "$1" "${@: -1}" "${@: -2:1}" 2> /dev/null
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let script = folder.join("script");
    let output = run(Command::new("bash")
        .args(["-c", call])
        .arg(&script)
        .args(words)
        .current_dir(folder.path()));
    let offered = String::from_utf8(output.stdout).unwrap();
    offered.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_offers_what_fits() {
    if Command::new("bash").arg("--version").output().is_err() {
        // There is no bash here, so there is nothing to check.
        return;
    }
    let folder = Folder::new();
    std::fs::write(folder.join("script"), script("bash")).unwrap();
    std::fs::write(folder.join("a-file"), "").unwrap();
    let offered = |words: &[&str]| offered(&folder, words);

    let commands = offered(&["fanout", ""]);
    for command in [
        "demo",
        "pub",
        "sub",
        "topic",
        "ls",
        "stat",
        "evict",
        "forget",
        "rm",
        "clean",
        "serve",
        "call",
        "bridge",
        "completions",
        "help",
    ] {
        assert!(commands.iter().any(|offer| offer == command), "{command}: {commands:?}");
    }
    assert!(!commands.iter().any(|offer| offer.contains("consumer")), "{commands:?}");
    assert_eq!(offered(&["fanout", "su"]), ["sub"]);
    assert_eq!(offered(&["fanout", "sub", "--lab"]), ["--label"]);
    assert_eq!(offered(&["fanout", "sub", "q", "--from", ""]), ["oldest", "latest"]);
    let ways = ["spin", "yield", "sleep", "adaptive"];
    assert_eq!(offered(&["fanout", "pub", "q", "--wait", ""]), ways);
    // Files are offered where a file is asked for, and nowhere else.
    assert_eq!(offered(&["fanout", "pub", "q", "--file", "a-"]), ["a-file"]);
    assert_eq!(offered(&["fanout", "serve", "q", "--trace", "a-"]), ["a-file"]);
    for words in [
        &["fanout", "a-"][..],
        &["fanout", "pub", "a-"],
        &["fanout", "sub", "a-"],
        &["fanout", "stat", "a-"],
        &["fanout", "serve", "a-"],
        &["fanout", "call", "a-"],
        &["fanout", "bridge", "a-"],
        &["fanout", "rm", "a-"],
        &["fanout", "topic", "sub", "a-"],
        &["fanout", "clean", "a-"],
        &["fanout", "completions", "a-"],
        &["fanout", "sub", "q", "--from", "a-"],
    ] {
        assert_eq!(offered(words), [""; 0], "{words:?}");
    }
    // Where anything may follow, bash itself offers what was typed already.
    for option in ["--wait-for", "--slots", "--chunk", "--capacity", "--mode"] {
        assert_eq!(offered(&["fanout", "pub", "q", option, "a-"]), ["a-"], "{option}");
    }
    // Where the function offers nothing, bash must not offer anything of its own.
    let registered = script("bash");
    let lines: Vec<&str> =
        registered.lines().filter(|line| line.trim().starts_with("complete ")).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| !line.contains("default")), "{lines:?}");
}
