//! One service over each transport: the same conversations, wherever they are cut.

mod kit;

use std::time::Duration;

use day8::{Isolation, Runtime, Socket, SocketError, echo, sleep, timeout, yield_now};
use kit::{Transport, both_isolations, checksum, noise, with_pair};
use testing::{DEADLINE, promptly};

/// What a client sends, and what it gets.
fn conversations() -> Vec<(Vec<u8>, Vec<u8>)> {
    let long = vec![b'x'; echo::MOST_LINE - 1];
    let of = |sent: &[u8], got: &[u8]| (sent.to_vec(), got.to_vec());
    vec![
        of(b"", b""),
        of(b"\n", b"Line 1: \n"),
        of(b"one\ntwo\r\nthree", b"Line 1: one\nLine 2: two\nLine 3: three\n"),
        of(b"\r\n\n\r\r\n", b"Line 1: \nLine 2: \nLine 3: \r\n"),
        of(b"\0\xff\n", b"Line 1: \0\xff\n"),
        (
            [&long[..], b"\nshort\n"].concat(),
            [b"Line 1: ", &long[..], b"\nLine 2: short\n"].concat(),
        ),
        (
            [b"a\n", &long[..], b"y\nnever\n"].concat(),
            format!("Line 1: a\na line may have {} bytes\n", echo::MOST_LINE).into_bytes(),
        ),
    ]
}

/// Sends some bytes in two pieces, says that nothing more comes, and reads the answer.
async fn talk(mut socket: Socket, sent: Vec<u8>, cut: usize) -> Result<Vec<u8>, SocketError> {
    let (first, second) = sent.split_at(cut);
    for piece in [first, second] {
        // A service that has seen enough may be gone.
        let written = async {
            socket.write_all(piece).await?;
            socket.flush().await
        };
        let _ = written.await;
        for _ in 0..3 {
            yield_now().await;
        }
    }
    let _ = socket.finish().await;
    let mut got = Vec::new();
    while socket.fill().await? > 0 {
        got.extend_from_slice(socket.buffered());
        socket.consume(usize::MAX);
    }
    Ok(got)
}

