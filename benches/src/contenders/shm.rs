//! Shared memory by hand: busy wait, POSIX semaphores, futex; and a copy within one thread.

use super::Contender;
use crate::question::Question;

pub(super) fn rows(_: Question) -> Vec<Contender> {
    vec![]
}
