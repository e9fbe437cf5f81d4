//! HTTP/1.1, byte for byte.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{Shutdown as Half, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use day8::http::{Answered, Handler, Http, HttpError, HttpOptions, Request, Responder, Status};
use day8::{
    Address, Connector, Isolation, Listener, Runtime, RuntimeOptions, Shutdown, Socket, SocketError,
};
use testing::{DEADLINE, Dice, number_from_environment, promptly};

/// Does what each path says.
#[derive(Default)]
struct Tester {
    shutdown: Option<Shutdown>,
    failed: Rc<Cell<bool>>,
}

impl Tester {
    async fn echo(
        request: Request<'_>,
        mut responder: Responder<'_>,
    ) -> Result<Answered, HttpError> {
        let mut body = request.body(&mut responder).await?;
        let mut all = Vec::new();
        while let Some(bytes) = body.read().await? {
            all.extend_from_slice(bytes);
        }
        responder.status(Status::OK).send(&all).await
    }

    async fn fail_midway(
        request: Request<'_>,
        mut responder: Responder<'_>,
    ) -> Result<Answered, HttpError> {
        let mut body = request.body(&mut responder).await?;
        let mut stream = responder.status(Status::OK).stream().await?;
        stream.write(b"so far ").await?;
        while let Some(bytes) = body.read().await? {
            stream.write(bytes).await?;
        }
        stream.finish().await
    }

    async fn pour(&self, responder: Responder<'_>) -> Result<Answered, HttpError> {
        let mut stream = responder.status(Status::OK).stream().await?;
        loop {
            if let Err(error) = stream.write(&[b'x'; 4096]).await {
                self.failed.set(true);
                return Err(error);
            }
        }
    }

    async fn about(request: Request<'_>, responder: Responder<'_>) -> Result<Answered, HttpError> {
        let head = request.head();
        let host = head.host().map(|host| host.as_str());
        let names: Vec<_> = head.headers().map(|(name, _)| name).collect();
        let text = format!(
            "{} {} {:?} {host:?} {:?} {names:?}",
            head.method(),
            head.path(),
            head.query(),
            head.header("x-test").map(String::from_utf8_lossy)
        );
        responder.status(Status::OK).send(text.as_bytes()).await
    }
}

impl Handler for Tester {
    async fn handle(
        &self,
        request: Request<'_>,
        responder: Responder<'_>,
    ) -> Result<Answered, HttpError> {
        match request.path() {
            "/echo" => Self::echo(request, responder).await,
            "/about" | "*" | "/" => Self::about(request, responder).await,
            "/midway" => Self::fail_midway(request, responder).await,
            "/pour" => self.pour(responder).await,
            "/stream" => {
                let mut stream =
                    responder.status(Status::OK).header("X", "a\r\nb").stream().await?;
                stream.write(b"one ").await?;
                stream.write(b"").await?;
                stream.write(b"and another").await?;
                stream.finish().await
            }
            "/nothing" => responder.status(Status::NO_CONTENT).send(b"never sent").await,
            "/large" => responder.status(Status::OK).send(&[b'l'; 40_000]).await,
            "/panic" => panic!("as it was told"),
            "/stop" => {
                self.shutdown.as_ref().unwrap().start();
                while !day8::is_shutting_down() {
                    day8::yield_now().await;
                }
                responder.status(Status::OK).send(b"stopping").await
            }
            _ => responder.status(Status::OK).send(b"hello").await,
        }
    }
}

fn options() -> HttpOptions {
    HttpOptions::new().most_body(1000).most_unread(100).most_head(2048)
}

/// What a server answers to these pieces, which it sees one after the other. Dates become stars.
async fn talk(connector: &Connector, pieces: &[&[u8]]) -> String {
    let mut socket = connector.connect().await.unwrap();
    for piece in pieces {
        // The server may have closed the connection already: it has answered then.
        let _ = socket.write_all(piece).await;
        let _ = socket.flush().await;
        // The others run before this one goes on.
        for _ in 0..3 {
            day8::yield_now().await;
        }
    }
    let _ = socket.finish().await;
    without_dates(&everything(&mut socket).await)
}

