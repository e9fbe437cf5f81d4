//! What clients, kernels and handlers do to a service that is written well.

mod kit;

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use common::sync::{AtomicU64, Ordering};
use day8::listener::BindError;
use day8::runtime::Statistics;
use day8::{
    Address, Isolation, Listener, Runtime, RuntimeOptions, Service, Socket, SocketError, echo,
};
use kit::both_isolations;
use nix::libc::linger;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};
use testing::{DEADLINE, Folder, Program, another, eventually, promptly};

fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Asks for one line.
fn ask(mut stream: &TcpStream, line: &str) -> String {
    writeln!(stream, "{line}").unwrap();
    answer(stream)
}

fn answer(stream: &TcpStream) -> String {
    let mut answer = String::new();
    let mut byte = [0];
    while (&*stream).read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        answer.push(char::from(byte[0]));
    }
    answer
}

/// Whether the other end has ended this connection, with or without a reset.
fn is_ended(stream: impl Read) -> bool {
    /// More than any service here has to say.
    const MOST: u64 = 1 << 20;
    let mut rest = Vec::new();
    match stream.take(MOST).read_to_end(&mut rest) {
        Ok(len) if len as u64 == MOST => false,
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Runs a service over TCP, on a thread of its own, while `clients` runs; what the runtime has seen.
fn serve<S: Service>(
    options: RuntimeOptions,
    service: impl FnOnce() -> S + Send + 'static,
    clients: impl FnOnce(SocketAddr) + Send + 'static,
) -> Statistics {
    promptly("the service ends", move || {
        let runtime = Runtime::with_options(&options).unwrap();
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let Some(Address::Tcp(address)) = listener.address() else { panic!("no TCP") };
        runtime.serve(listener, service()).unwrap();
        let shutdown = runtime.shutdown();
        let clients = thread::spawn(move || {
            let result =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| clients(address)));
            shutdown.start();
            result
        });
        runtime.run().unwrap();
        clients.join().unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        runtime.statistics()
    })
}

fn options() -> RuntimeOptions {
    RuntimeOptions::new().shutdown_timeout(Duration::from_secs(5))
}

// ---- Descriptors and connections run out

#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_with_few_descriptors() {
    setrlimit(Resource::RLIMIT_NOFILE, 32, 32).unwrap();
    let runtime = Runtime::new(Isolation::None).unwrap();
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    println!("\nlistening on {}", listener.address().unwrap());
    runtime.serve(listener, echo::echo).unwrap();
    let shutdown = runtime.shutdown();
    thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        shutdown.start();
    });
    runtime.run().unwrap();
    println!("short: {}", runtime.statistics().short > 0);
}

#[test]
fn a_service_without_descriptors_accepts_again_when_one_is_free() {
    let mut command: Command = another("child_with_few_descriptors");
    let mut program = Program::start(command.stdin(Stdio::piped()));
    let address: SocketAddr =
        program.line("listening on").strip_prefix("listening on ").unwrap().parse().unwrap();
    let mut clients: Vec<TcpStream> = (0..60).map(|_| client(address)).collect();
    // The first ones were accepted: they go on as if nothing were the matter, again and again.
    for round in 1..=3 {
        for first in &clients[..10] {
            assert_eq!(ask(first, "here"), format!("Line {round}: here"));
        }
    }
    // The others wait. Each that goes lets another one in.
    for waiting in &mut clients[10..] {
        writeln!(waiting, "waited").unwrap();
    }
    while clients.len() > 10 {
        let done = clients.remove(10);
        assert_eq!(answer(&done), "Line 1: waited");
        drop(done);
        assert_eq!(ask(&clients[0], "still here").split(": ").last(), Some("still here"));
    }
    drop(clients);
    drop(program);
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let seen = serve(
        options().connections(3),
        || echo::echo,
        |address| {
            let mut clients: Vec<_> = (0..12).map(|_| client(address)).collect();
            for client in &mut clients {
                writeln!(client, "hello").unwrap();
            }
            while !clients.is_empty() {
                let first = clients.remove(0);
                assert_eq!(answer(&first), "Line 1: hello");
            }
        },
    );
    assert_eq!((seen.accepted, seen.failed), (12, 0));
}

