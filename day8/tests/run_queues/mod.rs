//! What a judge asks of a run queue: each promise of exercise 1, one after the other.
//!
//! The judge is the executor. It knows who was woken, and in which order, and checks each step that the queue names.

use std::collections::VecDeque;

use testing::Dice;
use testing::judge::comes_back;

/// What an executor does next, whichever module says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Poll(usize),
    Ask { may_sleep: bool },
}

/// The methods of all run queues, whichever module they come from.
pub(crate) trait RunQueue: Send + 'static {
    fn new() -> Self;
    fn spawn(&mut self) -> usize;
    fn wake(&mut self, task: usize);
    fn next(&mut self) -> Step;
    fn done(&mut self, task: usize, is_ready: bool);
}

/// Implements [`RunQueue`] for the `RunQueue` of each of these modules.
macro_rules! implement {
    ($($module:ident)::+ $(, $($more:tt)*)?) => {
        impl $crate::run_queues::RunQueue for $($module)::+::RunQueue {
            fn new() -> Self {
                Self::new()
            }

            fn spawn(&mut self) -> usize {
                self.spawn()
            }

            fn wake(&mut self, task: usize) {
                self.wake(task)
            }

            fn next(&mut self) -> $crate::run_queues::Step {
                use $crate::run_queues::Step;
                match self.next() {
                    $($module)::+::Step::Poll(task) => Step::Poll(task),
                    $($module)::+::Step::Ask { may_sleep } => Step::Ask { may_sleep },
                }
            }

            fn done(&mut self, task: usize, is_ready: bool) {
                self.done(task, is_ready)
            }
        }
        $($crate::run_queues::implement!($($more)*);)?
    };
    () => {};
}

pub(crate) use implement;

pub(crate) const ENDS: &str = "each call comes to an end";
pub(crate) const BEGINS: &str = "a new task is polled";
pub(crate) const WOKEN: &str = "a task that was woken is polled";
pub(crate) const AGAIN: &str = "a task that is woken during its own poll is polled again";
pub(crate) const ONCE: &str = "a task that is woken twice before its poll is polled once";
pub(crate) const UNASKED: &str = "a task is polled only if it was woken";
pub(crate) const ORDER: &str = "tasks are polled in the order in which they were woken";
pub(crate) const DRAINS: &str = "the queue drains before the poller is asked";
pub(crate) const ASKED: &str = "the poller is asked after 256 polls at the latest";
pub(crate) const AWAKE: &str = "the poller may sleep only if no task can go on";
pub(crate) const ASLEEP: &str = "the poller may sleep if no task can go on";
pub(crate) const ENDED: &str = "a task that has ended is not polled again";
pub(crate) const OWN: &str = "tasks that live at the same time have different numbers";
pub(crate) const NUMBERS: &str = "numbers of tasks that have ended are given to new ones";
pub(crate) const HEIR: &str = "a new task with the number of an old one is polled";
pub(crate) const LATE: &str = "a late wake-up of an old task does not lose the new one";

/// As the exercise says it: with another number there it would be another exercise.
const POLLS: usize = 256;

/// Every promise, with a name for what breaks it.
pub(crate) fn every_promise_of_a_run_queue<Q: RunQueue>() {
    comes_back(ENDS, || {
        new_tasks_are_polled::<Q>();
        woken_tasks_are_polled::<Q>();
        woken_during_its_own_poll::<Q>();
        in_the_order_of_the_wakes::<Q>();
        drained_before_the_question::<Q>();
        asked_after_so_many_polls::<Q>();
        the_ended_are_not_polled::<Q>();
        numbers_are_given_again::<Q>();
        late_wakes_lose_nobody::<Q>();
    });
    comes_back(ENDS, || {
        for seed in 0..50 {
            anything_goes::<Q>(seed);
        }
    });
}

/// An executor whose tasks do what the judge says, and what it expects of its queue.
struct Executor<Q> {
    queue: Q,
    /// By number.
    tasks: Vec<Task>,
    /// Who was woken, in this order, and not polled since.
    woken: VecDeque<Entry>,
    /// How often tasks were polled since the poller was asked.
    polls: usize,
    /// Who is polled right now.
    running: Option<usize>,
    /// How often tasks were polled.
    times: u64,
    /// How many tasks lived at the same time, at most.
    most: usize,
}

#[derive(Clone, Default)]
struct Task {
    lives: bool,
    has_ended_once: bool,
    /// It was woken again before its poll.
    was_woken_twice: bool,
    /// An old task with this number was woken when it was too late for that.
    was_woken_late: bool,
}

