//! Who listens to which channel of this service, and what waits for each listener.

use core::cell::{Cell, RefCell};
use core::task::{Context, Poll, Waker};
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use hashbrown::HashMap;

/// A channel's name, or a message.
pub(super) type Bytes = Rc<[u8]>;

/// What waits for one subscriber to read it.
#[derive(Debug)]
pub(super) struct Mailbox {
    messages: RefCell<VecDeque<Bytes>>,
    bytes: Cell<usize>,
    most: usize,
    is_overrun: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Mailbox {
    /// A mailbox for messages of up to so many bytes.
    pub(super) fn new(most: usize) -> Self {
        Self {
            messages: RefCell::default(),
            bytes: Cell::new(0),
            most,
            is_overrun: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    /// Puts a message into it. A subscriber that does not read is to be closed when there is no room.
    fn put(&self, message: &Bytes) {
        let bytes = self.bytes.get() + message.len();
        if bytes > self.most {
            self.is_overrun.set(true);
            self.messages.take();
        } else if !self.is_overrun.get() {
            self.bytes.set(bytes);
            self.messages.borrow_mut().push_back(Rc::clone(message));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// How many bytes of messages there is room for.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Whether there was no room for a message.
    pub(super) fn is_overrun(&self) -> bool {
        self.is_overrun.get()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.borrow().is_empty()
    }

    /// The next message. Its bytes count until [`sent`](Self::sent).
    pub(super) fn take(&self) -> Option<Bytes> {
        self.messages.borrow_mut().pop_front()
    }

    /// So many bytes of messages that were taken are written.
    pub(super) fn sent(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// Waits for a message, or for an overrun.
    pub(super) fn poll_any(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll(context, !self.is_empty() || self.is_overrun())
    }

    /// Waits for an overrun.
    pub(super) fn poll_overrun(&self, context: &mut Context<'_>) -> Poll<()> {
        self.poll(context, self.is_overrun())
    }

    fn poll(&self, context: &mut Context<'_>, is_ready: bool) -> Poll<()> {
        if is_ready {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A client, as far as channels are concerned.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) channels: HashSet<Bytes>,
    pub(super) mailbox: Rc<Mailbox>,
}

/// The channels that somebody listens to.
#[derive(Debug, Default)]
pub(super) struct Channels(HashMap<Bytes, HashMap<i64, Rc<Mailbox>>>);

impl Channels {
    /// Whether somebody listens to this one.
    pub(super) fn contains(&self, channel: &[u8]) -> bool {
        self.0.contains_key(channel)
    }

    /// How many channels somebody listens to.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, channel: &Bytes, client: i64, mailbox: &Rc<Mailbox>) {
        let listeners = self.0.entry(Rc::clone(channel)).or_default();
        listeners.insert(client, Rc::clone(mailbox));
    }

    pub(super) fn remove(&mut self, channel: &Bytes, client: i64) {
        let Some(listeners) = self.0.get_mut(channel) else { return };
        listeners.remove(&client);
        if listeners.is_empty() {
            self.0.remove(channel);
        }
    }

    /// Delivers a message to all that listen. How many there are.
    pub(super) fn publish(&self, channel: &[u8], payload: &[u8]) -> usize {
        let Some(listeners) = self.0.get(channel) else { return 0 };
        let message = encode(channel, payload);
        for mailbox in listeners.values() {
            mailbox.put(&message);
        }
        listeners.len()
    }
}

/// A message as subscribers get it.
fn encode(channel: &[u8], payload: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(channel.len() + payload.len() + 64);
    message.extend(b"*3\r\n");
    for bytes in [&b"message"[..], channel, payload] {
        message.push(b'$');
        message.extend(itoa::Buffer::new().format(bytes.len()).as_bytes());
        message.extend(b"\r\n");
        message.extend(bytes);
        message.extend(b"\r\n");
    }
    message.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_that_is_not_emptied_runs_over() {
        let mut channels = Channels::default();
        let name: Bytes = (*b"news").into();
        let message = encode(&name, b"0123456789");
        let (slow, quick) = (Mailbox::new(2 * message.len()), Mailbox::new(2 * message.len()));
        let (slow, quick) = (Rc::new(slow), Rc::new(quick));
        channels.add(&name, 1, &slow);
        channels.add(&name, 2, &quick);
        for _ in 0..3 {
            assert!(!slow.is_overrun());
            assert_eq!(channels.publish(b"news", b"0123456789"), 2);
            assert_eq!(quick.take().as_ref(), Some(&message));
            quick.sent(message.len());
        }
        assert!(slow.is_overrun() && slow.is_empty() && !quick.is_overrun());
        channels.remove(&name, 1);
        channels.remove(&name, 2);
        assert!(!channels.contains(&name) && channels.publish(b"news", b"") == 0);
    }
}
