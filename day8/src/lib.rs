//! Day 8: services: one thread, ten thousand conversations.

pub mod http;
pub mod redis;
pub mod rings;
