//! Wrong: opens the segment as a reader does, and so counts itself in the segment.

use ::common::QueueName;
use day2::segment::READY_TIMEOUT;
use day2::{Mode, OpenError, Segment};

use crate::inspect_solution;

pub(crate) fn inspect(name: &QueueName) -> Result<String, OpenError> {
    let _segment = Segment::open(name, Mode::Reader, READY_TIMEOUT)?;
    inspect_solution::inspect(name)
}
