//! Hints to the processor's cache.

/// How many bytes ahead of its position a reader prefetches: far enough that the memory has come
/// from another core by the time it is read.
pub const AHEAD: usize = 2048;

/// Asks for the cache line of `place`, which will be read soon. It is a hint: any address may be given, and
/// where the compiler knows no such instruction nothing happens.
#[inline(always)]
pub fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of an address that is not mapped, or of anything else, has no effect.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
