//! Connections over rings: a runtime on one side, programs that block on the other.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::ptr::NonNull;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::sync::{AtomicU64, Ordering};
use day4::rendezvous::packet;
use day4::rendezvous::socket::dial;
use day7::line::wire::{Answer, Hello, LET_IN, STREAM};
use day8::listener::BindError;
use day8::rings::{ConnectError, RingOptions, RingStream, Strategy};
use day8::runtime::Statistics;
use day8::{
    Address, Isolation, Listener, Runtime, RuntimeOptions, Shutdown, Socket, SocketError, yield_now,
};
use memmap2::{MmapOptions, MmapRaw};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use testing::{DEADLINE, Dice, Folder, Process, Program, another, eventually, promptly};

/// What became of a connection, as its service has found.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The stream has ended.
    Finished,
    /// An error.
    Failed(ErrorKind),
}

/// Gives back what comes, in pieces of other lengths.
async fn give_back(mut socket: Socket) -> Result<(), SocketError> {
    let (input, output) = socket.split();
    while input.next_request().await? {
        let bytes = input.buffered();
        let piece = bytes[..bytes.len().min(5000)].to_vec();
        input.consume(piece.len());
        let (one, two) = piece.split_at(piece.len() / 3);
        output.write_vectored(&[IoSlice::new(one), IoSlice::new(two)]).await?;
    }
    Ok(())
}

fn options(spin: Duration) -> RuntimeOptions {
    RuntimeOptions::new().idle_timeout(None).spin(spin)
}

/// A runtime with this service at `ring:` this path.
fn runtime(path: &Path, options: &RuntimeOptions, ends: Sender<End>) -> Runtime {
    let runtime = Runtime::with_options(options).unwrap();
    let listener = Listener::bind(&Address::Ring(path.into())).unwrap();
    let serve = move |socket| {
        let ends = ends.clone();
        async move {
            let end = match give_back(socket).await {
                Ok(()) => End::Finished,
                Err(SocketError::Io(error) | SocketError::Disconnected(error)) => {
                    End::Failed(error.kind())
                }
                Err(error) => panic!("{error}"),
            };
            let _ = ends.send(end);
            Ok(())
        }
    };
    runtime.serve(listener, serve).unwrap();
    runtime
}

/// A service in a thread of its own.
struct Home {
    path: PathBuf,
    ends: Receiver<End>,
    shutdown: Shutdown,
    thread: Option<JoinHandle<Statistics>>,
    _folder: Folder,
}

impl Home {
    fn new(spin: Duration) -> Self {
        Self::with_options(&options(spin))
    }

    fn with_options(options: &RuntimeOptions) -> Self {
        Self::beside(options, |_| ())
    }

    /// The same, with something else in its runtime.
    fn beside(options: &RuntimeOptions, begin: impl FnOnce(&Runtime) + Send + 'static) -> Self {
        let folder = Folder::new();
        let path = folder.join("service");
        let ((send, ends), (there, is_there)) = (channel(), channel());
        let (at, options) = (path.clone(), options.clone());
        let thread = thread::spawn(move || {
            let runtime = runtime(&at, &options, send);
            begin(&runtime);
            there.send(runtime.shutdown()).unwrap();
            runtime.run().unwrap();
            runtime.statistics()
        });
        let shutdown = is_there.recv().unwrap();
        Self { path, ends, shutdown, thread: Some(thread), _folder: folder }
    }

    fn client(&self) -> RingStream {
        self.waiting(Strategy::Adaptive)
    }

    fn waiting(&self, strategy: Strategy) -> RingStream {
        let options = RingOptions::new().timeout(DEADLINE).waiting(strategy);
        RingStream::connect_with(&self.path, &options).unwrap()
    }

    /// How the next connection has ended.
    fn end(&self) -> End {
        self.ends.recv_timeout(DEADLINE).expect("a connection has ended")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.shutdown.start();
        let ended = self.thread.take().expect("it is there until this is dropped").join();
        assert!(ended.is_ok() || thread::panicking(), "the service has panicked");
    }
}

/// About what a ring of a connection has: chunks of this size are longer than any.
const RING: u64 = 32 << 10;