/// That a task was woken.
struct Entry {
    task: usize,
    /// What is broken if it is not polled. A late wake-up promises nothing: the queue may forget it, or have a new task
    /// polled in its place.
    promise: Option<&'static str>,
    /// In which poll it was woken, if it was in one.
    during: Option<u64>,
    /// It woke itself.
    is_own: bool,
}

impl Entry {
    /// Whether the other one, which was woken later, may be polled earlier: a task that wakes itself is queued then, or
    /// when its poll is over.
    fn lets_pass(&self, later: &Self) -> bool {
        self.promise.is_none()
            || self.is_own && self.during.is_some() && self.during == later.during
    }
}

impl<Q: RunQueue> Executor<Q> {
    fn new() -> Self {
        Self {
            queue: Q::new(),
            tasks: Vec::new(),
            woken: VecDeque::new(),
            polls: 0,
            running: None,
            times: 0,
            most: 0,
        }
    }

    fn with(tasks: usize) -> Self {
        let mut executor = Self::new();
        for _ in 0..tasks {
            executor.spawn();
        }
        executor.drain();
        executor
    }

    fn lives(&self, task: usize) -> bool {
        self.tasks.get(task).is_some_and(|task| task.lives)
    }

    fn living(&self) -> Vec<usize> {
        (0..self.tasks.len()).filter(|&task| self.lives(task)).collect()
    }

    fn spawn(&mut self) -> usize {
        let task = self.queue.spawn();
        assert!(!self.lives(task), "{OWN}: {task} is given twice");
        self.most = self.most.max(self.living().len() + 1);
        // A queue may keep a number back for a while.
        assert!(task < self.most + 2 * POLLS, "{NUMBERS}: {task}, and {} at most lived", self.most);
        if task >= self.tasks.len() {
            self.tasks.resize(task + 1, Task::default());
        }
        let Task { lives, has_ended_once, was_woken_twice, was_woken_late } = &mut self.tasks[task];
        (*lives, *was_woken_twice) = (true, false);
        let promise = match (*was_woken_late, *has_ended_once) {
            (true, _) => LATE,
            (false, true) => HEIR,
            (false, false) => BEGINS,
        };
        self.expect(task, Some(promise));
        task
    }

    fn expect(&mut self, task: usize, promise: Option<&'static str>) {
        let during = self.running.map(|_| self.times);
        let is_own = self.running == Some(task);
        self.woken.push_back(Entry { task, promise, during, is_own });
    }

    fn wake(&mut self, task: usize) {
        self.queue.wake(task);
        let waits = |entry: &Entry| entry.task == task && entry.promise.is_some();
        let is_running = self.running == Some(task);
        let known = &mut self.tasks[task];
        if !known.lives {
            known.was_woken_late = true;
            self.expect(task, None);
        } else if self.woken.iter().any(waits) {
            known.was_woken_twice = true;
        } else {
            known.was_woken_twice = false;
            let promise = match (known.was_woken_late, is_running) {
                (true, _) => LATE,
                (false, true) => AGAIN,
                (false, false) => WOKEN,
            };
            self.expect(task, Some(promise));
        }
    }

    /// Does what the queue says, if that is right. A task that it polls is [`done`](Self::done) later.
    fn step(&mut self) -> Step {
        let step = self.queue.next();
        match step {
            Step::Poll(task) => self.polls(task),
            Step::Ask { may_sleep } => self.asks(may_sleep),
        }
        step
    }

    fn polls(&mut self, task: usize) {
        assert!(self.polls < POLLS, "{ASKED}");
        assert!(self.lives(task), "{ENDED}, also if it is woken: {task}");
        let Some(at) = self.woken.iter().position(|entry| entry.task == task) else {
            let promise = if self.tasks[task].was_woken_twice { ONCE } else { UNASKED };
            panic!("{promise}: {task}")
        };
        let found = self.woken.remove(at).expect("it is there");
        let mut before = self.woken.iter().take(at);
        let passed = before
            .find_map(|entry| (!entry.lets_pass(&found)).then_some((entry.task, entry.promise?)));
        if let Some((passed, promise)) = passed {
            self.queue.done(task, false);
            let promise = if self.comes_yet(passed) { ORDER } else { promise };
            panic!("{promise}: {passed}, which was woken before {task}")
        }
        // What was promised to nobody, and has not come by now, does not come.
        let mut place = 0;
        self.woken.retain(|entry| {
            place += 1;
            place > at || entry.promise.is_some()
        });
        // This poll comes after all wake-ups so far; a queue that has another note of them may poll the task again.
        for entry in self.woken.iter_mut().filter(|entry| entry.task == task) {
            entry.promise = None;
        }
        (self.polls, self.times) = (self.polls + 1, self.times + 1);
        self.running = Some(task);
    }

