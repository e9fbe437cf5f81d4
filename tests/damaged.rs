//! Control with random damage, as a process leaves it that has written over it: every way to join, look, send and take
//! over comes back with an answer, or with a typed error.
//!
//! `FANOUT_DAMAGES=1000000 cargo test --test damaged` takes longer. Damaged *headers* are Day 2's (`cargo test -p day2
//! --lib header`).

use std::sync::Arc;
use std::time::Duration;

use common::sync::{AtomicU64, Ordering};
use fanout::memory::control_len;
use fanout::records::{
    ByteMemory, Local, Member as RecordsMember, Reader, Tap as RecordsTap, Writer,
};
use fanout::{
    Consumer, Evictable, Heap, JoinOptions, Member, Memory, Policy, Producer, QueueOptions, SLOTS,
    Start, Tap,
};
use testing::{Dice, number_from_environment};

/// How often control is damaged, of both kinds of rings together.
const DAMAGES: u64 = 400_000;

/// After so many damages a new ring is made.
const LIFE: u64 = 16;

/// The words of a ring's control.
fn words(memory: &dyn Memory) -> &[AtomicU64] {
    let start = std::ptr::from_ref(memory.control()).cast::<AtomicU64>();
    let len = control_len(SLOTS) as usize / 8;
    // SAFETY: control is as long as that, and consists of atomic words, which live as long as the memory.
    unsafe { std::slice::from_raw_parts(start, len) }
}

/// Writes a few words that somebody might write.
fn damage(memory: &dyn Memory, dice: &mut Dice) {
    let words = words(memory);
    for _ in 0..=dice.below(4) {
        // Head, doorbell, roster and the first rooms are what ends go by.
        let most = if dice.once_in(4) { words.len() as u64 } else { 48 + 3 * 48 };
        let word = &words[dice.below(most) as usize];
        let old = word.load(Ordering::Relaxed);
        let new = match dice.below(8) {
            0 => dice.word(),
            1 => 1 << dice.below(64),
            2 => dice.below(8),
            3 => old.wrapping_add(dice.below(3)).wrapping_sub(1),
            4 => old ^ (1 << dice.below(64)),
            5 => old.wrapping_neg(),
            6 => words[dice.below(most) as usize].load(Ordering::Relaxed),
            _ => u64::from(dice.word() as u32),
        };
        word.store(new, Ordering::Relaxed);
    }
}

fn joining() -> JoinOptions {
    JoinOptions::new().timeout(Duration::ZERO)
}

fn start(dice: &mut Dice) -> Start {
    dice.pick(&[Start::Oldest, Start::Latest])
}

/// Everybody attaches to a ring of messages, looks, and leaves; says how many could attach.
fn messages(heap: &Arc<Heap<u64>>, producer: &mut Producer<u64>, dice: &mut Dice) -> u64 {
    let mut attached = 0;
    // SAFETY: the memory was made for these ends.
    let end = unsafe { Consumer::<u64>::from_memory(heap.clone(), start(dice), &joining()) };
    if let Ok(mut end) = end {
        attached += 1;
        damage(&**heap, dice);
        let _ = (end.try_recv(), end.try_recv_batch(3).map(|batch| batch.len()));
    }
    // SAFETY: the memory was made for these ends.
    let end = unsafe { Member::<u64>::from_memory(heap.clone(), "g", start(dice), &joining()) };
    if let Ok(mut end) = end {
        attached += 1;
        damage(&**heap, dice);
        let _ = (end.try_recv(), end.try_recv_batch(3).map(|batch| batch.len()));
    }
    let promise = joining().policy(Policy::EvictAfter(Duration::from_millis(1)));
    // SAFETY: the memory was made for these ends.
    let end = unsafe { Evictable::<u64>::from_memory(heap.clone(), start(dice), &promise) };
    if let Ok(mut end) = end {
        attached += 1;
        let _ = (end.try_recv(), end.try_recv());
    }
    // SAFETY: as above.
    let mut tap = unsafe { Tap::<u64>::from_memory(heap.clone(), start(dice)) };
    let _ = (tap.try_recv(), tap.try_recv());
    let _ = (
        producer.try_send(1),
        producer.try_send_batch(&[2, 3]),
        producer.consumers(),
        producer.groups(),
    );
    let _ = (producer.is_abandoned(), producer.forget_group("g", Duration::ZERO));
    attached
}

/// The same for a ring of records.
fn records(memory: &Arc<Local>, writer: &mut Writer, dice: &mut Dice) -> u64 {
    let mut attached = 0;
    let mut bytes = Vec::new();
    // SAFETY: the memory holds a ring of records.
    if let Ok(mut end) = unsafe { Reader::from_memory(memory.clone(), start(dice), &joining()) } {
        attached += 1;
        damage(&**memory, dice);
        let _ = end.try_recv().map(|record| record.len());
    }
    // SAFETY: the memory was made for these ends.
    let end = unsafe { RecordsMember::from_memory(memory.clone(), "g", start(dice), &joining()) };
    if let Ok(mut end) = end {
        attached += 1;
        damage(&**memory, dice);
        let _ = end.try_recv().map(|record| record.len());
    }
    // SAFETY: as above.
    if let Ok(mut tap) = unsafe { RecordsTap::from_memory(memory.clone(), start(dice), &joining()) }
    {
        let _ = (tap.try_recv(&mut bytes), tap.try_recv(&mut bytes));
    }
    let _ =
        (writer.try_send(b"one"), writer.try_send(&[7; 600]), writer.consumers(), writer.groups());
    let _ = (writer.is_abandoned(), writer.forget_group("g", Duration::ZERO));
    attached
}

#[test]
fn ends_come_back_whatever_stands_in_control() {
    let mut dice = Dice::seeded();
    let damages = number_from_environment("FANOUT_DAMAGES").unwrap_or(DAMAGES);
    let mut attached = 0;
    let mut done = 0;
    while done < damages {
        let heap = Heap::<u64>::new(8, dice.pick(&[0, u64::MAX - 3])).unwrap();
        // SAFETY: the memory was made for this type, and has no other producer.
        let mut producer = unsafe { Producer::<u64>::from_memory(heap.clone()) };
        let local = Local::new(&QueueOptions::new(4096)).unwrap();
        // SAFETY: the memory holds a ring of records, and has no other writer.
        let mut writer = unsafe { Writer::from_memory(local.clone() as Arc<dyn ByteMemory>) };
        for _ in 0..LIFE {
            damage(&*heap, &mut dice);
            attached += messages(&heap, &mut producer, &mut dice);
            damage(&*local, &mut dice);
            attached += records(&local, &mut writer, &mut dice);
            done += 2;
        }
    }
    println!("damages: {done}; ends that could attach all the same: {attached}");
    assert!(attached > 0);
}
