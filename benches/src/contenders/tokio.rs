//! tokio's broadcast channel: threads of one process; it drops what a slow consumer has not read.

use super::Contender;
use crate::question::Question;

pub(super) fn rows(_: Question) -> Vec<Contender> {
    vec![]
}