#[test]
fn listeners_share_the_limit_of_their_runtime() {
    promptly("it ends", || {
        let runtime = Runtime::with_options(&options().connections(1)).unwrap();
        let (now, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let mut addresses = Vec::new();
        for _ in 0..3 {
            let (now, most) = (Rc::clone(&now), Rc::clone(&most));
            let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
            addresses.push(listener.address().unwrap());
            let counted = move |socket| {
                let (now, most) = (Rc::clone(&now), Rc::clone(&most));
                async move {
                    now.set(now.get() + 1);
                    most.set(most.get().max(now.get()));
                    let served = echo::echo(socket).await;
                    now.set(now.get() - 1);
                    served
                }
            };
            runtime.serve(listener, counted).unwrap();
        }
        let answers = runtime.block_on(async move {
            let mut clients = Vec::new();
            for address in &addresses {
                let mut client = Socket::connect(address).await?;
                client.write_all(b"hello\n").await?;
                client.flush().await?;
                clients.push(client);
            }
            let mut answers = Vec::new();
            for mut client in clients {
                answers.push(client.read_line(100).await?.unwrap().to_vec());
            }
            Ok::<_, SocketError>(answers)
        });
        assert_eq!(answers.unwrap().unwrap(), [b"Line 1: hello"; 3]);
        assert_eq!(most.get(), 1);
    });
}

// ---- Handlers that panic

struct Trap;

impl Drop for Trap {
    fn drop(&mut self) {
        panic!("the trap");
    }
}

/// Panics where the client says.
async fn moody(mut socket: Socket) -> Result<(), SocketError> {
    let mut _trap = None;
    while let Some(line) = socket.read_line(100).await? {
        match line {
            b"panic" => panic!("it was asked to"),
            b"trap" => _trap = Some(Trap),
            b"end" => return Ok(()),
            line => {
                let line = line.to_vec();
                socket.write_all(&line).await?;
                socket.write_all(b"\n").await?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_handler_that_panics_ends_its_connection_alone() {
    for isolation in both_isolations() {
        let seen = serve(
            options().isolation(isolation),
            || moody,
            |address| {
                let witness = client(address);
                for word in ["panic", "trap\nend"] {
                    for _ in 0..3 {
                        let mut victim = client(address);
                        assert_eq!(ask(&victim, "hello"), "hello");
                        writeln!(victim, "{word}").unwrap();
                        assert!(is_ended(victim));
                        assert_eq!(ask(&witness, "still here"), "still here");
                    }
                }
            },
        );
        assert_eq!((seen.accepted, seen.ended, seen.panicked), (7, 7, 6));
    }
}

/// Panics in the call itself, before there is a future, the first few times.
struct Sudden(std::cell::Cell<u32>);

impl Service for Sudden {
    fn serve(
        self: std::rc::Rc<Self>,
        socket: Socket,
    ) -> impl Future<Output = Result<(), SocketError>> + 'static {
        self.0.set(self.0.get() + 1);
        assert!(self.0.get() > 3, "not yet");
        echo::echo(socket)
    }
}

#[test]
fn a_handler_that_panics_before_its_first_wait_ends_its_connection_alone() {
    let seen = serve(
        options(),
        || Sudden(0.into()),
        |address| {
            for _ in 0..3 {
                assert!(is_ended(client(address)));
            }
            assert_eq!(ask(&client(address), "at last"), "Line 1: at last");
        },
    );
    assert_eq!((seen.accepted, seen.panicked), (4, 3));
}

// ---- Clients

#[test]
fn half_a_request_ends_after_the_idle_time_and_a_silent_client_too() {
    let idle = Some(Duration::from_millis(50));
    let seen = serve(
        options().idle_timeout(idle),
        || echo::echo,
        |address| {
            let mut half = client(address);
            half.write_all(b"hal").unwrap();
            assert!(is_ended(half));
            assert!(is_ended(client(address)));
        },
    );
    // Silence between requests is no failure.
    assert_eq!((seen.ended, seen.failed), (2, 1));
}

/// Writes for ever, and counts the clients that it had to let go.
fn firehose(let_go: Arc<AtomicU64>) -> impl Service {
    move |mut socket: Socket| {
        let let_go = Arc::clone(&let_go);
        async move {
            loop {
                let written = socket.write_all(&[7; 50_000]).await;
                if matches!(written, Err(SocketError::TimedOut { to_write: true, .. })) {
                    let_go.fetch_add(1, Ordering::Relaxed);
                }
                written?;
            }
        }
    }
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn clients_that_never_read_take_bounded_memory_and_are_let_go() {
    const CLIENTS: usize = 50;
    let before = resident();
    let idle = Some(Duration::from_millis(300));
    let let_go = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&let_go);
    let service = move || firehose(counted);
    let seen = serve(options().idle_timeout(idle), service, move |address| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| client(address)).collect();
        thread::sleep(Duration::from_millis(100));
        let each = resident().saturating_sub(before) / CLIENTS as u64;
        println!("resident for each client that never reads: {each} bytes");
        assert!(each < 1 << 20, "{each} bytes for each client");
        // They do not read now either: a client that reads is not let go, and is sent more for ever.
        let all = CLIENTS as u64;
        eventually("they are let go", || let_go.load(Ordering::Relaxed) == all);
        drop(clients);
    });
    assert_eq!((seen.accepted, seen.failed), (CLIENTS as u64, CLIENTS as u64));
}

#[test]
fn an_echo_whose_client_sends_and_never_reads_stands_still() {
    let idle = Some(Duration::from_millis(300));
    let seen = serve(
        options().idle_timeout(idle),
        || echo::echo,
        |address| {
            let mut flood = client(address);
            flood.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            let line = [&[b'x'; 999][..], b"\n"].concat();
            let before = resident();
            let mut sent = 0;
            while let Ok(count) = flood.write(&line) {
                sent += count;
                // Kernels hold some megabytes; a service that took all of it in would never stop.
                assert!(sent < 1 << 30, "it takes everything");
            }
            println!("a client that never reads has sent {sent} bytes");
            // Other tests of this process run beside it.
            assert!(resident().saturating_sub(before) < 64 << 20);
            assert_eq!(ask(&client(address), "others"), "Line 1: others");
        },
    );
    assert_eq!(seen.accepted, 2);
}

#[test]
fn resets_at_any_time_harm_nobody_else() {
    let seen = serve(
        options(),
        || echo::echo,
        |address| {
            let witness = client(address);
            for round in 0..200 {
                let mut gone = client(address);
                if round % 2 == 0 {
                    let _ = gone.write_all(b"one\ntwo\nhal");
                }
                let now = linger { l_onoff: 1, l_linger: 0 };
                setsockopt(&gone.as_fd(), sockopt::Linger, &now).unwrap();
                drop(gone);
            }
            assert_eq!(ask(&witness, "still here"), "Line 1: still here");
        },
    );
    assert_eq!(seen.panicked, 0);
    assert_eq!(seen.short, 0);
}

#[test]
fn a_last_answer_is_read_also_by_a_client_that_sends_on() {
    let seen = serve(
        options(),
        || echo::echo,
        |address| {
            let mut client = client(address);
            let long = vec![b'x'; echo::MOST_LINE + 100_000];
            client.write_all(&long).unwrap();
            let mut said = String::new();
            BufReader::new(&client).read_line(&mut said).unwrap();
            assert!(said.contains(&echo::MOST_LINE.to_string()), "{said}");
        },
    );
    assert_eq!(seen.failed, 0);
}

// ---- Paths

fn bind(path: &std::path::Path) -> Result<Listener, BindError> {
    Listener::bind(&Address::Unix(path.into()))
}

#[test]
fn a_path_is_taken_only_from_the_dead() {
    let folder = Folder::new();
    let path = folder.join("socket");
    // A file is not touched.
    fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&path), Err(BindError::NotASocket { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();
    // Nor is a link, wherever it leads.
    std::os::unix::fs::symlink(folder.join("nowhere"), &path).unwrap();
    assert!(matches!(bind(&path), Err(BindError::NotASocket { .. })));
    fs::remove_file(&path).unwrap();
    // A service that lives keeps its socket.
    let living = bind(&path).unwrap();
    assert!(matches!(bind(&path), Err(BindError::Taken { .. })));
    drop(living);
    assert!(!path.exists(), "the file goes with the listener");
    // One that has died leaves a file.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(bind(&path).unwrap());
    assert!(bind(&folder.join("no/such/folder")).is_err());
    assert!(bind(&folder.join(&"x".repeat(200))).is_err());
}

/// One of them has it, and keeps it: the others do not remove its new socket for the dead one's.
#[test]
fn a_dead_services_path_goes_to_one_of_many_that_want_it() {
    const MANY: usize = 4;
    promptly("each has an answer", || {
        for kind in [Address::Unix, Address::Ring] {
            for _ in 0..20 {
                let folder = Folder::new();
                let path = folder.join("socket");
                drop(UnixListener::bind(&path).unwrap());
                let (begin, end) = (Arc::new(Barrier::new(MANY)), Arc::new(Barrier::new(MANY)));
                let wanting: [_; MANY] = std::array::from_fn(|_| {
                    let (begin, end) = (Arc::clone(&begin), Arc::clone(&end));
                    let path = path.clone();
                    thread::spawn(move || {
                        begin.wait();
                        let bound = Listener::bind(&kind(path.clone()));
                        end.wait();
                        let is_there = path.exists();
                        end.wait();
                        assert!(is_there, "the winner's socket is gone");
                        match bound {
                            Ok(_) => true,
                            Err(BindError::Taken { .. }) => false,
                            Err(error) => panic!("{error}"),
                        }
                    })
                });
                let won =
                    wanting.into_iter().filter_map(|thread| thread.join().unwrap().then_some(()));
                assert_eq!(won.count(), 1, "{:?}", kind(path));
            }
        }
    });
}

#[test]
fn a_listener_removes_no_successors_file() {
    let folder = Folder::new();
    let path = folder.join("socket");
    let first = bind(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let _second = bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
}

#[test]
fn a_path_whose_service_is_too_busy_to_accept_is_taken() {
    promptly("it is not waited for", || {
        let folder = Folder::new();
        let path = folder.join("socket");
        let _busy = UnixListener::bind(&path).unwrap();
        // Its queue is filled: another connection would wait.
        let mut waiting = Vec::new();
        loop {
            let socket = nix::sys::socket::socket(
                nix::sys::socket::AddressFamily::Unix,
                nix::sys::socket::SockType::Stream,
                nix::sys::socket::SockFlag::SOCK_NONBLOCK,
                None,
            );
            let socket = UnixStream::from(socket.unwrap());
            let address = nix::sys::socket::UnixAddr::new(&path).unwrap();
            let raw = std::os::fd::AsRawFd::as_raw_fd(&socket);
            let connected = nix::sys::socket::connect(raw, &address);
            waiting.push(socket);
            if connected.is_err() {
                break;
            }
        }
        assert!(matches!(bind(&path), Err(BindError::Taken { .. })));
    });
}

#[test]
fn an_address_that_is_taken_is_taken() {
    let first = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let again = Listener::bind(&first.address().unwrap());
    assert!(matches!(again, Err(BindError::Taken { .. })), "{again:?}");
}

#[test]
fn clients_that_come_all_at_once_find_room_in_the_queue() {
    /// More than the queues of ordinary servers hold.
    const CLIENTS: usize = 500;
    // Nobody accepts yet. A client that finds no room would wait for as long as this does.
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let Some(Address::Tcp(address)) = listener.address() else { panic!("no TCP") };
    let wait = |_| TcpStream::connect_timeout(&address, DEADLINE / 20);
    let waiting: Result<Vec<_>, _> = (0..CLIENTS).map(wait).collect();
    assert!(waiting.is_ok(), "the kernel's queue is too short: {waiting:?}");
}
