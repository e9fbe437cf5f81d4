//! Commands, and what they print.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::Stage;
use super::block::{Block, Label};
use super::ports::Ports;
use super::programs::Programs;
use super::shape;

/// How long a scene may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Terminals that have outlived their test end after so many seconds.
const LONGEST: &str = "120";
/// A terminal that has printed nothing for this long is waiting for the next terminal.
const QUIET: Duration = Duration::from_millis(300);
/// How long a terminal may take to print its first words. After that the next terminal begins all
/// the same.
const FIRST_WORDS: Duration = Duration::from_secs(3);

/// Terminals that run at the same time; a block without a terminal is a scene of its own.
pub(super) struct Scene<'a> {
    stage: Stage,
    blocks: Vec<&'a Block>,
}

/// The scenes of a document: `terminal=A` begins a scene, and the terminals after it belong to it.
pub(super) fn scenes(blocks: &[Block]) -> Result<Vec<Scene<'_>>, String> {
    let mut scenes: Vec<Scene<'_>> = Vec::new();
    for block in blocks {
        let Label::Console { terminal, stage, .. } = block.label else { continue };
        match (terminal, scenes.last_mut()) {
            (Some(name), Some(scene)) if name != 'A' => {
                if scene.stage != stage {
                    return Err(format!(
                        "{}: terminals of one scene are all labelled `bridge`, or none is",
                        block.line
                    ));
                }
                scene.blocks.push(block);
            }
            _ => scenes.push(Scene { stage, blocks: vec![block] }),
        }
    }
    Ok(scenes)
}

impl<'a> Scene<'a> {
    pub(super) fn commands(&self) -> usize {
        let commands =
            |block: &&Block| block.lines.iter().filter(|line| command(line).is_some()).count();
        self.blocks.iter().map(commands).sum()
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    /// Free ports for those that the scene shows. Only servers have any.
    fn ports(&self) -> Ports {
        let lines = self.blocks.iter().flat_map(|block| &block.lines);
        match self.stage {
            Stage::Plain => Ports::default(),
            Stage::Bridge => Ports::of(lines.filter_map(|line| command(line))),
        }
    }

    /// Runs all terminals, and returns their lines. Each terminal begins when the terminal before
    /// it waits.
    ///
    /// Queues get unique names, if the document allows it; see [`fresh`].
    pub(super) fn run(
        &self,
        programs: &Programs,
        document: &str,
    ) -> Result<Vec<(&'a Block, Vec<String>)>, String> {
        let suffix = programs.suffix();
        let ports = self.ports();
        let mut terminals = Vec::new();
        for block in &self.blocks {
            let fail = |why| format!("{}: {why}", block.line);
            let mut terminal = Terminal::open(block, programs, |command| {
                ports.free(&fresh(command, document, suffix))
            })
            .map_err(fail)?;
            if self.blocks.len() > 1 {
                let speaks = block.lines.iter().any(|line| command(line).is_none());
                terminal.wait_until_quiet(speaks);
            }
            terminals.push((*block, terminal));
        }
        let mut outputs = Vec::new();
        // What one has left running serves the others until all have ended.
        for (block, terminal) in &mut terminals {
            let lines = terminal.finish().map_err(|why| format!("{}: {why}", block.line))?;
            let shown = |line: &String| ports.shown(&line.replace(suffix, ""));
            outputs.push((*block, lines.iter().map(shown).collect()));
        }
        Ok(outputs)
    }
}

/// The command with `/name` replaced by `/name-PID`, unless the document shows what lies in
/// `/dev/shm` under that name, or it is the target of a request.
fn fresh(command: &str, document: &str, suffix: &str) -> String {
    let is_name = |word: &str| {
        word.strip_prefix('/').is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }) && !document.contains(&format!("/dev/shm{word}"))
    };
    let words: Vec<&str> = command.split(' ').collect();
    // Behind a method it is what a request is for.
    let is_target = |at: usize| at > 0 && words[at - 1].ends_with("GET");
    let fresh = words.iter().enumerate().map(|(at, word)| {
        if is_name(word) && !is_target(at) { format!("{word}{suffix}") } else { word.to_string() }
    });
    fresh.collect::<Vec<_>>().join(" ")
}

fn command(line: &str) -> Option<&str> {
    line.strip_prefix("$ ")
}

/// A shell that runs the commands of a block, one after another, and stops at an unexpected failure.
struct Terminal {
    shell: Child,
    screen: PathBuf,
}

/// Stands before a command in the shell's output.
const PROMPT: &str = "@@command ";

