//! Documents that are executed: commands must print what a document shows, and quoted code must be in the sources. The
//! rules are in `CONTRIBUTING.md`; `FANOUT_BLESS=1` writes new outputs into the documents.

mod block;
mod console;
mod ports;
mod programs;
mod shape;
mod snippet;

use std::path::Path;

use block::Label;
use console::Scene;

pub use programs::Programs;

/// Which of a document's commands are executed. Everything else in a document is checked in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Those that need nothing but the programs of the default members, and the system's.
    Plain,
    /// Those labelled `bridge`, which also need `nats-server` and `fanout-bridge`.
    Bridge,
}

/// How many blocks of each kind were checked in a document.
#[derive(Debug, Default, PartialEq)]
pub struct Checked {
    /// Commands that were executed.
    pub commands: usize,
    /// Commands that are left to the other stage.
    pub left: usize,
    /// Quotations that were compared with their files.
    pub snippets: usize,
    /// Blocks for the reader to type.
    pub listed: usize,
    /// Blocks that rustdoc runs.
    pub doc_tests: usize,
}

/// Checks one document. Returns what was checked, and the text with the outputs that were found.
///
/// # Errors
///
/// The number of a line, and what is wrong there.
pub fn check(
    root: &Path,
    text: &str,
    programs: &Programs,
    stage: Stage,
) -> Result<(Checked, String), String> {
    let blocks = block::parse(text)?;
    if blocks.is_empty() {
        return Err("1: a document without a block".to_owned());
    }
    let mut checked = Checked::default();
    let mut found = text.to_owned();
    for block in &blocks {
        match &block.label {
            Label::Snippet { file } => {
                snippet::check(root, file, block)?;
                checked.snippets += 1;
            }
            Label::NoRun => {
                programs.check_mentioned(root, block)?;
                checked.listed += 1;
            }
            Label::DocTest => checked.doc_tests += 1,
            Label::Text | Label::Console { .. } => {}
        }
    }
    for scene in console::scenes(&blocks)? {
        if scene.stage() == stage {
            checked.commands += scene.commands();
            found = play(&scene, programs, &found, text)?;
        } else {
            checked.left += scene.commands();
        }
    }
    Ok((checked, found))
}

fn play(
    scene: &Scene<'_>,
    programs: &Programs,
    found: &str,
    original: &str,
) -> Result<String, String> {
    let outputs = scene.run(programs, original)?;
    let mut text = found.to_owned();
    for (block, found) in outputs {
        if std::env::var_os("FANOUT_BLESS").is_some() {
            text = text.replacen(&block.text(), &console::shown(block, &found).join("\n"), 1);
        } else {
            console::compare(block, &found)?;
        }
    }
    Ok(text)
}

/// Checks a document that lies in `root`, and fails if it does not tell the truth.
#[track_caller]
pub fn check_file(root: &Path, name: &str, programs: &Programs, stage: Stage) -> Checked {
    let path = root.join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let checked = check(root, &text, programs, stage);
    let (checked, found) = checked.unwrap_or_else(|why| panic!("{name}:{why}"));
    if found != text {
        std::fs::write(&path, found).unwrap();
    }
    println!("{name}: {checked:?}");
    checked
}
