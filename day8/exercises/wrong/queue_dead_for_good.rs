//! Wrong: it is noted that a number's task has ended, and never that a new one has the number.

use std::collections::VecDeque;

const POLLS: usize = 256;

pub(crate) enum Step {
    Poll(usize),
    Ask { may_sleep: bool },
}

#[derive(Default)]
struct Task {
    has_ended: bool,
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
        let Task { has_ended, is_woken } = &mut self.tasks[task];
        if !*has_ended && !std::mem::replace(is_woken, true) {
            self.woken.push_back(task);
        }
    }

    pub(crate) fn next(&mut self) -> Step {
        while self.polls < POLLS
            && let Some(task) = self.woken.pop_front()
        {
            let Task { has_ended, is_woken } = &mut self.tasks[task];
            *is_woken = false;
            if !*has_ended {
                self.polls += 1;
                return Step::Poll(task);
            }
            self.free.push(task);
        }
        self.polls = 0;
        let may_sleep = !self.woken.iter().any(|&task| !self.tasks[task].has_ended);
        Step::Ask { may_sleep }
    }

    pub(crate) fn done(&mut self, task: usize, is_ready: bool) {
        if is_ready {
            let Task { has_ended, is_woken } = &mut self.tasks[task];
            *has_ended = true;
            if !*is_woken {
                self.free.push(task);
            }
        }
    }
}
