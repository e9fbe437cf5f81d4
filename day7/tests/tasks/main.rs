//! Work and answers, as a client and a server see them: in one thread, in two, in two processes.

mod buffers;
mod conformance;
mod endings;
mod entry;
mod futures;
mod home;
mod hostile;
mod kills;
mod processes;
mod shards;
mod soak;
mod threads;
mod turns;