async fn everything(socket: &mut Socket) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        all.extend_from_slice(socket.buffered());
        socket.consume(usize::MAX);
        match socket.fill().await {
            Ok(0) | Err(_) => return all,
            Ok(_) => {}
        }
    }
}

fn without_dates(answer: &[u8]) -> String {
    let answer = String::from_utf8_lossy(answer);
    let mut out = String::new();
    for line in answer.split_inclusive("\r\n") {
        match line.strip_prefix("Date: ") {
            Some(date) => {
                httpdate::parse_http_date(date.trim_end()).unwrap();
                out += "Date: *\r\n";
            }
            None => out += line,
        }
    }
    out
}

/// Runs this beside a server.
fn beside<T: 'static, F: Future<Output = T> + 'static>(
    isolation: Isolation,
    client: impl FnOnce(Connector) -> F,
) -> T {
    let runtime = Runtime::new(isolation).unwrap();
    let (listener, connector) = Listener::channel();
    runtime.serve(listener, Http::new(Tester::default(), options())).unwrap();
    runtime.block_on(client(connector)).unwrap()
}

fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nDate: *\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

fn hello() -> String {
    ok("", "hello")
}

/// A refusal, after which the connection is closed.
fn refused(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\n")
}

const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: h\r\n\r\n";

/// What is sent, and what comes back, to the byte.
type Script = Vec<(String, String)>;

fn conversations() -> Script {
    [plain(), bodies(), streams(), unread_bodies(), targets()].concat()
}

fn plain() -> Script {
    vec![
        (String::new(), String::new()),
        (HELLO.into(), hello()),
        (HELLO.repeat(3), hello().repeat(3)),
        (format!("\r\n\r\n{HELLO}\r\n{HELLO}"), hello().repeat(2)),
        ("GET /hello HTTP/1.0\r\n\r\n".to_owned() + HELLO, ok("Connection: close\r\n", "hello")),
        (
            "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned() + HELLO,
            ok("Connection: keep-alive\r\n", "hello") + &hello(),
        ),
        (
            "GET /hello HTTP/1.1\r\nHost: h\r\nConnection: x, close\r\n\r\n".to_owned() + HELLO,
            ok("Connection: close\r\n", "hello"),
        ),
        (
            "HEAD /hello HTTP/1.1\r\nHost: h\r\n\r\n".to_owned() + HELLO,
            "HTTP/1.1 200 OK\r\nDate: *\r\nContent-Length: 5\r\n\r\n".to_owned() + &hello(),
        ),
        (
            "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n".to_owned() + HELLO,
            "HTTP/1.1 204 No Content\r\nDate: *\r\n\r\n".to_owned() + &hello(),
        ),
    ]
}

fn bodies() -> Script {
    let post =
        |fields: &str, body: &str| format!("POST /echo HTTP/1.1\r\nHost: h\r\n{fields}\r\n{body}");
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        // Bodies.
        (post("Content-Length: 5\r\n", "abcde") + HELLO, ok("", "abcde") + &hello()),
        (post("Content-Length: 0\r\n", "") + HELLO, ok("", "") + &hello()),
        (post("", "") + HELLO, ok("", "") + &hello()),
        (
            post(chunked, "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n") + HELLO,
            ok("", "abcde") + &hello(),
        ),
        (
            post("Content-Length: 5\r\nExpect: 100-continue\r\n", "abcde") + HELLO,
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned() + &ok("", "abcde") + &hello(),
        ),
        (
            post("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n", "1\r\na\r\n0\r\n\r\n"),
            "HTTP/1.1 100 Continue\r\n\r\n".to_owned() + &ok("", "a"),
        ),
    ]
}

