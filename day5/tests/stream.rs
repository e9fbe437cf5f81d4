//! Queues in asynchronous programs: nothing is lost, nobody blocks, everything ends.
#![cfg(all(not(loom), feature = "tokio"))]

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use day3::RecvError;
use day3::ring::{Consumer, Producer};
use day3::{Heap, JoinOptions, Memory, SendError as RingError, Start};
use day4::reader::{Member, Reader};
use day4::writer::Writer;
use day5::stream::{Messages, SendError, Sender, StreamError};
use day5::{Adaptive, Notifier, Notify, Pollable};
use futures_core::Stream;
use futures_core::stream::FusedStream;
use futures_sink::Sink;
use testing::{DEADLINE, Dice, Unique};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How many messages go through a small ring.
const MESSAGES: u64 = 100_000;

/// Runs it on one thread, and fails if it does not end.
fn run<R>(future: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.expect("hangs") })
}

fn ring(capacity: u64) -> (Arc<dyn Memory>, Producer<u64, Adaptive>) {
    let memory: Arc<dyn Memory> = Heap::<u64>::new(capacity, 0).unwrap();
    // SAFETY: made for this type just now, and this is its only producer.
    let producer = unsafe { Producer::from_memory(memory.clone()) };
    (memory, producer)
}

fn consumer(memory: &Arc<dyn Memory>) -> Consumer<u64> {
    // SAFETY: made for this type.
    unsafe { Consumer::from_memory(memory.clone(), Start::Oldest, &JoinOptions::new()) }.unwrap()
}

/// Calls `poll_next` until there is an item, in the way of a `for` loop.
async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

#[test]
fn a_stream_has_every_message_of_a_producer_that_pauses() {
    let (memory, producer) = ring(64);
    let notifier = Notifier::default();
    let consumer =
        Pollable::with_connection(consumer(&memory), notifier.connection().unwrap()).unwrap();
    let mut producer = producer.waiting(Notify::new(notifier.clone(), Adaptive::default()));
    let mut dice = Dice::seeded();
    let sender = thread::spawn(move || {
        for number in 0..MESSAGES {
            if dice.once_in(60) {
                thread::sleep(dice.pause(Duration::from_micros(100)));
            }
            producer.send(number).unwrap();
        }
    });
    run(async {
        let mut messages = Messages::new(consumer).unwrap();
        for number in 0..MESSAGES {
            assert_eq!(next(&mut messages).await.unwrap().unwrap(), number);
        }
        assert!(!messages.is_terminated());
        assert!(next(&mut messages).await.is_none());
        assert!(messages.is_terminated());
        assert!(next(&mut messages).await.is_none(), "and stays so");
        let (sleeps, signals) = (messages.get_ref().sleeps(), messages.get_ref().signals());
        assert!(sleeps > 0 && signals <= sleeps, "{signals} for {sleeps} sleeps");
        assert!(notifier.signals() <= sleeps + 1);
    });
    sender.join().unwrap();
}

#[test]
fn both_ends_share_one_thread_and_neither_blocks_it() {
    let (memory, producer) = ring(4);
    run(async {
        let consumer = Pollable::bridged(consumer(&memory)).unwrap();
        let mut messages = Messages::new(consumer).unwrap();
        let mut sender = Sender::new(Pollable::bridged(producer).unwrap()).unwrap();
        let send = async move {
            for number in 0..2000 {
                sender.send(number).await.unwrap();
            }
        };
        let receive = async move {
            for number in 0..2000 {
                assert_eq!(messages.recv().await.unwrap(), Some(number));
            }
            assert_eq!(messages.recv().await.unwrap(), None);
        };
        tokio::join!(send, receive);
    });
}

#[test]
fn records_of_any_size_are_streamed_to_a_group_of_tasks() {
    let name = Unique::new("stream");
    let writer = Writer::<Adaptive>::create(&*name, 4096).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = async {
        let mut sender = Sender::new(Pollable::bridged(writer).unwrap()).unwrap();
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let member = Member::<Adaptive>::join(&*name, "g", Start::Oldest).unwrap();
                let mut messages = Messages::new(Pollable::bridged(member).unwrap()).unwrap();
                tokio::spawn(async move {
                    let mut mine = Vec::new();
                    while let Some(message) = messages.recv().await.unwrap() {
                        let number: [u8; 4] = message[..4].try_into().unwrap();
                        let number = u32::from_le_bytes(number);
                        assert_eq!(message.len(), 4 + number as usize % 700);
                        mine.push(number);
                    }
                    mine
                })
            })
            .collect();
        for number in 0..5000u32 {
            let mut message = number.to_le_bytes().to_vec();
            message.resize(4 + number as usize % 700, 7);
            sender.send(&message).await.unwrap();
        }
        let error = sender.send(&[0; 5000]).await.unwrap_err();
        assert!(matches!(error, SendError::End(RingError::TooLarge(_))), "{error}");
        sender.close();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        all.sort_unstable();
        assert!(all.into_iter().eq(0..5000));
    };
    runtime.block_on(async { tokio::time::timeout(DEADLINE, all).await.expect("hangs") });
}

