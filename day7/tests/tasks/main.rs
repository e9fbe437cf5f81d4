//! Work and answers, as a client and a server see them: in one thread, in two, in two processes.

mod buffers;
mod conformance;
mod home;
