//! A folder for a test.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder that no other test uses. It is removed with its contents when this is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Folder {
    /// A new, empty folder.
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fanout-test-{}", crate::unique()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file of this name in the folder, whether it exists or not.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
