//! The ring of records, used as a program would use it, with one strategy or another.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, bail};
use day2::Mode;
use day3::{JoinOptions, Start, Wait};
use day4::reader::Reader;
use day4::writer::Writer;
use day4::{RecvError, record_len};
use yardstick::bytes::Tally;

use crate::lap::Work;
use crate::wheel::Load;

/// The writing side: creates the ring, and says where the other process finds its descriptor.
pub(crate) fn sender<W: Wait + 'static>(load: &Load, wait: W) -> anyhow::Result<Work<'_>> {
    let mut writer = Writer::<W>::anonymous(load.capacity)?.waiting(wait);
    let descriptor = writer.descriptor(Mode::Reader)?;
    let offer = format!("/proc/{}/fd/{}", std::process::id(), descriptor.as_raw_fd());
    let run = Box::new(move || {
        let send = if load.batch > 0 { send_batches } else { send };
        let tally = send(&mut writer, load)?;
        writer.close();
        drop(descriptor);
        Ok(tally)
    });
    Ok(Work { offer, run })
}

#[inline(never)]
fn send<W: Wait>(writer: &mut Writer<W>, load: &Load) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut lengths = load.lengths.clone();
    for _ in 0..load.messages {
        let len = lengths.draw();
        let mut place = writer.reserve(len)?;
        tally.write(&mut place, load.touch);
        place.publish(len);
    }
    Ok(tally)
}

/// As [`send`], but what fits into a batch becomes visible together.
#[inline(never)]
fn send_batches<W: Wait>(writer: &mut Writer<W>, load: &Load) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let mut lengths = load.lengths.clone();
    let room = load.batch.max(record_len(lengths.most()));
    let mut next = lengths.draw();
    while tally.count < load.messages {
        let mut batch = writer.batch(room)?;
        while tally.count < load.messages && batch.room() >= Some(next) {
            batch.push_with(next, |place| {
                tally.write(place, load.touch);
                next
            })?;
            next = lengths.draw();
        }
        batch.publish();
    }
    Ok(tally)
}

/// The reading side, with the ring found at `offer`.
pub(crate) fn receiver<'a, W: Wait + 'static>(
    load: &'a Load,
    offer: &str,
    wait: W,
) -> anyhow::Result<Work<'a>> {
    let found = OpenOptions::new().read(true).write(true).open(offer);
    let descriptor: OwnedFd = found.with_context(|| format!("opening {offer}"))?.into();
    let reader = day4::Reader::from_fd(descriptor, Start::Oldest, &JoinOptions::default())?;
    let mut reader = reader.waiting(wait);
    let run = Box::new(move || receive(&mut reader, load));
    Ok(Work { offer: String::new(), run })
}

#[inline(never)]
fn receive<W: Wait>(reader: &mut Reader<W>, load: &Load) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    loop {
        match reader.recv_batch(load.release) {
            Ok(records) => records.iter().for_each(|message| tally.read(message, load.touch)),
            Err(RecvError::Closed) => return Ok(tally),
            Err(error) => bail!(error),
        }
    }
}
