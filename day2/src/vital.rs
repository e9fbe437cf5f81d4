//! stub
#![allow(missing_docs)]
use common::sync::{AtomicU32, AtomicU64, Ordering};
#[derive(Debug)]
#[repr(C)]
pub struct Vital { next: AtomicU64, word: AtomicU32, unused: AtomicU32 }
impl Vital {
    pub fn new() -> Self { Self { next: AtomicU64::new(0), word: AtomicU32::new(0), unused: AtomicU32::new(0) } }
    pub fn is_dying(&self) -> bool { self.word.load(Ordering::Relaxed) & 0x4000_0000 != 0 }
}
#[derive(Debug)]
pub struct Watch;
#[cfg(not(loom))]
pub unsafe fn watch(_: core::ptr::NonNull<Vital>) -> Option<Watch> { None }
