//! Exercise 1: whose turn is it, and how much may it take?

/// Turns of queues that are numbered from 0, by deficit round robin.
pub(crate) struct Turns {}

impl Turns {
    /// Turns of so many queues. A whole turn is worth `quantum` bytes, which is at least 1.
    pub(crate) fn new(queues: usize, quantum: u64) -> Self {
        let _ = (queues, quantum);
        Self {}
    }

    /// Whose turn it is, and how many bytes that queue may take: at least 1. `waits` says for each queue whether
    /// something waits there; `None` if nothing waits anywhere.
    ///
    /// It goes round, beginning with queue 0, and each time round a queue in which something waits gets a quantum. A
    /// queue that owes as much or more has no turn, and owes a quantum less; a queue that owes less has a turn, worth the
    /// quantum less what it owes. A queue in which nothing waits gets nothing, and goes on owing what it owes.
    ///
    /// Going round often takes no longer than going round once, however much is owed.
    pub(crate) fn next(&mut self, waits: &[bool]) -> Option<(usize, u64)> {
        let _ = waits;
        None
    }

    /// The queue whose turn it was has taken so many bytes. If that is less than it was allowed, nothing more waited
    /// there, and it loses the rest. If it is more, because a message is not cut in two, it owes the difference.
    ///
    /// This is called at most once after each turn; if it is not, nothing was taken.
    pub(crate) fn took(&mut self, bytes: u64) {
        let _ = bytes;
    }
}
