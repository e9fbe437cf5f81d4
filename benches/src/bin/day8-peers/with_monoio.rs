//! Echo with monoio: a task for each client, and buffers that the kernel is lent.

use std::io;
use std::mem::take;
use std::net::TcpListener;

use anyhow::Context;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;

use crate::lines::Lines;

/// Bytes of a client's buffer. It is lent to the kernel as long as the client says nothing, so each has its own.
const PIECE: usize = 4 << 10;

pub(crate) fn serve(listener: TcpListener) -> anyhow::Result<()> {
    // io_uring; where the kernel does not allow it, epoll.
    let mut runtime = monoio::RuntimeBuilder::<monoio::FusionDriver>::new()
        .build()
        .context("monoio's runtime")?;
    runtime.block_on(async {
        let listener = monoio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await.context("accepting a client")?;
            stream.set_nodelay(true)?;
            // An error ends this client's connection, and concerns nobody else.
            monoio::spawn(converse(stream));
        }
    })
}

async fn converse(mut stream: TcpStream) -> io::Result<()> {
    let (mut lines, mut answers) = (Lines::default(), Vec::new());
    let mut input = vec![0; PIECE];
    loop {
        let (read, lent) = stream.read(input).await;
        input = lent;
        let read = read?;
        lines.answer(&input[..read], &mut answers)?;
        if read == 0 {
            lines.finish(&mut answers)?;
        }
        let (sent, lent) = stream.write_all(take(&mut answers)).await;
        sent?;
        answers = lent;
        answers.clear();
        if read == 0 {
            return stream.shutdown().await;
        }
    }
}
