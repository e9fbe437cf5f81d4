//! What the ends of both kinds of rings do alike: under the same names, on types of their own.

/// The ends of a kind of rings, as the scenarios see them, from the types that have them.
///
/// Of a batch for `most` messages, `batch` says what its size is; `number` says which number a message has. What a
/// producer or an end that copies does in its own way, it says itself ([`Filling`](super::Filling), `Reading`).
macro_rules! ends {
    (
        producer: $producer:ty, broadcast: $broadcast:ty, member: $member:ty, tap: $tap:ty, evictable: $evictable:ty,
        batch: $batch:expr, number: $number:path $(,)?
    ) => {
        pub(super) fn create(name: &QueueName) -> Result<Box<dyn Sending>, CreateError> {
            Ok(Box::new(<$producer>::create_with(name.clone(), &options())?))
        }

        pub(super) fn replace(name: &QueueName) -> Result<Box<dyn Sending>, CreateError> {
            Ok(Box::new(<$producer>::create_with(name.clone(), &options().or_replace())?))
        }

        pub(super) fn resume(name: &QueueName) -> Result<Box<dyn Sending>, ResumeError> {
            Ok(Box::new(<$producer>::resume(name.clone())?))
        }

        pub(super) fn join(
            name: &QueueName,
            part: Part,
            start: Start,
            options: &JoinOptions,
        ) -> Result<Box<dyn Reading>, JoinError> {
            let name = name.clone();
            let promising = |policy| options.clone().policy(policy);
            Ok(match part {
                Part::Broadcast => Box::new(<$broadcast>::join_with(name, start, options)?),
                Part::Member(group) => {
                    Box::new(<$member>::join_with(name, group, start, options)?)
                }
                Part::Tap => Box::new(<$tap>::open_with(name, start, options)?),
                Part::Lossy => Box::new(<$tap>::join(name, start, &promising(Policy::Lossy))?),
                Part::Evictable => {
                    Box::new(<$evictable>::join(name, start, &promising(EVICTABLE))?)
                }
            })
        }

        impl Sending for $producer {
            fn sequence(&self) -> u64 {
                self.next_sequence().get()
            }

            fn capacity(&self) -> u64 {
                self.capacity()
            }

            fn consumers(&self) -> Vec<ConsumerInfo> {
                self.consumers()
            }

            fn groups(&self) -> Vec<GroupInfo> {
                self.groups()
            }

            unsafe fn evict(&mut self, consumer: &ConsumerInfo) -> bool {
                // SAFETY: the caller says that its process has ended.
                unsafe { self.evict(consumer) }
            }

            fn evict_dead(&mut self, consumer: &ConsumerInfo) -> Result<Burial, EvictError> {
                self.evict_dead(consumer)
            }

            fn close(&mut self) {
                self.close();
            }

            fn abort(&mut self, reason: &str) {
                self.abort(reason);
            }
        }

        impl Marked for $broadcast {}

        impl Marked for $member {
            fn again(&self) -> bool {
                self.redelivered()
            }
        }

        impl Counting for $evictable {}

        impl Counting for $tap {
            fn counted(&self) -> Option<u64> {
                Some(self.received() + self.lost())
            }
        }

        ends!(lending: $broadcast, $batch, $number);
        ends!(lending: $member, $batch, $number);
    };
    (lending: $end:ty, $batch:expr, $number:path) => {
        impl Reading for $end {
            fn take(
                &mut self,
                most: usize,
                numbers: &mut Vec<u64>,
                held: &mut dyn FnMut(),
            ) -> anyhow::Result<Took> {
                let batch = match self.try_recv_batch($batch(most)) {
                    Ok(batch) => batch,
                    Err(nothing) => return ended(nothing),
                };
                held();
                for message in &batch {
                    numbers.push($number(message)?);
                }
                held();
                drop(batch);
                Ok(self.took())
            }

            fn take_apart(
                &mut self,
                most: usize,
                held: &mut dyn FnMut(),
            ) -> anyhow::Result<Took> {
                let mut batch = match self.try_recv_batch($batch(most)) {
                    Ok(batch) => batch,
                    Err(nothing) => return ended(nothing),
                };
                held();
                batch.release_first(1);
                held();
                Ok(Took::Some)
            }

            fn wait(&mut self, timeout: Duration, numbers: &mut Vec<u64>) -> anyhow::Result<Took> {
                match self.recv_timeout(timeout) {
                    Ok(message) => numbers.push($number(&message)?),
                    Err(nothing) => return timed(nothing),
                }
                Ok(self.took())
            }
        }
    };
}

pub(super) use ends;
