//! The end of a service: what was begun is answered, and nothing else is waited for.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use day8::runtime::Statistics;
use day8::{
    Address, Isolation, Listener, Runtime, RuntimeOptions, Shutdown, Socket, SocketError, echo,
    is_shutting_down, yield_now,
};
use nix::sys::signal::Signal;
use testing::{DEADLINE, Folder, Program, eventually, promptly};

fn client(address: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    BufReader::new(stream)
}

/// Asks for one line; `None` if the service has ended the connection.
fn ask(client: &mut BufReader<TcpStream>, line: &str) -> Option<String> {
    let mut answer = String::new();
    let _ = client.get_mut().write_all(format!("{line}\n").as_bytes());
    match client.read_line(&mut answer) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(answer.trim_end().to_owned()),
    }
}

fn listen(runtime: &Runtime, service: impl day8::Service) -> SocketAddr {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let Some(Address::Tcp(address)) = listener.address() else { panic!("no TCP") };
    runtime.serve(listener, service).unwrap();
    address
}

/// Runs a runtime while `clients` runs, which shuts it down.
fn run(runtime: &Runtime, clients: impl FnOnce(Shutdown) + Send + 'static) -> Statistics {
    let shutdown = runtime.shutdown();
    let stop = runtime.shutdown();
    let clients = thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| clients(shutdown)));
        stop.start();
        result
    });
    runtime.run().unwrap();
    clients.join().unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    runtime.statistics()
}

#[test]
fn under_load_each_request_that_was_begun_is_answered() {
    promptly("it ends", || {
        for round in 0..5 {
            let runtime = Runtime::new(Isolation::None).unwrap();
            let begun = Rc::new(Cell::new(0u64));
            let counted = Rc::clone(&begun);
            let service = move |mut socket: Socket| {
                let counted = Rc::clone(&counted);
                async move {
                    while socket.next_request().await? {
                        let Some(line) = socket.read_line(1_000).await? else { break };
                        let line = line.to_vec();
                        counted.set(counted.get() + 1);
                        // The work of a while: others are served meanwhile, and the shutdown comes.
                        yield_now().await;
                        socket.write_all(&[&line[..], b"\n"].concat()).await?;
                    }
                    Ok::<_, SocketError>(())
                }
            };
            let address = listen(&runtime, service);
            let (tell, told) = mpsc::channel();
            let seen = run(&runtime, move |shutdown| {
                let loops: Vec<_> = (0..16)
                    .map(|number| {
                        let shutdown = shutdown.clone();
                        thread::spawn(move || {
                            let (mut client, mut answers) = (client(address), 0u64);
                            while let Some(answer) = ask(&mut client, "question") {
                                assert_eq!(answer, "question");
                                answers += 1;
                                if number == 7 && answers == 100 + round {
                                    shutdown.start();
                                }
                            }
                            answers
                        })
                    })
                    .collect();
                let answers: u64 = loops.into_iter().map(|one| one.join().unwrap()).sum();
                tell.send(answers).unwrap();
            });
            assert_eq!((told.recv().unwrap(), seen.cut, seen.failed), (begun.get(), 0, 0));
        }
    });
}

thread_local! {
    /// Another client's end, which the first connection to hear of the shutdown writes to.
    static LATE: RefCell<Option<TcpStream>> = const { RefCell::new(None) };
}

#[test]
fn a_request_that_has_come_when_the_shutdown_is_heard_is_answered() {
    promptly("it ends", || {
        let runtime = Runtime::new(Isolation::None).unwrap();
        let (send, receive) = mpsc::channel();
        let service = move |mut socket: Socket| async move {
            while socket.next_request().await? {
                let line = socket.read_line(100).await?.unwrap_or_default().to_vec();
                socket.write_all(&[&line[..], b"\n"].concat()).await?;
            }
            if let Some(mut late) = LATE.take() {
                late.write_all(b"late\n").unwrap();
            }
            Ok::<_, SocketError>(())
        };
        let address = listen(&runtime, service);
        runtime
            .spawn(async move {
                // The second client's end comes over as soon as both clients wait.
                let late = loop {
                    match receive.try_recv() {
                        Ok(late) => break late,
                        Err(_) => day8::sleep(Duration::from_millis(1)).await,
                    }
                };
                LATE.set(Some(late));
                while !is_shutting_down() {
                    day8::sleep(Duration::from_millis(1)).await;
                }
            })
            .unwrap();
        run(&runtime, move |shutdown| {
            let (mut first, mut second) = (client(address), client(address));
            assert_eq!(ask(&mut first, "a").as_deref(), Some("a"));
            assert_eq!(ask(&mut second, "b").as_deref(), Some("b"));
            send.send(second.get_ref().try_clone().unwrap()).unwrap();
            thread::sleep(Duration::from_millis(30));
            shutdown.start();
            let mut answer = String::new();
            second.read_line(&mut answer).unwrap();
            assert_eq!(answer, "late\n");
        });
    });
}

