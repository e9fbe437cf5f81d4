//! iceoryx2: a service in shared memory, between threads or processes, in its lossless configuration.

use super::Contender;
use crate::question::Question;

pub(super) fn rows(_: Question) -> Vec<Contender> {
    vec![]
}