/// The byte at this place of a stream.
fn byte(at: usize, stream: u64) -> u8 {
    testing::mix((at as u64 / 7) ^ (stream << 40)) as u8 ^ at as u8
}

/// So many bytes of a stream, in chunks of random lengths up to `most`.
fn send(mut to: impl Write, total: usize, most: usize, stream: u64, mut dice: Dice) {
    let mut at = 0;
    while at < total {
        let len = (1 + dice.below(most as u64) as usize).min(total - at);
        let chunk: Vec<u8> = (at..at + len).map(|at| byte(at, stream)).collect();
        if dice.once_in(2) {
            to.write_all(&chunk).unwrap();
        } else {
            let parts = [IoSlice::new(&chunk[..len / 2]), IoSlice::new(&chunk[len / 2..])];
            let written = to.write_vectored(&parts).unwrap();
            to.write_all(&chunk[written..]).unwrap();
        }
        at += len;
    }
}

/// Reads a stream to its end, in pieces of random lengths up to `most`, and checks it. How much it was.
fn receive(mut from: impl Read, most: usize, stream: u64, mut dice: Dice) -> usize {
    let (mut at, mut into) = (0, vec![0; most]);
    loop {
        let room = 1 + dice.below(most as u64) as usize;
        let len = from.read(&mut into[..room]).unwrap();
        if len == 0 {
            return at;
        }
        for (n, found) in into[..len].iter().enumerate() {
            assert_eq!(*found, byte(at + n, stream), "at {}", at + n);
        }
        at += len;
    }
}

fn there_and_back(stream: RingStream, total: usize, most: usize, number: u64, mut dice: Dice) {
    let (reader, mut writer) = stream.split();
    let (one, two) = (dice.split(), dice.split());
    let sender = thread::spawn(move || {
        send(&mut writer, total, most, number, one);
        writer.finish();
        writer
    });
    assert_eq!(receive(reader, most, number, two), total);
    sender.join().unwrap();
}

#[test]
fn bytes_come_back_whatever_the_chunks_and_however_both_sides_wait() {
    let mut dice = Dice::seeded();
    for spin in [Duration::ZERO, Duration::from_micros(200)] {
        let home = Home::new(spin);
        for strategy in [Strategy::Adaptive, Strategy::Sleep, Strategy::Yield] {
            for most in [1, 100, 5000, RING as usize, 5 * RING as usize] {
                let total = (20 * most).min(20 * RING as usize);
                there_and_back(home.waiting(strategy), total, most, most as u64, dice.split());
                assert_eq!(home.end(), End::Finished);
            }
        }
    }
}

#[test]
fn bytes_come_back_to_protected_heaps_too() {
    let options = options(Duration::from_micros(50)).isolation(Isolation::Mprotect);
    let home = Home::with_options(&options);
    there_and_back(home.client(), 300_000, 9000, 1, Dice::seeded());
    assert_eq!(home.end(), End::Finished);
}

#[test]
fn several_clients_are_served_side_by_side() {
    let home = Home::new(Duration::from_micros(50));
    let mut dice = Dice::seeded();
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let (stream, dice) = (home.client(), dice.split());
            thread::spawn(move || there_and_back(stream, 300_000, 9000, number, dice))
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert!((0..6).all(|_| home.end() == End::Finished));
}

#[test]
fn each_line_is_answered_before_the_next_one_is_sent() {
    let home = Home::new(Duration::from_micros(50));
    for strategy in [Strategy::Adaptive, Strategy::Sleep, Strategy::Spin] {
        let mut client = home.waiting(strategy);
        for n in 0..500u32 {
            client.write_all(&n.to_le_bytes()).unwrap();
            let mut answer = [0; 4];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(u32::from_le_bytes(answer), n);
        }
    }
}

