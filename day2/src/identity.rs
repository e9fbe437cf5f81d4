//! A number that tells a queue from all others.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::process;
use std::time::SystemTime;

/// A random number that is not zero.
///
/// The standard library's hasher has keys that the kernel chose at random. A child that was forked has its parent's
/// keys: its number and the time tell it apart. It is no secret: who may open the queue can read it.
pub fn random() -> u64 {
    loop {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(process::id());
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        hasher.write_u128(since.map_or(0, |since| since.as_nanos()));
        match hasher.finish() {
            // Zero means that there is none.
            0 => {}
            identity => return identity,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn no_two_are_equal_and_none_is_zero() {
        let many: BTreeSet<u64> = (0..100_000).map(|_| super::random()).collect();
        assert_eq!(many.len(), 100_000);
        assert!(!many.contains(&0));
    }
}
