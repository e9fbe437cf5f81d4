//! The memories that a ring can live in, behind one interface.

use std::sync::Arc;

use day3::{
    Consumer, Heap, JoinError, JoinOptions, Member, Memory, Producer, QueueOptions, Start, Tap,
};
use testing::Unique;

/// The memory of a ring of `u64`s.
pub(crate) trait Home: Sized {
    /// A ring, and its producer.
    fn with_options(options: &QueueOptions) -> (Self, Producer<u64>);
    fn try_consumer(&self, start: Start) -> Result<Consumer<u64>, JoinError>;
    fn try_member_with(
        &self,
        group: &str,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Member<u64>, JoinError>;

    fn with_producer(capacity: u64, first: u64) -> (Self, Producer<u64>) {
        Self::with_options(&QueueOptions::new(capacity).first(first))
    }

    fn try_member(&self, group: &str, start: Start) -> Result<Member<u64>, JoinError> {
        self.try_member_with(group, start, &JoinOptions::new())
    }

    fn member_with(&self, group: &str, start: Start, options: &JoinOptions) -> Member<u64> {
        self.try_member_with(group, start, options).unwrap()
    }

    fn tap(&self, start: Start) -> Tap<u64>;

    fn consumer(&self, start: Start) -> Consumer<u64> {
        self.try_consumer(start).unwrap()
    }

    fn member(&self, group: &str, start: Start) -> Member<u64> {
        self.try_member(group, start).unwrap()
    }
}

/// On the heap.
pub(crate) struct OnHeap(Arc<dyn Memory>);

impl Home for OnHeap {
    fn with_options(options: &QueueOptions) -> (Self, Producer<u64>) {
        let (capacity, first) = (options.capacity(), options.first_sequence());
        let memory: Arc<dyn Memory> = Heap::<u64>::new(capacity, first).unwrap();
        // SAFETY: made for `u64`s just now, and this is its only producer.
        let producer = unsafe { Producer::from_memory_with(memory.clone(), options.unattended()) };
        (Self(memory), producer)
    }

    fn try_consumer(&self, start: Start) -> Result<Consumer<u64>, JoinError> {
        // SAFETY: made for `u64`s.
        unsafe { Consumer::from_memory(self.0.clone(), start, &JoinOptions::new()) }
    }

    fn try_member_with(
        &self,
        group: &str,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Member<u64>, JoinError> {
        // SAFETY: made for `u64`s.
        unsafe { Member::from_memory(self.0.clone(), group, start, options) }
    }

    fn tap(&self, start: Start) -> Tap<u64> {
        // SAFETY: made for `u64`s.
        unsafe { Tap::from_memory(self.0.clone(), start) }
    }
}

/// In a named segment, which every handle maps for itself. The test removes the name.
pub(crate) struct InSegment(Unique);

impl Home for InSegment {
    fn with_options(options: &QueueOptions) -> (Self, Producer<u64>) {
        let name = Unique::new("conform");
        let producer = Producer::create_with(&*name, options).unwrap();
        (Self(name), producer)
    }

    fn try_consumer(&self, start: Start) -> Result<Consumer<u64>, JoinError> {
        Consumer::join(&*self.0, start)
    }

    fn try_member_with(
        &self,
        group: &str,
        start: Start,
        options: &JoinOptions,
    ) -> Result<Member<u64>, JoinError> {
        Member::join_with(&*self.0, group, start, options)
    }

    fn tap(&self, start: Start) -> Tap<u64> {
        Tap::open(&*self.0, start).unwrap()
    }
}
