//! Figures for a monitoring system: read by a parser of our own, over sockets of our own.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bridge::error::MetricsError;
use bridge::metrics::{Direction, Exporter, Subject, exposition};
use bridge::progress::{Progress, State};
use testing::{DEADLINE, eventually};

fn subject(queue: &str, direction: Direction) -> Subject {
    let progress = Arc::new(Progress::new());
    Subject { queue: queue.to_owned(), direction, stream: "PRICES".to_owned(), progress }
}

/// What OpenMetrics text says.
#[derive(Debug, Default)]
struct Families {
    kinds: BTreeMap<String, String>,
    units: BTreeMap<String, String>,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Families {
    /// Reads text by the rules of OpenMetrics 1.0, and fails where it breaks one.
    fn read(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("the last line is # EOF");
        let (mut families, mut family) = (Self::default(), String::new());
        for line in body.lines() {
            let Some(about) = line.strip_prefix("# ") else {
                families.sample(&family, line);
                continue;
            };
            let words: Vec<&str> = about.splitn(3, ' ').collect();
            let [what, name, text] = words[..] else { panic!("{line}") };
            match what {
                "TYPE" => {
                    family = name.to_owned();
                    assert!(
                        families.kinds.insert(family.clone(), text.to_owned()).is_none(),
                        "{line}"
                    );
                }
                "UNIT" => {
                    assert!(name.ends_with(&format!("_{text}")), "{line}");
                    families.units.insert(name.to_owned(), text.to_owned());
                }
                "HELP" => assert!(text.ends_with('.'), "{line}"),
                _ => panic!("{line}"),
            }
            assert_eq!(name, family, "{line}");
        }
        families
    }

    fn sample(&mut self, family: &str, line: &str) {
        let (name, rest) = line.split_once('{').unwrap();
        let suffix = match self.kinds[family].as_str() {
            "counter" => "_total",
            "info" => "_info",
            "gauge" | "stateset" => "",
            kind => panic!("{kind}"),
        };
        assert_eq!(name, format!("{family}{suffix}"));
        let (labels, value) = labels(rest);
        let sample = (name.to_owned(), labels, value.parse().unwrap());
        let is_new =
            !self.samples.iter().any(|(name, labels, _)| (name, labels) == (&sample.0, &sample.1));
        assert!(is_new, "{line} stands there twice");
        self.samples.push(sample);
    }

    fn value(&self, name: &str, queue: &str) -> f64 {
        let name = format!("fanout_bridge_{name}");
        let found = self
            .samples
            .iter()
            .filter(|(found, labels, _)| *found == name && labels["queue"] == queue);
        let values: Vec<f64> = found.map(|(_, _, value)| *value).collect();
        assert_eq!(values.len(), 1, "{name} of {queue}: {self:#?}");
        values[0]
    }
}

/// Reads `name="value",…} number`.
fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
    let (mut labels, mut rest) = (BTreeMap::new(), text);
    loop {
        let (name, quoted) = rest.split_once("=\"").unwrap();
        let (mut value, mut chars) = (String::new(), quoted.char_indices());
        let end = loop {
            match chars.next().unwrap() {
                (_, '\\') => value.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    other => other,
                }),
                (at, '"') => break at,
                (_, other) => value.push(other),
            }
        };
        assert!(labels.insert(name.to_owned(), value).is_none(), "{text}");
        rest = &quoted[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return (labels, rest.strip_prefix("} ").unwrap()),
        }
    }
}

/// A response's status, its head and its body.
fn ask(address: SocketAddr, request: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // A server that does not want all of it may hang up before it is written.
    let _ = stream.write_all(request);
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), body.to_owned())
}

fn get(address: SocketAddr, path: &str) -> (u16, String, String) {
    ask(address, format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes())
}

