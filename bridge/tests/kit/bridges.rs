//! Bridges, as processes.

use std::process::Command;

use common::QueueName;
use nix::sys::signal::Signal;

use super::bound::{Ended, Run};

/// A bridge. It is killed when this is dropped; until then, it can be killed and started again with the same arguments.
#[derive(Debug)]
pub(crate) struct Bridge(Run);

impl Bridge {
    /// Starts `fanout-bridge out`.
    #[track_caller]
    pub(crate) fn out(queue: &QueueName, url: &str, stream: &str, more: &[&str]) -> Self {
        Self::start(&["out", queue.bare(), url, "--stream", stream], more)
    }

    /// Starts `fanout-bridge in`.
    #[track_caller]
    pub(crate) fn into(queue: &QueueName, url: &str, stream: &str, more: &[&str]) -> Self {
        Self::start(&["in", queue.bare(), url, "--stream", stream], more)
    }

    /// Starts `fanout-bridge` with these arguments and more.
    #[track_caller]
    pub(crate) fn start(arguments: &[&str], more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanout-bridge"));
        command.args(arguments).args(more);
        // Variables of the tester's shell must not change the bridge.
        for (variable, _) in
            std::env::vars().filter(|(variable, _)| variable.starts_with("FANOUT_"))
        {
            command.env_remove(variable);
        }
        Self::run(&command)
    }

    /// Starts this command, which is a bridge's with an environment of its own.
    #[track_caller]
    pub(crate) fn run(command: &Command) -> Self {
        let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        Self(Run::start(&format!("bridge {}", arguments.join(" ")), command))
    }

    /// Whether it is running.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.is_running()
    }

    /// Its process id.
    pub(crate) fn id(&mut self) -> u32 {
        self.0.id()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        self.0.stderr()
    }

    /// Kills it as `kill -9` does.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.0.kill();
    }

    /// Starts it again.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.0.restart();
    }

    /// Asks it to stop, as `kill` does, and waits until it has.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> Ended {
        self.0.signal(Signal::SIGTERM);
        self.0.wait()
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Ended {
        self.0.wait()
    }

    /// What it has written to stderr, all its lives together.
    pub(crate) fn stderr(&self) -> String {
        self.0.stderr()
    }

    /// Forgets what it has written to stderr.
    pub(crate) fn forget(&self) {
        self.0.forget();
    }
}