#[test]
fn idle_connections_end_and_are_not_cut_off() {
    promptly("it ends", || {
        let options = RuntimeOptions::new().shutdown_timeout(Duration::from_millis(200));
        let runtime = Runtime::with_options(&options).unwrap();
        let address = listen(&runtime, echo::echo);
        let seen = run(&runtime, move |shutdown| {
            let mut idle: Vec<_> = (0..20).map(|_| client(address)).collect();
            for client in &mut idle {
                assert_eq!(ask(client, "x").as_deref(), Some("Line 1: x"));
            }
            let began = Instant::now();
            shutdown.start();
            // They hear the end, and keep their own ends open.
            for client in &mut idle {
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
            }
            println!("20 idle connections ended within {:?}", began.elapsed());
            thread::sleep(Duration::from_millis(300));
        });
        assert_eq!((seen.accepted, seen.cut), (20, 0));
    });
}

#[test]
fn what_does_not_end_is_cut_off() {
    promptly("it ends", || {
        let options = RuntimeOptions::new().shutdown_timeout(Duration::from_millis(50));
        let runtime = Runtime::with_options(&options).unwrap();
        let dropped = Rc::new(());
        let kept = Rc::clone(&dropped);
        let service = move |mut socket: Socket| {
            let kept = Rc::clone(&kept);
            async move {
                let _kept = kept;
                socket.next_request().await?;
                std::future::pending::<Result<(), SocketError>>().await
            }
        };
        let address = listen(&runtime, service);
        let seen = run(&runtime, move |shutdown| {
            let mut clients: Vec<_> = (0..3).map(|_| client(address)).collect();
            for client in &mut clients {
                client.get_mut().write_all(b"question\n").unwrap();
            }
            thread::sleep(Duration::from_millis(50));
            shutdown.start();
            for client in &mut clients {
                assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
            }
        });
        assert_eq!((seen.cut, seen.ended, runtime.connections()), (3, 3, 0));
        drop(runtime);
        assert_eq!(Rc::strong_count(&dropped), 1, "the connections were not dropped");
    });
}

#[test]
fn a_shutdown_may_come_before_or_twice_or_from_within() {
    promptly("they end", || {
        for times in 1..=2 {
            let runtime = Runtime::new(Isolation::None).unwrap();
            let address = listen(&runtime, echo::echo);
            (0..times).for_each(|_| runtime.shutdown().start());
            runtime.run().unwrap();
            assert!(TcpStream::connect(address).is_err(), "it still listens");
            // It is over for good.
            runtime.run().unwrap();
        }
        let runtime = Runtime::new(Isolation::None).unwrap();
        let (listener, connector) = Listener::channel();
        runtime.serve(listener, echo::echo).unwrap();
        let shutdown = runtime.shutdown();
        let seen = runtime.block_on(async move {
            let mut socket = connector.connect().await?;
            socket.write_all(b"begun\n").await?;
            socket.flush().await?;
            shutdown.start();
            let mut seen = socket.read_line(100).await?.unwrap().to_vec();
            assert!(socket.read_line(100).await?.is_none());
            while !is_shutting_down() {
                yield_now().await;
            }
            seen.push(u8::from(connector.connect().await.is_err()));
            Ok::<_, SocketError>(seen)
        });
        assert_eq!(seen.unwrap().unwrap(), b"Line 1: begun\x01");
    });
}

#[test]
fn a_shutdown_may_have_all_the_time_there_is() {
    promptly("it ends", || {
        let options = RuntimeOptions::new().shutdown_timeout(Duration::MAX);
        let runtime = Runtime::with_options(&options).unwrap();
        let address = listen(&runtime, echo::echo);
        let seen = run(&runtime, move |shutdown| {
            let mut half = client(address);
            // A connection that was not accepted yet would be refused.
            assert_eq!(ask(&mut half, "x").as_deref(), Some("Line 1: x"));
            half.get_mut().write_all(b"ha").unwrap();
            shutdown.start();
            assert_eq!(ask(&mut half, "lf").as_deref(), Some("Line 2: half"));
        });
        assert_eq!((seen.accepted, seen.cut), (1, 0));
    });
}

#[test]
fn a_service_goes_on_if_nobody_reads_what_it_prints() {
    let folder = Folder::new();
    let path = folder.join("socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_day8-echo"));
    command.arg("--listen").arg(format!("unix:{}", path.display()));
    let full = File::options().write(true).open("/dev/full").unwrap();
    let program = Program::start_printing_to(&mut command, full);
    let mut connected = None;
    eventually("it listens", || {
        connected = UnixStream::connect(&path).ok();
        connected.is_some()
    });
    drop(connected);
    program.signal(Signal::SIGTERM);
    program.finish().well();
}

#[test]
fn the_program_ends_at_sigterm_and_answers_what_was_begun() {
    for isolation in ["none", "mprotect"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_day8-echo"));
        command.args(["--listen", "127.0.0.1:0", "--isolation", isolation]);
        let mut program = Program::start(&mut command);
        let line = program.line("listening on");
        let address = line.strip_prefix("listening on ").unwrap().parse().unwrap();
        let (mut idle, mut half) = (client(address), client(address));
        assert_eq!(ask(&mut idle, "x").as_deref(), Some("Line 1: x"));
        half.get_mut().write_all(b"ha").unwrap();
        assert_eq!(ask(&mut idle, "y").as_deref(), Some("Line 2: y"));
        program.signal(Signal::SIGTERM);
        assert_eq!(idle.read(&mut [0]).unwrap(), 0);
        assert_eq!(ask(&mut half, "lf").as_deref(), Some("Line 1: half"));
        drop((idle, half));
        let lines = program.finish().well();
        assert!(lines.last().unwrap().contains("cut off: 0"), "{lines:?}");
    }
}