#[test]
fn a_client_that_has_finished_still_gets_its_answers() {
    let home = Home::new(Duration::ZERO);
    let mut client = home.client();
    client.write_all(b"all of it").unwrap();
    client.finish();
    assert_eq!(client.write(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"all of it");
    assert_eq!(client.read(&mut [0; 9]).unwrap(), 0, "the end stays");
    assert_eq!(home.end(), End::Finished);
}

#[test]
fn a_client_that_is_dropped_has_ended_its_stream() {
    let home = Home::new(Duration::ZERO);
    for sends in [false, true] {
        let mut client = home.client();
        if sends {
            client.write_all(b"something").unwrap();
        }
        drop(client);
        // Its answer may come too late.
        let end = home.end();
        assert!(
            end == End::Finished || sends && end == End::Failed(ErrorKind::BrokenPipe),
            "{end:?}"
        );
    }
}

#[test]
fn a_service_that_ends_is_the_end_of_the_stream_and_of_writing() {
    let home = Home::new(Duration::ZERO);
    let mut client = home.client();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(home);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let broken = (0..10 * RING).find_map(|_| client.write(&[0; 100]).err());
    assert_eq!(broken.map(|error| error.kind()), Some(ErrorKind::BrokenPipe));
}

/// The server stops reading when nobody takes its answers, and nobody else notices.
#[test]
fn a_client_that_does_not_read_holds_back_itself_alone() {
    let home = Home::new(Duration::ZERO);
    let (reader, mut writer) = home.client().split();
    let total = 20 * RING as usize;
    let sender = thread::spawn(move || {
        send(&mut writer, total, 3000, 1, Dice::new(1));
        writer.finish();
    });
    thread::sleep(Duration::from_millis(20));
    assert!(!sender.is_finished(), "both rings are full");
    let other = home.client();
    there_and_back(other, 100_000, 2000, 2, Dice::new(2));
    assert_eq!(home.end(), End::Finished);
    assert_eq!(receive(reader, 4000, 1, Dice::new(3)), total);
    sender.join().unwrap();
    assert_eq!(home.end(), End::Finished);
}

/// As many as the process may have descriptors for, but no more than 1,000.
#[test]
fn a_thousand_connections_at_once() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most.min(1 << 16), most).unwrap();
    let home = Home::new(Duration::from_micros(50));
    let count = (most / 4).min(1000);
    let mut clients: Vec<_> = (0..count).map(|_| home.client()).collect();
    for round in 0..3u64 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.write_all(&(n as u64 ^ round).to_le_bytes()).unwrap();
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let mut answer = [0; 8];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(u64::from_le_bytes(answer), n as u64 ^ round);
        }
    }
    drop(clients);
    assert!((0..count).all(|_| home.end() == End::Finished));
}

#[test]
fn one_client_more_than_there_are_seats_is_told_so() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most.min(1 << 16), most).unwrap();
    if most < 5000 {
        return println!("skipped: this process may have {most} descriptors only");
    }
    let home = Home::new(Duration::ZERO);
    let seats = day7::ready::MOST_SEATS;
    let clients: Vec<_> = (0..seats).map(|_| home.client()).collect();
    let full = RingStream::connect(&home.path).unwrap_err();
    assert!(matches!(full, ConnectError::Full { most, .. } if most == seats as u64), "{full}");
    drop(clients);
    assert!((0..seats).all(|_| home.end() == End::Finished));
    there_and_back(home.client(), 100, 10, 0, Dice::new(0));
}

#[test]
fn who_says_nothing_is_sent_away_and_others_come_in_meanwhile() {
    let home = Home::new(Duration::ZERO);
    let silent: Vec<_> = (0..100)
        .map(|_| dial(&home.path, Instant::now() + DEADLINE).unwrap().expect("a connection"))
        .collect();
    there_and_back(home.client(), 1000, 100, 0, Dice::new(0));
    for one in &silent {
        assert!(packet::readable(one, Instant::now() + DEADLINE).unwrap(), "it is hung up on");
        assert!(matches!(packet::receive_bytes(one), Ok(bytes) if bytes.is_empty()));
    }
}

