//! This project's server and client of Day 7. The rows follow when both are there.

use super::Contender;
use crate::question::Question;

pub(super) fn rows(_: Question) -> Vec<Contender> {
    vec![]
}
