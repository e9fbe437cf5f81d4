//! The protocol of Redis.
