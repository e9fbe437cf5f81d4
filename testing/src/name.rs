//! Names in `/dev/shm`.

use std::fmt::{self, Debug};
use std::fs::{self, File, Metadata, Permissions};
use std::ops::Deref;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::QueueName;
use nix::unistd::getuid;

use crate::eventually;

/// A queue's name that no other test uses. What it names is removed when this is dropped.
#[derive(Debug)]
pub struct Unique(QueueName);

impl Unique {
    /// A new name, with `what` in it.
    pub fn new(what: &str) -> Self {
        Self::given(&format!("/fanout-test-{what}-{}", crate::unique()))
    }

    /// A given name that only this test uses.
    pub fn given(name: &str) -> Self {
        Self(name.parse().unwrap())
    }

    /// A name that all tests of this user share. The lock that comes with it keeps the other tests
    /// away.
    pub fn shared(name: &str) -> (File, Self) {
        let name = Self::given(name);
        let lock = format!("fanout-{}-{}.lock", name.bare(), getuid());
        let lock = File::create(std::env::temp_dir().join(lock)).unwrap();
        lock.lock().unwrap();
        // Nothing of that name may be removed before this point.
        let free = format!("{} is free (did a producer leave it behind? remove it)", *name);
        eventually(&free, || !name.exists());
        (lock, name)
    }

    /// The path where the file system shows it.
    pub fn path(&self) -> PathBuf {
        Path::new("/dev/shm").join(self.0.bare())
    }

    /// Whether something has this name.
    pub fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// Creates an object with these bytes, which need not be a segment.
    pub fn write(&self, bytes: &[u8]) {
        fs::write(self.path(), bytes).unwrap();
    }

    /// Overwrites some bytes of an object that exists.
    pub fn poke(&self, offset: u64, bytes: &[u8]) {
        let object = File::options().write(true).open(self.path()).unwrap();
        object.write_all_at(bytes, offset).unwrap();
    }

    /// Creates an object, or resizes it; new bytes are zero.
    pub fn set_len(&self, bytes: u64) {
        let mut options = File::options();
        let object = options.write(true).create(true).truncate(false).open(self.path()).unwrap();
        object.set_len(bytes).unwrap();
    }

    /// Sets its permissions.
    pub fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.path(), Permissions::from_mode(mode)).unwrap();
    }

    /// Its metadata in the file system.
    pub fn metadata(&self) -> Metadata {
        self.path().symlink_metadata().unwrap()
    }

    /// Its inode, mode, length, time of change, and bytes if it has any: all that an opener could
    /// change.
    pub fn state(&self) -> Option<impl PartialEq + Debug + use<>> {
        let meta = self.path().symlink_metadata().ok()?;
        let bytes = if meta.is_file() { fs::read(self.path()).ok() } else { None };
        Some((meta.ino(), meta.mode(), meta.len(), meta.modified().unwrap(), Bytes(bytes)))
    }

    /// Removes the object of this name.
    pub fn remove(&self) {
        fs::remove_file(self.path()).unwrap();
    }
}

impl Deref for Unique {
    type Target = QueueName;

    fn deref(&self) -> &QueueName {
        &self.0
    }
}

impl Drop for Unique {
    fn drop(&mut self) {
        // Most tests have removed it already, and some made a folder.
        let path = self.path();
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }
}

/// Bytes whose debug output is short: a difference is not worth a megabyte of output.
#[derive(PartialEq)]
struct Bytes(Option<Vec<u8>>);

impl Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(bytes) => write!(f, "{} bytes", bytes.len()),
            None => f.write_str("no bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_names_goes_with_it() {
        let name = Unique::new("name");
        name.set_len(10);
        let (path, before) = (name.path(), name.state());
        assert_eq!(before, name.state());
        name.poke(3, b"x");
        assert!(before != name.state());
        drop(name);
        assert!(!path.exists());
    }
}
