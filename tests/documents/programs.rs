//! The programs that a document may run: ours, freshly built, and a few of the system's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use testing::Folder;

use super::block::Block;

/// Programs of the system that every Debian has.
const SYSTEM: [&str; 22] = [
    "bash", "cat", "cmp", "cut", "echo", "grep", "head", "kill", "ls", "printf", "rm", "seq", "sh",
    "sleep", "sort", "stat", "tail", "timeout", "tr", "true", "truncate", "wc",
];

/// The programs that can be run, and a folder to run them in.
pub(crate) struct Programs {
    ours: BTreeMap<String, PathBuf>,
    folder: Folder,
}

impl Programs {
    /// Builds the default members' programs. Only those that cargo names count as ours, and no
    /// older ones.
    pub(crate) fn build() -> Self {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(["build", "--bins", "--message-format=json"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut this = Self::system();
        for line in output.stdout.split(|&byte| byte == b'\n') {
            let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
            let Some(path) = message["executable"].as_str().map(PathBuf::from) else { continue };
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            std::os::unix::fs::symlink(&path, this.folder.join("bin").join(name)).unwrap();
            this.ours.insert(name.to_owned(), path);
        }
        assert!(this.ours.contains_key("fanout"), "cargo built no programs");
        this
    }

    /// Only the system's programs.
    pub(crate) fn system() -> Self {
        let this = Self { ours: BTreeMap::new(), folder: Folder::new() };
        std::fs::create_dir(this.folder.join("bin")).unwrap();
        std::fs::create_dir(this.work()).unwrap();
        this
    }

    /// The folder in which commands run.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Our programs before all others.
    pub(crate) fn path(&self) -> String {
        format!("{}:/usr/local/bin:/usr/bin:/bin", self.folder.join("bin").display())
    }

    /// Fails if a command line runs an unknown program, at its beginning or after a pipe.
    pub(crate) fn check(&self, command: &str) -> Result<(), String> {
        for part in command.split(['|', ';', '&']).map(str::trim).filter(|part| !part.is_empty()) {
            let mut words = part.trim_start_matches('(').split_whitespace();
            let word = words.find(|word| !is_assignment(word)).unwrap_or_default();
            // A quoted script is not looked into.
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
    pub(crate) fn check_mentioned(&self, root: &Path, block: &Block) -> Result<(), String> {
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

/// Whether a word sets a variable for the command behind it.
fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}