#[test]
fn who_speaks_another_language_is_refused_and_told() {
    let home = Home::new(Duration::ZERO);
    let other = day7::tasks::Client::connect(&home.path).unwrap_err();
    assert!(matches!(other, ConnectError::Refused { .. }), "{other}");
    let folder = Folder::new();
    let options = day7::tasks::ServerOptions::new();
    let server = day7::tasks::Server::bind(folder.join("tasks"), &options).unwrap();
    let other = RingStream::connect(server.path()).unwrap_err();
    assert!(matches!(other, ConnectError::Refused { .. }), "{other}");
    let nobody = RingStream::connect(folder.join("nobody")).unwrap_err();
    assert!(matches!(nobody, ConnectError::Rendezvous(_)), "{nobody}");
    for nonsense in [&b"GET / HTTP/1.1\r\n"[..], &[0; 100]] {
        let one = dial(&home.path, Instant::now() + DEADLINE).unwrap().expect("a connection");
        packet::send(&one, nonsense, packet::NONE).unwrap();
        assert!(packet::readable(&one, Instant::now() + DEADLINE).unwrap(), "it is hung up on");
        assert!(matches!(packet::receive_bytes(&one), Ok(bytes) if bytes.is_empty()));
    }
    there_and_back(home.client(), 100, 10, 0, Dice::new(0));
}

const AT: &str = "FANOUT_RINGS_AT";
const WAITING: &str = "FANOUT_RINGS_WAITING";

/// Another process, which begins with a line.
fn begin(test: &str, path: &Path, strategy: Strategy) -> Process {
    let mut command: Command = another(test);
    command.env(AT, path).env(WAITING, strategy.name()).env("RUST_BACKTRACE", "0");
    Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

fn path_of_parent() -> PathBuf {
    std::env::var_os(AT).expect("a path").into()
}

fn strategy_of_parent() -> Strategy {
    std::env::var(WAITING).expect("a strategy").parse().unwrap()
}

#[test]
#[ignore = "a process that another test starts"]
fn writes_until_it_is_killed() {
    let options = RingOptions::new().timeout(DEADLINE).waiting(strategy_of_parent());
    let stream = RingStream::connect_with(path_of_parent(), &options).unwrap();
    let (mut reader, mut writer) = stream.split();
    thread::spawn(move || while reader.read(&mut [0; 1000]).unwrap() > 0 {});
    let mut dice = Dice::seeded();
    loop {
        writer.write_all(&vec![7; 1 + dice.below(20_000) as usize]).unwrap();
    }
}

#[test]
fn a_client_that_is_killed_costs_its_own_connection() {
    let home = Home::new(Duration::from_micros(50));
    let mut dice = Dice::seeded();
    let mut steady = home.client();
    for strategy in [Strategy::Adaptive, Strategy::Sleep, Strategy::Adaptive, Strategy::Sleep] {
        let mut client = begin("writes_until_it_is_killed", &home.path, strategy);
        thread::sleep(Duration::from_millis(100) + dice.pause(Duration::from_millis(100)));
        client.kill();
        let mut answer = [0; 5];
        steady.write_all(b"still").unwrap();
        steady.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"still");
        match home.ends.recv_timeout(DEADLINE) {
            Ok(End::Failed(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)) => {}
            found => panic!("{found:?}"),
        }
    }
    drop(steady);
    assert_eq!(home.end(), End::Finished);
}

#[test]
#[ignore = "a process that another test starts"]
fn serves_until_it_is_killed() {
    let (send, _ends) = channel();
    runtime(&path_of_parent(), &options(Duration::from_micros(50)), send).run().unwrap();
}

#[test]
fn clients_of_a_service_that_is_killed_are_told_however_they_wait() {
    for strategy in [Strategy::Adaptive, Strategy::Sleep, Strategy::Yield, Strategy::Spin] {
        let folder = Folder::new();
        let path = folder.join("service");
        let mut service = begin("serves_until_it_is_killed", &path, strategy);
        let options = RingOptions::new().timeout(DEADLINE).waiting(strategy);
        let mut connected = None;
        eventually("the service listens", || {
            connected = RingStream::connect_with(&path, &options).ok();
            connected.is_some()
        });
        let mut client = connected.expect("it is connected");
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        let (mut reader, mut writer) = client.split();
        let read = thread::spawn(move || reader.read(&mut [0]).map_err(|error| error.kind()));
        thread::sleep(Duration::from_millis(5));
        service.kill();
        eventually("the reader is told", || read.is_finished());
        assert_eq!(read.join().unwrap(), Err(ErrorKind::ConnectionReset), "{strategy}");
        let write = thread::spawn(move || {
            loop {
                if let Err(error) = writer.write(&[0; 5000]) {
                    return error.kind();
                }
            }
        });
        eventually("the writer is told", || write.is_finished());
        assert_eq!(write.join().unwrap(), ErrorKind::BrokenPipe, "{strategy}");
    }
}

