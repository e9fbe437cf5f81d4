//! The memories that a ring of records can live in, behind one interface.

use std::sync::Arc;

use day2::Mode;
use day3::{JoinError, JoinOptions, QueueOptions, Start};
use day4::{ByteMemory, Local, Member, Offer, Reader, Tap, Writer};
use testing::Unique;

/// The memory of a ring of records.
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

/// In memory of this process, with one mapping for all handles.
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

/// In a named segment, which every handle maps for itself. The test removes the name.
pub(crate) struct InSegment(Unique);

impl Home for InSegment {
    fn with_writer(capacity: u64, first: u64) -> (Self, Writer) {
        let name = Unique::new("conform");
        let options = QueueOptions::new(capacity).first(first);
        let writer = Writer::create_with(&*name, &options).unwrap();
        (Self(name), writer)
    }

    fn try_reader(&self, start: Start) -> Result<Reader, JoinError> {
        Reader::join(&*self.0, start)
    }

    fn try_member(&self, group: &str, start: Start) -> Result<Member, JoinError> {
        Member::join(&*self.0, group, start)
    }

    fn tap(&self, start: Start) -> Tap {
        Tap::open(&*self.0, start).unwrap()
    }
}

/// Without a name: other handles get it by descriptor.
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
