//! Wrong: a task that was woken in its last poll is polled once more, because only new wake-ups are checked.

use std::collections::VecDeque;

const POLLS: usize = 256;

pub(crate) enum Step {
    Poll(usize),
    Ask { may_sleep: bool },
}

#[derive(Default)]
struct Task {
    lives: bool,
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
        self.tasks[task].lives = true;
        self.wake(task);
        task
    }

    pub(crate) fn wake(&mut self, task: usize) {
        let Task { lives, is_woken } = &mut self.tasks[task];
        if *lives && !std::mem::replace(is_woken, true) {
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
            self.tasks[task].lives = false;
            self.free.push(task);
        }
    }
}
