//! Wrong: removes an object that is no segment, and that another program made.

use ::common::QueueName;
use day2::OpenError;

use crate::inspect_solution;

pub(crate) fn inspect(name: &QueueName) -> Result<String, OpenError> {
    let found = inspect_solution::inspect(name);
    if let Err(OpenError::Magic { .. }) = found {
        let _ = std::fs::remove_file(format!("/dev/shm{name}"));
    }
    found
}
