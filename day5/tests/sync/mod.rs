//! The stand-in for `common::sync` under loom.
#![allow(unused_imports, dead_code, reason = "what an exercise needs is its own affair")]

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
pub(crate) use loom::sync::{Arc, Mutex};
pub(crate) use loom::thread::yield_now;

/// A busy wait makes no progress under loom until another thread runs.
pub(crate) fn spin_loop() {
    yield_now();
}
