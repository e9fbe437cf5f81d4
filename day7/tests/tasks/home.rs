//! Servers for the tests: in this thread, in another one, in another process. All have the same procedures.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use day7::tasks::{
    CallError, Client, ClientOptions, ConnectError, Failed, Local, Outcome, Server, ServerOptions,
    Serving, Task,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use testing::{DEADLINE, Folder, Program, another};

/// What procedures are registered at.
pub(crate) trait Registers {
    fn add<F>(&self, name: &str, procedure: F)
    where
        F: FnMut(&mut Task<'_>) -> Outcome + Clone + Send + 'static;
}

impl Registers for Server {
    fn add<F>(&self, name: &str, procedure: F)
    where
        F: FnMut(&mut Task<'_>) -> Outcome + Clone + Send + 'static,
    {
        self.register(name, procedure).unwrap();
    }
}

impl Registers for Local {
    fn add<F>(&self, name: &str, procedure: F)
    where
        F: FnMut(&mut Task<'_>) -> Outcome + Clone + Send + 'static,
    {
        self.register(name, procedure).unwrap();
    }
}

/// An error that cannot be shown.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("an error that cannot be shown")
    }
}

impl std::error::Error for Unspeakable {}

/// What a panic carries, and panics again when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a payload that cannot be dropped");
    }
}

fn number(args: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..args.len().min(8)].copy_from_slice(&args[..args.len().min(8)]);
    u64::from_le_bytes(bytes)
}

/// `output[i] = first[i] + second[i]`, for words of 4 bytes.
fn sums(task: &mut Task<'_>) -> Outcome {
    let (inputs, outputs) = task.buffers();
    let [first, second] = [&inputs[0], &inputs[1]].map(|input| input.to_vec());
    let words = first.as_chunks::<4>().0.iter().zip(second.as_chunks::<4>().0);
    let sums: Vec<u8> = words
        .flat_map(|(a, b)| {
            u32::from_le_bytes(*a).wrapping_add(u32::from_le_bytes(*b)).to_le_bytes()
        })
        .collect();
    Ok(outputs[0].write(0, &sums)?)
}

/// The procedures that all tests use.
pub(crate) fn furnish(server: &impl Registers) {
    server.add("echo", |task| Ok(task.answer(task.args())?));
    server.add("long", |task| {
        Ok(task.answer(&vec![b'x'; number(task.args()).min(1 << 20) as usize])?)
    });
    server.add("sums", sums);
    server.add("fill", |task| {
        let with = number(task.args()) as u8;
        for output in task.outputs() {
            output.write(0, &vec![with; output.len()])?;
        }
        Ok(())
    });
    server.add("lengths", |task| {
        let inputs: Vec<_> = task.inputs().iter().map(|input| input.len() as u64).collect();
        let outputs: Vec<_> = task.outputs().iter().map(|output| output.len() as u64).collect();
        Ok(task.answer(bytemuck_of(&[inputs, outputs].concat()).as_slice())?)
    });
    server.add("fail", |task| Err(String::from_utf8_lossy(task.args()).into()));
    server.add("panic", |task| panic!("{}", String::from_utf8_lossy(task.args())));
    server.add("unspeakable", |_| Err(Box::new(Unspeakable)));
    server.add("bomb", |_| std::panic::panic_any(Bomb));
    // A client that writes anything asks for any nap, and its neighbours wait for as long.
    let longest = testing::number_from_environment("FANOUT_TASKS_NAP").unwrap_or(u64::MAX);
    server.add("nap", move |task| {
        thread::sleep(Duration::from_millis(number(task.args()).min(longest)));
        Ok(task.answer(task.args())?)
    });
    let mut done = 0u64;
    server.add("count", move |task| {
        done += 1;
        Ok(task.answer(&done.to_le_bytes())?)
    });
    server.add("who", |task| Ok(task.answer(&task.pid().to_le_bytes())?));
}

