//! A ring without a name reaches other processes: unrelated ones through a socket, and children by
//! inheritance. What peers, paths and the kernel do wrong is an error there, and harms no other peer.

mod home;
mod paths;
mod peers;
mod processes;
