//! Says each line back, with its number; and calls such a service, over whatever it listens at.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread;

use clap::{Parser, Subcommand};
use day8::Address;
use day8::echo::echo;
use day8::programs::{ServiceArgs, run};
use day8::rings::RingStream;
use yardstick::report;

/// Say each line back, with its number
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Call>,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Subcommand)]
enum Call {
    /// Send what comes from standard input to a service, and print what it answers
    Call {
        /// Where the service is: ADDRESS:PORT, unix:PATH or ring:PATH
        address: Address,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    report::exit(match arguments.command {
        Some(Call::Call { address }) => call(&address),
        None => run(&arguments.service, "127.0.0.1:7007", || Ok(echo)),
    })
}

/// Connects, and copies both ways until the service has said all.
fn call(address: &Address) -> anyhow::Result<()> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address)?;
            converse(stream.try_clone()?, stream, |stream| {
                let _ = stream.shutdown(Shutdown::Write);
            })
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            converse(stream.try_clone()?, stream, |stream| {
                let _ = stream.shutdown(Shutdown::Write);
            })
        }
        Address::Ring(path) => {
            let (reader, writer) = RingStream::connect(path)?.split();
            converse(reader, writer, |writer| writer.finish())
        }
    }
}

/// One thread sends what comes from standard input, and this one prints what is answered.
fn converse<W: Write + Send + 'static>(
    mut from: impl Read,
    mut to: W,
    finish: impl FnOnce(&mut W) + Send + 'static,
) -> anyhow::Result<()> {
    let sender = thread::spawn(move || {
        let sent = io::copy(&mut io::stdin().lock(), &mut to);
        finish(&mut to);
        // Kept: a service that has read all may still answer.
        (sent, to)
    });
    let (mut out, mut bytes) = (io::stdout().lock(), [0; 16 << 10]);
    loop {
        let len = from.read(&mut bytes)?;
        if len == 0 {
            break;
        }
        out.write_all(&bytes[..len])?;
        out.flush()?;
    }
    if sender.is_finished()
        && let Ok((sent, _)) = sender.join()
    {
        sent?;
    }
    Ok(())
}