#[test]
fn figures_are_open_metrics() {
    let (out, back) = (subject("/prices", Direction::Out), subject("/a\"\\\nb", Direction::In));
    out.progress.messages.add(u64::from(u32::MAX) + 2);
    out.progress.bytes.add(640);
    out.progress.reconnects.add(3);
    out.progress.lag_bytes.set(17);
    out.progress.set_state(State::StreamFull);
    out.progress.set_oldest(Some(Instant::now()));
    thread::sleep(Duration::from_millis(2));
    let families = Families::read(&exposition(&[out, back]));
    assert_eq!(families.value("messages_total", "/prices"), f64::from(u32::MAX) + 2.0);
    assert_eq!(families.value("payload_bytes_total", "/prices"), 640.0);
    assert_eq!(families.value("reconnects_total", "/prices"), 3.0);
    assert_eq!(families.value("lag_bytes", "/prices"), 17.0);
    assert_eq!(families.value("connected", "/prices"), 0.0);
    assert!(families.value("oldest_unacknowledged_seconds", "/prices") > 0.001);
    assert_eq!(families.value("oldest_unacknowledged_seconds", "/a\"\\\nb"), 0.0);
    assert_eq!(families.units["fanout_bridge_lag_bytes"], "bytes");
    let states = families.samples.iter().filter(|(name, labels, value)| {
        name == "fanout_bridge_state" && labels["queue"] == "/prices" && *value == 1.0
    });
    let states: Vec<&str> =
        states.map(|(_, labels, _)| labels["fanout_bridge_state"].as_str()).collect();
    assert_eq!(states, ["stream full"]);
    for (_, labels, _) in families.samples.iter().filter(|(name, ..)| !name.ends_with("_info")) {
        let direction = if labels["queue"] == "/prices" { "out" } else { "in" };
        assert_eq!(
            (labels["direction"].as_str(), labels["stream"].as_str()),
            (direction, "PRICES")
        );
    }
}

#[test]
fn requests_are_answered_by_the_rules_of_http() {
    let watched = subject("/prices", Direction::Out);
    let progress = Arc::clone(&watched.progress);
    let exporter = Exporter::start("127.0.0.1:0", vec![watched]).unwrap();
    let address = exporter.address();
    for messages in [1.0, 2.0] {
        progress.messages.add(1);
        let (status, head, body) = get(address, "/metrics?from=test");
        assert_eq!(status, 200, "{head}");
        assert!(
            head.contains("Content-Type: application/openmetrics-text; version=1.0.0"),
            "{head}"
        );
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        assert_eq!(Families::read(&body).value("messages_total", "/prices"), messages);
    }
    let (status, head, body) = ask(address, b"HEAD /metrics HTTP/1.0\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(!head.contains("Content-Length: 0"), "{head}");
    let (status, _, body) = get(address, "/");
    assert!(status == 200 && body.contains("/metrics"), "{body}");
    assert_eq!(get(address, "/metrics/more").0, 404);
    let (status, head, _) = ask(address, b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
    assert!(status == 405 && head.contains("Allow: GET, HEAD"), "{head}");
    for nonsense in [
        &b"\r\n\r\n"[..],
        b"GET /metrics\r\n\r\n",
        b"GET metrics HTTP/1.1\r\n\r\n",
        b"\xff / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(ask(address, nonsense).0, 400, "{nonsense:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "c".repeat(9000));
    assert_eq!(ask(address, long.as_bytes()).0, 431);
}

#[test]
fn silent_clients_are_hung_up_on_and_do_not_keep_others_away_for_ever() {
    let exporter = Exporter::start("0", vec![subject("/prices", Direction::Out)]).unwrap();
    let address = exporter.address();
    assert!(address.ip().is_loopback());
    let mut silent: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    for stream in &mut silent {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut rest = Vec::new();
        // An error is the end of a connection, too.
        let _ = stream.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
    eventually("there is a place again", || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut response = String::new();
        let asked = stream.write_all(b"GET / HTTP/1.1\r\n\r\n");
        asked.and_then(|()| stream.read_to_string(&mut response)).is_ok()
            && response.contains("200 OK")
    });
}

#[test]
fn an_address_in_use_is_an_error_and_a_dropped_exporter_gives_it_back() {
    let first = Exporter::start("127.0.0.1:0", Vec::new()).unwrap();
    let address = first.address().to_string();
    let error = Exporter::start(&address, Vec::new()).unwrap_err();
    assert!(matches!(error, MetricsError::Bind { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
    drop(first);
    eventually("the port is free", || Exporter::start(&address, Vec::new()).is_ok());
    for wrong in ["", "here", "127.0.0.1", "127.0.0.1:70000", "70000"] {
        let error = Exporter::start(wrong, Vec::new()).unwrap_err();
        assert!(matches!(error, MetricsError::Address { .. }), "{wrong}: {error}");
    }
}