fn bytemuck_of(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A server somewhere.
pub(crate) enum Home {
    Here(Local),
    Thread { serving: Serving, folder: Folder },
    Process { program: Program, folder: Folder },
}

impl Home {
    pub(crate) fn here(options: &ServerOptions) -> Self {
        let server = Server::local(options).unwrap();
        furnish(&server);
        Self::Here(server)
    }

    pub(crate) fn thread(options: &ServerOptions) -> Self {
        let folder = Folder::new();
        Self::Thread { serving: serve(&folder.join("server"), options), folder }
    }

    pub(crate) fn process() -> Self {
        let folder = Folder::new();
        Self::Process { program: start(&folder.join("server")), folder }
    }

    /// The same, with naps of a millisecond at most: whatever a client asks for is done soon.
    pub(crate) fn brisk_process() -> Self {
        let folder = Folder::new();
        let program = start_with(&folder.join("server"), &[("FANOUT_TASKS_NAP", "1")]);
        Self::Process { program, folder }
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Here(_) => panic!("it listens nowhere"),
            Self::Thread { folder, .. } | Self::Process { folder, .. } => folder.join("server"),
        }
    }

    /// The process that it is in.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Process { program, .. } => program.id(),
            _ => std::process::id(),
        }
    }

    pub(crate) fn server(&self) -> &Server {
        let Self::Thread { serving, .. } = self else { panic!("it is not in a thread") };
        serving.server()
    }

    pub(crate) fn try_client(&self, options: &ClientOptions) -> Result<Client, ConnectError> {
        match self {
            Self::Here(local) => local.client(options),
            _ => Client::connect_with(self.path(), &options.clone().timeout(DEADLINE)),
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(&ClientOptions::new())
    }

    pub(crate) fn client_with(&self, options: &ClientOptions) -> Client {
        self.try_client(options).unwrap()
    }
}

/// A server in this process, at this path.
pub(crate) fn serve(path: &Path, options: &ServerOptions) -> Serving {
    let server = Server::bind(path, options).unwrap();
    furnish(&server);
    server.serve().unwrap()
}

/// A server in another process, at this path. What a killed one has left there is removed.
pub(crate) fn start(path: &Path) -> Program {
    start_with(path, &[])
}

fn start_with(path: &Path, environment: &[(&str, &str)]) -> Program {
    let _ = fs::remove_file(path);
    let mut program = Program::start(
        another("home::serves_in_this_process")
            .env("FANOUT_TASKS_AT", path)
            .envs(environment.iter().copied()),
    );
    program.line("serving");
    program
}

#[test]
#[ignore = "the process that other tests start"]
fn serves_in_this_process() {
    raise_descriptors();
    let path = std::env::var_os("FANOUT_TASKS_AT").expect("a path");
    let shards = testing::number_from_environment("FANOUT_TASKS_SHARDS").unwrap_or(1);
    let serving = serve(path.as_ref(), &ServerOptions::new().shards(shards as usize));
    println!("\nserving");
    // Until the test hangs up, or is no more.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    drop(serving);
}

/// Runs the test with each kind of server.
pub(crate) fn everywhere(test: impl Fn(&Home)) {
    everywhere_with(&ServerOptions::new(), &test);
    test(&Home::process());
}

/// Runs the test with each kind of server whose options the test can choose.
pub(crate) fn everywhere_with(options: &ServerOptions, test: impl Fn(&Home)) {
    test(&Home::here(options));
    test(&Home::thread(options));
}

/// As many descriptors as this process may have.
pub(crate) fn raise_descriptors() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

/// What a process has: descriptors and mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Belongings {
    pub(crate) descriptors: usize,
    pub(crate) mappings: usize,
}

pub(crate) fn belongings(pid: u32) -> Belongings {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    // The heap and the stacks of threads grow as they like.
    let mappings = maps.lines().filter(|line| line.contains("memfd:")).count();
    Belongings { descriptors, mappings }
}

/// Waits until a process has what it had before, and nothing more.
#[track_caller]
pub(crate) fn comes_back_to(before: Belongings, pid: u32) {
    let until = Instant::now() + DEADLINE;
    let mut now = belongings(pid);
    while now != before && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
        now = belongings(pid);
    }
    let target = |entry: fs::DirEntry| fs::read_link(entry.path()).unwrap_or_default();
    let open = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().map(target).collect();
    assert_eq!(now, before, "{:?}", (now != before).then(open).unwrap_or_else(Vec::new));
}

/// How much memory a process has in RAM, in KiB.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Why the call failed that has failed.
#[track_caller]
pub(crate) fn failed<T: std::fmt::Debug>(result: Result<T, CallError>) -> Failed {
    match result {
        Err(CallError::Failed(why)) => why,
        other => panic!("expected a task that failed, found {other:?}"),
    }
}

/// A procedure `hold`, which is not done before the test lets it go on.
pub(crate) struct Hold(Arc<(Mutex<bool>, Condvar)>);

impl Hold {
    pub(crate) fn at(server: &Server) -> Self {
        let hold = Self(Arc::default());
        let state = Arc::clone(&hold.0);
        server.add("hold", move |_| {
            let (goes_on, changed) = &*state;
            let goes_on = goes_on.lock().unwrap();
            drop(changed.wait_while(goes_on, |goes_on| !*goes_on).unwrap());
            Ok(())
        });
        hold
    }

    /// From now on the procedure is done at once, unless this says otherwise.
    pub(crate) fn release(&self, goes_on: bool) {
        *self.0.0.lock().unwrap() = goes_on;
        self.0.1.notify_all();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.release(true);
    }
}
