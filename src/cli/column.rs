//! Words and widths that the tables of `ls` and `stat` share.

use fanout::segment::Kind;

/// The word for a kind of queue.
pub(super) fn kind(kind: Kind) -> String {
    match kind {
        Kind::Records => "records".to_owned(),
        Kind::Latest => "latest".to_owned(),
        Kind::Topics => "topics".to_owned(),
        kind => kind.to_string(),
    }
}

/// The unit behind a number of messages, or of bytes of a ring of records.
pub(super) fn unit(kind: Kind) -> &'static str {
    if kind == Kind::Records { " B" } else { "" }
}

/// How wide a column has to be for these lengths and its title.
pub(super) fn width(lengths: impl Iterator<Item = usize>, title: &str) -> usize {
    lengths.chain([title.len()]).max().unwrap_or(0)
}
