//! Words and widths that the tables of `ls` and `stat` share.

use fanout::segment::Kind;

/// The unit behind a number of messages, or of bytes of a ring of records.
pub(super) fn unit(kind: Kind) -> &'static str {
    if kind == Kind::Records { " B" } else { "" }
}

/// How wide a column has to be for these lengths and its title.
pub(super) fn width(lengths: impl Iterator<Item = usize>, title: &str) -> usize {
    lengths.chain([title.len()]).max().unwrap_or(0)
}
