//! Exercise 1: what is polled next, and when is the poller asked?

use std::collections::VecDeque;

/// So many polls at most, and the poller is asked.
pub(crate) const POLLS: usize = 256;

/// What an executor does next.
pub(crate) enum Step {
    /// It polls the task with this number.
    Poll(usize),
    /// It asks the poller who can go on. If it may sleep, the poller waits until something happens; otherwise it only
    /// looks.
    Ask { may_sleep: bool },
}

/// The run queue of an executor: which of its tasks can go on.
///
/// The executor does what [`next`](Self::next) says, again and again. It polls one task at a time, and calls
/// [`done`](Self::done) after each poll. Tasks are woken by the poller, or by a task during its poll: any task,
/// also itself. A task that is polled may also spawn others.
pub(crate) struct RunQueue {
    tasks: Vec<Task>,
    /// Numbers that no task has.
    free: Vec<usize>,
    woken: VecDeque<usize>,
    /// How often tasks were polled since the poller was asked.
    polls: usize,
}

/// What is known of the task that has a number.
#[derive(Default)]
struct Task {
    lives: bool,
    is_woken: bool,
}

impl RunQueue {
    /// No task.
    pub(crate) fn new() -> Self {
        Self { tasks: Vec::new(), free: Vec::new(), woken: VecDeque::new(), polls: 0 }
    }

    /// The number of a new task. It is woken at once, because it has yet to begin.
    ///
    /// Numbers begin at 0. The executor keeps its tasks in a `Vec`, so the numbers of tasks that have ended are given
    /// to new ones.
    pub(crate) fn spawn(&mut self) -> usize {
        let task = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(Task::default());
            self.tasks.len() - 1
        });
        self.tasks[task].lives = true;
        self.wake(task);
        task
    }

    /// A task can go on, so it is polled, after those that were woken before it. A task that was woken already, and has
    /// not been polled since, keeps its place. A task that is polled right now is polled again; it is queued at once,
    /// or when this poll is over, as you like.
    ///
    /// Wakers may outlive their task: a task that has ended is not polled again. If a new task has its number,
    /// nobody can tell whose waker it was: the new one is polled, perhaps without need, which tasks have to bear.
    pub(crate) fn wake(&mut self, task: usize) {
        let Task { lives, is_woken } = &mut self.tasks[task];
        if *lives && !std::mem::replace(is_woken, true) {
            self.woken.push_back(task);
        }
    }

    /// What the executor does next.
    ///
    /// As long as a task can go on, it is polled, and the poller is asked only when none is left: but after
    /// [`POLLS`] polls without a question at the latest, whatever is left. The poller may sleep if no task can go on, and
    /// only then.
    pub(crate) fn next(&mut self) -> Step {
        while self.polls < POLLS
            && let Some(task) = self.woken.pop_front()
        {
            let Task { lives, is_woken } = &mut self.tasks[task];
            // Before the poll: a wake-up from now on may come too late for it.
            *is_woken = false;
            if *lives {
                self.polls += 1;
                return Step::Poll(task);
            }
            // It was woken in its last poll. Now nothing in the queue means it any more.
            self.free.push(task);
        }
        self.polls = 0;
        // What is left may be nothing but numbers of tasks that have ended.
        let may_sleep = !self.woken.iter().any(|&task| self.tasks[task].lives);
        Step::Ask { may_sleep }
    }

    /// The task that [`next`](Self::next) named was polled. If it `is_ready`, it has ended.
    pub(crate) fn done(&mut self, task: usize, is_ready: bool) {
        if is_ready {
            let Task { lives, is_woken } = &mut self.tasks[task];
            *lives = false;
            if !*is_woken {
                self.free.push(task);
            }
        }
    }
}
