//! The host's queues over HTTP: events, publishing, and who may ask.

use std::fs;
use std::process::{Command, Output};

use common::QueueName;
use day3::{Producer, QueueOptions, Start};
use day4::reader::Reader;
use day4::writer::Writer;
use day8::http::site::{Site, SiteOptions};
use day8::http::{Http, HttpOptions};
use day8::{Connector, Isolation, Listener, Runtime, Socket};
use testing::{Folder, Program, Unique, eventually};

/// Runs this beside a site.
fn beside<T: 'static, F: Future<Output = T> + 'static>(
    options: SiteOptions,
    client: impl FnOnce(Connector) -> F,
) -> T {
    let runtime = Runtime::new(Isolation::None).unwrap();
    let (listener, connector) = Listener::channel();
    runtime.serve(listener, Http::new(Site::new(options), HttpOptions::new())).unwrap();
    runtime.block_on(client(connector)).unwrap()
}

/// A request with these headers, to `localhost`, which ends the connection; its status and its body.
async fn ask(connector: &Connector, line: &str, headers: &str, body: &str) -> (u16, String) {
    let length = if line.starts_with("POST") {
        format!("Content-Length: {}\r\n", body.len())
    } else {
        String::new()
    };
    let host = if headers.contains("Host:") { "" } else { "Host: localhost\r\n" };
    let request =
        format!("{line} HTTP/1.1\r\n{host}{length}{headers}Connection: close\r\n\r\n{body}");
    let mut socket = connector.connect().await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.flush().await.unwrap();
    while socket.fill().await.unwrap() > 0 {}
    let answer = String::from_utf8(socket.buffered().to_vec()).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// A queue that is watched.
struct Events(Socket);

impl Events {
    async fn begin(connector: &Connector, name: &QueueName, query: &str) -> Self {
        let mut socket = connector.connect().await.unwrap();
        // HTTP/1.0, so that the events stand there without chunks around them.
        let request = format!(
            "GET /queues/{}/events{query} HTTP/1.0\r\nHost: localhost\r\n\r\n",
            name.bare()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        socket.flush().await.unwrap();
        assert_eq!(socket.read_line(100).await.unwrap().unwrap(), b"HTTP/1.1 200 OK");
        while !socket.read_line(200).await.unwrap().unwrap().is_empty() {}
        Self(socket)
    }

    /// The next event: what it is called, and its data.
    async fn next(&mut self) -> Option<(String, serde_json::Value)> {
        let mut name = String::new();
        loop {
            let line = self.0.read_line(1 << 16).await.unwrap()?;
            let line = str::from_utf8(line).unwrap();
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((name, serde_json::from_str(data).unwrap()));
            }
        }
    }

    async fn expect(&mut self, event: &str) -> serde_json::Value {
        let (name, data) = self.next().await.expect("there is another event");
        assert_eq!(name, event, "{data}");
        data
    }
}

#[test]
fn records_are_shown_as_they_come() {
    let name = Unique::new("http-events");
    let queue = name.clone();
    beside(SiteOptions::new(), async move |connector| {
        let mut writer = Writer::<day3::Yield>::create(&queue, 1 << 14).unwrap();
        writer.send(b"before").unwrap();
        let mut late = Events::begin(&connector, &queue, "").await;
        assert_eq!(late.expect("begin").await["kind"], "records");
        let mut events = Events::begin(&connector, &queue, "?from=oldest").await;
        events.expect("begin").await;
        assert_eq!(events.expect("record").await["text"], "before");
        for text in ["one", "two\nlines", "\u{e4}", "\"quoted\""] {
            writer.send(text.as_bytes()).unwrap();
            assert_eq!(events.expect("record").await["text"], text);
            assert_eq!(late.expect("record").await["text"], text);
        }
        writer.send(b"\xff\x00").unwrap();
        let record = events.expect("record").await;
        assert_eq!(
            (&record["hex"], &record["bytes"], &record["number"]),
            (&"ff00".into(), &2.into(), &5.into())
        );
        late.expect("record").await;
        writer.close();
        let end = late.expect("end").await;
        assert_eq!(
            (&end["ending"], &end["received"], &end["missed"]),
            (&"closed".into(), &5.into(), &0.into())
        );
        assert_eq!(late.next().await, None);
    });
}

#[test]
fn what_a_tap_has_missed_is_told_exactly() {
    let name = Unique::new("http-missed");
    let queue = name.clone();
    beside(SiteOptions::new(), async move |connector| {
        let mut writer = Writer::<day3::Yield>::create(&queue, 4096).unwrap();
        let mut events = Events::begin(&connector, &queue, "").await;
        events.expect("begin").await;
        let sent = 1000u64;
        // In one go: the tap, which runs in this thread, too, cannot keep up.
        for number in 0..sent {
            writer.send(&number.to_le_bytes()).unwrap();
        }
        writer.abort("as it was told");
        let (mut missed, mut seen) = (0, 0);
        let end = loop {
            let (event, data) = events.next().await.unwrap();
            match event.as_str() {
                "missed" => missed += data["missed"].as_u64().unwrap(),
                "record" => {
                    assert_eq!(data["number"].as_u64().unwrap(), missed + seen);
                    seen += 1;
                }
                _ => break data,
            }
        };
        assert!(missed > 0 && seen > 0);
        assert_eq!(missed + seen, sent);
        assert_eq!((&end["ending"], &end["why"]), (&"aborted".into(), &"as it was told".into()));
        assert_eq!((end["missed"].as_u64(), end["received"].as_u64()), (Some(missed), Some(seen)));
    });
}

#[test]
fn messages_of_any_type_are_shown() {
    let name = Unique::new("http-typed");
    let queue = name.clone();
    beside(SiteOptions::new(), async move |connector| {
        let mut producer = Producer::<u32>::create(&queue, 64).unwrap();
        let mut events = Events::begin(&connector, &queue, "").await;
        let begin = events.expect("begin").await;
        assert_eq!((&begin["kind"], &begin["message_type"]), (&"ring".into(), &"u32".into()));
        producer.send(u32::from_be(0x0102_80ff)).unwrap();
        assert_eq!(events.expect("record").await["hex"], "010280ff");
        drop(producer);
        assert_eq!(events.expect("end").await["ending"], "closed");
    });
}

#[test]
fn a_queue_with_private_rooms_is_shown() {
    let name = Unique::new("http-private");
    let queue = name.clone();
    beside(SiteOptions::new(), async move |connector| {
        let mut writer = Writer::<day3::Yield>::host(&queue, &QueueOptions::new(4096)).unwrap();
        let mut events = Events::begin(&connector, &queue, "").await;
        events.expect("begin").await;
        writer.send(b"private").unwrap();
        assert_eq!(events.expect("record").await["text"], "private");
        drop(writer);
        assert_eq!(events.expect("end").await["ending"], "closed");
    });
}

/// How often this process has the queue mapped.
fn mappings(name: &QueueName) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.ends_with(&format!("/dev/shm{name}"))).count()
}

