//! What an application is to the runtime: something that serves one connection.

use core::future::{Future, poll_fn};
use core::task::Poll;
use std::io::{self, IoSliceMut, Write};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;

use crate::heap::Heap;
use crate::listener::{Listener, Listening};
use crate::runtime::{Core, Kind, sleep, timeout};
use crate::socket::{For, Socket, SocketError, Wire};

/// Serves connections. A function that takes a [`Socket`] and is `async` is a service.
pub trait Service: 'static {
    /// Serves one connection, until it ends. An error ends the connection at once. After `Ok` what was written is sent, the
    /// other end learns that nothing more comes, and what it still sends is thrown away
    /// [for a moment](crate::RuntimeOptions::linger), so that it can read the answer.
    fn serve(
        self: Rc<Self>,
        socket: Socket,
    ) -> impl Future<Output = Result<(), SocketError>> + 'static;
}

impl<F, R> Service for F
where
    F: Fn(Socket) -> R + 'static,
    R: Future<Output = Result<(), SocketError>> + 'static,
{
    fn serve(
        self: Rc<Self>,
        socket: Socket,
    ) -> impl Future<Output = Result<(), SocketError>> + 'static {
        self(socket)
    }
}

/// How long a listener waits for descriptors or memory, if no connection ends before.
const SHORT: Duration = Duration::from_millis(50);
/// So much of what a client still sends is thrown away, in bytes.
const MOST_THROWN_AWAY: usize = 1 << 20;

/// Accepts connections until the runtime shuts down.
pub(crate) async fn accept<S: Service>(core: Rc<Core>, listener: Listener, service: Rc<S>) {
    let mut listening = Listening::new(&core, listener);
    loop {
        match listening.accept().await {
            Ok(Some(socket)) => {
                core.count(|statistics| statistics.accepted += 1);
                let Ok(heap) = core.heap() else {
                    core.count(|statistics| statistics.failed += 1);
                    continue;
                };
                begin(&core, &heap, socket, &service);
            }
            Ok(None) => return,
            Err(error) if is_short(&error) => {
                core.count(|statistics| statistics.short += 1);
                let _ = timeout(SHORT, one_ends(&core)).await;
            }
            // That connection is gone already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Not with a macro, which panics if nobody reads what is printed: the listener would be gone.
                let _ = writeln!(io::stderr(), "a service's listener: {error}; it goes on");
                sleep(SHORT).await;
            }
        }
    }
}

/// Waits until a connection ends.
async fn one_ends(core: &Rc<Core>) {
    let mut is_first = true;
    poll_fn(|context| {
        if !std::mem::take(&mut is_first) {
            return Poll::Ready(());
        }
        core.wake_at_end(context.waker().clone());
        Poll::Pending
    })
    .await;
}

/// Whether the process has no descriptor or memory for a connection.
fn is_short(error: &io::Error) -> bool {
    let short = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::ENOBUFS];
    error.raw_os_error().is_some_and(|code| short.contains(&Errno::from_raw(code)))
}

fn begin<S: Service>(core: &Rc<Core>, heap: &Heap, socket: Socket, service: &Rc<S>) {
    let (service, own) = (Rc::clone(service), Rc::clone(core));
    let wire = socket.wire();
    let serving = async move {
        // Called here, so that what it panics with is this connection's.
        match service.serve(socket).await {
            Ok(()) => end(&own, wire).await,
            Err(_) => own.count(|statistics| statistics.failed += 1),
        }
    };
    if core.spawn(heap, Kind::Connection, None, serving).is_err() {
        core.count(|statistics| statistics.failed += 1);
    }
}

/// Sends what was written, says that nothing more comes, and lets the other end read it.
async fn end(core: &Rc<Core>, wire: Rc<Wire>) {
    let mut is_new = true;
    if poll_fn(|context| wire.poll_flush(context, &mut is_new)).await.is_err() {
        return;
    }
    // Another coroutine may have one of its ends.
    if Rc::strong_count(&wire) > 1 || wire.finish().is_err() {
        return;
    }
    wire.set_idle_timeout(None);
    let _lingers = Lingers::new(core);
    let _ = timeout(core.options().linger, throw_away(&wire)).await;
}

/// One connection more lingers for as long as this lives.
struct Lingers<'a>(&'a Core);

impl<'a> Lingers<'a> {
    fn new(core: &'a Core) -> Self {
        core.lingering.set(core.lingering.get() + 1);
        Self(core)
    }
}

impl Drop for Lingers<'_> {
    fn drop(&mut self) {
        self.0.lingering.set(self.0.lingering.get() - 1);
    }
}

async fn throw_away(wire: &Wire) {
    let (mut left, mut is_new) = (MOST_THROWN_AWAY, true);
    while !wire.has_ended() && left > 0 {
        let read = poll_fn(|context| {
            let mut bytes = [0; 1024];
            let mut into = [IoSliceMut::new(&mut bytes)];
            wire.poll_read(context, &mut is_new, For::Bytes, &mut into)
        });
        match read.await {
            Ok(count) if count > 0 => left = left.saturating_sub(count),
            _ => return,
        }
    }
}
