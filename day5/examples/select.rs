//! One task serves a queue and TCP clients: a client gets every message that is sent after it has
//! connected, and the task prints what clients send.
//!
//! ```text
//! cargo run -p day5 --features tokio --example select
//! ```
//!
//! Two threads stand for the processes at the other ends: a client, and a producer that sends ten
//! messages a second for one second (or as many as the first argument says).

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use day3::Start;
use day4::reader::Reader;
use day4::writer::Writer;
use day5::stream::Messages;
use day5::{Adaptive, Notifier, Notify, Pollable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let seconds: u64 = env::args().nth(1).map_or(Ok(1), |seconds| seconds.parse())?;
    let name = format!("/select-{}", std::process::id());
    let path = env::temp_dir().join(format!("select-{}.sock", std::process::id()));

    let notifier = Notifier::bind(&path)?;
    let writer = Writer::<Adaptive>::create(&name, 1 << 16)?;
    let writer = writer.waiting(Notify::new(notifier, Adaptive::default()));
    let reader = Reader::<Adaptive>::join(&name, Start::Oldest)?;
    let reader = Pollable::connect(reader, &path)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        println!("queue {name}, clients at {address}");
        let client = thread::spawn(move || listen(address));
        let producer = thread::spawn(move || tick(writer, 10 * seconds));
        let mut messages = Messages::new(reader)?;
        serve(&mut messages, &listener).await?;
        let (sleeps, signals) = (messages.get_ref().sleeps(), messages.get_ref().signals());
        println!("the queue is closed; it slept {sleeps} times, and had {signals} signals");
        producer.join().map_err(|_| "the producer panicked")??;
        client.join().map_err(|_| "the client panicked")?
    })
}

/// Serves until the queue is closed.
async fn serve(
    messages: &mut Messages<Pollable<Reader<Adaptive>>>,
    listener: &TcpListener,
) -> Result<(), Failure> {
    let mut client: Option<TcpStream> = None;
    let mut said = [0; 256];
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Some(message) = message? else { return Ok(()) };
                if let Some(socket) = &mut client
                    && socket.write_all(&message).await.is_err()
                {
                    client = None;
                }
            }
            accepted = listener.accept() => client = Some(accepted?.0),
            len = hear(&mut client, &mut said) => match len? {
                0 => client = None,
                len => println!("a client says: {}", said[..len].trim_ascii().escape_ascii()),
            },
        }
    }
}

/// The next bytes of the client. Without a client this never returns.
async fn hear(client: &mut Option<TcpStream>, said: &mut [u8]) -> std::io::Result<usize> {
    match client {
        Some(socket) => socket.read(said).await,
        None => std::future::pending().await,
    }
}

/// Sends a message every 100 ms.
fn tick(mut writer: Writer<Notify>, times: u64) -> Result<(), Failure> {
    for number in 1..=times {
        thread::sleep(Duration::from_millis(100));
        writer.send(format!("message {number}\n").as_bytes())?;
    }
    Ok(())
}

/// Connects, says hello, and prints what comes.
fn listen(address: SocketAddr) -> Result<(), Failure> {
    let mut socket = std::net::TcpStream::connect(address)?;
    socket.write_all(b"hello\n")?;
    for line in BufReader::new(socket).lines() {
        println!("to the client: {}", line?);
    }
    Ok(())
}
