//! HTTP: the same static answer from everybody, asked for by wrk.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::Effort;
use crate::nginx;
use crate::server::{Folder, Server, find, ours, serve};
use crate::table::{Asked, Measure, Table};
use crate::turns::{Contender, Sample, Turn, interleaved};

/// Connections of the generator.
const CONNECTIONS: u64 = 64;
/// The peers' body, if ours is not there to say what it should be.
const BODY: &str = "Hello, world!";

const OURS: &str = "day8-http";
const HYPER: &str = "hyper";
const FLUSHING: &str = "hyper, pipeline_flush";
const RETURN: &str = "nginx, return 200";
const FILE: &str = "nginx, a small file";

/// `pipelined` requests are sent at once.
pub(crate) fn measure(effort: &Effort, pipelined: u64) -> anyhow::Result<Table> {
    let generator = Generator::new(pipelined).map(Rc::new);
    let generator = generator.map_err(|error| format!("{error:#}"));
    let ours = start(effort);
    let body = match &ours {
        Ok(server) => ask(server.tcp()?, "/hello").map(|answer| answer.body).unwrap_or_default(),
        Err(_) => BODY.to_owned(),
    };
    let hyper = |options| hyper(effort, &body, options);
    let servers = [
        (OURS, "/hello", ours),
        (HYPER, "/hello", hyper(&[])),
        (FLUSHING, "/hello", hyper(&["--pipeline-flush"])),
        (RETURN, "/hello", nginx::start(effort, &body)),
    ];
    let contender = |name: &str, path, server: anyhow::Result<Server>| {
        let generator = generator.clone().map_err(anyhow::Error::msg);
        let turn = server.and_then(|server| turn(generator?, server, path, &body));
        Contender::new(name, turn)
    };
    let mut contenders: Vec<_> =
        servers.into_iter().map(|(name, path, server)| contender(name, path, server)).collect();
    contenders.push(contender(FILE, "/file", nginx::start(effort, &body)));
    let outcomes = interleaved(effort, contenders);
    let title = match pipelined {
        1 => format!("http: wrk -t1 -c{CONNECTIONS}, a static body of {} bytes", body.len()),
        _ => format!("pipelined: the same, {pipelined} requests at a time"),
    };
    let table = Table::new(title, "requests", &outcomes);
    let rate =
        |table: Table, peer, asked| table.compare(&outcomes, Measure::Rate, (OURS, peer), asked);
    let cpu =
        |table: Table, peer, asked| table.compare(&outcomes, Measure::Cpu, (OURS, peer), asked);
    Ok(if pipelined == 1 {
        let table = rate(table, HYPER, Asked::AtLeast(1.0));
        let table = cpu(cpu(table, RETURN, Asked::AtMost(1.0)), FILE, Asked::Reported);
        cpu(rate(table, RETURN, Asked::Reported), HYPER, Asked::Reported)
    } else {
        let table = rate(table, FLUSHING, Asked::AtLeast(2.0));
        cpu(cpu(table, FLUSHING, Asked::Reported), RETURN, Asked::Reported)
    })
}

fn start(effort: &Effort) -> anyhow::Result<Server> {
    serve(effort, ours("day8-http", "day8")?)
}

fn hyper(effort: &Effort, body: &str, options: &[&str]) -> anyhow::Result<Server> {
    let mut command = ours("day8-peers", "benches")?;
    command.args(["hyper", "--body", body]).args(options);
    Server::talking(effort, command)
}

/// Turns of wrk against this server. Once, its answer is looked at as a whole.
fn turn(
    generator: Rc<Generator>,
    server: Server,
    path: &'static str,
    body: &str,
) -> anyhow::Result<Turn> {
    let address = server.tcp()?;
    let answer = ask(address, path)?;
    ensure!(answer.body == body, "expected the body {body:?}, found {:?}", answer.body);
    Ok(Box::new(move |time| {
        let before = server.cpu()?;
        let (requests, elapsed) = generator.run(address, path, answer.length, time)?;
        Ok(Sample { requests, elapsed, cpu: server.cpu()? - before })
    }))
}

/// An answer.
struct Answer {
    /// Bytes of all of it: the headers, and the body.
    length: u64,
    body: String,
}

/// Asks once; the answer has to be 200, with a length.
fn ask(server: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // With the same headers as wrk's, so that the answer has the same length.
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n")?;
    let mut came = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).context("reading an answer")?;
        ensure!(read > 0, "the answer ends early: {:?}", String::from_utf8_lossy(&came));
        came.extend_from_slice(&buffer[..read]);
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(start) = response.parse(&came)? else { continue };
        ensure!(response.code == Some(200), "{path}: the status is {:?}", response.code);
        let length = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.context("the answer has no length")?.value;
        let length: usize = std::str::from_utf8(length)?.parse()?;
        if came.len() >= start + length {
            ensure!(came.len() == start + length, "more came than one answer");
            let body = String::from_utf8(came.split_off(start))?;
            return Ok(Answer { length: (start + length) as u64, body });
        }
    }
}

/// What wrk does at the end: a line for this program. The times are in microseconds.
const DONE: &str = r#"
done = function(summary)
    local e = summary.errors
    print("measured", summary.requests, summary.duration, summary.bytes,
          e.connect, e.read, e.write, e.status, e.timeout)
end
"#;

/// wrk.
struct Generator {
    program: std::path::PathBuf,
    folder: Folder,
    pipelined: u64,
}

impl Generator {
    fn new(pipelined: u64) -> anyhow::Result<Self> {
        let program =
            find("wrk").context("wrk is not installed: benches/install-peers installs it")?;
        let folder = Folder::new("wrk")?;
        let mut script = DONE.to_owned();
        if pipelined > 1 {
            script += &format!(
                "init = function() all = string.rep(wrk.format(), {pipelined}) end\n\
                 request = function() return all end\n"
            );
        }
        fs::write(folder.path().join("script.lua"), script)?;
        Ok(Self { program, folder, pipelined })
    }

    /// How many answers there were, and in how long. Each is a 200, and has this length.
    fn run(
        &self,
        server: SocketAddr,
        path: &str,
        length: u64,
        time: Duration,
    ) -> anyhow::Result<(u64, Duration)> {
        let mut command = Command::new(&self.program);
        command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{}s", time.as_secs())]);
        command.arg("-s").arg(self.folder.path().join("script.lua"));
        let output = command.arg(format!("http://{server}{path}")).output().context("wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.strip_prefix("measured"));
        let line = line.with_context(|| format!("wrk said {text:?}"))?;
        let numbers = line.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [requests, micros, bytes, errors @ ..] = &numbers[..] else {
            anyhow::bail!("wrk said {line:?}")
        };
        ensure!(errors.iter().all(|&count| count == 0), "wrk found errors: {line:?}");
        // The answers that were under way at the end came in part, or were not counted.
        let under_way = CONNECTIONS * self.pipelined;
        ensure!(
            bytes / length >= *requests && bytes / length <= requests + under_way,
            "{requests} answers of {length} bytes are not {bytes} bytes"
        );
        Ok((*requests, Duration::from_micros(*micros)))
    }
}
