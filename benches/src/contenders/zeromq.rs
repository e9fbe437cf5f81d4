//! ZeroMQ; the crate `zmq` builds its library from source. A pair of PAIR sockets there and back, PUSH
//! and PULL one way and from many, XPUB and SUB for fan-out. Processes use its ipc transport, a Unix stream with a
//! background thread on each side. Threads use inproc, which needs no such thread. Each side's
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
        Question::ManyToOne(producers) => {
            vec![row(question, "PUSH/PULL, inproc", (Place::Threads, producers + 1), Way::Merge)]
        }
        Question::Sharing(_) | Question::Queues(_) | Question::Task { .. } => vec![],
    }
}

/// The kind of sockets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A pair in one process.
    Threads,
    /// A pair between two processes.
    Processes,
    /// To the one consumer.
    Push,
    /// To all subscribers.
    Publish,
    /// From several threads to one.
    Merge,
}

#[cfg(feature = "zeromq")]
fn row(question: Question, mode: &str, (place, sides): (Place, usize), way: Way) -> Contender {
    let build = move |job: &crate::load::Job| match way {
        Way::Threads | Way::Processes => Ok(library::pair(job, way)),
        Way::Push | Way::Publish => library::stream(job, way, sides - 1),
        Way::Merge => library::merge(job, sides - 1),
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
    use crate::Packet;
    use crate::contenders::{CAPACITY, ROOM};
    use crate::crew::{Crew, Delivery, Done, Go};
    use crate::line::{Receiving, Sending, request};
    use crate::load::{Job, Sink, Source};
    use crate::many::{Ledger, Share, gather};

    /// A request and its answer. Threads share one context, which inproc needs; `build` may make it,
    /// because it runs in their process. Processes have a context each.
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
                // When its socket is dropped, the last answer may still have to be sent.
                socket.set_linger(-1).context("ZMQ_LINGER")?;
                open(&socket, &address).with_context(|| format!("opening {address}"))?;
                Ok(End { socket, message: Message::new(), buffer: buffer(len) })
            }
        };
        request(job, side(Socket::bind), side(Socket::connect))
    }

    /// A socket, and room for the message that it sends and for the message that it received.
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

    /// One sender and several receivers. The receivers are set up first, and their background threads
    /// try to connect until the sender is there. So when the sender is set up, it can wait until all
    /// receivers have connected.
    ///
    /// The sender stays until all receivers have everything: if its peer hangs up, a socket that
    /// has reached its high-water mark throws away what it still holds for it.
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

    /// Several threads that share one context with the consumer. The consumer's socket is bound first:
    /// a message to an address that nobody has bound would wait in the sender's pipe.
    ///
    /// Each pair of sockets has a pipe of its own, which holds what both of its ends allow together.
    pub(super) fn merge(job: &Job, producers: usize) -> anyhow::Result<Crew> {
        let context = Context::new();
        let limit = i32::try_from(CAPACITY / 2).context("too large for a high-water mark")?;
        let consumer = context.socket(SocketType::PULL).context("zmq_socket")?;
        consumer.set_rcvhwm(limit).context("ZMQ_RCVHWM")?;
        consumer.bind("inproc://many").context("binding inproc://many")?;
        let producer = |context: Context| {
            move || {
                let socket = context.socket(SocketType::PUSH).context("zmq_socket")?;
                socket.set_sndhwm(limit).context("ZMQ_SNDHWM")?;
                socket.connect("inproc://many").context("connecting to inproc://many")?;
                Ok(move |share: Share| share.send(|message| push(&socket, &message)))
            }
        };
        let producers = vec![context; producers].into_iter().map(producer).collect();
        Ok(gather(job, producers, move || Ok(move |ledger: &mut Ledger| pull(&consumer, ledger))))
    }

    #[inline(always)]
    fn push(socket: &Socket, message: &Packet) -> anyhow::Result<()> {
        socket.send(bytemuck::bytes_of(message), 0).context("zmq_msg_send")
    }

    #[inline(never)]
    fn pull(socket: &Socket, ledger: &mut Ledger) -> anyhow::Result<()> {
        let mut message = Message::new();
        while ledger.left() > 0 {
            socket.recv(&mut message, 0).context("zmq_msg_recv")?;
            let packet = bytemuck::try_pod_read_unaligned(&message);
            ledger.take(&packet.ok().context("a message has another length")?);
        }
        Ok(())
    }

    /// How many messages a socket keeps at most. Each side has this limit for itself.
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
        // Milliseconds, because the sender is not there yet.
        socket.set_reconnect_ivl(1).context("ZMQ_RECONNECT_IVL")?;
        socket.connect(address).with_context(|| format!("connecting to {address}"))?;
        Ok(socket)
    }

    fn sender(way: Way, limit: i32, (address, receivers): (&str, usize)) -> anyhow::Result<Socket> {
        let kind = if way == Way::Push { SocketType::PUSH } else { SocketType::XPUB };
        let mut socket = Context::new().socket(kind).context("zmq_socket")?;
        socket.set_sndhwm(limit).context("ZMQ_SNDHWM")?;
        if way == Way::Publish {
            // The publisher hears of every subscription, not only of the first.
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

    /// Makes a publisher wait if a subscriber has no room. The crate has no name for this option.
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