#[test]
fn a_client_that_goes_takes_its_tap_along() {
    let name = Unique::new("http-gone");
    let queue = name.clone();
    beside(SiteOptions::new(), async move |connector| {
        let _writer = Writer::<day3::Yield>::create(&queue, 4096).unwrap();
        let before = mappings(&queue);
        let mut events = Events::begin(&connector, &queue, "").await;
        events.expect("begin").await;
        assert!(mappings(&queue) > before);
        drop(events);
        let started = std::time::Instant::now();
        while mappings(&queue) > before {
            assert!(started.elapsed() < testing::DEADLINE, "the tap stays");
            day8::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn what_is_no_queue_is_not_shown() {
    let (name, junk) = (Unique::new("http-none"), Unique::new("http-junk"));
    junk.write(b"no queue");
    let (none, junk_name) = (name.clone(), junk.clone());
    beside(SiteOptions::new(), async move |connector| {
        let events = |name: &QueueName| format!("GET /queues/{}/events", name.bare());
        assert_eq!(ask(&connector, &events(&none), "", "").await.0, 404);
        assert_eq!(ask(&connector, &events(&junk_name), "", "").await.0, 409);
        assert_eq!(
            ask(&connector, "GET /queues/..%2f..%2fetc%2fpasswd/events", "", "").await.0,
            400
        );
        let middle = events(&none) + "?from=middle";
        assert_eq!(ask(&connector, &middle, "", "").await.0, 400);
    });
}

/// Clients that name what never becomes a queue would hold up those that ask for the list.
#[test]
fn nobody_waits_for_a_queue_that_is_not_ready() {
    let name = Unique::new("http-unready");
    name.write(b"");
    let queue = name.clone();
    beside(SiteOptions::new(), async move |connector| {
        let events = format!("GET /queues/{}/events", queue.bare());
        let (status, why) = ask(&connector, &events, "", "").await;
        assert_eq!(status, 409);
        assert!(why.contains("not ready after 0ns"), "{why}");
    });
}

#[test]
fn the_listing_is_what_the_library_lists() {
    let name = Unique::new("http-list");
    let queue = name.clone();
    beside(SiteOptions::new(), async move |connector| {
        let _writer = Writer::<day3::Yield>::create(&queue, 4096).unwrap();
        let (status, json) = ask(&connector, "GET /queues", "", "").await;
        let all: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
        let found = all.iter().find(|entry| entry["name"] == queue.as_str()).unwrap();
        let own = day7::listing::look(&queue).unwrap().unwrap();
        assert_eq!((status, found), (200, &serde_json::to_value(own).unwrap()));
        assert_eq!(found["capacity"], 4096);
    });
}

#[test]
fn publishing_makes_a_queue_or_says_why_not() {
    let (name, other) = (Unique::new("http-pub"), Unique::new("http-taken"));
    let (queue, taken) = (name.clone(), other.clone());
    beside(
        SiteOptions::new().allow_publish(true).capacity(4096).most_queues(1),
        async move |connector| {
            let post = |name: &QueueName| format!("POST /queues/{}", name.bare());
            assert_eq!(ask(&connector, &post(&queue), "", &"x".repeat(4096)).await.0, 413);
            assert!(day7::listing::look(&queue).unwrap().is_none(), "nothing was made for it");
            assert_eq!(ask(&connector, &post(&queue), "", "first").await.0, 201);
            let mut reader = Reader::<day3::Yield>::join(&queue, Start::Oldest).unwrap();
            assert_eq!(ask(&connector, &post(&queue), "", "").await.0, 202);
            assert_eq!(&*reader.try_recv().unwrap(), b"first");
            assert_eq!(&*reader.try_recv().unwrap(), b"");
            // A consumer that does not read holds the producer back, and nobody waits for it.
            let mut statuses = Vec::new();
            for _ in 0..10 {
                statuses.push(ask(&connector, &post(&queue), "", &"x".repeat(1000)).await.0);
            }
            assert_eq!((statuses[0], statuses[9]), (202, 503));
            // One more queue would be too many; one of another producer is not taken.
            assert_eq!(ask(&connector, &post(&taken), "", "x").await.0, 507);
        },
    );
    eventually("the queue goes with the service", || !name.exists());
    let taken = other.clone();
    beside(SiteOptions::new().allow_publish(true), async move |connector| {
        let _writer = Writer::<day3::Yield>::create(&taken, 4096).unwrap();
        let (status, why) =
            ask(&connector, &format!("POST /queues/{}", taken.bare()), "", "x").await;
        assert_eq!(status, 409);
        assert!(why.contains("another process is the producer"), "{why}");
    });
}

#[test]
fn nothing_is_published_into_a_queue_that_was_removed() {
    let name = Unique::new("http-removed");
    let queue = name.clone();
    beside(SiteOptions::new().allow_publish(true).most_queues(1), async move |connector| {
        let post = format!("POST /queues/{}", queue.bare());
        assert_eq!(ask(&connector, &post, "", "lost").await.0, 201);
        fs::remove_file(queue_path(&queue)).unwrap();
        // It makes another one, which can be found.
        assert_eq!(ask(&connector, &post, "", "found").await.0, 201);
        let mut reader = Reader::<day3::Yield>::join(&queue, Start::Oldest).unwrap();
        assert_eq!(&*reader.try_recv().unwrap(), b"found");
        drop(reader);
        // Somebody else has the name now.
        fs::remove_file(queue_path(&queue)).unwrap();
        let other = Writer::<day3::Yield>::create(&queue, 4096).unwrap();
        assert_eq!(ask(&connector, &post, "", "x").await.0, 409);
        drop(other);
        assert_eq!(ask(&connector, &post, "", "again").await.0, 201);
    });
}

fn queue_path(name: &QueueName) -> String {
    format!("/dev/shm{}", name.as_str())
}

#[test]
fn nothing_is_published_that_is_not_allowed() {
    let name = Unique::new("http-refused");
    let queue = name.clone();
    beside(SiteOptions::new(), async move |connector| {
        let post = format!("POST /queues/{}", queue.bare());
        assert_eq!(ask(&connector, &post, "", "x").await.0, 403);
        assert!(day7::listing::look(&queue).unwrap().is_none());
    });
}

#[test]
fn only_this_site_may_ask() {
    let name = Unique::new("http-origin");
    let queue = name.clone();
    beside(SiteOptions::new().allow_publish(true).host("queues.example"), async move |connector| {
        for (host, status) in [
            ("localhost", 200),
            ("LOCALHOST:8008", 200),
            ("127.0.0.1:8008", 200),
            ("[::1]:8008", 200),
            ("queues.example", 200),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("", 421),
        ] {
            let found = ask(&connector, "GET /hello", &format!("Host: {host}\r\n"), "").await.0;
            assert_eq!(found, status, "{host}");
        }
        let post = format!("POST /queues/{}", queue.bare());
        for (headers, status) in [
            ("Origin: http://evil.example\r\n", 403),
            ("Origin: null\r\n", 403),
            ("Origin: https://localhost\r\n", 403),
            ("Origin: http://localhost:81\r\n", 403),
            ("Origin: http://localhost\r\nOrigin: http://evil.example\r\n", 403),
            ("Sec-Fetch-Site: cross-site\r\n", 403),
            ("Sec-Fetch-Site: same-site\r\n", 403),
            ("Host: evil.example\r\nOrigin: http://evil.example\r\n", 421),
            ("Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n", 201),
            ("Host: 127.0.0.1:80\r\nOrigin: http://127.0.0.1:80\r\n", 202),
        ] {
            assert_eq!(ask(&connector, &post, headers, "x").await.0, status, "{headers}");
        }
        let events = format!("GET /queues/{}/events", queue.bare());
        assert_eq!(ask(&connector, &events, "Origin: http://evil.example\r\n", "").await.0, 403);
    });
}

#[test]
fn each_place_has_its_methods() {
    beside(SiteOptions::new(), async |connector| {
        for (line, status) in [
            ("GET /", 200),
            ("HEAD /", 200),
            ("GET /stream?lines=3", 200),
            ("GET /stream?lines=x", 400),
            ("POST /", 405),
            ("DELETE /queues", 405),
            ("GET /queues/a", 405),
            ("PUT /queues/a", 405),
            ("BREW /", 501),
            ("OPTIONS *", 204),
            ("GET /nothing", 404),
        ] {
            assert_eq!(ask(&connector, line, "", "").await.0, status, "{line}");
        }
    });
}

/// The program, at a port that was free.
struct Served(Program, String);

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_day8-http"));
        let mut program = Program::start(command.args(["--listen", "127.0.0.1:0"]).args(arguments));
        let line = program.line("listening on ");
        let address = line.strip_prefix("listening on ").unwrap();
        Self(program, format!("http://{address}"))
    }

    fn stop(self) {
        self.0.signal(nix::sys::signal::Signal::SIGTERM);
        self.0.finish().well();
    }
}

/// What a program that is not installed everywhere prints; `None`, loudly, if it is not.
fn output(program: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new("timeout").args(["100", program]).args(arguments).output() {
        Ok(output) if output.status.code() != Some(127) => Some(output),
        _ => {
            eprintln!("SKIPPED: {program} is not installed here, so nobody has seen what it says");
            None
        }
    }
}

fn curl(arguments: &[&str]) -> Option<String> {
    let output = output("curl", &[&["-sS"], arguments].concat())?;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn curl_understands_every_answer() {
    let (folder, name) = (Folder::new(), Unique::new("http-curl"));
    let served = Served::start(&["--allow-publish"]);
    let at = |path: &str| format!("{}{path}", served.1);
    let Some(hello) = curl(&[&at("/hello")]) else { return served.stop() };
    assert_eq!(hello, "hello\n");
    // Twice over one connection.
    assert_eq!(
        curl(&[&at("/hello"), &at("/hello"), "-w", "%{num_connects}\n"]).unwrap(),
        "hello\n1\nhello\n0\n"
    );
    assert!(curl(&["-I", &at("/")]).unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    let lines: String = (1..=2000).map(|line| format!("line {line}\n")).collect();
    assert_eq!(curl(&[&at("/stream?lines=2000")]).unwrap(), lines);
    assert_eq!(curl(&["-0", &at("/stream?lines=2000")]).unwrap(), lines);
    let queue = at(&format!("/queues/{}", name.bare()));
    let said = curl(&["-d", "by length", &queue, "-w", "%{http_code}"]).unwrap();
    assert_eq!(said, "published\n201");
    let file = folder.join("record");
    fs::write(&file, "x".repeat(100_000)).unwrap();
    // In chunks, and asked for first.
    let upload =
        ["-X", "POST", "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "-T"];
    let said =
        curl(&[&upload[..], &[file.to_str().unwrap(), &queue, "-w", "%{http_code}"]].concat())
            .unwrap();
    assert_eq!(said, "published\n202");
    let mut reader = Reader::<day3::Yield>::join(&*name, Start::Oldest).unwrap();
    assert_eq!(&*reader.try_recv().unwrap(), b"by length");
    assert_eq!(reader.try_recv().unwrap().len(), 100_000);
    assert!(curl(&[&at("/queues")]).unwrap().contains(name.as_str()));
    served.stop();
}

#[test]
fn the_page_shows_a_queue_in_a_browser() {
    // What anybody may call a queue is text on the page, and nothing else.
    let name = Unique::new("http-page-<b>");
    let served = Served::start(&[]);
    let mut writer = Writer::<day3::Yield>::create(&*name, 1 << 14).unwrap();
    for number in 1..=3 {
        writer
            .send(format!("order {number} <script>document.title = 'no'</script>").as_bytes())
            .unwrap();
    }
    writer.close();
    let page = format!("{}/#{}", served.1, name.bare().replace('<', "%3C").replace('>', "%3E"));
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=5000",
        "--dump-dom",
        &page,
    ];
    if let Some(output) = output("chromium", &arguments) {
        let dom = String::from_utf8_lossy(&output.stdout);
        let shown = name.bare().replace('<', "&lt;").replace('>', "&gt;");
        assert!(dom.contains(&format!("<span class=\"name\">{shown}</span>")), "{dom}");
        for number in 1..=3 {
            let text = format!("<pre class=\"\">order {number} &lt;script&gt;");
            assert!(dom.contains(&text) || dom.contains(&text.replace(" class=\"\"", "")), "{dom}");
        }
        assert!(
            dom.contains("3 seen") && dom.contains("The producer has closed the queue."),
            "{dom}"
        );
        assert!(dom.contains("<title>Fanout: this host's queues</title>"), "{dom}");
    }
    served.stop();
}

#[test]
fn other_hosts_are_let_in_only_when_told_so() {
    let start = |arguments: &[&str]| {
        Program::start(Command::new(env!("CARGO_BIN_EXE_day8-http")).args(arguments))
    };
    for address in ["0.0.0.0:0", "[::]:0"] {
        let why = start(&["--listen", address]).finish().badly();
        assert!(why.contains("--allow-remote"), "{why}");
    }
    let mut allowed = start(&["--listen", "0.0.0.0:0", "--allow-remote"]);
    allowed.line("listening on 0.0.0.0:");
    allowed.signal(nix::sys::signal::Signal::SIGTERM);
    allowed.finish().well();
}
