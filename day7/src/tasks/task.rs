//! What a server can be asked to do.

use std::any::Any;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::arena::{Input, Output};
use super::error::{AnswerTooLong, NameTaken};
use super::message::ANSWER;

/// How a task ended: its answer is what it wrote, or this is why it failed. The client gets the error's text.
pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// One task, as its procedure sees it.
#[derive(Debug)]
pub struct Task<'a> {
    pub(super) args: &'a [u8],
    pub(super) inputs: &'a [Input],
    pub(super) outputs: &'a mut [Output],
    pub(super) answer: &'a mut Vec<u8>,
    pub(super) longest: usize,
    pub(super) client: u64,
    pub(super) pid: u32,
}

impl<'a> Task<'a> {
    /// The arguments: the server's own copy.
    pub fn args(&self) -> &'a [u8] {
        self.args
    }

    /// The buffers that it reads.
    pub fn inputs(&self) -> &'a [Input] {
        self.inputs
    }

    /// The buffers that it writes. They overlap neither each other nor an input.
    pub fn outputs(&mut self) -> &mut [Output] {
        self.outputs
    }

    /// Both at once.
    pub fn buffers(&mut self) -> (&'a [Input], &mut [Output]) {
        (self.inputs, self.outputs)
    }

    /// Adds these bytes to the answer.
    ///
    /// # Errors
    ///
    /// [`AnswerTooLong`]; the answer is as it was.
    pub fn answer(&mut self, bytes: &[u8]) -> Result<(), AnswerTooLong> {
        // The head of the packet is there already.
        let len = (self.answer.len() - ANSWER).saturating_add(bytes.len());
        if len > self.longest {
            return Err(AnswerTooLong { len, most: self.longest });
        }
        self.answer.extend_from_slice(bytes);
        Ok(())
    }

    /// The longest answer, in bytes.
    pub fn longest_answer(&self) -> usize {
        self.longest
    }

    /// The number of the client that asks.
    pub fn client(&self) -> u64 {
        self.client
    }

    /// The process of that client, as the kernel knows it; 0 if this pid namespace has no number for it.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

/// A procedure, of which each shard has a copy of its own.
pub(super) trait Procedure: Send {
    fn run(&mut self, task: &mut Task<'_>) -> Outcome;
    fn copy(&self) -> Box<dyn Procedure>;
}

impl<F> Procedure for F
where
    F: FnMut(&mut Task<'_>) -> Outcome + Clone + Send + 'static,
{
    fn run(&mut self, task: &mut Task<'_>) -> Outcome {
        self(task)
    }

    fn copy(&self) -> Box<dyn Procedure> {
        Box::new(self.clone())
    }
}

/// How a task ended, for the answer.
#[derive(Debug)]
pub(super) enum Ended {
    Done,
    Failed(String),
    Panicked(String),
}

/// Runs a procedure; it may panic.
pub(super) fn run(procedure: &mut dyn Procedure, task: &mut Task<'_>) -> Ended {
    // The error is the procedure's own, too: showing it may panic, and so may dropping it.
    let run = || procedure.run(task).map_err(|error| error.to_string());
    match guarded(run) {
        Ok(Ok(())) => Ended::Done,
        Ok(Err(why)) => Ended::Failed(why),
        Err(message) => Ended::Panicked(message),
    }
}

/// Runs what may panic. What its state is after a panic is for its owner to know, as with a poisoned lock.
fn guarded<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let message = message(&*payload);
        drop_payload(payload);
        message
    })
}

/// Drops what a panic carried. That may panic again, with something else, and so on.
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Somebody who goes on like that gets no third chance: it is leaked.
        std::mem::forget(another);
    }
}

/// What a panic said.
fn message(payload: &(dyn Any + Send)) -> String {
    common::panic_message(payload).unwrap_or("a panic without a message").to_owned()
}

/// The most bytes of a procedure's name.
pub const MOST_NAME: usize = 128;

/// The number of a registered procedure, in its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcedureId(u32);

impl ProcedureId {
    /// The number itself; the first is 1.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// The procedures of a server, by number from 1 on.
#[derive(Default)]
pub(super) struct Registry(Mutex<Vec<(String, Box<dyn Procedure>)>>);

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    fn all(&self) -> MutexGuard<'_, Vec<(String, Box<dyn Procedure>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(
        &self,
        name: &str,
        procedure: Box<dyn Procedure>,
    ) -> Result<ProcedureId, NameTaken> {
        if !(1..=MOST_NAME).contains(&name.len()) {
            return Err(NameTaken::Length { most: MOST_NAME, found: name.len() });
        }
        let mut all = self.all();
        if all.iter().any(|(taken, _)| taken == name) {
            return Err(NameTaken::Taken { name: name.to_owned() });
        }
        all.push((name.to_owned(), procedure));
        Ok(ProcedureId(all.len() as u32))
    }

    /// The number of the procedure with this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        let at = self.all().iter().position(|(known, _)| known.as_bytes() == name)?;
        Some(at as u32 + 1)
    }

    /// The name of the procedure with this number.
    pub(super) fn name(&self, number: u32) -> String {
        let at = (number as usize).wrapping_sub(1);
        self.all().get(at).map_or_else(|| format!("procedure {number}"), |(name, _)| name.clone())
    }

    /// Adds copies of those procedures that `own` does not have yet.
    /// One that panics meanwhile fails from then on, and keeps the others from nothing.
    pub(super) fn copy_into(&self, own: &mut Vec<Box<dyn Procedure>>) {
        let all = self.all();
        for (_, procedure) in &all[own.len()..] {
            let copy = guarded(|| procedure.copy()).unwrap_or_else(|message| {
                let why = format!("the procedure panicked when its shard copied it: {message}");
                Box::new(move |_: &mut Task<'_>| -> Outcome { Err(why.clone().into()) })
            });
            own.push(copy);
        }
    }
}