/// The places to cut at: all of them, or, in what is long, those about its ends and its buffers' sizes.
fn cuts(len: usize) -> Vec<usize> {
    let near = |at: usize| at.saturating_sub(2)..=at + 2;
    let wanted = [0, len, len / 2, 2_048, 4_096, 8_192, 16_384].map(near);
    let mut cuts: Vec<_> = wanted.into_iter().flatten().chain(0..20).collect();
    cuts.retain(|&cut| cut <= len);
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

fn conversations_over(transport: Transport) {
    for isolation in both_isolations() {
        let runtime = Runtime::new(isolation).unwrap();
        let (listener, connect) = kit::listen(transport);
        runtime.serve(listener, echo::echo).unwrap();
        let talks = async move {
            for (sent, expected) in conversations() {
                for cut in cuts(sent.len()) {
                    let got = talk(connect.connect().await, sent.clone(), cut).await;
                    let what = format!("{transport:?}, {} bytes, cut at {cut}", sent.len());
                    assert!(got.unwrap() == expected, "{what}");
                }
            }
        };
        runtime.block_on(talks).unwrap();
        assert_eq!(runtime.statistics().failed, 0);
    }
}

#[test]
fn conversations_over_channels() {
    promptly("they end", || conversations_over(Transport::Channel));
}

#[test]
fn conversations_over_unix_sockets() {
    promptly("they end", || conversations_over(Transport::Unix));
}

#[test]
fn conversations_over_tcp() {
    promptly("they end", || conversations_over(Transport::Tcp));
}

#[test]
fn conversations_over_rings() {
    promptly("they end", || conversations_over(Transport::Ring));
}

#[test]
fn one_direction_may_end_before_the_other() {
    promptly("both end", || {
        for transport in Transport::ALL {
            for isolation in both_isolations() {
                let seen = with_pair(transport, isolation, |mut near, mut far| async move {
                    near.write_all(b"question").await?;
                    near.finish().await?;
                    assert!(matches!(near.write_all(b"x").await, Err(SocketError::Finished)));
                    assert!(!near.try_write(b"x"));
                    let mut question = [0; 8];
                    far.read_exact(&mut question).await?;
                    assert_eq!(far.fill().await?, 0);
                    assert_eq!(far.fill().await?, 0);
                    let missing = far.read_exact(&mut [0; 3]).await;
                    assert!(matches!(missing, Err(SocketError::Ended { missing: 3 })));
                    // The other direction is still there, for as much as one likes.
                    let answer = noise(100_000);
                    let expected = checksum(&answer);
                    let answering = day8::spawn(async move {
                        far.write_all(&answer).await?;
                        far.finish().await?;
                        Ok::<_, SocketError>(far)
                    });
                    let mut got = vec![0; 100_000];
                    near.read_exact(&mut got).await?;
                    assert_eq!(near.fill().await?, 0);
                    answering.unwrap().await.unwrap()?;
                    Ok::<_, SocketError>(checksum(&got) == expected)
                });
                assert!(seen.unwrap(), "{transport:?}");
            }
        }
    });
}

/// Sizes about those of the buffers.
const SIZES: [usize; 15] = [
    0, 1, 2_047, 2_048, 2_049, 4_095, 4_096, 4_097, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537,
    300_000,
];

/// Copies so many bytes from one transport to another, with a few before and behind them.
fn copies(from: Transport, to: Transport, isolation: day8::Isolation, size: usize, slow: bool) {
    let bytes = noise(size + 20);
    let expected = checksum(&bytes);
    let got = with_pair(from, isolation, move |mut source, mut relay_in| async move {
        // Both relays have the ends that were accepted: over rings, those are the service's.
        let (mut sink, mut relay_out) = kit::pair(to).await;
        let writing = day8::spawn(async move {
            source.write_all(&bytes).await?;
            source.finish().await?;
            Ok::<_, SocketError>(source)
        });
        let copying = day8::spawn(async move {
            let mut first = [0; 10];
            relay_in.read_exact(&mut first).await?;
            relay_out.write_all(&first).await?;
            let part = relay_in.copy_to(&mut relay_out, Some(size as u64)).await?;
            let rest = relay_in.copy_to(&mut relay_out, None).await?;
            assert_eq!((part, rest), (size as u64, 10));
            assert_eq!(relay_in.copy_to(&mut relay_out, Some(5)).await?, 0);
            relay_out.finish().await?;
            Ok::<_, SocketError>(relay_out)
        });
        let mut got = Vec::new();
        while sink.fill().await? > 0 {
            let most = if slow { 1_000 } else { usize::MAX };
            let len = sink.buffered().len().min(most);
            got.extend_from_slice(&sink.buffered()[..len]);
            sink.consume(len);
            if slow {
                sleep(Duration::from_micros(50)).await;
                // What is buffered stays, so that the buffer grows and wraps.
                while sink.buffered().len() > 30_000 {
                    got.extend_from_slice(&sink.buffered()[..7_001]);
                    sink.consume(7_001);
                }
            }
        }
        writing.unwrap().await.unwrap()?;
        copying.unwrap().await.unwrap()?;
        got.extend_from_slice(sink.buffered());
        Ok::<_, SocketError>((got.len(), checksum(&got)))
    });
    assert_eq!(got.unwrap(), (size + 20, expected), "{size} bytes from {from:?} to {to:?}");
}

#[test]
fn bytes_are_copied_from_each_transport_to_each() {
    promptly("all is copied", || {
        for from in Transport::ALL {
            for to in Transport::ALL {
                for isolation in both_isolations() {
                    for size in SIZES {
                        copies(from, to, isolation, size, false);
                    }
                    copies(from, to, isolation, 300_000, true);
                }
            }
        }
    });
}

#[test]
fn a_copy_to_a_peer_that_has_gone_is_an_error() {
    for transport in Transport::ALL {
        let result = with_pair(transport, day8::Isolation::None, |source, mut relay| async move {
            let (mut out, sink) = Socket::pair().unwrap();
            drop(sink);
            let mut source = source;
            source.write_all(&[7; 100]).await?;
            source.flush().await?;
            relay.copy_to(&mut out, None).await
        });
        assert!(matches!(result, Err(SocketError::Disconnected(_))), "{result:?}");
    }
}

#[test]
fn a_vectored_write_of_many_parts_is_whole() {
    promptly("all comes", || {
        for transport in Transport::ALL {
            let got = with_pair(transport, day8::Isolation::None, |mut near, mut far| async move {
                let parts: Vec<Vec<u8>> = (0..40).map(|n| vec![n as u8; n * 97 % 5_000]).collect();
                let all = parts.concat();
                let writing = day8::spawn(async move {
                    let slices: Vec<_> =
                        parts.iter().map(|part| std::io::IoSlice::new(part)).collect();
                    near.write_vectored(&slices).await?;
                    near.finish().await?;
                    Ok::<_, SocketError>(near)
                });
                let mut got = vec![0; all.len()];
                far.read_exact(&mut got).await?;
                assert_eq!(far.fill().await?, 0);
                writing.unwrap().await.unwrap()?;
                Ok::<_, SocketError>(got == all)
            });
            assert!(got.unwrap(), "{transport:?}");
        }
    });
}

/// A service need not flush: nobody waits for a request that waits for its answer.
#[test]
fn an_answer_leaves_before_the_next_request_is_waited_for() {
    for transport in Transport::ALL {
        let runtime = Runtime::new(Isolation::None).unwrap();
        let (listener, connect) = kit::listen(transport);
        runtime.serve(listener, echo::echo).unwrap();
        let talk = async move {
            let mut socket = connect.connect().await;
            for number in 1..=3 {
                socket.write_all(b"well?\n").await.unwrap();
                socket.flush().await.unwrap();
                let line = timeout(DEADLINE, socket.read_line(100)).await.expect("an answer");
                assert_eq!(line.unwrap().unwrap(), format!("Line {number}: well?").as_bytes());
            }
        };
        runtime.block_on(talk).unwrap();
    }
}
