//! The sweep: kills a process at every instruction of an operation on a queue, and asks the others what they
//! lost.
//!
//! A scenario has a victim and survivors. The victim prepares itself, and says where its operation begins and
//! ends. The tracer (`ptrace(2)`) runs it to one instruction of the operation, and kills it there. Then the
//! survivors check what they were promised: the producer goes on, consumers lose nothing, repeat nothing and
//! see nothing torn, newcomers are let in, another producer can take the name, and nothing is left behind.
//!
//! | process | what it does |
//! |---|---|
//! | the tracer | forks the victims, steps and kills them; has no thread and no queue of its own |
//! | a victim | does one operation, and dies in it |
//! | the judge | holds the survivors; replaced if they hang |

mod ends;
mod error;
mod judge;
mod mark;
mod path;
mod report;
mod scenario;
mod sweep;
mod tracer;
mod trial;
mod trials;
mod witness;

pub use error::SweepError;
pub use report::{Failure, Report, Row};
pub use scenario::{Scenario, scenarios};
pub use sweep::{Options, Points, sweep};
