//! Queues and processes that the tests of leases and of vital words share.

use std::io::{Read, Write};

use common::QueueName;
use day2::header::Expected;
use day2::segment::page_size;
use day2::{CreateError, Geometry, Kind, Mode, Segment};
use testing::{Program, another};

/// Most vital words in the control of a test's queue: more than one guard has room for.
pub(crate) const WORDS: usize = 5000;

pub(crate) fn geometry() -> Geometry {
    let expected = Expected::messages::<u64>(Kind::Log, "u64");
    Geometry::plan(&expected, 10, 0, 16 * WORDS as u64, page_size()).unwrap()
}

pub(crate) fn create(name: &QueueName) -> Result<Segment, CreateError> {
    Segment::create(name, geometry(), 0o600, |_| ())
}

pub(crate) fn open(name: &QueueName) -> Segment {
    Segment::open(name, Mode::Reader, std::time::Duration::ZERO).unwrap()
}

/// Runs one of the ignored tests in a process of its own.
pub(crate) fn helper(test: &str, name: &QueueName, how: &str) -> Program {
    let mut command = another(test);
    Program::start(command.env("DAY2_TEST_QUEUE", name.as_str()).env("DAY2_TEST_HOW", how))
}

/// The queue and the word that the test that started this process has passed on.
pub(crate) fn helped() -> Option<(QueueName, String)> {
    let name = std::env::var("DAY2_TEST_QUEUE").ok()?;
    Some((name.parse().unwrap(), std::env::var("DAY2_TEST_HOW").unwrap()))
}

/// Prints a line at once. It begins on a new one, whatever the test's own output was.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Waits until the test that started this process closes its standard input.
pub(crate) fn until_hung_up() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Ends this process in one of the [ways](WAYS), with another thread alive.
pub(crate) fn die(how: &str) {
    std::thread::spawn(|| std::thread::sleep(2 * testing::DEADLINE));
    match how {
        "exit" => std::process::exit(0),
        "abort" => std::process::abort(),
        // It lives on as another program, which has nothing of this one.
        "exec" => {
            let mut sleep = std::process::Command::new("sleep");
            panic!("{}", std::os::unix::process::CommandExt::exec(sleep.arg("60")));
        }
        "panic" => panic!("as asked"),
        _ => unreachable!("a killed process does not get here"),
    }
}

/// How a process can die.
pub(crate) const WAYS: [&str; 5] = ["kill", "exit", "abort", "exec", "panic"];

/// Makes a process die that waits for the end of its standard input, and then calls [`die`].
pub(crate) fn let_die(process: &mut Program, how: &str) {
    if how == "kill" {
        process.signal(nix::sys::signal::Signal::SIGKILL);
    } else {
        process.hang_up();
    }
}
