//! A ring without a name reaches other processes: strangers through a socket, children by inheritance.
//! What peers, paths and the kernel do wrong costs an error, and nobody else anything.

mod home;
mod paths;
mod peers;
mod processes;
