//! Fanout beside its rivals, doing the same work: every word of every message is written and summed,
//! and a run whose counts or sums differ is a failure, not a figure.

pub mod contenders;
pub mod machine;
pub mod race;

/// What every contender moves: 64 bytes.
pub type Packet = common::payload::Message<8>;

/// Runs one side's whole loop, compiled for AVX2 where the machine has it.
///
/// How wide the stores are that write a message may decide more than the queue does (see
/// [`common::payload`]), so every contender's loop goes through here, whether it writes in place or
/// hands over a value. `side` has to be a function that is `#[inline(always)]`: what is only called
/// from here keeps the instructions that it was compiled with.
#[inline(always)]
pub fn wide<A, R>(side: impl FnOnce(A) -> R, arguments: A) -> R {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2.
        return unsafe { with_avx2(side, arguments) };
    }
    side(arguments)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<A, R>(side: impl FnOnce(A) -> R, arguments: A) -> R {
    side(arguments)
}
