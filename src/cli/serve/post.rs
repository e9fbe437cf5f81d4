//! A worker's post: who stands there may change.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fanout::tasks::{Outcome, Task};

use super::super::terminal::say;
use super::worker::{Recipe, Trouble, Worker};

/// The shortest and the longest pause before a worker is started again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a step may take before we look whether the server is ending.
const SLICE: Duration = Duration::from_millis(50);

/// A post: it has a worker, or is to have one again.
pub(super) struct Post {
    recipe: Arc<Recipe>,
    number: usize,
    worker: Option<Worker>,
    /// How many workers it has lost since one has answered.
    lost: u32,
    /// No other is started before.
    pause_until: Instant,
}

impl Post {
    fn new(recipe: &Arc<Recipe>, number: usize) -> std::io::Result<Self> {
        let (recipe, worker) = (Arc::clone(recipe), Some(Worker::start(recipe)?));
        Ok(Self { recipe, number, worker, lost: 0, pause_until: Instant::now() })
    }

    fn work(&mut self, task: &mut Task<'_>) -> Outcome {
        let (line, most) = (task.args(), task.longest_answer());
        if line.contains(&b'\n') {
            return Err(Trouble::Newline.into());
        }
        let answer = self.ready().and_then(|(worker, recipe)| worker.ask(line, most, recipe));
        match answer {
            Ok(answer) => {
                self.lost = 0;
                Ok(task.answer(&answer)?)
            }
            Err(trouble) => {
                if !trouble.is_harmless() {
                    self.lose(&trouble.to_string());
                }
                Err(trouble.into())
            }
        }
    }

    /// A worker that can be asked. It is started if there is none.
    fn ready(&mut self) -> Result<(&mut Worker, &Recipe), Trouble> {
        if let Some(why) = self.worker.as_mut().and_then(Worker::is_unfit) {
            self.lose(&format!("the worker {why}"));
        }
        let Self { recipe, worker, pause_until, .. } = self;
        let worker = match worker {
            Some(worker) => worker,
            none => {
                while let Some(left) = pause_until.checked_duration_since(Instant::now()) {
                    if recipe.is_ending() {
                        return Err(Trouble::Ending);
                    }
                    thread::sleep(left.min(SLICE));
                }
                none.insert(Worker::start(recipe).map_err(Trouble::NotStarted)?)
            }
        };
        Ok((worker, recipe))
    }

    /// This worker is of no use any more.
    fn lose(&mut self, why: &str) {
        let (shortest, longest) = PAUSES;
        let pause = shortest.saturating_mul(1 << self.lost.min(16)).min(longest);
        self.pause_until = Instant::now() + pause;
        self.lost += 1;
        let worker = self.worker.take();
        if !self.recipe.is_ending() {
            let pid = worker.as_ref().map_or(String::new(), |one| format!(" (pid {})", one.id()));
            let (number, why) = (self.number, why.trim_start_matches("the worker "));
            say(&format!(
                "worker {number}{pid}: {why}; for the next task, after {pause:?}, another is started"
            ));
        }
        if let Some(worker) = worker {
            worker.kill();
        }
    }
}

/// The posts that no shard has taken yet.
#[derive(Clone)]
pub(super) struct Crew(Arc<Mutex<Vec<Post>>>);

impl Crew {
    /// Starts a worker for each shard.
    pub(super) fn start(recipe: &Arc<Recipe>, shards: usize) -> std::io::Result<Self> {
        let posts = (0..shards).rev().map(|number| Post::new(recipe, number));
        Ok(Self(Arc::new(Mutex::new(posts.collect::<Result<_, _>>()?))))
    }

    fn take(&self) -> Option<Post> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Ends the workers that no shard has taken: all at once, and not one after the other.
    pub(super) fn end(self) {
        let mut posts: Vec<Post> = std::iter::from_fn(|| self.take()).collect();
        posts.iter_mut().filter_map(|post| post.worker.as_mut()).for_each(Worker::dismiss);
    }
}

/// What a server registers. Each shard has a copy, and with its first task the copy takes a post.
pub(super) struct Procedure {
    crew: Crew,
    post: Option<Post>,
}

impl Procedure {
    pub(super) fn new(crew: &Crew) -> Self {
        Self { crew: crew.clone(), post: None }
    }

    pub(super) fn work(&mut self, task: &mut Task<'_>) -> Outcome {
        if self.post.is_none() {
            self.post = self.crew.take();
        }
        match &mut self.post {
            Some(post) => post.work(task),
            None => Err("there are more shards than workers".into()),
        }
    }
}

impl Clone for Procedure {
    fn clone(&self) -> Self {
        Self::new(&self.crew)
    }
}
