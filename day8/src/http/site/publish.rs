//! Publishing: queues of this service's own.

use core::cell::RefCell;

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

/// The producers that requests have made.
pub(super) struct Publisher {
    writers: RefCell<HashMap<QueueName, Writer<Adaptive>>>,
    capacity: u64,
    most: usize,
}

impl Publisher {
    pub(super) fn new(capacity: u64, most: usize) -> Self {
        Self { writers: RefCell::default(), capacity, most }
    }

    /// The longest record that is read for a queue: none of this capacity has room for a longer one.
    pub(super) fn largest(&self) -> usize {
        usize::try_from(self.capacity).unwrap_or(usize::MAX)
    }

    /// Publishes a record; says whether that made the queue.
    pub(super) fn publish(&self, name: QueueName, record: &[u8]) -> Result<bool, Refused> {
        let mut writers = self.writers.borrow_mut();
        let is_new = !writers.contains_key(&name);
        if is_new && writers.len() >= self.most {
            let why =
                format!("this service has made {} queues already, and makes no more", self.most);
            return Err(Refused { status: Status::INSUFFICIENT_STORAGE, why });
        }
        if let Some(writer) = writers.get_mut(&name) {
            send(writer, record)?;
        } else {
            let created = Writer::<Adaptive>::create(&name, self.capacity);
            let mut writer = created.map_err(|error| refused(&error))?;
            // A queue that is made for a record for which it has no room goes again.
            send(&mut writer, record)?;
            writers.insert(name, writer);
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
        // Whoever has the name, a request does not take it over.
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