    fn asks(&mut self, may_sleep: bool) {
        let is_time = self.polls == POLLS;
        let left = self.woken.iter().find_map(|entry| Some((entry.task, entry.promise?)));
        match left {
            Some((task, promise)) if may_sleep || !is_time => {
                let promise = match (self.comes_yet(task), is_time) {
                    (false, _) => promise,
                    (true, true) => AWAKE,
                    (true, false) => DRAINS,
                };
                panic!("{promise}: {task} was woken")
            }
            Some(_) => {}
            // It may have a note of a late wake-up yet.
            None => assert!(may_sleep || is_time && !self.woken.is_empty(), "{ASLEEP}"),
        }
        if !is_time {
            self.woken.clear();
        }
        self.polls = 0;
    }

    /// Whether this task is polled after all, if nothing else happens.
    fn comes_yet(&mut self, wanted: usize) -> bool {
        for _ in 0..4 * (POLLS + self.woken.len()) {
            match self.queue.next() {
                Step::Poll(task) if task == wanted => return true,
                Step::Poll(task) => self.queue.done(task, false),
                Step::Ask { .. } => {}
            }
        }
        false
    }

    fn done(&mut self, is_ready: bool) {
        let task = self.running.take().expect("the judge polls before it says that it did");
        self.queue.done(task, is_ready);
        if !is_ready {
            return;
        }
        let known = &mut self.tasks[task];
        *known = Task { has_ended_once: true, ..Task::default() };
        for entry in self.woken.iter_mut().filter(|entry| entry.task == task) {
            known.was_woken_late = true;
            entry.promise = None;
        }
    }

    /// The next step is this poll.
    fn begins(&mut self, task: usize) {
        assert_eq!(self.step(), Step::Poll(task), "the judge knows whose turn it is");
    }

    /// The next step is a poll, of this task, which does nothing.
    fn runs(&mut self, task: usize) {
        self.begins(task);
        self.done(false);
    }

    fn ends(&mut self, task: usize) {
        self.begins(task);
        self.done(true);
    }

    /// All who can go on are polled once, and do nothing, until the poller may sleep.
    fn drain(&mut self) {
        loop {
            match self.step() {
                Step::Poll(_) => self.done(false),
                Step::Ask { may_sleep: true } => return,
                Step::Ask { may_sleep: false } => {}
            }
        }
    }

    /// Nothing was forgotten, and all who live are heard.
    fn settle(&mut self) {
        self.drain();
        for task in self.living() {
            self.wake(task);
        }
        self.drain();
        self.drain();
    }
}

fn new_tasks_are_polled<Q: RunQueue>() {
    let mut executor = Executor::<Q>::new();
    executor.drain();
    for _ in 0..3 {
        executor.spawn();
        executor.drain();
        executor.drain();
    }
    let tasks = [executor.spawn(), executor.spawn(), executor.spawn()];
    for task in tasks {
        executor.runs(task);
    }
    executor.settle();
}

fn woken_tasks_are_polled<Q: RunQueue>() {
    let mut executor = Executor::<Q>::with(3);
    for task in [1, 1, 0, 2, 1] {
        executor.wake(task);
        executor.drain();
    }
    for times in 1..4 {
        for _ in 0..times {
            executor.wake(1);
        }
        executor.runs(1);
        executor.drain();
    }
    // Woken before it has begun.
    let task = executor.spawn();
    executor.wake(task);
    executor.runs(task);
    executor.settle();
}

fn woken_during_its_own_poll<Q: RunQueue>() {
    for times in 1..4 {
        let mut executor = Executor::<Q>::with(3);
        executor.wake(1);
        for _ in 0..5 {
            executor.begins(1);
            for _ in 0..times {
                executor.wake(1);
            }
            executor.done(false);
        }
        executor.runs(1);
        executor.drain();
        executor.settle();
    }
    // In its first poll, too.
    let mut executor = Executor::<Q>::new();
    let task = executor.spawn();
    executor.begins(task);
    executor.wake(task);
    executor.done(false);
    executor.runs(task);
    executor.settle();
}

fn in_the_order_of_the_wakes<Q: RunQueue>() {
    let mut executor = Executor::<Q>::with(5);
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]] {
        order.into_iter().for_each(|task| executor.wake(task));
        executor.drain();
    }
    // A task that is woken again keeps its place.
    for task in [3, 1, 4, 3, 1, 3] {
        executor.wake(task);
    }
    executor.drain();
    // A task that wakes others, or itself, stands behind those that were woken before.
    for task in [3, 1, 4] {
        executor.wake(task);
    }
    executor.begins(3);
    for task in [3, 0, 1, 2] {
        executor.wake(task);
    }
    executor.done(false);
    executor.runs(1);
    executor.runs(4);
    executor.settle();
}

