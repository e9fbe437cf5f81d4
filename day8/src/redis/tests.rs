//! Conversations without sockets.

use std::rc::Rc;

use proptest::prelude::*;
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::encode::encode;
use redis_protocol::resp2::types::OwnedFrame;
use testing::Dice;

use super::answers::{Answers, Pieces};
use super::connection::{Connection, Turn};
use super::request::{Limits, Parsed, parse};
use super::{Redis, RedisOptions};

#[path = "../../tests/redis/script.rs"]
mod script;

use script::{request, scripts};

fn service(options: &RedisOptions) -> Rc<Redis> {
    Rc::new(Redis::new(options).unwrap())
}

/// A client whose bytes come in these pieces: all that it is answered, and whether the connection lives on.
fn talk<'a>(redis: &Rc<Redis>, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, bool) {
    let mut connection = Connection::new(Rc::clone(redis));
    let (mut buffered, mut answers, mut waiting) = (Vec::new(), Vec::new(), Pieces::default());
    for piece in pieces {
        buffered.extend_from_slice(piece);
        loop {
            let (taken, turn) = connection.turn(&buffered, &mut Answers::new(None, &mut waiting));
            buffered.drain(..taken);
            answers.extend(waiting.take_bytes());
            match turn {
                Turn::Read => break,
                Turn::Write => {}
                Turn::Close => return (answers, false),
                Turn::Wait => panic!("nobody keeps a publisher waiting here"),
            }
        }
    }
    (answers, true)
}

fn ask(redis: &Rc<Redis>, words: &[impl AsRef<[u8]>]) -> String {
    let (answers, _) = talk(redis, [&*request(words)]);
    String::from_utf8(answers).unwrap()
}

#[test]
fn every_conversation_is_the_same_wherever_it_is_cut() {
    for script in scripts() {
        let redis = service(&RedisOptions::new());
        for cut in 0..=script.sent.len() {
            redis.store.borrow_mut().clear();
            let (first, second) = script.sent.split_at(cut);
            let (answers, _) = talk(&redis, [first, second]);
            assert_eq!(
                answers.escape_ascii().to_string(),
                script.answers.escape_ascii().to_string(),
                "{}, cut at {cut}",
                script.name
            );
        }
        redis.store.borrow_mut().clear();
        let (answers, _) = talk(&redis, script.sent.chunks(1));
        assert!(answers == script.answers, "{}, byte by byte", script.name);
        assert_eq!((redis.arriving.get(), redis.channels.borrow().len()), (0, 0));
    }
}

#[test]
fn a_long_request_is_the_same_wherever_it_is_cut() {
    let redis = service(&RedisOptions::new());
    let value = vec![b'v'; 5_000];
    let mut sent = request(&[&b"SET"[..], b"key", &value]);
    sent.extend(request(&vec!["ECHO"; 2]));
    sent.extend(request(&[vec![b"MGET".to_vec()], vec![b"key".to_vec(); 10]].concat()));
    sent.extend([&b"ECHO "[..], &value, b"\r\nPING\r\n"].concat());
    let (expected, _) = talk(&redis, [&*sent]);
    assert!(expected.len() > 11 * value.len() && expected.ends_with(b"+PONG\r\n"));
    for cut in (0..sent.len()).step_by(3) {
        let (first, second) = sent.split_at(cut);
        assert!(talk(&redis, [first, second]).0 == expected, "cut at {cut}");
    }
    for len in [1, 7, 4_096, 5_000] {
        assert!(talk(&redis, sent.chunks(len)).0 == expected, "in pieces of {len}");
    }
}

#[test]
fn lines_have_an_end() {
    let redis = service(&RedisOptions::new());
    for (start, expected) in [
        ("", "-ERR Protocol error: too big inline request\r\n"),
        ("*", "-ERR Protocol error: too big mbulk count string\r\n"),
        ("*1\r\n$", "-ERR Protocol error: too big bulk count string\r\n"),
    ] {
        let sent = [start.as_bytes(), &[b'1'; 70_000]].concat();
        for len in [1_000, 65_536, sent.len()] {
            let (answers, lives) = talk(&redis, sent.chunks(len));
            assert_eq!((&*answers, lives), (expected.as_bytes(), false), "in pieces of {len}");
        }
    }
}

#[test]
fn what_is_announced_costs_nothing() {
    let options = RedisOptions::new().longest_argument(512 << 20);
    let redis = service(&options);
    let mut connection = Connection::new(Rc::clone(&redis));
    let mut pieces = Pieces::default();
    let sent = b"*1000000\r\n$3\r\nSET\r\n$536870912\r\nabc";
    let (taken, turn) = connection.turn(sent, &mut Answers::new(None, &mut pieces));
    assert_eq!((taken, turn), (sent.len(), Turn::Read));
    assert!(redis.arriving.get() < 200, "{} bytes", redis.arriving.get());
    drop(connection);
    assert_eq!(redis.arriving.get(), 0);
}

