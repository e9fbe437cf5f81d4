//! The programs that a document may run: ours, freshly built, and a few of the system's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::block::Block;
use crate::Folder;

/// Programs of the system that every Debian has.
const SYSTEM: [&str; 25] = [
    "awk", "bash", "cat", "cmp", "cut", "echo", "grep", "head", "kill", "ls", "printf", "rm",
    "sed", "seq", "sh", "sleep", "sort", "stat", "tail", "timeout", "tr", "true", "truncate",
    "wait", "wc",
];

/// Words of the shell that are no commands.
const KEYWORDS: [&str; 5] = ["do", "done", "until", "while", "2>/dev/null"];

/// The programs that can be run, and a folder to run them in.
#[derive(Debug)]
pub struct Programs {
    ours: BTreeMap<String, PathBuf>,
    folder: Folder,
    /// What the names of queues end with, so that no other test has the same ones.
    suffix: String,
}

impl Programs {
    /// Builds programs of the workspace at `root`: `cargo build --bins` with these arguments. Only those that cargo
    /// names count as ours, and no older ones.
    ///
    /// # Panics
    ///
    /// If there is something that cannot be built.
    #[track_caller]
    pub fn build(root: &Path, arguments: &[&str]) -> Self {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(root);
        cargo.args(["build", "--bins", "--message-format=json"]).args(arguments);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut this = Self::system();
        let messages = String::from_utf8(output.stdout).expect("JSON");
        for path in messages.lines().filter_map(executable) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            this.add(name, &path);
        }
        assert!(this.ours.contains_key("fanout"), "cargo built no programs");
        this
    }

    /// Adds a program.
    ///
    /// # Panics
    ///
    /// If there is one of that name.
    pub fn add(&mut self, name: &str, path: &Path) {
        std::os::unix::fs::symlink(path, self.folder.join("bin").join(name)).unwrap();
        self.ours.insert(name.to_owned(), path.to_owned());
    }

    /// Only the system's programs.
    pub fn system() -> Self {
        let suffix = format!("-{}", crate::unique());
        let this = Self { ours: BTreeMap::new(), folder: Folder::new(), suffix };
        std::fs::create_dir(this.folder.join("bin")).unwrap();
        std::fs::create_dir(this.work()).unwrap();
        this
    }

    /// The folder in which commands run.
    pub(super) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    pub(super) fn suffix(&self) -> &str {
        &self.suffix
    }

    /// Our programs before all others.
    pub(super) fn path(&self) -> String {
        format!("{}:/usr/local/bin:/usr/bin:/bin", self.folder.join("bin").display())
    }

    /// Fails if a command line runs an unknown program, at its beginning or after a pipe.
    pub(super) fn check(&self, command: &str) -> Result<(), String> {
        // A quoted script is not looked into.
        let code: String = command.split('\'').step_by(2).collect();
        for part in code.split(['|', ';', '&', '(', ')']) {
            let runs = |word: &&str| !is_assignment(word) && !KEYWORDS.contains(word);
            let Some(word) = part.split_whitespace().find(runs) else { continue };
            if command.starts_with("sh -c")
                || command.starts_with("bash -c")
                || self.ours.contains_key(word)
                || SYSTEM.contains(&word)
            {
                continue;
            }
            return Err(format!("{word:?} is no program of ours, nor one that documents may use"));
        }
        Ok(())
    }

    /// Fails if a block for the reader to type names a package, program or script that does not exist.
    pub(super) fn check_mentioned(&self, root: &Path, block: &Block) -> Result<(), String> {
        for line in &block.lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            for pair in words.windows(2) {
                if pair[0] == "-p"
                    && !root.join(pair[1]).join("Cargo.toml").exists()
                    && pair[1] != "fanout"
                {
                    return Err(format!("{}: there is no package {:?}", block.line, pair[1]));
                }
            }
            for script in words.iter().filter(|word| word.starts_with(".ci/")) {
                if !root.join(script).exists() {
                    return Err(format!("{}: there is no script {script:?}", block.line));
                }
            }
        }
        Ok(())
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // What a scene that failed has left.
        let Ok(objects) = std::fs::read_dir("/dev/shm") else { return };
        for object in objects.flatten() {
            if object.file_name().to_string_lossy().ends_with(&self.suffix) {
                let _ = std::fs::remove_file(object.path());
            }
        }
    }
}

/// The program that a message of cargo's names. A crate that reads JSON would be linked into the tests of all members, where its
/// implementations of common traits make types ambiguous that are plain without it.
fn executable(message: &str) -> Option<PathBuf> {
    let (_, value) = message.split_once(r#""executable":""#)?;
    let (path, _) = value.split_once('"')?;
    assert!(!path.contains('\\'), "a path that JSON has to escape: {path}");
    Some(PathBuf::from(path))
}

/// Whether a word sets a variable for the command behind it.
fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}
