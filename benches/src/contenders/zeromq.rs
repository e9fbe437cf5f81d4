//! ZeroMQ, whose library the crate `zmq` builds from source: a PAIR of sockets there and back, PUSH and
//! PULL one way, XPUB and SUB for fan-out. Between processes over its ipc transport, a Unix stream that
//! one background thread on each side serves; between threads over inproc, without one. Each side's
//! high-water mark is as many messages as the other rivals have room for.

use super::Contender;
use crate::crew::Place;
use crate::question::Question;

const WHO: &str = "ZeroMQ 4.3 (zmq 0.10)";

pub(super) fn rows(question: Question) -> Vec<Contender> {
    match question {
        Question::Request { place: Place::Threads, .. } => {
            vec![row(question, "PAIR, inproc", (Place::Threads, 2), Way::Threads)]
        }
        Question::Request { place: Place::Processes, .. } => {
            vec![row(question, "PAIR, ipc", (Place::Processes, 2), Way::Processes)]
        }
        Question::OneWay(_) => {
            vec![row(question, "PUSH/PULL, ipc", (Place::Processes, 2), Way::Push)]
        }
        Question::FanOut(consumers) => {
            let sides = (Place::Processes, consumers + 1);
            vec![row(question, "XPUB/SUB, ipc, XPUB_NODROP", sides, Way::Publish)]
        }
        Question::Sharing(_) => vec![],
    }
}

/// Which sockets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A pair in one process.
    Threads,
    /// A pair between two.
    Processes,
    /// To the one receiver.
    Push,
    /// To all subscribers.
    Publish,
}

#[cfg(feature = "zeromq")]
fn row(question: Question, mode: &str, (place, sides): (Place, usize), way: Way) -> Contender {
    let build = move |job: &crate::load::Job| match way {
        Way::Threads | Way::Processes => Ok(library::pair(job, way)),
        Way::Push | Way::Publish => library::stream(job, way, sides - 1),
    };
    Contender::rival(question, (WHO, mode), (place, sides), build)
}

#[cfg(not(feature = "zeromq"))]
fn row(question: Question, mode: &str, _: (Place, usize), _: Way) -> Contender {
    Contender::missing(question, (WHO, mode), "not compiled: cargo feature zeromq is off")
}

#[cfg(feature = "zeromq")]
mod library {
    use std::io::{PipeReader, Read, Write, pipe};

    use anyhow::{Context as _, ensure};
    use nix::errno::Errno;
    use nix::libc::c_int;
    use yardstick::bytes::buffer;
    use zmq::{Context, Message, PollEvents, Socket, SocketType};

    use super::Way;
    use crate::contenders::{CAPACITY, ROOM};
    use crate::crew::{Crew, Delivery, Done, Go};
    use crate::line::{Receiving, Sending, request};
    use crate::load::{Job, Sink, Source};

    /// A request and its answer. Threads have one context, which inproc asks for and `build` may make,
    /// as it runs where they do; processes have one each.
    pub(super) fn pair(job: &Job, way: Way) -> Crew {
        let shared = (way == Way::Threads).then(Context::new);
        let address = match way {
            Way::Threads => "inproc://pair".to_owned(),
            _ => format!("ipc://{}/pair", job.folder.display()),
        };
        let len = job.most();
        let side = move |open: fn(&Socket, &str) -> zmq::Result<()>| {
            let (shared, address) = (shared.clone(), address.clone());
            move || {
                let context = shared.unwrap_or_default();
                let socket = context.socket(SocketType::PAIR).context("zmq_socket")?;
                // The last answer is still to be sent when its socket is dropped.
                socket.set_linger(-1).context("ZMQ_LINGER")?;
                open(&socket, &address).with_context(|| format!("opening {address}"))?;
                Ok(End { socket, message: Message::new(), buffer: buffer(len) })
            }
        };
        request(job, side(Socket::bind), side(Socket::connect))
    }

    /// A socket, and room for the message that it sends and the one that it received.
    struct End {
        socket: Socket,
        message: Message,
        buffer: Vec<u64>,
    }

