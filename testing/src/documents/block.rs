//! Fenced blocks and their labels.

use super::Stage;

/// What a block is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// Commands and what they print.
    Console { terminal: Option<char>, figures: bool, fails: bool, stage: Stage },
    /// Lines of a file.
    Snippet { file: String },
    /// A doc-test, which rustdoc runs.
    DocTest,
    /// A picture or a recorded run.
    Text,
    /// For the reader to type.
    NoRun,
}

/// A fenced block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) label: Label,
    /// The number of the line with its label.
    pub(super) line: usize,
    pub(super) lines: Vec<String>,
}

impl Block {
    pub(super) fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// The blocks of a document, in order.
pub(super) fn parse(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                let label = label(info).map_err(|why| format!("{number}: {why}"))?;
                open = Some(Block { label, line: number, lines: Vec::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    match open {
        Some(block) => Err(format!("{}: a block without an end", block.line)),
        None => Ok(blocks),
    }
}

fn label(info: &str) -> Result<Label, String> {
    let words: Vec<&str> = info.split_whitespace().collect();
    match words[..] {
        ["text"] => Ok(Label::Text),
        ["sh", "norun"] => Ok(Label::NoRun),
        ["rust"] => Ok(Label::DocTest),
        ["rust", file] if file.starts_with("file=") => {
            Ok(Label::Snippet { file: file["file=".len()..].to_owned() })
        }
        ["console", ref rest @ ..] => {
            let (mut terminal, mut figures, mut fails) = (None, false, false);
            let mut stage = Stage::Plain;
            for word in rest {
                match (*word, word.strip_prefix("terminal=")) {
                    ("figures", _) => figures = true,
                    ("fails", _) => fails = true,
                    ("bridge", _) => stage = Stage::Bridge,
                    (_, Some(name)) if name.len() == 1 => terminal = name.chars().next(),
                    _ => return Err(format!("the label {info:?} is unknown: {word:?}")),
                }
            }
            Ok(Label::Console { terminal, figures, fails, stage })
        }
        _ => Err(format!("the label {info:?} is unknown: see CONTRIBUTING.md")),
    }
}
