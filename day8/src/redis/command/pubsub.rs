//! SUBSCRIBE, UNSUBSCRIBE, PUBLISH.

use std::collections::HashSet;
use std::rc::Rc;

use crate::redis::answers::Answers;
use crate::redis::channels::{Bytes, Listener, Mailbox};
use crate::redis::topics::Unpublished;

use super::{Call, Flow};

pub(super) fn subscribe(call: &mut Call<'_, '_>) -> Flow {
    let client = &mut *call.client;
    let listener = client.listener.get_or_insert_with(|| Listener {
        channels: HashSet::new(),
        mailbox: Rc::new(Mailbox::new(call.service.subscriber_limit())),
    });
    for name in &call.arguments[1..] {
        if !listener.channels.contains(*name) {
            let channel: Bytes = (*name).into();
            if let Err(error) = call.service.listen(&channel, client.id, &listener.mailbox) {
                call.answers.error(format!("ERR {error}"));
                continue;
            }
            listener.channels.insert(channel);
        }
        confirm(call.answers, "subscribe", Some(name), listener.channels.len());
    }
    Flow::Continue
}

pub(super) fn unsubscribe(call: &mut Call<'_, '_>) -> Flow {
    let id = call.client.id;
    let mut none = HashSet::new();
    let channels = call.client.listener.as_mut().map_or(&mut none, |it| &mut it.channels);
    let names: Vec<Bytes> = match &call.arguments[1..] {
        [] => channels.iter().cloned().collect(),
        names => names.iter().map(|name| (*name).into()).collect(),
    };
    if names.is_empty() {
        confirm(call.answers, "unsubscribe", None, 0);
    }
    for name in names {
        if channels.remove(&name) {
            call.service.ignore(&name, id);
        }
        confirm(call.answers, "unsubscribe", Some(&name), channels.len());
    }
    Flow::Continue
}

fn confirm(answers: &mut Answers<'_>, what: &str, channel: Option<&[u8]>, channels: usize) {
    answers.array(3);
    answers.bulk(what);
    match channel {
        Some(channel) => answers.bulk(channel),
        None => answers.nil(),
    }
    answers.integer(channels as i64);
}

pub(super) fn publish(call: &mut Call<'_, '_>) -> Flow {
    match call.service.publish(call.arguments[1], call.arguments[2]) {
        Ok(subscribers) => {
            call.answers.integer(subscribers as i64);
            Flow::Continue
        }
        Err(Unpublished::Busy) => Flow::Again,
        Err(Unpublished::Refused(error)) => call.error(format!("ERR {error}")),
    }
}