fn streams() -> Script {
    let stream = "HTTP/1.1 200 OK\r\nDate: *\r\nX: a  b\r\n";
    vec![
        // Streams.
        (
            "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n".to_owned() + HELLO,
            format!(
                "{stream}Transfer-Encoding: chunked\r\n\r\n4\r\none \r\nb\r\nand another\r\n0\r\n\r\n"
            ) + &hello(),
        ),
        (
            "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned() + HELLO,
            format!("{stream}Connection: close\r\n\r\none and another"),
        ),
        (
            "HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n".to_owned() + HELLO,
            format!("{stream}Transfer-Encoding: chunked\r\n\r\n") + &hello(),
        ),
    ]
}

fn unread_bodies() -> Script {
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        // What the handler does not read is thrown away, if it is not too much.
        (
            "POST /hello HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n".to_owned()
                + &"x".repeat(100)
                + HELLO,
            hello().repeat(2),
        ),
        (
            "POST /hello HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n".to_owned()
                + &"x".repeat(101)
                + HELLO,
            ok("Connection: close\r\n", "hello"),
        ),
        (
            format!("POST /hello HTTP/1.1\r\nHost: h\r\n{chunked}\r\n3\r\nabc\r\n0\r\n\r\n{HELLO}"),
            hello().repeat(2),
        ),
        (
            format!(
                "POST /hello HTTP/1.1\r\nHost: h\r\n{chunked}\r\nc8\r\n{}\r\n0\r\n\r\n{HELLO}",
                "x".repeat(200)
            ),
            hello(),
        ),
        (
            "POST /hello HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
                .to_owned()
                + HELLO,
            ok("Connection: close\r\n", "hello"),
        ),
    ]
}

