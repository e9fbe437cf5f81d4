//! crossbeam-channel and kanal: channels that several consumers share, threads of one process.

use super::Contender;
use crate::question::Question;

pub(super) fn rows(_: Question) -> Vec<Contender> {
    vec![]
}
