//! Publishing: queues of this service's own.

use core::cell::RefCell;
use std::fs;
use std::os::unix::fs::MetadataExt;

use common::QueueName;
use day2::Holder;
use day4::error::{CreateError, SendError, TrySendError};
use day4::writer::Writer;
use day5::Adaptive;
use hashbrown::HashMap;

use super::Refused;
use crate::http::Status;

/// What `fanout sub` writes an end of line behind.
const LINE: u16 = 1;

/// A queue that a request has made.
struct Queue {
    writer: Writer<Adaptive>,
    /// The object that its name meant then. The producer has it open, so no other object is given its identity.
    object: Option<(u64, u64)>,
}

/// The object that a queue's name means now.
fn object(name: &QueueName) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(format!("/dev/shm{}", name.as_str())).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The producers that requests have made.
pub(super) struct Publisher {
    queues: RefCell<HashMap<QueueName, Queue>>,
    capacity: u64,
    most: usize,
}

impl Publisher {
    pub(super) fn new(capacity: u64, most: usize) -> Self {
        Self { queues: RefCell::default(), capacity, most }
    }

    /// The longest record that is read for a queue: none of this capacity has room for a longer one.
    pub(super) fn largest(&self) -> usize {
        usize::try_from(self.capacity).unwrap_or(usize::MAX)
    }

    /// Publishes a record; says whether that made the queue.
    pub(super) fn publish(&self, name: QueueName, record: &[u8]) -> Result<bool, Refused> {
        let mut queues = self.queues.borrow_mut();
        // Somebody may have removed the name, and another process may have taken it: nobody would find what is published.
        let is_lost = |queue: &Queue| queue.object.is_none() || queue.object != object(&name);
        if queues.get(&name).is_some_and(is_lost) {
            queues.remove(&name);
        }
        let is_new = !queues.contains_key(&name);
        if is_new && queues.len() >= self.most {
            let why =
                format!("this service has made {} queues already, and makes no more", self.most);
            return Err(Refused { status: Status::INSUFFICIENT_STORAGE, why });
        }
        if let Some(queue) = queues.get_mut(&name) {
            send(&mut queue.writer, record)?;
        } else {
            let created = Writer::<Adaptive>::create(&name, self.capacity);
            let mut writer = created.map_err(|error| refused(&error))?;
            // A queue that is made for a record for which it has no room goes again.
            send(&mut writer, record)?;
            let object = object(&name);
            queues.insert(name, Queue { writer, object });
        }
        Ok(is_new)
    }
}

fn send(writer: &mut Writer<Adaptive>, record: &[u8]) -> Result<(), Refused> {
    let mut reservation = writer.try_reserve(record.len()).map_err(|error| full(&error))?;
    reservation[..record.len()].copy_from_slice(record);
    reservation.publish_as(record.len(), LINE);
    Ok(())
}

fn refused(error: &CreateError) -> Refused {
    let status = match error {
        // Another process has the name: a request does not take it over.
        CreateError::Segment(day2::CreateError::Taken { .. }) => Status::CONFLICT,
        _ => Status::INSUFFICIENT_STORAGE,
    };
    let why = match error {
        CreateError::Segment(day2::CreateError::Taken { name, by: Holder::Living }) => {
            format!("another process is the producer of {name}: a queue has one")
        }
        error => error.to_string(),
    };
    Refused { status, why }
}

fn full(error: &TrySendError) -> Refused {
    let status = match error {
        TrySendError::End(SendError::TooLarge(_)) => Status::CONTENT_TOO_LARGE,
        _ => Status::SERVICE_UNAVAILABLE,
    };
    Refused { status, why: error.to_string() }
}
