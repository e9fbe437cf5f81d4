//! What the day's programs have in common.

use core::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use yardstick::descriptors;

use crate::heap::Isolation;
use crate::listener::{Address, Listener};
use crate::runtime::{Runtime, RuntimeOptions, readable};
use crate::service::Service;

/// Where a service is, and how it runs.
#[derive(Args, Clone, Debug)]
pub struct ServiceArgs {
    /// Where to listen: ADDRESS:PORT, unix:PATH or ring:PATH; may be given more than once
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<Address>,
    /// Whether a connection's memory is inaccessible while it does not run: none or mprotect
    #[arg(long, default_value_t = Isolation::None)]
    pub isolation: Isolation,
    /// How many connections there may be
    #[arg(long, value_name = "COUNT", default_value_t = 65_536)]
    pub connections: usize,
    /// After how many seconds a silent client is let go
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub idle: u64,
    /// How many seconds requests have to be answered after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub shutdown: u64,
}

impl ServiceArgs {
    /// As options of a runtime.
    pub fn options(&self) -> RuntimeOptions {
        RuntimeOptions::new()
            .isolation(self.isolation)
            .connections(self.connections)
            .idle_timeout(Some(Duration::from_secs(self.idle)))
            .shutdown_timeout(Duration::from_secs(self.shutdown))
    }
}

/// Serves until SIGTERM or SIGINT, and then answers what was asked.
///
/// # Errors
///
/// An address that cannot be had; what the kernel refuses.
pub fn run<S: Service>(
    args: &ServiceArgs,
    default: &str,
    service: impl FnOnce() -> anyhow::Result<S>,
) -> anyhow::Result<()> {
    // Each connection takes one. What is refused leaves the limit as it is, and the listeners wait for free descriptors.
    let _ = descriptors::allow_all();
    let mut addresses = args.listen.clone();
    if addresses.is_empty() {
        addresses.push(default.parse()?);
    }
    let runtime = Runtime::with_options(&args.options())?;
    stop_on(&runtime, &[SIGTERM, SIGINT])?;
    let service = Rc::new(service()?);
    for address in &addresses {
        let listener = Listener::bind(address)?;
        // With port 0 the kernel has chosen one.
        let found = listener.address().filter(|found| matches!(found, Address::Tcp(_)));
        let address = found.unwrap_or_else(|| address.clone());
        runtime.serve(listener, Shared(Rc::clone(&service)))?;
        say(format_args!("listening on {address}"));
    }
    runtime.run()?;
    let seen = runtime.statistics();
    say(format_args!("connections: {}, cut off: {}", seen.accepted, seen.cut));
    Ok(())
}

/// Prints a line. A service goes on also if nobody reads what it prints.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// One service behind several listeners.
struct Shared<S>(Rc<S>);

impl<S: Service> Service for Shared<S> {
    fn serve(
        self: Rc<Self>,
        socket: crate::Socket,
    ) -> impl Future<Output = Result<(), crate::SocketError>> + 'static {
        Rc::clone(&self.0).serve(socket)
    }
}

/// Shuts the runtime down when one of these signals comes. No thread waits for them: in a process of one thread the C
/// library's calls are faster.
fn stop_on(runtime: &Runtime, signals: &[i32]) -> anyhow::Result<()> {
    let (receiver, sender) = UnixStream::pair()?;
    for &signal in signals {
        signal_hook::low_level::pipe::register(signal, sender.try_clone()?)?;
    }
    let shutdown = runtime.shutdown();
    runtime.spawn(async move {
        if readable(&receiver).await.is_ok() {
            shutdown.start();
        }
    })?;
    Ok(())
}
