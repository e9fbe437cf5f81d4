//! What a consumer promises about its lagging.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

/// What the producer does with a consumer that lags but is alive, because it is slow, or was stopped. Each consumer
/// promises it when it joins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// It waits: the consumer loses nothing.
    #[default]
    Block,
    /// It waits, but evicts a consumer that has kept it waiting with the same message for so long.
    EvictAfter(Duration),
    /// It does not wait. The consumer is told how many messages it has missed.
    Lossy,
}

/// A text that names no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected block, lossy, or evict=SECONDS such as evict=5s, found {found:?}: choose one of these"
)]
#[non_exhaustive]
pub struct UnknownPolicy {
    /// The text.
    pub found: String,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block => f.write_str("block"),
            Self::EvictAfter(after) => write!(f, "evict={}s", after.as_secs_f64()),
            Self::Lossy => f.write_str("lossy"),
        }
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(text: &str) -> Result<Self, UnknownPolicy> {
        let seconds = |text: &str| text.strip_prefix("evict=")?.trim_end_matches('s').parse().ok();
        match text {
            "block" => Ok(Self::Block),
            "lossy" => Ok(Self::Lossy),
            _ => seconds(text)
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .map(Self::EvictAfter)
                .ok_or_else(|| UnknownPolicy { found: text.to_owned() }),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        let millis = Duration::from_millis(1500);
        for policy in [Policy::Block, Policy::Lossy, Policy::EvictAfter(millis)] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("evict=5".parse(), Ok(Policy::EvictAfter(Duration::from_secs(5))));
        for wrong in ["", "evict", "evict=", "evict=-1s", "evict=nans", "Block"] {
            assert_eq!(wrong.parse::<Policy>(), Err(UnknownPolicy { found: wrong.to_owned() }));
        }
    }
}
