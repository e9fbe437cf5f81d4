//! What Day 8's services are measured against: the same services, written with other means. Each is one thread.
//!
//! `day8-benchmark` starts this program. It prints `listening on ADDRESS`, and serves until it is killed.

mod by_hand;
mod http;
mod lines;
#[cfg(feature = "monoio")]
mod with_monoio;
mod with_tokio;

use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use nix::sys::socket::{Backlog, listen};
use yardstick::report;

/// The services of Day 8, written with other means
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    peer: Peer,
    /// Where it listens; with port 0 the kernel chooses a port
    #[arg(long, global = true, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[derive(Subcommand)]
enum Peer {
    /// Echo, by hand: mio, one loop, and nothing else
    Mio,
    /// Echo, with tokio's executor of one thread
    Tokio,
    /// Echo, with monoio: on io_uring where the kernel allows it
    Monoio,
    /// HTTP, with hyper on tokio's executor of one thread
    Hyper {
        /// The body of each answer
        #[arg(long)]
        body: String,
        /// Answers to requests that came together leave together
        #[arg(long)]
        pipeline_flush: bool,
    },
}

fn main() -> ExitCode {
    report::exit(run(Arguments::parse()))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    report::warn_of_debug_build();
    let address = arguments.listen;
    let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
    // The library's 128 are too few for thousands of clients that come at once.
    listen(&listener, Backlog::new(4096)?).context("a longer queue of clients")?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);
    match arguments.peer {
        Peer::Mio => by_hand::serve(listener),
        Peer::Tokio => with_tokio::serve(listener),
        #[cfg(feature = "monoio")]
        Peer::Monoio => with_monoio::serve(listener),
        #[cfg(not(feature = "monoio"))]
        Peer::Monoio => anyhow::bail!("built without monoio: add --features monoio"),
        Peer::Hyper { body, pipeline_flush } => http::serve(listener, body, pipeline_flush),
    }
}
