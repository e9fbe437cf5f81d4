//! The machine and the build that a table comes from, for the lines above the table.

use std::process::Command;

use serde::Serialize;

/// Everything that a figure depends on and that is not in its row.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many cores this process may use.
    pub cores: usize,
    /// The kernel and its release.
    pub kernel: String,
    /// The compiler.
    pub compiler: String,
    /// The commit of this project, with `-dirty` if the sources differ from it.
    pub commit: String,
    /// The date and time, in UTC.
    pub date: String,
    /// The command that was typed.
    pub command: String,
}

impl Machine {
    /// This machine, now. `program` is what was typed before the arguments.
    pub fn here(program: &str) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown processor", |(_, model)| model);
        let arguments: Vec<String> = std::env::args().skip(1).map(quoted).collect();
        let command = format!("{program} {}", arguments.join(" "));
        Self {
            processor: model.to_owned(),
            cores: crate::affinity::cores().len(),
            kernel: said("uname", &["-sr"]),
            compiler: said("rustc", &["--version"]),
            commit: said("git", &["describe", "--always", "--dirty"]),
            date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            command: command.trim_end_matches([' ', '-']).to_owned(),
        }
    }

    /// One line for each, with its name.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("machine", format!("{}, {} cores", self.processor, self.cores)),
            ("kernel", self.kernel.clone()),
            ("compiler", self.compiler.clone()),
            ("commit", self.commit.clone()),
            ("date", self.date.clone()),
            ("command", self.command.clone()),
        ]
    }
}

/// An argument as it has to be typed into a shell.
fn quoted(argument: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument;
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