impl Terminal {
    fn open(
        block: &Block,
        programs: &Programs,
        fresh: impl Fn(&str) -> String,
    ) -> Result<Self, String> {
        let Label::Console { fails, .. } = block.label else { return Err("no console".to_owned()) };
        let commands: Vec<&str> = block.lines.iter().filter_map(|line| command(line)).collect();
        if block.lines.first().and_then(|line| command(line)).is_none() {
            return Err("a console block begins with `$ ` and a command".to_owned());
        }
        let mut script = String::new();
        for (i, command) in commands.iter().enumerate() {
            programs.check(command)?;
            let command = fresh(command);
            let last = i + 1 == commands.len();
            let verdict = if fails && last { "&& exit 97" } else { "|| exit 98" };
            script += &format!("printf '{PROMPT}{i}\\n'\n{{ {command}\n}} {verdict}\n");
        }
        script += "exit 0\n";
        let screen = programs.work().join(format!("screen-{}", block.line));
        let output = File::create(&screen).map_err(|error| error.to_string())?;
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        let shell = Command::new("timeout")
            .args(["--signal=KILL", LONGEST, "bash", "-c", &script])
            .current_dir(programs.work())
            .env("PATH", programs.path())
            .env("LC_ALL", "C.UTF-8")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(appending(output))
            .stderr(appending(errors))
            .process_group(0)
            .spawn()
            .map_err(|error| error.to_string())?;
        Ok(Self { shell, screen })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let read = File::open(&self.screen).and_then(|mut file| file.read_to_string(&mut text));
        read.map_or_else(|error| error.to_string(), |_| text)
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.shell.try_wait(), Ok(None))
    }

    /// Waits until the terminal has printed nothing for a while. If it `speaks`, it has to print
    /// something first.
    fn wait_until_quiet(&mut self, speaks: bool) {
        let started = Instant::now();
        let (mut before, mut since) = (self.text(), Instant::now());
        while !self.has_ended() {
            let late = started.elapsed() >= FIRST_WORDS;
            let spoken = late || before.lines().any(|line| !line.starts_with(PROMPT));
            if since.elapsed() >= QUIET && (spoken || !speaks) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
            let now = self.text();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
    }

    /// The block's lines as they should be: each command, and what it printed.
    fn finish(&mut self) -> Result<Vec<String>, String> {
        let started = Instant::now();
        while !self.has_ended() {
            if started.elapsed() > DEADLINE {
                return Err(format!(
                    "did not end within {DEADLINE:?}; it printed:\n{}",
                    self.text()
                ));
            }
            thread::sleep(Duration::from_millis(10));
        }
        let status = self.shell.wait().map_err(|error| error.to_string())?;
        let text = self.text();
        match status.code() {
            Some(0) => Ok(text.lines().filter(|line| is_shown(line)).map(str::to_owned).collect()),
            Some(97) => Err(format!("the last command should have failed; it printed:\n{text}")),
            _ => Err(format!("a command failed ({status}); it printed:\n{text}")),
        }
    }
}

/// Whether a document shows this line. It leaves out what a program says about a debug build, and
/// about a machine that does not show an effect.
fn is_shown(line: &str) -> bool {
    line != yardstick::report::DEBUG_BUILD && !line.starts_with("note: this machine ")
}

/// Appends both streams to one file, as a screen shows them.
fn appending(file: File) -> Stdio {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let _ = fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND));
    Stdio::from(file)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The shell, and all processes that it has started.
        let _ = killpg(Pid::from_raw(self.shell.id() as i32), Signal::SIGKILL);
        let _ = self.shell.wait();
    }
}

/// What was found, as the block shows it: with its commands.
pub(super) fn shown(block: &Block, found: &[String]) -> Vec<String> {
    let mut commands = block.lines.iter().filter(|line| command(line).is_some());
    let line = |line: &String| match line.starts_with(PROMPT) {
        true => commands.next().unwrap_or(line).clone(),
        false => line.clone(),
    };
    found.iter().map(line).collect()
}

/// Fails unless the block shows what was found.
pub(super) fn compare(block: &Block, found: &[String]) -> Result<(), String> {
    let Label::Console { figures, .. } = block.label else { return Ok(()) };
    let look = |line: &str| if figures { shape::of(line) } else { line.trim_end().to_owned() };
    let mut commands = block.lines.iter().filter(|line| command(line).is_some());
    let mut expected = block.lines.iter();
    for line in found {
        let shown = expected.next();
        let same = if line.starts_with(PROMPT) {
            shown == commands.next()
        } else {
            shown.is_some_and(|shown| look(shown) == look(line))
        };
        if !same {
            let shown = shown.map_or("nothing more", String::as_str);
            return Err(format!(
                "{}: shows  {shown}\n  found  {line}\n  in all {found:#?}",
                block.line
            ));
        }
    }
    match expected.next() {
        Some(shown) => Err(format!("{}: shows  {shown}\n  found nothing more", block.line)),
        None => Ok(()),
    }
}
