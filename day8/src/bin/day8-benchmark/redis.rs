//! Redis: SET and GET of 100,000 keys by redis-benchmark, one at a time and 16.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::Effort;
use crate::server::{Folder, Server, find, free_address, installed, ours, serve};
use crate::table::{Asked, Measure, Table};
use crate::turns::{Contender, Sample, Turn, interleaved};

/// Connections of the generator.
const CONNECTIONS: u32 = 50;
/// Different keys.
const KEYS: u64 = 100_000;
/// Requests of the first turn, which finds out how many are needed.
const FIRST: u64 = 100_000;

const OURS: &str = "day8-redis";
const THEIRS: &str = "redis-server";

/// Tables of one at a time, and of 16: the CPU that may be used, as a share of the peer's.
pub(crate) fn measure(effort: &Effort) -> anyhow::Result<Vec<Table>> {
    [(1, 1.0), (16, 1.2)].into_iter().map(|(depth, cpu)| table(effort, depth, cpu)).collect()
}

fn table(effort: &Effort, depth: u64, cpu: f64) -> anyhow::Result<Table> {
    let servers = [(OURS, start(effort)), (THEIRS, peer(effort))];
    let servers = servers.map(|(name, server)| (name, server.map(Rc::new)));
    let mut contenders = Vec::new();
    // All SETs of a turn come before its GETs, which find what was set.
    for request in ["set", "get"] {
        for (name, server) in &servers {
            let server = server.as_ref().map(Rc::clone);
            let server = server.map_err(|error| anyhow::anyhow!("{error:#}"));
            let turn = server.and_then(|server| turn(server, request, depth));
            contenders.push(Contender::new(format!("{name}, {request}"), turn));
        }
    }
    drop(servers);
    let outcomes = interleaved(effort, contenders);
    let title = format!("redis: redis-benchmark -c {CONNECTIONS} -r {KEYS} -P {depth}");
    let mut table = Table::new(title, "requests", &outcomes);
    for request in ["set", "get"] {
        let pair = (format!("{OURS}, {request}"), format!("{THEIRS}, {request}"));
        let pair = (pair.0.as_str(), pair.1.as_str());
        table = table.compare(&outcomes, Measure::Rate, pair, Asked::AtLeast(1.0)).compare(
            &outcomes,
            Measure::Cpu,
            pair,
            Asked::AtMost(cpu),
        );
    }
    Ok(table)
}

/// Our service.
pub(crate) fn start(effort: &Effort) -> anyhow::Result<Server> {
    serve(effort, ours("day8-redis", "day8")?)
}

/// Redis without persistence, which ours does not have either.
pub(crate) fn peer(effort: &Effort) -> anyhow::Result<Server> {
    let mut command = installed("redis-server")?;
    let folder = Folder::new("redis")?;
    let address = free_address()?;
    command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
    command.arg("--dir").arg(folder.path());
    Server::silent(effort, command, address, folder)
}

/// Turns of redis-benchmark against this server.
fn turn(server: Rc<Server>, request: &'static str, depth: u64) -> anyhow::Result<Turn> {
    let address = server.tcp()?;
    let program = find("redis-benchmark");
    let program =
        program.context("redis-benchmark is not installed: benches/install-peers installs it")?;
    check_value(address)?;
    let mut requests = FIRST;
    Ok(Box::new(move |time| {
        let before = server.cpu()?;
        let rate = run(&program, address, request, depth, requests)?;
        let elapsed = Duration::from_secs_f64(requests as f64 / rate);
        let sample = Sample { requests, elapsed, cpu: server.cpu()? - before };
        check_keys(address)?;
        // As many as fill the next turn, in whole pipelines.
        let next = (rate * time.as_secs_f64()) as u64;
        requests = next.next_multiple_of(depth).max(FIRST);
        Ok(sample)
    }))
}

/// Requests per second. redis-benchmark itself ends at the first answer that is an error.
fn run(
    program: &Path,
    server: SocketAddr,
    request: &str,
    depth: u64,
    requests: u64,
) -> anyhow::Result<f64> {
    let mut command = Command::new(program);
    command.args(["-h", &server.ip().to_string(), "-p", &server.port().to_string()]);
    command.args(["-t", request, "-c", &CONNECTIONS.to_string(), "-r", &KEYS.to_string()]);
    command.args(["-n", &requests.to_string(), "-P", &depth.to_string(), "--csv"]);
    let output = command.output().context("redis-benchmark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let fine = output.status.success() && !text.contains("rror") && !errors.contains("rror");
    ensure!(fine, "redis-benchmark: {}, {text} {errors}", output.status);
    let row = text.lines().find_map(|line| {
        let (name, rest) = line.split_once(',')?;
        let rate = rest.split(',').next()?.trim_matches('"');
        name.trim_matches('"').eq_ignore_ascii_case(request).then_some(rate)
    });
    let rate = row.with_context(|| format!("redis-benchmark said {text:?}"))?;
    rate.parse().with_context(|| format!("redis-benchmark said {rate:?}"))
}

/// Sends a request, and returns the first line of the answer, and the second if the first announces one.
fn ask(server: SocketAddr, request: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let mut lines = BufReader::new(stream);
    let mut answer = String::new();
    lines.read_line(&mut answer)?;
    if answer.starts_with('$') && !answer.starts_with("$-") {
        lines.read_line(&mut answer)?;
    }
    Ok(answer)
}

/// A value that is set comes back.
fn check_value(server: SocketAddr) -> anyhow::Result<()> {
    for (request, expected) in [
        ("SET day8-benchmark some-value\r\n", "+OK\r\n"),
        ("GET day8-benchmark\r\n", "$10\r\nsome-value\r\n"),
        ("DEL day8-benchmark\r\n", ":1\r\n"),
    ] {
        let found = ask(server, request)?;
        ensure!(found == expected, "{request:?}: expected {expected:?}, found {found:?}");
    }
    Ok(())
}

/// What was set is there, under no other keys. After 100,000 SETs of 100,000 random keys, two thirds are to be expected.
fn check_keys(server: SocketAddr) -> anyhow::Result<()> {
    let answer = ask(server, "DBSIZE\r\n")?;
    let keys: u64 = answer.trim_end().trim_start_matches(':').parse().context(answer)?;
    ensure!((KEYS / 2..=KEYS).contains(&keys), "of {KEYS} keys {keys} are there");
    Ok(())
}
