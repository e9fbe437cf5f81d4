//! eventfd: a counter in the kernel, and the message in shared memory.

use super::Contender;
use crate::question::Question;

pub(super) fn rows(_: Question) -> Vec<Contender> {
    vec![]
}