fn drained_before_the_question<Q: RunQueue>() {
    // Each task that runs wakes the next one, or spawns it.
    let mut executor = Executor::<Q>::with(10);
    executor.wake(0);
    for task in 0..9 {
        executor.begins(task);
        executor.wake(task + 1);
        executor.done(false);
    }
    executor.begins(9);
    let task = executor.spawn();
    executor.done(false);
    executor.runs(task);
    executor.drain();
    // Polls count from the last question, and not from the time before it.
    for _ in 0..10 {
        executor.wake(0);
        for _ in 0..POLLS - 10 {
            executor.begins(0);
            executor.wake(0);
            executor.done(false);
        }
        executor.runs(0);
        executor.drain();
    }
    executor.settle();
}

fn asked_after_so_many_polls<Q: RunQueue>() {
    // So many can go on.
    for tasks in [POLLS - 1, POLLS, POLLS + 1, 3 * POLLS + 7] {
        let mut executor = Executor::<Q>::with(tasks);
        executor.settle();
    }
    // One or two never wait.
    for tasks in [1, 2] {
        let mut executor = Executor::<Q>::with(tasks);
        (0..tasks).for_each(|task| executor.wake(task));
        for _ in 0..5 * POLLS {
            if let Step::Poll(task) = executor.step() {
                executor.wake(task);
                executor.done(false);
            }
        }
        executor.settle();
    }
    // Each one spawns another, and ends.
    let mut executor = Executor::<Q>::new();
    executor.spawn();
    for _ in 0..5 * POLLS {
        if let Step::Poll(_) = executor.step() {
            executor.spawn();
            executor.done(true);
        }
    }
    executor.settle();
}

fn the_ended_are_not_polled<Q: RunQueue>() {
    let mut executor = Executor::<Q>::with(4);
    for task in [1, 2] {
        executor.wake(task);
    }
    executor.ends(1);
    executor.wake(1);
    executor.runs(2);
    executor.drain();
    executor.wake(1);
    executor.drain();
    // In its last poll, by itself.
    executor.wake(3);
    executor.wake(0);
    executor.begins(3);
    executor.wake(3);
    executor.done(true);
    executor.runs(0);
    executor.wake(3);
    executor.settle();
}

fn numbers_are_given_again<Q: RunQueue>() {
    let mut executor = Executor::<Q>::with(3);
    for _ in 0..2 * POLLS {
        for task in executor.living() {
            executor.wake(task);
            executor.ends(task);
        }
        executor.drain();
        for _ in 0..3 {
            executor.spawn();
        }
        executor.settle();
    }
}

/// A task is woken at some of five times around its end and the beginning of the next one. Others run, or not.
fn late_wakes_lose_nobody<Q: RunQueue>() {
    for times in 0u32..1 << 7 {
        let is = |bit: u32| times >> bit & 1 == 1;
        let mut executor = Executor::<Q>::with(3);
        executor.wake(1);
        executor.begins(1);
        if is(0) {
            executor.wake(1);
        }
        if is(5) {
            executor.wake(0);
        }
        executor.done(true);
        if is(1) {
            executor.wake(1);
        }
        if is(6) {
            executor.drain();
        }
        let heir = executor.spawn();
        if is(2) {
            executor.wake(1);
        }
        while executor.step() != Step::Poll(heir) {
            executor.done(false);
        }
        if is(3) {
            executor.wake(heir);
        }
        executor.done(false);
        if is(4) {
            executor.wake(heir);
        }
        executor.settle();
    }
}

/// Tasks come, wake, are woken early and late, and end.
fn anything_goes<Q: RunQueue>(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut executor = Executor::<Q>::new();
    for _ in 0..2_000 {
        match executor.step() {
            Step::Poll(_) => {
                some_wakes(&mut executor, &mut dice, 3);
                executor.done(dice.below(4) == 0);
            }
            Step::Ask { .. } => some_wakes(&mut executor, &mut dice, 20),
        }
    }
    executor.settle();
}

fn some_wakes<Q: RunQueue>(executor: &mut Executor<Q>, dice: &mut Dice, most: u64) {
    for _ in 0..dice.below(most) {
        let numbers = executor.tasks.len() as u64;
        if numbers == 0 || dice.below(5) == 0 && executor.living().len() < 12 {
            executor.spawn();
        } else {
            executor.wake(dice.below(numbers) as usize);
        }
    }
}