#[test]
fn taps_are_streams_too() {
    let name = Unique::new("tap-stream");
    let mut writer = Writer::<Adaptive>::create(&*name, 4096).unwrap();
    let tap = day4::Tap::open(&*name, Start::Oldest).unwrap();
    let sender = thread::spawn(move || {
        for word in ["one", "two", "three"] {
            thread::sleep(Duration::from_millis(2));
            writer.send(word.as_bytes()).unwrap();
        }
    });
    run(async {
        let mut messages = Messages::new(Pollable::napping(tap).unwrap()).unwrap();
        for word in ["one", "two", "three"] {
            assert_eq!(messages.recv().await.unwrap().as_deref(), Some(word.as_bytes()));
        }
        assert_eq!(messages.recv().await.unwrap(), None);
    });
    sender.join().unwrap();
}

#[test]
fn another_end_than_a_close_is_an_error_and_then_the_end() {
    let (memory, producer) = ring(8);
    let notifier = Notifier::default();
    let consumer =
        Pollable::with_connection(consumer(&memory), notifier.connection().unwrap()).unwrap();
    let mut producer = producer.waiting(Notify::new(notifier, Adaptive::default()));
    producer.send(1).unwrap();
    let _silent = producer.waiting(Adaptive::default());
    run(async {
        let mut messages = Messages::new(consumer).unwrap();
        assert_eq!(messages.recv().await.unwrap(), Some(1));
        let error = messages.recv().await.unwrap_err();
        assert!(matches!(error, StreamError::Recv(RecvError::HungUp)), "{error}");
        assert_eq!(messages.recv().await.unwrap(), None);
    });
}

#[test]
fn a_call_that_is_given_up_loses_nothing() {
    let (memory, producer) = ring(4);
    run(async {
        let consumer = Pollable::bridged(consumer(&memory)).unwrap();
        let mut messages = Messages::new(consumer).unwrap();
        let mut sender = Sender::new(Pollable::bridged(producer).unwrap()).unwrap();
        let (mut next, mut received) = (0, 0);
        for round in 0..3000 {
            let timeout = Duration::from_micros(round % 3 * 50);
            if tokio::time::timeout(timeout, sender.send(next)).await.is_ok() {
                next += 1;
            }
            if round % 2 == 0 {
                continue;
            }
            if let Ok(message) = tokio::time::timeout(timeout, messages.recv()).await {
                assert_eq!(message.unwrap(), Some(received));
                received += 1;
            }
        }
        drop(sender);
        while let Some(message) = messages.recv().await.unwrap() {
            assert_eq!(message, received);
            received += 1;
        }
        assert!(received > 0);
        assert_eq!(received, next);
    });
}

/// How many turns another task on the same thread gets before this task ends.
fn turns_during(task: impl Future<Output = ()>) -> u32 {
    run(tokio::task::LocalSet::new().run_until(async {
        let turns = Rc::new(Cell::new(0));
        let counter = Rc::clone(&turns);
        let other = tokio::task::spawn_local(async move {
            loop {
                counter.set(counter.get() + 1);
                tokio::task::yield_now().await;
            }
        });
        task.await;
        other.abort();
        turns.get()
    }))
}

#[test]
fn others_have_their_turn_while_there_is_always_a_message() {
    let (memory, mut producer) = ring(1024);
    let consumer = consumer(&memory);
    (0..1000).for_each(|number| producer.send(number).unwrap());
    let turns = turns_during(async {
        let mut messages = Messages::new(Pollable::bridged(consumer).unwrap()).unwrap();
        for number in 0..1000 {
            assert_eq!(messages.recv().await.unwrap(), Some(number));
        }
    });
    assert!(turns >= 5, "{turns}");
}