#[test]
fn without_memory_a_write_is_refused_and_the_connection_lives() {
    const REFUSED: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    let redis = service(&RedisOptions::new().memory(10_000));
    assert_eq!(ask(&redis, &["SET", "small", "1"]), "+OK\r\n");
    let value = "v".repeat(6_000);
    assert_eq!(ask(&redis, &["SET", "one", &value]), "+OK\r\n");
    assert_eq!(ask(&redis, &["SET", "two", &value]), REFUSED);
    assert_eq!(ask(&redis, &["MSET", "two", &value]), REFUSED);
    // It is so long that it is not even read.
    let huge = "h".repeat(50_000);
    let sent = [request(&["ECHO", &huge]), request(&["PING"])].concat();
    let (answers, _) = talk(&redis, sent.chunks(1_000));
    assert_eq!(String::from_utf8(answers).unwrap(), format!("{REFUSED}+PONG\r\n"));
    assert_eq!(ask(&redis, &["DEL", "one"]), ":1\r\n");
    assert_eq!(ask(&redis, &["SET", "two", &value]), "+OK\r\n");
    assert_eq!(redis.arriving.get(), 0);
}

#[test]
fn random_bytes_harm_nobody() {
    const TOKENS: [&[u8]; 20] = [
        b"*",
        b"$",
        b"\r\n",
        b"\n",
        b"\r",
        b"1",
        b"3",
        b"-1",
        b"0",
        b"GET",
        b"SET",
        b"MGET",
        b"key",
        b"subscribe",
        b" ",
        b"\"",
        b"'",
        b"*2\r\n$4\r\nECHO\r\n$",
        b"99999999999",
        b"\0",
    ];
    let rounds = testing::number_from_environment("FANOUT_ROUNDS").unwrap_or(3_000);
    let mut dice = Dice::seeded();
    let redis = service(&RedisOptions::new().memory(1 << 20));
    for _ in 0..rounds {
        let mut sent = Vec::new();
        for _ in 0..dice.below(40) {
            match dice.below(4) {
                0 => sent.push(dice.word() as u8),
                _ => sent.extend(dice.pick(&TOKENS)),
            }
        }
        let whole = talk(&redis, [&*sent]);
        redis.store.borrow_mut().clear();
        let len = 1 + dice.below(5) as usize;
        let answers = talk(&redis, sent.chunks(len));
        redis.store.borrow_mut().clear();
        assert!(whole == answers, "{}", sent.escape_ascii());
        assert_eq!(redis.arriving.get(), 0);
    }
    assert_eq!(ask(&redis, &["PING"]), "+PONG\r\n");
}

fn limits() -> Limits {
    Limits { argument: 1 << 20, arguments: 1 << 10 }
}

/// The arguments of the request that these bytes begin with, and its length.
fn ours(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    match parse(bytes, &limits()) {
        Parsed::Request(arguments, len) => {
            let arguments = arguments.with(|all| all.iter().map(|one| one.to_vec()).collect());
            Some((arguments, len))
        }
        _ => None,
    }
}

fn frame(words: &[Vec<u8>]) -> OwnedFrame {
    OwnedFrame::Array(words.iter().cloned().map(OwnedFrame::BulkString).collect())
}

proptest! {
    #[test]
    fn requests_are_read_as_the_library_reads_them(
        words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let frame = frame(&words);
        let mut bytes = vec![0; 2_000];
        let len = encode(&mut bytes, &frame, false).unwrap();
        bytes.truncate(len);
        prop_assert_eq!(&bytes, &request(&words));
        bytes.extend(behind);
        prop_assert_eq!(ours(&bytes), Some((words, len)));
        prop_assert_eq!(decode(&bytes).unwrap(), Some((frame, len)));
        for cut in 0..len {
            prop_assert_eq!(ours(&bytes[..cut]), None);
            prop_assert_eq!(decode(&bytes[..cut]).unwrap(), None);
        }
    }

    /// What we take for a request, the library takes for the same one.
    #[test]
    fn damaged_requests_are_no_others(
        words in prop::collection::vec("[a-z]{0,12}", 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), "[-+*$0-9\r\na]"), 0..3),
    ) {
        let mut bytes = request(&words);
        for (index, byte) in damage {
            let index = index.index(bytes.len());
            bytes[index] = byte.as_bytes()[0];
        }
        let array = bytes[0] == b'*';
        if let Some((found, len)) = ours(&bytes).filter(|(found, _)| array && !found.is_empty()) {
            // Redis, and so we, do not look at the byte behind a "\r".
            let exact = request(&found);
            if exact[..] == bytes[..len] {
                prop_assert_eq!(decode(&bytes).unwrap(), Some((frame(&found), len)));
            } else {
                let same = exact.iter().zip(&bytes).all(|(a, b)| a == b || b"\r\n".contains(a));
                prop_assert!(same && exact.len() == len, "{}", bytes.escape_ascii());
            }
        }
    }

    /// What the library can read of an answer is what was meant.
    #[test]
    fn values_come_back(key in prop::collection::vec(any::<u8>(), 0..30), len in 0..10_000_usize, byte: u8) {
        let redis = service(&RedisOptions::new());
        let value = vec![byte; len];
        let sent = [request(&[&b"SET"[..], &key, &value]), request(&[&b"GET"[..], &key])].concat();
        let (answers, _) = talk(&redis, [&*sent]);
        let rest = answers.strip_prefix(b"+OK\r\n").unwrap();
        let expected = (OwnedFrame::BulkString(value), rest.len());
        prop_assert_eq!(decode(rest).unwrap(), Some(expected));
    }
}
