//! Wrong: if all are in debt, only the least in debt is paid.

pub(crate) struct Turns {
    quantum: u64,
    owed: Vec<u64>,
    next: usize,
    last: Option<(usize, u64)>,
}

impl Turns {
    pub(crate) fn new(queues: usize, quantum: u64) -> Self {
        Self { quantum, owed: vec![0; queues], next: 0, last: None }
    }

    pub(crate) fn next(&mut self, waits: &[bool]) -> Option<(usize, u64)> {
        self.last = None;
        let waiting = (0..waits.len()).filter(|&queue| waits[queue]);
        let least = waiting.min_by_key(|&queue| self.owed[queue])?;
        self.owed[least] %= self.quantum;
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

    pub(crate) fn took(&mut self, bytes: u64) {
        if let Some((queue, allowed)) = self.last.take() {
            self.owed[queue] = bytes.saturating_sub(allowed);
        }
    }
}
