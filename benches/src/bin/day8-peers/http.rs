//! HTTP with hyper on tokio's executor of one thread: the same static answer to every request.

use std::convert::Infallible;
use std::net::TcpListener;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::{LocalSet, spawn_local};

pub(crate) fn serve(
    listener: TcpListener,
    body: String,
    pipeline_flush: bool,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let body = Bytes::from(body);
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await.context("accepting a client")?;
            stream.set_nodelay(true)?;
            let mut server = http1::Builder::new();
            server.pipeline_flush(pipeline_flush);
            let body = body.clone();
            let service = service_fn(move |_: Request<Incoming>| answer(body.clone()));
            // An error ends this client's connection, and concerns nobody else.
            spawn_local(server.serve_connection(TokioIo::new(stream), service));
        }
    })
}

async fn answer(body: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}
