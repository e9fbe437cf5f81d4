//! Comes with its service.

fn main() {}
