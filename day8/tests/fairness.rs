//! Nobody starves: neither those that wait for the poller, nor those that can go on.

mod kit;

use std::cell::Cell;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use day8::{Isolation, Socket, SocketError, readable, sleep, spawn, yield_now};
use kit::{Transport, with_pair};
use testing::promptly;

/// Two coroutines that never have to wait: one writes all the time, the other one reads. What was read.
fn firehose(mut near: Socket, mut far: Socket) -> Rc<Cell<u64>> {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    let writes = async move { while near.write_all(&[7; 30_000]).await.is_ok() {} };
    let reads = async move {
        while far.fill().await.is_ok_and(|bytes| bytes > 0) {
            counted.set(counted.get() + far.buffered().len() as u64);
            far.consume(usize::MAX);
        }
    };
    spawn(writes).unwrap();
    spawn(reads).unwrap();
    count
}

/// Questions and answers, and naps between them.
async fn converse(mut near: Socket, mut far: Socket) -> Result<(), SocketError> {
    for round in 0..30u8 {
        near.write_all(&[round]).await?;
        near.flush().await?;
        let mut byte = [0];
        far.read_exact(&mut byte).await?;
        assert_eq!(byte, [round]);
        sleep(Duration::from_micros(100)).await;
    }
    Ok(())
}

#[test]
fn a_firehose_starves_neither_timers_nor_other_sockets() {
    promptly("the conversation ends", || {
        for hose in Transport::ALL {
            for talk in Transport::ALL {
                with_pair(hose, Isolation::None, move |near, far| async move {
                    let count = firehose(near, far);
                    let (near, far) = kit::pair(talk).await;
                    converse(near, far).await?;
                    assert!(count.get() > 0, "the firehose starves");
                    Ok::<_, SocketError>(())
                })
                .unwrap();
            }
        }
    });
}

#[test]
fn who_reads_and_writes_as_often_as_it_may_does_so_once_between_two_looks_at_the_poller() {
    promptly("it ends", || {
        with_pair(Transport::Channel, Isolation::None, |mut near, mut far| async move {
            let count = Rc::new(Cell::new(0u32));
            let counted = Rc::clone(&count);
            let busy = async move {
                loop {
                    counted.set(counted.get() + 1);
                    near.write_all(b"x").await?;
                    near.flush().await?;
                    far.fill().await?;
                    far.consume(1);
                }
            };
            spawn::<Result<(), SocketError>>(busy).unwrap();
            let (watched, mut other) = UnixStream::pair().unwrap();
            other.write_all(b"x").unwrap();
            const LOOKS: u32 = 20;
            for _ in 0..LOOKS {
                // Only the poller knows that it is.
                readable(&watched).await.unwrap();
            }
            // 64 rounds are as often as it may; the 256 polls that others have would be 16,384.
            assert!(count.get() < LOOKS * 1_000, "{} rounds", count.get());
        });
    });
}

/// How many coroutines are always ready.
const CROWD: usize = 3_000;

#[test]
fn a_crowd_that_is_always_ready_does_not_starve_the_poller() {
    promptly("the conversation ends", || {
        for talk in Transport::ALL {
            with_pair(talk, Isolation::None, move |near, far| async move {
                for _ in 0..CROWD {
                    let busy = async {
                        loop {
                            yield_now().await;
                        }
                    };
                    spawn::<()>(busy).unwrap();
                }
                converse(near, far).await
            })
            .unwrap();
        }
    });
}

#[test]
fn the_poller_does_not_starve_a_crowd_that_is_ready() {
    promptly("the crowd is done", || {
        with_pair(Transport::Tcp, Isolation::None, |near, far| async move {
            let mut hoses = vec![firehose(near, far)];
            for _ in 0..10 {
                let (near, far) = kit::pair(Transport::Tcp).await;
                hoses.push(firehose(near, far));
            }
            let turns = Rc::new(Cell::new(0));
            let mut crowd = Vec::new();
            for _ in 0..CROWD {
                let turns = Rc::clone(&turns);
                let turn = async move {
                    for _ in 0..20 {
                        yield_now().await;
                        turns.set(turns.get() + 1);
                    }
                };
                crowd.push(spawn(turn).unwrap());
            }
            for one in crowd {
                one.await.unwrap();
            }
            assert_eq!(turns.get(), 20 * CROWD);
            for hose in hoses {
                let before = hose.get();
                while hose.get() == before {
                    yield_now().await;
                }
            }
        });
    });
}