/// A client's line in the hands of somebody who writes what he likes.
struct Forger {
    map: MmapRaw,
    board: MmapRaw,
    _socket: OwnedFd,
}

impl Forger {
    fn new(home: &Home) -> Self {
        let socket = dial(&home.path, Instant::now() + DEADLINE).unwrap().expect("a connection");
        packet::send(&socket, &Hello::new(STREAM, 0).encode(), packet::NONE).unwrap();
        assert!(packet::readable(&socket, Instant::now() + DEADLINE).unwrap());
        let received = packet::receive(&socket).unwrap();
        assert_eq!(Answer::decode(&received.bytes).unwrap().status, LET_IN);
        let [map, board] = [&received.descriptors[0], &received.descriptors[1]]
            .map(|object| MmapOptions::new().map_raw(object).unwrap());
        Self { map, board, _socket: socket }
    }

    fn word(map: &MmapRaw, at: usize) -> &AtomicU64 {
        let place = map.as_mut_ptr().wrapping_add(8 * (at % (map.len() / 8)));
        // SAFETY: within the mapping, aligned, and reached by atomic operations alone in this test.
        unsafe { NonNull::new(place).expect("mapped").cast::<AtomicU64>().as_ref() }
    }

    fn spoil(&self, dice: &mut Dice) {
        let page = 512;
        // The first words of the pages of control are the ones that count.
        let (map, at) = match dice.below(8) {
            0..4 => (&self.map, dice.below(2) as usize * page + dice.below(80) as usize),
            4 | 5 => (&self.map, 2 * page + dice.below(64) as usize),
            6 => (&self.map, dice.word() as usize),
            _ => (&self.board, 16 + dice.below(300) as usize),
        };
        let word = Self::word(map, at);
        let old = word.load(Ordering::Relaxed);
        let new = match dice.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << dice.below(64),
            3 => old.wrapping_add(dice.below(17)).wrapping_sub(8),
            4 => old ^ (1 << dice.below(64)),
            5 => dice.below(5000),
            6 => u64::from_le_bytes(*b"\0\x20\0\0\0\0fr") + dice.below(40_000),
            _ => dice.word(),
        };
        word.store(new, Ordering::Relaxed);
    }
}

/// `FANOUT_HOSTILE_SECONDS` says for how long.
#[test]
fn nobody_is_harmed_by_a_client_that_writes_over_its_line() {
    let seconds = testing::number_from_environment("FANOUT_HOSTILE_SECONDS").unwrap_or(3);
    let home = Home::new(Duration::from_micros(50));
    let mut dice = Dice::seeded();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while Instant::now() < until {
        let forgers = [Forger::new(&home), Forger::new(&home)];
        let steady = home.client();
        let steady = thread::spawn({
            let dice = dice.split();
            move || there_and_back(steady, 100_000, 3000, 5, dice)
        });
        while !steady.is_finished() {
            for forger in &forgers {
                forger.spoil(&mut dice);
            }
            if dice.once_in(20) {
                thread::yield_now();
            }
        }
        steady.join().unwrap();
        rounds += 1;
    }
    let mut last = home.client();
    last.write_all(b"x").unwrap();
    last.finish();
    assert_eq!(last.read(&mut [0; 2]).unwrap(), 1);
    let finished = home.ends.try_iter().filter(|end| *end == End::Finished).count();
    println!("{rounds} rounds, {finished} connections have ended well");
    assert!(finished >= rounds);
}