#[test]
fn others_have_their_turn_while_there_is_always_room() {
    // Without a consumer there is room.
    let (_memory, producer) = ring(1024);
    let turns = turns_during(async {
        let mut sender = Sender::new(Pollable::bridged(producer).unwrap()).unwrap();
        for number in 0..10_000 {
            sender.send(number).await.unwrap();
        }
    });
    assert!(turns >= 50, "{turns}");
    let (_memory, producer) = ring(1024);
    let turns = turns_during(async {
        let mut sender = Sender::new(Pollable::bridged(producer).unwrap()).unwrap();
        for number in 0..10_000 {
            feed(&mut sender, number).await.unwrap();
        }
    });
    assert!(turns >= 50, "{turns}");
}

/// Gives a sink an item as soon as the sink is ready for it.
async fn feed<T, S: Sink<T> + Unpin>(sink: &mut S, item: T) -> Result<(), S::Error> {
    poll_fn(|context| Pin::new(&mut *sink).poll_ready(context)).await?;
    Pin::new(sink).start_send(item)
}

async fn flush<T, S: Sink<T> + Unpin>(sink: &mut S) -> Result<(), S::Error> {
    poll_fn(|context| Pin::new(&mut *sink).poll_flush(context)).await
}

async fn close<T, S: Sink<T> + Unpin>(sink: &mut S) -> Result<(), S::Error> {
    poll_fn(|context| Pin::new(&mut *sink).poll_close(context)).await
}

#[test]
fn a_sink_takes_messages_until_it_is_closed() {
    let (memory, producer) = ring(4);
    run(async {
        let consumer = Pollable::bridged(consumer(&memory)).unwrap();
        let mut messages = Messages::new(consumer).unwrap();
        let mut sink = Sender::new(Pollable::bridged(producer).unwrap()).unwrap();
        let send = async {
            for number in 0..2000 {
                feed(&mut sink, number).await.unwrap();
                if number % 7 == 0 {
                    flush(&mut sink).await.unwrap();
                }
            }
            close(&mut sink).await.unwrap();
            let error = feed(&mut sink, 2000).await.unwrap_err();
            assert!(matches!(error, SendError::End(RingError::Closed)), "{error}");
            let error = sink.send(2000).await.unwrap_err();
            assert!(matches!(error, SendError::End(RingError::Closed)), "{error}");
        };
        let receive = async {
            for number in 0..2000 {
                assert_eq!(messages.recv().await.unwrap(), Some(number));
            }
            assert_eq!(messages.recv().await.unwrap(), None);
        };
        tokio::join!(send, receive);
    });
}

#[test]
fn a_sink_takes_records() {
    let name = Unique::new("sink");
    let writer = Writer::<Adaptive>::create(&*name, 4096).unwrap();
    let reader = Reader::<Adaptive>::join(&*name, Start::Oldest).unwrap();
    run(async {
        let mut messages = Messages::new(Pollable::bridged(reader).unwrap()).unwrap();
        let mut sink = Sender::new(Pollable::bridged(writer).unwrap()).unwrap();
        let record = |number: usize| vec![number as u8; number % 700];
        let send = async {
            for number in 0..1000 {
                feed(&mut sink, record(number)).await.unwrap();
            }
            let error = feed(&mut sink, vec![0; 5000]).await.unwrap_err();
            assert!(matches!(error, SendError::End(RingError::TooLarge(_))), "{error}");
            feed(&mut sink, record(1000)).await.unwrap();
            close::<Vec<u8>, _>(&mut sink).await.unwrap();
        };
        let receive = async {
            for number in 0..=1000 {
                assert!(messages.recv().await.unwrap().unwrap() == record(number), "{number}");
            }
            assert_eq!(messages.recv().await.unwrap(), None);
        };
        tokio::join!(send, receive);
    });
}

#[test]
fn what_a_sink_has_taken_comes_before_what_is_sent_then() {
    let (memory, producer) = ring(1);
    run(async {
        let mut messages = Messages::new(Pollable::bridged(consumer(&memory)).unwrap()).unwrap();
        let mut sink = Sender::new(Pollable::bridged(producer).unwrap()).unwrap();
        feed(&mut sink, 0).await.unwrap();
        feed(&mut sink, 1).await.unwrap();
        let timeout = Duration::from_millis(2);
        assert!(tokio::time::timeout(timeout, flush(&mut sink)).await.is_err(), "it is full");
        assert!(tokio::time::timeout(timeout, sink.send(9)).await.is_err(), "given up");
        let (sent, received) = tokio::join!(sink.send(2), async {
            let mut received = Vec::new();
            while received.len() < 3 {
                received.extend(messages.recv().await.unwrap());
            }
            received
        });
        sent.unwrap();
        assert_eq!(received, [0, 1, 2]);
    });
}

