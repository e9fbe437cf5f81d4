//! Executes `README.md` and `TUTORIAL.md`: commands must print what the documents show, and quoted code
//! must be in the sources. The rules are in `CONTRIBUTING.md`; `FANOUT_BLESS=1` writes new outputs into
//! the documents.

use std::path::Path;

use testing::documents::{self, Checked, Programs, Stage};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn check(text: &str, programs: &Programs) -> Result<(Checked, String), String> {
    documents::check(root(), text, programs, Stage::Plain)
}

fn check_file(name: &str, programs: &Programs) -> Checked {
    let checked = documents::check_file(root(), name, programs, Stage::Plain);
    let runs = name == "README.md" || checked.doc_tests == 0;
    assert!(runs, "{name}: rustdoc runs README's code only");
    checked
}

#[test]
fn documents_tell_the_truth() {
    let programs = Programs::build(root(), &[]);
    for name in ["README.md", "TUTORIAL.md"] {
        let checked = check_file(name, &programs);
        assert!(checked.commands > 0, "{name}: no command was executed");
        assert!(name == "README.md" || checked.snippets > 0, "{name}: no code was compared");
    }
    for name in ["CONTRIBUTING.md", "benches/README.md"] {
        check_file(name, &programs);
    }
}

/// Small documents, each with another kind of mistake: all of them must be found.
#[test]
fn a_document_that_lies_is_caught() {
    let programs = Programs::system();
    let truth = "```console\n$ printf 'a\\nb 12\\n'\na\nb 12\n```\n";
    let checked = check(truth, &programs).unwrap().0;
    assert_eq!(checked, Checked { commands: 1, ..Checked::default() });
    let figures = truth.replace("console", "console figures").replace("\nb 12\n", "\nb 7\n");
    check(&figures, &programs).unwrap();
    check("```console fails\n$ grep -q x /dev/null\n```\n", &programs).unwrap();
    let snippet = "```rust file=src/main.rs\nfn main() -> ExitCode {\n    cli::main()\n}\n```\n";
    assert_eq!(check(snippet, &programs).unwrap().0.snippets, 1);
    let bridge = check(&truth.replace("console", "console bridge"), &programs).unwrap().0;
    assert_eq!(bridge, Checked { left: 1, ..Checked::default() });
    let left_out = snippet.replace("    cli::main()\n", "// …\n");
    check(&left_out, &programs).unwrap();

    let turned = left_out
        .replace("fn main() -> ExitCode {", "}")
        .replace("\n}\n```", "\nfn main() -> ExitCode {\n```");
    let terminals =
        "```console terminal=A\n$ true\n```\n\n```console bridge terminal=B\n$ true\n```\n";
    let lies: Vec<(&str, String)> = vec![
        ("another word", truth.replace("\na\n", "\nA\n")),
        ("another figure", truth.replace("\nb 12\n", "\nb 13\n")),
        ("a line too few", truth.replace("\na\n", "\n")),
        ("a line too many", truth.replace("\nb 12\n", "\nb 12\nc\n")),
        ("a figure where there is a word", figures.replace("\nb 7\n", "\n7 b\n")),
        ("no label", truth.replace("console", "")),
        ("an unknown label", truth.replace("console", "console quietly")),
        ("a terminal that needs a server", terminals.to_owned()),
        ("an unknown language", truth.replace("console", "python")),
        ("an unknown program", "```console\n$ day9-producer\n```\n".to_owned()),
        ("one behind a pipe", "```console\n$ printf x | day9-consumer\n```\n".to_owned()),
        ("a failure", "```console\n$ grep x /dev/null\n```\n".to_owned()),
        ("no failure", "```console fails\n$ printf ''\n```\n".to_owned()),
        ("output before a command", "```console\nhello\n```\n".to_owned()),
        ("nothing", "Only words.\n".to_owned()),
        ("no command", "```console\n```\n".to_owned()),
        ("a block without an end", "```text\n".to_owned()),
        ("a line that is not in its file", snippet.replace("cli::main", "cli::run")),
        ("a gap in the lines", snippet.replace("    cli::main()\n", "")),
        ("lines left out, and the next one before them", turned),
        ("lines left out, and none after them", left_out.replace("\n}\n", "\n")),
        ("a file that is not there", snippet.replace("src/main.rs", "src/nothing.rs")),
        ("a package that is not there", "```sh norun\ncargo test -p day9\n```\n".to_owned()),
        ("a script that is not there", "```sh norun\n.ci/nothing\n```\n".to_owned()),
    ];
    for (what, lie) in lies {
        assert!(check(&lie, &programs).is_err(), "{what} passed:\n{lie}");
    }
}

/// A scene in which the first terminal waits for the second.
#[test]
fn terminals_run_at_the_same_time() {
    let pipe = std::env::temp_dir().join(format!("fanout-scene-{}", std::process::id()));
    let path = pipe.to_str().unwrap();
    let scene = format!(
        "```console terminal=A\n$ cat {path}\nhello\n```\nand\n```console terminal=B\n$ printf 'hello\\n' > {path}\n```\n"
    );
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let outcome = check(&scene, &Programs::system());
    std::fs::remove_file(&pipe).unwrap();
    assert_eq!(outcome.unwrap().0.commands, 2);
}