/// Measures and prints; `cargo test --release -p day8 --test rings -- --ignored round_trip --nocapture`.
#[test]
#[ignore = "it measures, and asserts nothing"]
fn what_a_round_trip_costs() {
    for (strategy, spin) in [(Strategy::Spin, 1000), (Strategy::Adaptive, 50), (Strategy::Sleep, 0)]
    {
        let home = Home::new(Duration::from_micros(spin));
        let mut client = home.waiting(strategy);
        let mut answer = [0; 40];
        let (begun, rounds) = (Instant::now(), 200_000);
        for _ in 0..rounds {
            client.write_all(b"GET /a/key/of/some/length HTTP/1.1 00000").unwrap();
            client.read_exact(&mut answer).unwrap();
        }
        println!("{strategy}, spinning {spin} us: {:?} a round trip", begun.elapsed() / rounds);
    }
    let home = Home::new(Duration::from_micros(50));
    let (mut reader, mut writer) = home.client().split();
    let (begun, total) = (Instant::now(), 1usize << 30);
    let sender = thread::spawn(move || {
        let chunk = vec![7; 1 << 16];
        (0..total / chunk.len()).for_each(|_| writer.write_all(&chunk).unwrap());
        writer.finish();
    });
    let (mut into, mut received) = (vec![0; 1 << 16], 0);
    while received < total {
        received += reader.read(&mut into).unwrap();
    }
    sender.join().unwrap();
    let rate = total as f64 / begun.elapsed().as_secs_f64() / 1e9;
    println!("there and back: {rate:.2} GB/s");
}

#[test]
fn the_programs_talk_over_rings_and_over_what_else_there_is() {
    let folder = Folder::new();
    let at = |kind: &str| format!("{kind}:{}", folder.join(kind).display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_day8-echo"));
    command.args(["--listen", &at("ring"), "--listen", &at("unix"), "--listen", "127.0.0.1:0"]);
    let mut service = Program::start(&mut command);
    for _ in 0..3 {
        let address = service.line("listening on ").split_off("listening on ".len());
        let mut command = Command::new(env!("CARGO_BIN_EXE_day8-echo"));
        command.args(["call", &address]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut caller = Process::start(&mut command);
        let mut input = caller.0.stdin.take().expect("it is piped");
        input.write_all(b"one\ntwo\n").unwrap();
        drop(input);
        assert!(caller.wait().success(), "{address}");
        let mut said = String::new();
        caller.0.stdout.take().expect("it is piped").read_to_string(&mut said).unwrap();
        assert_eq!(said, "Line 1: one\nLine 2: two\n", "{address}");
    }
    service.signal(Signal::SIGTERM);
    assert_eq!(
        service.finish().well().last().map(String::as_str),
        Some("connections: 3, cut off: 0")
    );
    assert!(!folder.join("ring").exists(), "the socket went with the service");
}

/// What a dead service has left is replaced, and a living one's is not.
#[test]
fn a_path_that_is_taken_is_refused_and_one_that_was_left_is_taken_over() {
    let home = Home::new(Duration::ZERO);
    let taken = Listener::bind(&Address::Ring(home.path.clone())).unwrap_err();
    assert!(matches!(taken, BindError::Taken { .. }), "{taken}");
    let folder = Folder::new();
    let path = folder.join("service");
    std::fs::write(&path, "a file").unwrap();
    let no_socket = Listener::bind(&Address::Ring(path.clone())).unwrap_err();
    assert!(matches!(no_socket, BindError::NotASocket { .. }), "{no_socket}");
    std::fs::remove_file(&path).unwrap();
    let mut service = begin("serves_until_it_is_killed", &path, Strategy::Sleep);
    eventually("it listens", || RingStream::connect(&path).is_ok());
    service.kill();
    let listener = Listener::bind(&Address::Ring(path.clone())).unwrap();
    assert_eq!(listener.address(), Some(Address::Ring(path)));
    let long = Address::Ring(folder.join(&"x".repeat(200)));
    let too_long = Listener::bind(&long).unwrap_err();
    assert!(matches!(too_long, BindError::Path(_)), "{too_long}");
}

#[test]
fn coroutines_that_are_always_ready_do_not_starve_rings() {
    promptly("the conversation ends", || {
        let home = Home::beside(&options(Duration::ZERO), |runtime| {
            for _ in 0..300 {
                let busy = async {
                    loop {
                        yield_now().await;
                    }
                };
                runtime.spawn::<()>(busy).unwrap();
            }
        });
        let mut client = home.client();
        for number in 0..30 {
            client.write_all(&[number; 100]).unwrap();
            let mut back = [0; 100];
            client.read_exact(&mut back).unwrap();
            assert_eq!(back, [number; 100]);
        }
        drop(client);
        assert_eq!(home.end(), End::Finished);
    });
}
