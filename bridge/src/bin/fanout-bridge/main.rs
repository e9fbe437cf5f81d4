//! `fanout-bridge`: a queue carried to other hosts. `fanout bridge` runs it.

mod arguments;
mod convoy;
mod login;
mod point;
mod report;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use yardstick::signals::{Interrupted, Signals};

use self::arguments::{Arguments, Direction};
use self::convoy::{GaveUp, Plan};
use self::report::say;

/// The exit code if a producer gave up.
const GAVE_UP: u8 = 3;

fn main() -> ExitCode {
    let plan = match plan(std::env::args_os()) {
        Ok(plan) => plan,
        // Usage and help, too.
        Err(error) => error.exit(),
    };
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
                return ExitCode::from(interrupted.exit_code());
            }
            say(&format!("error: {}", one_line(&format!("{error:#}"))));
            let gave_up = error.downcast_ref::<GaveUp>().is_some();
            if gave_up { ExitCode::from(GAVE_UP) } else { ExitCode::FAILURE }
        }
    }
}

fn run(plan: &Plan) -> anyhow::Result<()> {
    let signals = Signals::catch_first()?;
    raise_limit();
    convoy::run(plan, &signals)
}

/// Lets this process have as many descriptors as it may: each queue takes several, and the usual limit, which is lower, is
/// meant for programs that use `select`.
fn raise_limit() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // With fewer, the bridges that find none say so.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// What the command line and the environment ask for.
fn plan(arguments: impl IntoIterator<Item = OsString>) -> Result<Plan, clap::Error> {
    let command = Arguments::command();
    // Help names the variables, and shows nobody what is in them.
    let mut command = command.mut_subcommands(|one| one.mut_args(|arg| arg.hide_env_values(true)));
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.iter().any(|argument| login::is_in_address(argument)) {
        // Whatever place it stands in, nothing below may quote it.
        return Err(command.error(ErrorKind::ValueValidation, login::READABLE));
    }
    let has_secret = arguments.iter().any(|argument| login::may_be_in(argument));
    let matches = command.try_get_matches_from_mut(arguments);
    let matches = matches.map_err(|error| match error.use_stderr() && has_secret {
        true => command.error(ErrorKind::ValueValidation, login::MISPLACED),
        false => error,
    })?;
    let wrong = |command: &mut clap::Command, name: &str, why: String| {
        let command = command.find_subcommand_mut(name);
        let command = command.expect("clap found this subcommand");
        command.error(ErrorKind::ValueValidation, why)
    };
    let (name, inner): (&str, &ArgMatches) = matches.subcommand().expect("clap demands one");
    let direction = Arguments::from_arg_matches(&matches)?.direction;
    let plan = match &direction {
        Direction::Out(out) => out.plan(inner),
        Direction::In(into) => into.plan(inner),
    };
    plan.map_err(|why| wrong(&mut command, name, why))
}

/// What others say, such as a producer that gives its reason, must not move our cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
