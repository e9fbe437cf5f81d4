//! Wrong: a queue saves up a quantum each time round while nothing waits there.

pub(crate) struct Turns {
    quantum: i64,
    deficit: Vec<i64>,
    next: usize,
    last: Option<usize>,
}

impl Turns {
    pub(crate) fn new(queues: usize, quantum: u64) -> Self {
        Self { quantum: quantum as i64, deficit: vec![0; queues], next: 0, last: None }
    }

    pub(crate) fn next(&mut self, waits: &[bool]) -> Option<(usize, u64)> {
        self.took(0);
        let waiting = (0..waits.len()).filter(|&queue| waits[queue]);
        let vain =
            waiting.clone().map(|queue| (-self.deficit[queue]).max(0) / self.quantum).min()?;
        for queue in waiting {
            self.deficit[queue] += vain * self.quantum;
        }
        loop {
            let queue = self.next;
            self.next = (self.next + 1) % self.deficit.len();
            if !waits[queue] {
                self.deficit[queue] += self.quantum;
                continue;
            }
            self.deficit[queue] += self.quantum;
            if self.deficit[queue] > 0 {
                self.last = Some(queue);
                return Some((queue, self.deficit[queue] as u64));
            }
        }
    }

    pub(crate) fn took(&mut self, bytes: u64) {
        if let Some(queue) = self.last.take() {
            self.deficit[queue] = (self.deficit[queue] - bytes as i64).min(0);
        }
    }
}
