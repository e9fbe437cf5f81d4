//! A parent and its child share a ring without a name: the child inherits it.
//!
//! ```text
//! cargo run -p day4 --example pair
//! ```

use std::env;
use std::error::Error;
use std::process::Command;
use std::time::Duration;

use day3::Start;
use day4::rendezvous::{VARIABLE, pair};
use day4::{Reader, RecvError};

/// How long the parent waits for its child to read what was sent.
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    if env::var_os(VARIABLE).is_some() { child() } else { parent() }
}

fn parent() -> Result<(), Box<dyn Error>> {
    let (mut writer, invitation) = pair(1 << 16)?;
    let mut command = Command::new(env::current_exe()?);
    invitation.pass_to(&mut command)?;
    let mut child = command.spawn()?;

    // A ring that no consumer has joined takes everything, and keeps what fits.
    writer.wait_for_consumers(1, TIMEOUT)?;
    for word in ["shared", "memory", "has", "no", "name"] {
        writer.send(word.as_bytes())?;
    }
    writer.close();
    let status = child.wait()?;
    println!("parent: sent {} messages; the child ended with {status}", writer.sent());
    Ok(())
}

fn child() -> Result<(), Box<dyn Error>> {
    let mut reader = Reader::invited(Start::Oldest)?;
    loop {
        match reader.recv() {
            Ok(record) => println!("child: {}", record.escape_ascii()),
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
