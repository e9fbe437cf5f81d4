//! What the tests share: names that nobody else has, and processes that do not outlive their test.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::fmt::Debug;
use std::fs::{self, File, Metadata, Permissions};
use std::ops::Deref;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ::common::QueueName;
use ::common::sync::{AtomicU32, Ordering};
use nix::unistd::{Uid, geteuid, setfsuid};

/// Far longer than anything here takes: whoever reaches it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A name that no other test has; what it names is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Unique(QueueName);

impl Unique {
    pub(crate) fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(format!("/day2-{what}-{pid}-{n}").parse().unwrap())
    }

    /// A name that somebody else chose, and that this test has to itself.
    pub(crate) fn given(name: &str) -> Self {
        Self(name.parse().unwrap())
    }

    /// Where the file system shows it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/dev/shm").join(self.0.bare())
    }

    pub(crate) fn exists(&self) -> bool {
        self.path().symlink_metadata().is_ok()
    }

    /// Makes an object with these bytes, which need not be a segment.
    pub(crate) fn write(&self, bytes: &[u8]) {
        fs::write(self.path(), bytes).unwrap();
    }

    /// Overwrites some bytes of an object that exists.
    pub(crate) fn poke(&self, offset: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(self.path()).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    }

    pub(crate) fn set_len(&self, bytes: u64) {
        File::options().write(true).open(self.path()).unwrap().set_len(bytes).unwrap();
    }

    pub(crate) fn set_mode(&self, mode: u32) {
        fs::set_permissions(self.path(), Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn metadata(&self) -> Metadata {
        self.path().symlink_metadata().unwrap()
    }

    /// Its inode, mode, length, time of change, and bytes if it has any: all that an opener could spoil.
    pub(crate) fn state(&self) -> Option<impl PartialEq + Debug + use<>> {
        let meta = self.path().symlink_metadata().ok()?;
        let bytes = if meta.is_file() { fs::read(self.path()).ok() } else { None };
        Some((meta.ino(), meta.mode(), meta.len(), meta.modified().unwrap(), Bytes(bytes)))
    }
}

/// Bytes whose difference is not worth a megabyte of output.
#[derive(PartialEq)]
struct Bytes(Option<Vec<u8>>);

impl Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(bytes) => write!(f, "{} bytes", bytes.len()),
            None => f.write_str("no bytes"),
        }
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
        // Most tests have removed it already; some made a folder.
        let _ = fs::remove_file(self.path());
        let _ = fs::remove_dir(self.path());
    }
}

/// Runs `f` and fails if it hangs.
pub(crate) fn promptly<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(f()));
    result.recv_timeout(DEADLINE).expect("it hangs or has panicked")
}

/// Runs `f` on a thread that file permissions apply to: root's thread becomes nobody's.
pub(crate) fn unprivileged<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if geteuid().is_root() {
                // Of this thread alone, and only for files; its capabilities for files go with it.
                setfsuid(Uid::from_raw(65534));
            }
            f()
        });
        thread.join().unwrap()
    })
}

/// Waits until `condition` holds and fails if it never does.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "still not: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A child process, killed if the test does not see its end.
#[derive(Debug)]
pub(crate) struct Process(Option<Child>);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(Some(command.spawn().unwrap()))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Its output once it has ended by itself. What it prints must fit into a pipe.
    pub(crate) fn finish(mut self) -> Output {
        let child = self.0.as_mut().unwrap();
        eventually("the process has ended", || child.try_wait().unwrap().is_some());
        self.0.take().unwrap().wait_with_output().unwrap()
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(mut self) {
        let child = self.0.as_mut().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.0 = None;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