#[test]
fn a_sink_that_is_dropped_with_a_message_in_hand_says_so() {
    for is_closed in [false, true] {
        let (memory, producer) = ring(1);
        run(async {
            let consumer = Pollable::bridged(consumer(&memory)).unwrap();
            let mut messages = Messages::new(consumer).unwrap();
            let mut sink = Sender::new(Pollable::bridged(producer).unwrap()).unwrap();
            feed(&mut sink, 0).await.unwrap();
            feed(&mut sink, 1).await.unwrap();
            if is_closed {
                sink.close();
            }
            drop(sink);
            assert_eq!(messages.recv().await.unwrap(), Some(0));
            let error = messages.recv().await.unwrap_err();
            assert!(matches!(error, StreamError::Recv(RecvError::Aborted)), "{error}");
        });
    }
    let (_memory, producer) = ring(1);
    run(async {
        let mut sink = Sender::new(Pollable::bridged(producer).unwrap()).unwrap();
        feed(&mut sink, 0).await.unwrap();
        let (producer, waiting) = sink.into_inner();
        assert_eq!((producer.get_ref().is_closed(), waiting), (false, None));
    });
}

#[test]
fn a_queue_and_a_tcp_socket_are_served_by_one_select() {
    let name = Unique::new("select");
    let producer = Producer::<u64, Adaptive>::create(&*name, 16).unwrap();
    let consumer = Consumer::<u64, Adaptive>::join(&*name, Start::Oldest).unwrap();
    let notifier = Notifier::default();
    let consumer = Pollable::with_connection(consumer, notifier.connection().unwrap()).unwrap();
    let mut producer = producer.waiting(Notify::new(notifier, Adaptive::default()));
    let sender = thread::spawn(move || {
        for number in 0..500 {
            thread::sleep(Duration::from_micros(number % 5 * 40));
            producer.send(number).unwrap();
        }
    });
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = tokio::spawn(async move {
            let mut client = TcpStream::connect(address).await.unwrap();
            for byte in 0..200u8 {
                client.write_all(&[byte]).await.unwrap();
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        });
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut messages = Messages::new(consumer).unwrap();
        let (mut bytes, mut numbers) = (Vec::new(), 0);
        let (mut socket_is_open, mut queue_is_open) = (true, true);
        while socket_is_open || queue_is_open {
            tokio::select! {
                read = socket.read_buf(&mut bytes), if socket_is_open => {
                    socket_is_open = read.unwrap() > 0;
                }
                message = messages.recv(), if queue_is_open => match message.unwrap() {
                    Some(number) => {
                        assert_eq!(number, numbers);
                        numbers += 1;
                    }
                    None => queue_is_open = false,
                },
            }
        }
        client.await.unwrap();
        assert!(bytes.into_iter().eq(0..200));
        assert_eq!(numbers, 500);
    });
    sender.join().unwrap();
}

#[test]
fn a_stream_that_is_polled_once_is_woken_once_there_is_something() {
    let (memory, mut producer) = ring(8);
    run(async {
        let consumer = Pollable::bridged(consumer(&memory)).unwrap();
        let mut messages = Messages::new(consumer).unwrap();
        let mut ignored = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut messages).poll_next(&mut ignored).is_pending());
        let received = tokio::spawn(async move { messages.recv().await.unwrap() });
        tokio::task::yield_now().await;
        producer.send(9).unwrap();
        assert_eq!(received.await.unwrap(), Some(9));
    });
}

#[test]
fn ends_and_their_calls_go_to_other_threads() {
    fn is_send<T: Send + 'static>(_: &T) {}
    let name = Unique::new("send");
    let writer = Writer::<Adaptive>::create(&*name, 4096).unwrap();
    let reader = Reader::<Adaptive>::join(&*name, Start::Oldest).unwrap();
    let (memory, producer) = ring(8);
    run(async {
        let mut sender = Sender::new(Pollable::bridged(writer).unwrap()).unwrap();
        let mut messages = Messages::new(Pollable::bridged(reader).unwrap()).unwrap();
        let mut numbers = Messages::new(Pollable::bridged(consumer(&memory)).unwrap()).unwrap();
        let notify = Notify::new(Notifier::default(), Adaptive::default());
        let producer = Pollable::bridged_with(producer, notify).unwrap();
        let mut numberer = Sender::new(producer).unwrap();
        let all = async move {
            sender.send(b"a record").await.unwrap();
            assert_eq!(messages.recv().await.unwrap().unwrap(), b"a record");
            numberer.send(7).await.unwrap();
            assert_eq!(numbers.recv().await.unwrap(), Some(7));
        };
        is_send(&all);
        all.await;
    });
}
