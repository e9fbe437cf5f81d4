//! The memories that a ring of records can live in, seen the same way.

use std::sync::Arc;

use common::QueueName;
use common::sync::{AtomicU32, Ordering};
use day2::Mode;
use day3::{JoinError, JoinOptions, QueueOptions, Start};
use day4::{ByteMemory, Local, Member, Offer, Reader, Tap, Writer};

/// Where a ring of records lives.
pub(crate) trait Home: Sized {
    /// A ring, and its writer.
    fn with_writer(capacity: u64, first: u64) -> (Self, Writer);
    fn try_reader(&self, start: Start) -> Result<Reader, JoinError>;
    fn try_member(&self, group: &str, start: Start) -> Result<Member, JoinError>;
    fn tap(&self, start: Start) -> Tap;

    fn reader(&self, start: Start) -> Reader {
        self.try_reader(start).unwrap()
    }

    fn member(&self, group: &str, start: Start) -> Member {
        self.try_member(group, start).unwrap()
    }
}

/// In memory of this process, mapped once for all.
pub(crate) struct InProcess(Arc<dyn ByteMemory>);

impl Home for InProcess {
    fn with_writer(capacity: u64, first: u64) -> (Self, Writer) {
        let options = QueueOptions::new(capacity).first(first);
        let memory: Arc<dyn ByteMemory> = Local::new(&options).unwrap();
        // SAFETY: made just now, and this is its only writer.
        let writer = unsafe { Writer::from_memory(memory.clone()) };
        (Self(memory), writer)
    }

    fn try_reader(&self, start: Start) -> Result<Reader, JoinError> {
        // SAFETY: a ring of records.
        unsafe { Reader::from_memory(self.0.clone(), start, &JoinOptions::new()) }
    }

    fn try_member(&self, group: &str, start: Start) -> Result<Member, JoinError> {
        // SAFETY: a ring of records.
        unsafe { Member::from_memory(self.0.clone(), group, start, &JoinOptions::new()) }
    }

    fn tap(&self, start: Start) -> Tap {
        // SAFETY: a ring of records.
        unsafe { Tap::from_memory(self.0.clone(), start, &JoinOptions::new()) }.unwrap()
    }
}

/// In a named segment, which every handle maps for itself. The name goes with the test.
pub(crate) struct InSegment(pub(crate) QueueName);

impl InSegment {
    pub(crate) fn unique() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(format!("/day4-test-{pid}-{n}").parse().unwrap())
    }
}

impl Home for InSegment {
    fn with_writer(capacity: u64, first: u64) -> (Self, Writer) {
        let home = Self::unique();
        let options = QueueOptions::new(capacity).first(first);
        let writer = Writer::create_with(home.0.clone(), &options).unwrap();
        (home, writer)
    }

    fn try_reader(&self, start: Start) -> Result<Reader, JoinError> {
        Reader::join(self.0.clone(), start)
    }

    fn try_member(&self, group: &str, start: Start) -> Result<Member, JoinError> {
        Member::join(self.0.clone(), group, start)
    }

    fn tap(&self, start: Start) -> Tap {
        Tap::open(self.0.clone(), start).unwrap()
    }
}

impl Drop for InSegment {
    fn drop(&mut self) {
        // The writer has removed it already, unless the test failed before.
        let _ = std::fs::remove_file(format!("/dev/shm/{}", self.0.bare()));
    }
}

/// Without a name, handed out by descriptor.
pub(crate) struct InMemfd(Offer);

impl Home for InMemfd {
    fn with_writer(capacity: u64, first: u64) -> (Self, Writer) {
        let options = QueueOptions::new(capacity).first(first);
        let writer = Writer::anonymous_with(&options).unwrap();
        (Self(writer.offer()), writer)
    }

    fn try_reader(&self, start: Start) -> Result<Reader, JoinError> {
        let descriptor = self.0.descriptor(Mode::Reader).unwrap();
        Reader::from_fd(descriptor, start, &JoinOptions::new())
    }

    fn try_member(&self, group: &str, start: Start) -> Result<Member, JoinError> {
        let descriptor = self.0.descriptor(Mode::Reader).unwrap();
        Member::from_fd(descriptor, group, start, &JoinOptions::new())
    }

    fn tap(&self, start: Start) -> Tap {
        let descriptor = self.0.descriptor(Mode::Observer).unwrap();
        Tap::from_fd(descriptor, start, &JoinOptions::new()).unwrap()
    }
}
