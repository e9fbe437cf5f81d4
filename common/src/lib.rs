//! What every floor of Fanout stands on and no floor teaches: the one door to atomics, sequence
//! arithmetic, queue names, numbers for people, the kernel's errors, what a panic said, and the process that made a thing.

pub mod cache;
pub mod name;
pub mod number;
pub mod os;
pub mod process;
pub mod sequence;
pub mod sync;

pub use name::{NameError, QueueName};
pub use number::grouped;
pub use os::OsError;
pub use sequence::{Capacity, CapacityError, Sequence};

/// What a panic said, if it carried text.
pub fn panic_message(payload: &(dyn core::any::Any + Send)) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