fn targets() -> Script {
    let about = |text: &str| ok("", text);
    vec![
        // Targets.
        (
            "GET /about?a=b HTTP/1.1\r\nHost: h:1\r\nX-Test:  v \r\n\r\n".into(),
            about(r#"GET /about Some("a=b") Some("h:1") Some("v") ["Host", "X-Test"]"#),
        ),
        (
            "GET http://other/about HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            about(r#"GET /about None Some("other") None ["Host"]"#),
        ),
        ("GET http://other HTTP/1.1\r\nHost: h\r\n\r\n".into(), about(r#"GET / None Some("other") None ["Host"]"#)),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".into(), about(r#"OPTIONS * None Some("h") None ["Host"]"#)),
        // An answer that has begun, and cannot go on.
        (
            "POST /midway HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nx\r\n".to_owned() + HELLO,
            "HTTP/1.1 200 OK\r\nDate: *\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nso far \r\n1\r\na\r\n".into(),
        ),
    ]
}

/// What is refused, and how. After each of these comes a request that must not be answered.
fn refusals() -> Script {
    let with = |fields: &str| format!("POST /echo HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let bad = "400 Bad Request";
    let mut all = vec![
        ("GARBAGE\r\n".to_owned(), bad),
        ("GET / HTTP/1.1\r\n\r\n".into(), bad),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n".into(), "505 HTTP Version Not Supported"),
        ("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n".into(), "501 Not Implemented"),
        ("GET / HTTP/1.1\nHost: h\n\n".into(), bad),
        ("POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), bad),
        (with("Transfer-Encoding: gzip, chunked\r\n"), "501 Not Implemented"),
        (with("Transfer-Encoding: chunked\r\n") + "5\r\nabc", bad),
        (with("Transfer-Encoding: chunked\r\n") + "+3\r\nabc\r\n0\r\n\r\n", bad),
        (with("Transfer-Encoding: chunked\r\n") + "3\nabc\r\n0\r\n\r\n", bad),
        (with("Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\n", bad),
        (with("Content-Length: 1001\r\n"), "413 Content Too Large"),
        (with("Content-Length: 99999999999999999999999999\r\n"), "413 Content Too Large"),
        (
            with("Transfer-Encoding: chunked\r\n") + "3e9\r\n" + &"x".repeat(1001),
            "413 Content Too Large",
        ),
        (with(&format!("X: {}\r\n", "x".repeat(2048))), "431 Request Header Fields Too Large"),
        (with(&"X: y\r\n".repeat(100)), "431 Request Header Fields Too Large"),
        (format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(2048)), "414 URI Too Long"),
        (with("Content-Length: 3\r\nExpect: more\r\n"), "417 Expectation Failed"),
    ];
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -3\r\n",
        "Content-Length : 3\r\n",
        "Host: i\r\n",
        "X: y\r\n z\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ] {
        all.push((with(fields) + "abc", bad));
    }
    all.into_iter().map(|(sent, status)| (sent + HELLO, refused(status))).collect()
}

/// Whether an answer is what was expected: all of it, or, where it is refused, one answer of that status.
fn is_as_expected(answer: &str, expected: &str) -> bool {
    if expected.matches("\r\n").count() != 1 {
        return answer == expected;
    }
    answer.starts_with(expected)
        && answer.contains("\r\nConnection: close\r\n")
        && answer.matches("HTTP/1.1 ").count() == 1
}

async fn hold_all(connector: Connector) {
    for (sent, expected) in conversations().into_iter().chain(refusals()) {
        let answer = talk(&connector, &[sent.as_bytes()]).await;
        assert!(is_as_expected(&answer, &expected), "{sent:?}\n{answer:?}\n{expected:?}");
    }
}

#[test]
fn conversations_are_held_byte_for_byte() {
    beside(Isolation::None, hold_all);
}

#[test]
fn conversations_are_held_in_closed_heaps() {
    beside(Isolation::Mprotect, hold_all);
}

#[test]
fn a_conversation_that_is_cut_anywhere_is_the_same() {
    beside(Isolation::None, async |connector| {
        for (sent, expected) in conversations().into_iter().chain(refusals()) {
            let sent = sent.as_bytes();
            let whole = talk(&connector, &[sent]).await;
            assert!(is_as_expected(&whole, &expected));
            for cut in 1..sent.len() {
                let (one, other) = sent.split_at(cut);
                let answer = talk(&connector, &[one, other]).await;
                assert_eq!(answer, whole, "cut at {cut}: {:?}", String::from_utf8_lossy(sent));
            }
            let bytes: Vec<_> = sent.chunks(1).collect();
            assert_eq!(talk(&connector, &bytes).await, whole, "byte by byte");
        }
    });
}

#[test]
fn a_conversation_that_ends_anywhere_ends() {
    beside(Isolation::None, async |connector| {
        for (sent, _) in conversations() {
            let whole = talk(&connector, &[sent.as_bytes()]).await;
            for end in 0..sent.len() {
                let answer = talk(&connector, &[&sent.as_bytes()[..end]]).await;
                assert!(whole.starts_with(&answer), "{:?}: {answer:?}", &sent[..end]);
            }
        }
    });
}

#[test]
fn pipelined_answers_leave_together() {
    beside(Isolation::None, async |connector| {
        let mut socket = connector.connect().await.unwrap();
        socket.write_all(HELLO.repeat(16).as_bytes()).await.unwrap();
        socket.flush().await.unwrap();
        assert_eq!(
            socket.fill().await.unwrap(),
            hello().len() * 16 + 16 * "Sun, 06 Nov 1994 08:49:37 GMT".len() - 16
        );
    });
}

#[test]
fn a_long_answer_comes_whole() {
    beside(Isolation::None, async |connector| {
        let large = "GET /large HTTP/1.1\r\nHost: h\r\n\r\n";
        let answer = talk(&connector, &[large.repeat(5).as_bytes(), HELLO.as_bytes()]).await;
        assert_eq!(answer, ok("", &"l".repeat(40_000)).repeat(5) + &hello());
    });
}

#[test]
fn a_client_that_waits_to_be_asked_is_asked() {
    beside(Isolation::None, async |connector| {
        let mut socket = connector.connect().await.unwrap();
        let head =
            "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.flush().await.unwrap();
        assert_eq!(socket.read_line(100).await.unwrap().unwrap(), b"HTTP/1.1 100 Continue");
        assert_eq!(socket.read_line(100).await.unwrap().unwrap(), b"");
        socket.write_all(b"abcde").await.unwrap();
        socket.finish().await.unwrap();
        assert_eq!(without_dates(&everything(&mut socket).await), ok("", "abcde"));
    });
}

#[test]
fn half_a_head_is_not_waited_for_for_ever() {
    let runtime = Runtime::new(Isolation::None).unwrap();
    let (listener, connector) = Listener::channel();
    let options = options().head_timeout(Duration::from_millis(20));
    runtime.serve(listener, Http::new(Tester::default(), options)).unwrap();
    let client = async move {
        let mut socket = connector.connect().await.unwrap();
        // A silent client is not refused: it has not begun.
        day8::sleep(Duration::from_millis(40)).await;
        socket.write_all(HELLO.as_bytes()).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        socket.flush().await.unwrap();
        without_dates(&everything(&mut socket).await)
    };
    let answer = runtime.block_on(client).unwrap();
    assert!(answer.starts_with(&(hello() + &refused("408 Request Timeout"))), "{answer}");
}

#[test]
fn a_client_that_never_reads_is_let_go() {
    let failed = Rc::new(Cell::new(false));
    let options_of_runtime = RuntimeOptions::new().idle_timeout(Some(Duration::from_millis(50)));
    let runtime = Runtime::with_options(&options_of_runtime).unwrap();
    let (listener, connector) = Listener::channel();
    let tester = Tester { failed: Rc::clone(&failed), shutdown: None };
    runtime.serve(listener, Http::new(tester, options())).unwrap();
    let client = async move {
        let mut socket = connector.connect().await.unwrap();
        socket.write_all(b"GET /pour HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        socket.flush().await.unwrap();
        let started = Instant::now();
        while !failed.get() {
            assert!(started.elapsed() < DEADLINE, "it is still served");
            day8::sleep(Duration::from_millis(5)).await;
        }
    };
    runtime.block_on(client).unwrap();
}

#[test]
fn a_handler_that_panics_ends_its_connection_alone() {
    beside(Isolation::None, async |connector| {
        let mut other = connector.connect().await.unwrap();
        other.write_all(HELLO.as_bytes()).await.unwrap();
        other.flush().await.unwrap();
        let panics = format!("GET /panic HTTP/1.1\r\nHost: h\r\n\r\n{HELLO}");
        assert_eq!(talk(&connector, &[panics.as_bytes()]).await, "");
        other.write_all(HELLO.as_bytes()).await.unwrap();
        other.finish().await.unwrap();
        assert_eq!(without_dates(&everything(&mut other).await), hello().repeat(2));
    });
}

#[test]
fn a_shutdown_loses_no_answer() {
    let runtime = Runtime::new(Isolation::None).unwrap();
    let (listener, connector) = Listener::channel();
    let tester = Tester { shutdown: Some(runtime.shutdown()), ..Tester::default() };
    runtime.serve(listener, Http::new(tester, options())).unwrap();
    let said = Rc::new(Cell::new(String::new()));
    let (answers, stop) = (Rc::clone(&said), "GET /stop HTTP/1.1\r\nHost: h\r\n\r\n");
    let client = async move {
        answers.set(talk(&connector, &[(HELLO.to_owned() + stop + HELLO).as_bytes()]).await);
    };
    let _running = runtime.spawn(client).unwrap();
    runtime.run().unwrap();
    // What had come is answered, and the last answer says that it is the last.
    assert_eq!(said.take(), hello() + &ok("", "stopping") + &ok("Connection: close\r\n", "hello"));
}

/// A server over TCP, in a thread of its own; it ends with what this returns.
fn over_tcp() -> (std::net::SocketAddr, impl Drop) {
    struct Running(Shutdown, Option<std::thread::JoinHandle<()>>);
    impl Drop for Running {
        fn drop(&mut self) {
            self.0.start();
            let thread = self.1.take();
            promptly("the server ends", move || thread.map(|thread| thread.join().unwrap()));
        }
    }
    let (send, receive) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = Runtime::new(Isolation::None).unwrap();
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let Some(Address::Tcp(address)) = listener.address() else { panic!("no address") };
        runtime.serve(listener, Http::new(Tester::default(), options())).unwrap();
        send.send((address, runtime.shutdown())).unwrap();
        runtime.run().unwrap();
    });
    let (address, shutdown) = receive.recv().unwrap();
    (address, Running(shutdown, Some(thread)))
}

fn talk_over_tcp(address: std::net::SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    // If the server has closed it, its answer is there all the same.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Half::Write);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

#[test]
fn conversations_are_held_over_tcp() {
    let (address, _running) = over_tcp();
    for (sent, expected) in conversations().into_iter().chain(refusals()) {
        let answer = without_dates(&talk_over_tcp(address, sent.as_bytes()).unwrap());
        assert!(is_as_expected(&answer, &expected), "{sent:?}\n{answer:?}\n{expected:?}");
    }
}

/// A refused client that goes on sending reads its answer, and no reset.
#[test]
fn an_answer_is_read_by_a_client_that_goes_on_sending() {
    let (address, _running) = over_tcp();
    for sent in ["GARBAGE\r\n", "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n"]
    {
        let bytes = sent.to_owned() + &"x".repeat(300_000);
        let answer = talk_over_tcp(address, bytes.as_bytes()).unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 4") && text.ends_with('\n'), "{text}");
    }
}

/// Requests with something wrong in them, at random.
fn noise(dice: &mut Dice) -> Vec<u8> {
    let all = conversations();
    let mut bytes = Vec::new();
    for _ in 0..=dice.below(3) {
        let sent = &all[dice.below(all.len() as u64) as usize].0;
        bytes.extend_from_slice(sent.as_bytes());
    }
    for _ in 0..dice.below(6) {
        let len = bytes.len() as u64;
        let at = dice.below(len + 1) as usize;
        match dice.below(4) {
            0 if at < bytes.len() => bytes[at] = dice.word() as u8,
            1 => bytes.insert(at, *dice.pick(&[&b'\r', &b'\n', &b' ', &b':', &0, &0xff, &b'0'])),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ => {
                let end = (at + dice.below(40) as usize).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
    bytes
}

/// Whatever comes, each answer is one that a client can read, and the service goes on. `FANOUT_HTTP_SECONDS=600` takes
/// ten minutes.
#[test]
fn random_bytes_do_no_harm() {
    let seconds = number_from_environment("FANOUT_HTTP_SECONDS").unwrap_or(2);
    let mut dice = Dice::seeded();
    let rounds = beside(Isolation::None, async move |connector| {
        let (started, mut rounds) = (Instant::now(), 0u64);
        while started.elapsed() < Duration::from_secs(seconds) {
            let bytes = noise(&mut dice);
            let answer = talk(&connector, &[&bytes]).await;
            check_answers(answer.as_bytes(), &bytes);
            rounds += 1;
        }
        assert_eq!(talk(&connector, &[HELLO.as_bytes()]).await, hello());
        rounds
    });
    println!("conversations: {rounds}");
    assert!(rounds > 0);
}

fn check_answers(mut answer: &[u8], sent: &[u8]) {
    while !answer.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(answer);
        let Ok(httparse::Status::Complete(len)) = parsed else {
            panic!(
                "{:?} is no answer to {:?}",
                answer.escape_ascii().to_string(),
                sent.escape_ascii().to_string()
            )
        };
        // Bodies hold no line that looks like the start of an answer, unless the request has sent it.
        let next = memchr::memmem::find(&answer[len..], b"HTTP/1.1 ");
        answer = next.map_or(&[], |next| &answer[len + next..]);
    }
}

#[test]
fn errors_are_of_the_socket_or_of_the_request() {
    let error = HttpError::from(SocketError::TooLong { limit: 5 });
    assert!(error.to_string().contains('5'));
    assert_eq!(Status::NOT_FOUND.text(), "404 Not Found");
}
