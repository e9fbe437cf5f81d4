//! Code that a document quotes.

use std::path::Path;

use super::block::Block;

/// In a quotation, this stands for lines that were left out.
const GAP: &str = "// …";

/// Fails unless the block's lines stand in the file one after another, all of them indented by the
/// same width if at all. At a [`GAP`], the file may have more lines.
pub(super) fn check(root: &Path, file: &str, block: &Block) -> Result<(), String> {
    let line = block.line;
    let text = std::fs::read_to_string(root.join(file))
        .map_err(|error| format!("{line}: {file} cannot be read: {error}"))?;
    let source: Vec<&str> = text.lines().map(str::trim_end).collect();
    let quoted: Vec<&str> = block.lines.iter().map(|line| line.trim_end()).collect();
    let parts: Vec<&[&str]> = quoted.split(|line| line.trim() == GAP).collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(format!("{line}: a quotation of nothing"));
    }
    if (0..source.len()).any(|at| stands_at(&source[at..], &parts)) {
        return Ok(());
    }
    let mut lines = parts.concat().into_iter();
    let first = lines.find(|quoted| !source.iter().any(|line| line.trim() == quoted.trim()));
    let why = match first {
        Some(missing) => format!("it has no line {missing:?}"),
        None => "it has these lines, but not in this order one after another".to_owned(),
    };
    Err(format!("{line}: the code is not in {file}: {why}"))
}

/// Whether the source begins with the first part, and the other parts follow with the same
/// indentation.
fn stands_at(source: &[&str], parts: &[&[&str]]) -> bool {
    let width = |line: &str| line.len() - line.trim_start().len();
    let Some(shift) = width(source[0]).checked_sub(width(parts[0][0])) else { return false };
    let Some(mut rest) = after(source, parts[0], shift) else { return false };
    parts[1..].iter().all(|part| {
        let found = (0..rest.len()).find_map(|at| after(&rest[at..], part, shift));
        rest = found.unwrap_or_default();
        found.is_some()
    })
}

/// What follows these lines, if the source begins with them.
fn after<'a>(source: &'a [&'a str], quoted: &[&str], shift: usize) -> Option<&'a [&'a str]> {
    let (window, rest) = source.split_at_checked(quoted.len())?;
    let is_same = window.iter().zip(quoted).all(|(line, quoted)| {
        quoted.is_empty() && line.is_empty() || line.get(shift..) == Some(quoted)
    });
    is_same.then_some(rest)
}
