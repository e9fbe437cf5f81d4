//! `fanout bridge`: runs `fanout-bridge`, a program of its own, because its client for NATS takes far longer to compile than
//! all the rest.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, anyhow};
use clap::Args;
use yardstick::signals::Signals;

#[derive(Args)]
#[command(
    disable_help_flag = true,
    override_usage = "fanout bridge out|in QUEUE URL --stream NAME [OPTIONS]"
)]
pub(crate) struct Arguments {
    /// What `fanout bridge --help` explains
    #[arg(value_name = "ARGUMENT", num_args = 0.., trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

const PROGRAM: &str = "fanout-bridge";

pub(crate) fn run(arguments: &Arguments, signals: &Signals) -> anyhow::Result<()> {
    let here = std::env::current_exe().ok();
    let beside = here.as_deref().and_then(Path::parent).map(|folder| folder.join(PROGRAM));
    let program = find(beside, std::env::var_os("PATH").as_deref()).ok_or_else(|| {
        anyhow!(
            "there is no {PROGRAM} beside this program, nor in PATH: build it with `cargo build --release -p bridge`, and \
             put it there"
        )
    })?;
    // The signal that has come meanwhile would be forgotten.
    signals.check()?;
    let mut command = Command::new(&program);
    // Its usage shows what the user has typed.
    let error = command.arg0("fanout bridge").args(&arguments.arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// The program that lies there, or else the first one in a folder of `path`.
fn find(beside: Option<PathBuf>, path: Option<&OsStr>) -> Option<PathBuf> {
    let path = path.into_iter().flat_map(std::env::split_paths);
    // An empty entry would mean the current folder, where anybody may have put a program.
    let folders = path.filter(|folder| folder.is_absolute());
    let candidates = beside.into_iter().chain(folders.map(|folder| folder.join(PROGRAM)));
    candidates.into_iter().find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
