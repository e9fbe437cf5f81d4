//! A plain request allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

use day8::http::{Answered, Handler, Http, HttpError, HttpOptions, Request, Responder, Status};
use day8::{Address, Isolation, Listener, Runtime};
use testing::{DEADLINE, promptly};

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no counter any more.
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller says so.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller says so.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Says how much its thread has allocated.
struct Teller;

impl Handler for Teller {
    async fn handle(
        &self,
        request: Request<'_>,
        responder: Responder<'_>,
    ) -> Result<Answered, HttpError> {
        let response = responder.status(Status::OK).header("Content-Type", "text/plain");
        match request.path() {
            "/count" => response.send(&COUNT.get().to_be_bytes()).await,
            _ => response.send(b"hello").await,
        }
    }
}

/// Asks for this path, and returns the body of the answer, which has so many bytes.
fn ask(stream: &mut TcpStream, path: &str, body: usize) -> Vec<u8> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
    // In one piece: the kernel would hold back a second one until the first is acknowledged.
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut bytes = [0; 1024];
    loop {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0);
        answer.extend_from_slice(&bytes[..count]);
        let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
        if head.is_some_and(|head| answer.len() == head + 4 + body) {
            return answer[answer.len() - body..].to_vec();
        }
    }
}

fn count(stream: &mut TcpStream) -> u64 {
    u64::from_be_bytes(ask(stream, "/count", 8).try_into().unwrap())
}

#[test]
fn a_plain_request_allocates_nothing() {
    let (send, receive) = mpsc::channel();
    let server = thread::spawn(move || {
        let runtime = Runtime::new(Isolation::None).unwrap();
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let Some(Address::Tcp(address)) = listener.address() else { panic!("no address") };
        runtime.serve(listener, Http::new(Teller, HttpOptions::new())).unwrap();
        send.send((address, runtime.shutdown())).unwrap();
        runtime.run().unwrap();
    });
    let (address, shutdown) = receive.recv().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let requests = 2000;
    let round = |stream: &mut TcpStream| {
        (0..requests).for_each(|_| drop(ask(stream, "/hello", 5)));
        count(stream)
    };
    // The first ones make room for all that follow.
    let before = round(&mut stream);
    let after = round(&mut stream);
    drop(stream);
    shutdown.start();
    promptly("the server ends", move || server.join().unwrap());
    // The date is written anew once in a second, which takes an allocation.
    let allocations = after - before;
    println!("allocations for {requests} requests: {allocations}");
    assert!(allocations * 20 < requests, "{allocations} for {requests} requests");
}
