//! The judge of exercise 1.

use std::fs::File;
use std::io::{self, Read, Write};
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use common::sync::{AtomicBool, Ordering};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use testing::Folder;
use testing::judge::{comes_back, joined};

/// The functions of all seats, whichever module they come from.
pub(crate) trait Seat: Sized + Send + 'static {
    fn take(file: &Path, number: u32) -> io::Result<Option<Self>>;
    fn is_taken(file: &Path, number: u32) -> io::Result<bool>;
}

/// Implements [`Seat`] for the `Seat` of each of these modules.
macro_rules! implement {
    ($($module:ident)::+ $(, $($more:tt)*)?) => {
        impl $crate::seats::Seat for $($module)::+::Seat {
            fn take(file: &::std::path::Path, number: u32) -> ::std::io::Result<Option<Self>> {
                Self::take(file, number)
            }

            fn is_taken(file: &::std::path::Path, number: u32) -> ::std::io::Result<bool> {
                Self::is_taken(file, number)
            }
        }
        $($crate::seats::implement!($($more)*);)?
    };
    () => {};
}

pub(crate) use implement;

/// A judge forks, and the child has copies of all open files: no other judge may have seats meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) fn every_promise_of_a_seat<S: Seat>() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::new();
    let file = &folder.join("seats");
    File::create(file).unwrap();
    comes_back("an attempt that comes too late is refused, and does not wait", {
        let file = file.clone();
        move || it_is_one_for_each_number::<S>(&file)
    });
    a_question_takes_nothing::<S>(file);
    a_killed_process_has_none::<S>(file);
    a_forked_child_keeps_none::<S>(file);
    let found = file.metadata().unwrap().len();
    assert_eq!(found, 0, "the file stays as it is");
}

fn take<S: Seat>(file: &Path, number: u32) -> Option<S> {
    S::take(file, number).unwrap()
}

fn is_taken<S: Seat>(file: &Path, number: u32) -> bool {
    S::is_taken(file, number).unwrap()
}

fn it_is_one_for_each_number<S: Seat>(file: &Path) {
    assert!(!is_taken::<S>(file, 0), "a seat that nobody has taken is free");
    let first = take::<S>(file, 0).expect("a seat that is free is taken");
    assert!(take::<S>(file, 0).is_none(), "a seat that is taken is refused");
    assert!(is_taken::<S>(file, 0), "a question about a seat that is taken says so");
    assert!(take::<S>(file, 0).is_none(), "a seat that is taken is refused, also after a question");
    for number in [1, 2, 1_000_000] {
        assert!(!is_taken::<S>(file, number), "each number is a seat of its own");
        let other = take::<S>(file, number).expect("each number is a seat of its own");
        drop(other);
        assert!(is_taken::<S>(file, 0), "to give back a seat frees no other");
    }
    drop(first);
    assert!(!is_taken::<S>(file, 0), "a seat that is given back is free");
    assert!(take::<S>(file, 0).is_some(), "a seat that is given back is free");
}

fn a_question_takes_nothing<S: Seat>(file: &Path) {
    const ROUNDS: usize = 20_000;
    let is_over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = [(); 3].map(|()| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    is_taken::<S>(file, 7);
                }
            })
        });
        let refused = (0..ROUNDS).filter(|_| take::<S>(file, 7).is_none()).count();
        is_over.store(true, Ordering::Relaxed);
        for asking in asking {
            joined(asking);
        }
        assert_eq!(refused, 0, "a question takes nothing");
    });
}

fn a_killed_process_has_none<S: Seat>(file: &Path) {
    let child = Child::that_takes::<S>(file, 3);
    assert!(is_taken::<S>(file, 3), "a question about a seat that another process has says so");
    assert!(take::<S>(file, 3).is_none(), "a seat that another process has is refused");
    child.kill();
    // It is dead, and its parent has not waited for it yet: its number is still in use.
    assert!(!is_taken::<S>(file, 3), "a process that was killed has no seat");
    assert!(take::<S>(file, 3).is_some(), "a process that was killed has no seat");
}

/// The child has a copy of every file that its parent has open.
fn a_forked_child_keeps_none<S: Seat>(file: &Path) {
    let seat = take::<S>(file, 4).expect("a seat that is free is taken");
    let _child = Child::that_sleeps();
    drop(seat);
    let promise =
        "a seat that is given back is free, also while a child lives that was forked meanwhile";
    assert!(!is_taken::<S>(file, 4), "{promise}");
    assert!(take::<S>(file, 4).is_some(), "{promise}");
}

/// A process that has a seat, or none. It is killed and waited for when this is dropped.
struct Child(Pid);

impl Child {
    fn that_sleeps() -> Self {
        // SAFETY: as below.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                thread::sleep(Duration::from_secs(600));
                // SAFETY: it ends the child at once, without its parent's exit handlers.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => Self(child),
        }
    }

    fn that_takes<S: Seat>(file: &Path, number: u32) -> Self {
        let (mut here, mut there) = io::pipe().unwrap();
        // SAFETY: the child calls nothing that needs a lock of another thread: the judges wait for one another,
        // and the allocator looks after itself.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                // A panic must not lead the child back into the test.
                let seat = catch_unwind(|| S::take(file, number));
                let took = matches!(seat, Ok(Ok(Some(_))));
                let _ = there.write_all(&[u8::from(took)]);
                thread::sleep(Duration::from_secs(600));
                // SAFETY: it ends the child at once, without its parent's exit handlers.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                let this = Self(child);
                drop(there);
                let mut took = [0];
                here.read_exact(&mut took).unwrap();
                assert_eq!(took, [1], "a seat that is free is taken, by another process, too");
                this
            }
        }
    }

    /// Kills it, and returns when it is dead. It keeps its number.
    fn kill(&self) {
        kill(self.0, Signal::SIGKILL).unwrap();
        waitid(Id::Pid(self.0), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}