    impl Sending for End {
        #[inline]
        fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
            let message = &mut bytemuck::cast_slice_mut(&mut self.buffer)[..source.next_len()];
            source.write(message);
            self.socket.send(&*message, 0).context("zmq_msg_send")
        }
    }

    impl Receiving for End {
        #[inline]
        fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
            self.socket.recv(&mut self.message, 0).context("zmq_msg_recv")?;
            sink.read(&self.message);
            Ok(())
        }
    }

    /// One who sends and some who receive. These are set up first, and their background threads try to
    /// connect until there is something to connect to; so the sender, when he is set up, can wait until
    /// all are connected.
    ///
    /// And he stays until all have everything: a socket that has reached its high-water mark throws
    /// away what the kernel still has for it when its peer hangs up.
    pub(super) fn stream(job: &Job, way: Way, receivers: usize) -> anyhow::Result<Crew> {
        let (most, limit) = (job.most(), limit(job, way));
        let (all, done) = pipe().context("pipe")?;
        let address = format!("ipc://{}/sender", job.folder.display());
        let mut crew = Crew::new(Delivery::Each);
        for _ in 0..receivers {
            let address = address.clone();
            let sink = job.sink();
            let mut done = done.try_clone().context("a second descriptor")?;
            crew = crew.side(move || {
                let socket = receiver(way, limit, &address)?;
                let end = End { socket, message: Message::new(), buffer: vec![] };
                let go = move || {
                    let received = receive(end, sink)?;
                    done.write_all(b"!").context("saying that all is there")?;
                    Ok(received)
                };
                Ok(Box::new(go) as Go)
            });
        }
        let source = job.source();
        Ok(crew.side(move || {
            let socket = sender(way, limit, (&address, receivers))?;
            let end = End { socket, message: Message::new(), buffer: buffer(most) };
            Ok(Box::new(move || send(end, source, (all, receivers))))
        }))
    }

    /// Of how many messages a socket keeps at most: a limit that each side has for itself.
    fn limit(job: &Job, way: Way) -> i32 {
        let most = match way {
            Way::Publish => CAPACITY,
            _ => ROOM / job.most().max(1),
        };
        i32::try_from(most).unwrap_or(i32::MAX)
    }

    fn receiver(way: Way, limit: i32, address: &str) -> anyhow::Result<Socket> {
        let kind = if way == Way::Push { SocketType::PULL } else { SocketType::SUB };
        let socket = Context::new().socket(kind).context("zmq_socket")?;
        socket.set_rcvhwm(limit).context("ZMQ_RCVHWM")?;
        if way == Way::Publish {
            socket.set_subscribe(b"").context("ZMQ_SUBSCRIBE")?;
        }
        // Milliseconds: nobody is there yet.
        socket.set_reconnect_ivl(1).context("ZMQ_RECONNECT_IVL")?;
        socket.connect(address).with_context(|| format!("connecting to {address}"))?;
        Ok(socket)
    }

    fn sender(way: Way, limit: i32, (address, receivers): (&str, usize)) -> anyhow::Result<Socket> {
        let kind = if way == Way::Push { SocketType::PUSH } else { SocketType::XPUB };
        let mut socket = Context::new().socket(kind).context("zmq_socket")?;
        socket.set_sndhwm(limit).context("ZMQ_SNDHWM")?;
        if way == Way::Publish {
            // Every subscription is heard of, not only the first.
            socket.set_xpub_verbose(true).context("ZMQ_XPUB_VERBOSE")?;
            never_drop(&mut socket)?;
        }
        socket.bind(address).with_context(|| format!("binding {address}"))?;
        if way == Way::Push {
            socket.poll(PollEvents::POLLOUT, -1).context("zmq_poll")?;
            return Ok(socket);
        }
        for _ in 0..receivers {
            let heard = socket.recv_bytes(0).context("waiting for subscribers")?;
            ensure!(heard == [1], "expected a subscription to everything, found {heard:?}");
        }
        Ok(socket)
    }

    /// Makes a publisher wait where a subscriber has no room. The crate has no name for it.
    fn never_drop(socket: &mut Socket) -> anyhow::Result<()> {
        let on: c_int = 1;
        let (option, len) = (zmq_sys::ZMQ_XPUB_NODROP as c_int, size_of::<c_int>());
        let socket = socket.as_mut_ptr();
        // SAFETY: an open socket, and an int, which is what this option is.
        let done = unsafe { zmq_sys::zmq_setsockopt(socket, option, (&raw const on).cast(), len) };
        Errno::result(done).context("ZMQ_XPUB_NODROP").map(drop)
    }

    #[inline(never)]
    fn send(
        mut end: End,
        mut source: Source,
        (mut all, receivers): (PipeReader, usize),
    ) -> anyhow::Result<Done> {
        while source.left() > 0 {
            end.send(&mut source)?;
        }
        all.read_exact(&mut vec![0; receivers]).context("a receiver is gone")?;
        Ok(Done::sent(source.tally()))
    }

    #[inline(never)]
    fn receive(mut end: End, mut sink: Sink) -> anyhow::Result<Done> {
        while sink.left() > 0 {
            end.receive(&mut sink)?;
        }
        Ok(Done::received(sink.tally()))
    }
}
