//! Wrong: only polls after which a task waits are counted, so tasks that end at once keep the poller from being asked.

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
        while self.polls < POLLS
            && let Some(task) = self.woken.pop_front()
        {
            let Task { lives, is_woken } = &mut self.tasks[task];
            *is_woken = false;
            if *lives {
                return Step::Poll(task);
            }
            self.free.push(task);
        }
        self.polls = 0;
        let may_sleep = !self.woken.iter().any(|&task| self.tasks[task].lives);
        Step::Ask { may_sleep }
    }

    pub(crate) fn done(&mut self, task: usize, is_ready: bool) {
        if is_ready {
            let Task { lives, is_woken } = &mut self.tasks[task];
            *lives = false;
            if !*is_woken {
                self.free.push(task);
            }
        } else {
            self.polls += 1;
        }
    }
}
