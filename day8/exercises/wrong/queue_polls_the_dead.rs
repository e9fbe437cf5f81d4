//! Wrong: a task that has ended is polled when it is woken.

use std::collections::VecDeque;

const POLLS: usize = 256;

pub(crate) enum Step {
    Poll(usize),
    Ask { may_sleep: bool },
}

#[derive(Default)]
struct Task {
    is_woken: bool,
}

#[derive(Default)]
pub(crate) struct RunQueue {
    tasks: Vec<Task>,
    free: Vec<usize>,
    woken: VecDeque<usize>,
    polls: usize,
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn spawn(&mut self) -> usize {
        let task = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(Task::default());
            self.tasks.len() - 1
        });
        self.wake(task);
        task
    }

    pub(crate) fn wake(&mut self, task: usize) {
        if !std::mem::replace(&mut self.tasks[task].is_woken, true) {
            self.woken.push_back(task);
        }
    }

    pub(crate) fn next(&mut self) -> Step {
        if self.polls < POLLS
            && let Some(task) = self.woken.pop_front()
        {
            self.tasks[task].is_woken = false;
            self.polls += 1;
            return Step::Poll(task);
        }
        self.polls = 0;
        Step::Ask { may_sleep: self.woken.is_empty() }
    }

    pub(crate) fn done(&mut self, task: usize, is_ready: bool) {
        if is_ready {
            self.free.push(task);
        }
    }
}
