//! How a ring is created and joined, where the defaults do not fit.

use core::any::type_name;
use std::time::Duration;

use day2::segment::READY_DEADLINE;

/// How to create a ring.
///
/// ```
/// let options = day3::QueueOptions::new(1024).permissions(0o660).message_type("tick/1");
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct QueueOptions {
    pub(crate) capacity: u64,
    pub(crate) permissions: u32,
    pub(crate) first: u64,
    message_type: Option<String>,
}

impl QueueOptions {
    /// A ring of `capacity` messages, a power of two (Day 4: of bytes, rounded up); for its owner only.
    pub fn new(capacity: u64) -> Self {
        Self { capacity, permissions: 0o600, first: 0, message_type: None }
    }

    /// Who may open it: mode bits, as for a file. Consumers need to read and write.
    #[must_use]
    pub fn permissions(mut self, mode: u32) -> Self {
        self.permissions = mode;
        self
    }

    /// What the message type is called, where its Rust path differs between the programs.
    #[must_use]
    pub fn message_type(mut self, name: &str) -> Self {
        self.message_type = Some(name.to_owned());
        self
    }

    /// The sequence of the first message, to go on counting where another queue ended.
    #[must_use]
    pub fn first(mut self, sequence: u64) -> Self {
        self.first = sequence;
        self
    }

    /// Messages, or bytes, that the ring was asked to hold.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Who may open it.
    pub fn mode(&self) -> u32 {
        self.permissions
    }

    /// The sequence of the first message.
    pub fn first_sequence(&self) -> u64 {
        self.first
    }

    /// What the message type is called, `default` unless somebody said.
    pub fn message_type_or<'a>(&'a self, default: &'a str) -> &'a str {
        self.message_type.as_deref().unwrap_or(default)
    }

    pub(crate) fn type_name<T>(&self) -> &str {
        self.message_type_or(type_name::<T>())
    }
}

/// How to join a ring.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    pub(crate) deadline: Duration,
    pub(crate) label: String,
    message_type: Option<String>,
}

impl Default for JoinOptions {
    fn default() -> Self {
        Self { deadline: READY_DEADLINE, label: String::new(), message_type: None }
    }
}

impl JoinOptions {
    /// Waits two seconds for a producer that is just creating the ring.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long to wait for a producer that is just creating the ring, and for others to join.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// A text that tells the operator who this is; 32 bytes of it are kept.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.label = label.to_owned();
        self
    }

    /// What the message type is called, where its Rust path differs between the programs.
    #[must_use]
    pub fn message_type(mut self, name: &str) -> Self {
        self.message_type = Some(name.to_owned());
        self
    }

    /// How long to wait.
    pub fn patience(&self) -> Duration {
        self.deadline
    }

    /// What the message type is called, `default` unless somebody said.
    pub fn message_type_or<'a>(&'a self, default: &'a str) -> &'a str {
        self.message_type.as_deref().unwrap_or(default)
    }

    pub(crate) fn type_name<T>(&self) -> &str {
        self.message_type_or(type_name::<T>())
    }
}
