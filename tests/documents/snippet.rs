//! Code that a document quotes.

use std::path::Path;

use super::block::Block;

/// An error unless the block's lines stand in the file, one after another; all of them may be indented
/// there by the same width.
pub(crate) fn check(root: &Path, file: &str, block: &Block) -> Result<(), String> {
    let line = block.line;
    let text = std::fs::read_to_string(root.join(file))
        .map_err(|error| format!("{line}: {file} cannot be read: {error}"))?;
    let source: Vec<&str> = text.lines().map(str::trim_end).collect();
    let quoted: Vec<&str> = block.lines.iter().map(|line| line.trim_end()).collect();
    if quoted.is_empty() {
        return Err(format!("{line}: a quotation of nothing"));
    }
    if source.windows(quoted.len()).any(|window| is_same(window, &quoted)) {
        return Ok(());
    }
    let first =
        quoted.iter().find(|quoted| !source.iter().any(|line| line.trim() == quoted.trim()));
    let why = match first {
        Some(missing) => format!("it has no line {missing:?}"),
        None => "it has these lines, but not in this order one after another".to_owned(),
    };
    Err(format!("{line}: the code is not in {file}: {why}"))
}

fn is_same(window: &[&str], quoted: &[&str]) -> bool {
    let width = |line: &str| line.len() - line.trim_start().len();
    let shift = width(window[0]).checked_sub(width(quoted[0]));
    shift.is_some_and(|shift| {
        window.iter().zip(quoted).all(|(line, quoted)| {
            quoted.is_empty() && line.is_empty() || line.get(shift..) == Some(quoted)
        })
    })
}
