//! bus: broadcast within one process, threads.

use super::Contender;
use crate::question::Question;

pub(super) fn rows(_: Question) -> Vec<Contender> {
    vec![]
}
