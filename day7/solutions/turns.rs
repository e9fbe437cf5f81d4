//! Exercise 1: whose turn is it, and how much may it take?

/// Turns of queues that are numbered from 0, by deficit round robin.
pub(crate) struct Turns {
    quantum: u64,
    /// What each queue has taken too much.
    owed: Vec<u64>,
    /// Where the next turn is looked for.
    next: usize,
    /// Whose turn it was, and what it was allowed.
    last: Option<(usize, u64)>,
}

impl Turns {
    /// Turns of so many queues. A whole turn is worth `quantum` bytes, which is at least 1.
    pub(crate) fn new(queues: usize, quantum: u64) -> Self {
        Self { quantum, owed: vec![0; queues], next: 0, last: None }
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
        self.last = None;
        let waiting = (0..waits.len()).filter(|&queue| waits[queue]);
        // So often it would go round for nothing.
        let vain = waiting.clone().map(|queue| self.owed[queue] / self.quantum).min()?;
        for queue in waiting {
            self.owed[queue] -= vain * self.quantum;
        }
        loop {
            let queue = self.next;
            self.next = (self.next + 1) % self.owed.len();
            if !waits[queue] {
                continue;
            }
            let owed = std::mem::take(&mut self.owed[queue]);
            if owed < self.quantum {
                self.last = Some((queue, self.quantum - owed));
                return self.last;
            }
            self.owed[queue] = owed - self.quantum;
        }
    }

    /// The queue whose turn it was has taken so many bytes. If that is less than it was allowed, nothing more waited
    /// there, and it loses the rest. If it is more, because a message is not cut in two, it owes the difference.
    ///
    /// This is called at most once after each turn; if it is not, nothing was taken.
    pub(crate) fn took(&mut self, bytes: u64) {
        // So no credit has to be kept: there are only debts.
        if let Some((queue, allowed)) = self.last.take() {
            self.owed[queue] = bytes.saturating_sub(allowed);
        }
    }
}
