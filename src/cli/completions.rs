//! `fanout completions`: scripts that complete what a user types, and offer only what fits.

use clap::{Arg, Command, CommandFactory, ValueEnum, ValueHint};
use clap_complete::Shell;

use super::{Arguments, print};

pub(crate) fn run(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), "fanout", &mut script);
    let script = String::from_utf8_lossy(&script);
    print(&match shell {
        // Bash offers files where nothing else fits. Only `--file` takes a file, and asks for files
        // itself.
        Shell::Bash => script.replace(" -o bashdefault -o default fanout", " fanout"),
        // The same for fish, whose generator also forgets the values of positional arguments.
        Shell::Fish => {
            let shells = Shell::value_variants().iter().map(Shell::to_string);
            format!(
                "{script}complete -c fanout -f\ncomplete -c fanout -n \
                 \"__fish_fanout_using_subcommand completions\" -a \"{}\"\n",
                shells.collect::<Vec<_>>().join(" ")
            )
        }
        _ => script.into_owned(),
    })
}

/// The command as a user knows it. The generators would complete hidden subcommands, too.
fn visible() -> Command {
    let whole = Arguments::command();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set());
    let shown = shown.map(|command| hints(command.clone()));
    Command::new("fanout").version(env!("CARGO_PKG_VERSION")).subcommands(shown)
}

/// A subcommand, and those below it.
fn hints(command: Command) -> Command {
    command.mut_args(hinted).mut_subcommands(hints)
}

/// For a value that is neither a path nor one of a few, nothing is offered. Shells would offer files.
///
/// That holds for names of queues, too: other users choose the names in `/dev/shm`, and `bash` expands
/// the words that it is given to complete from.
fn hinted(arg: Arg) -> Arg {
    let unknown = arg.get_value_hint() == ValueHint::Unknown;
    if unknown && arg.get_action().takes_values() { arg.value_hint(ValueHint::Other) } else { arg }
}
