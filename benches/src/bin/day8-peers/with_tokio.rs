//! Echo with tokio's executor of one thread: a task for each client.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::net::TcpListener;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

use crate::lines::Lines;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

thread_local! {
    /// One buffer for all reads: a client that waits holds none.
    static INPUT: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE].into());
}

pub(crate) fn serve(listener: TcpListener) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await.context("accepting a client")?;
            stream.set_nodelay(true)?;
            // An error ends this client's connection, and concerns nobody else.
            spawn_local(converse(stream));
        }
    })
}

async fn converse(mut stream: TcpStream) -> io::Result<()> {
    let (mut lines, mut answers) = (Lines::default(), Vec::new());
    loop {
        stream.readable().await?;
        let read = INPUT.with_borrow_mut(|input| {
            let read = stream.try_read(input)?;
            lines.answer(&input[..read], &mut answers)?;
            Ok::<_, io::Error>(read)
        });
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        stream.write_all(&answers).await?;
        answers.clear();
    }
    lines.finish(&mut answers)?;
    stream.write_all(&answers).await?;
    stream.shutdown().await
}
