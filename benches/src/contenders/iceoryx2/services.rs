//! iceoryx2's services, and their ends.
//!
//! No end is dropped: taking a service down is not measured, and the driver removes what is left of
//! it.

use std::mem::ManuallyDrop;

use anyhow::{Context, ensure};
use iceoryx2::active_request::ActiveRequest;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::server::Server;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;
use iceoryx2::service::builder::publish_subscribe;
use iceoryx2::service::port_factory::request_response;
use yardstick::payload::{Payload, Tally};

use super::super::{CAPACITY, ROOM};
use super::{Pattern, Scope};
use crate::Packet;
use crate::crew::{Crew, Delivery, Done};
use crate::idle::Idle;
use crate::line::{Receiving, Sending, one_way, request};
use crate::load::{Job, Sink, Source};
use crate::many::{Ledger, Share, gather};

/// The sides of one run.
pub(super) fn build(
    job: &Job,
    pattern: Pattern,
    scope: Scope,
    sides: usize,
) -> anyhow::Result<Crew> {
    match scope {
        Scope::Ipc => crew::<ipc::Service>(job, pattern, sides),
        Scope::Local => crew::<local::Service>(job, pattern, sides),
    }
}

fn crew<S: Service + 'static>(job: &Job, pattern: Pattern, sides: usize) -> anyhow::Result<Crew> {
    let domain = Domain::new(job, sides)?;
    let (one, other) = (domain.clone(), domain.clone());
    Ok(match pattern {
        Pattern::Slices => {
            let sender = move || one.slices::<S>(&one.node()?, THERE);
            let receiver = move || other.sliced::<S>(&other.node()?, THERE);
            one_way(job, sender, vec![receiver])
        }
        Pattern::Broadcast => broadcast::<S>(job, &domain),
        Pattern::Merge => merge::<S>(job, &domain),
        Pattern::Tasks { outstanding, sleeps } => {
            super::tasks::crew::<S>(job, domain, outstanding, sleeps)
        }
        Pattern::BothWays => request(
            job,
            move || one.both_ways::<S>(&one.node()?, [BACK, THERE]),
            move || other.both_ways::<S>(&other.node()?, [THERE, BACK]),
        ),
        Pattern::Events => request(
            job,
            move || one.events::<S>([BACK, THERE]),
            move || other.events::<S>([THERE, BACK]),
        ),
        Pattern::RequestResponse => {
            request(job, move || one.server::<S>(), move || other.client::<S>())
        }
    })
}

/// Names of services.
pub(super) const THERE: &str = "there";
pub(super) const BACK: &str = "back";

/// The services of one run, which no other run sees, and their settings.
#[derive(Clone)]
pub(super) struct Domain {
    config: Config,
    /// How many threads or processes open each service.
    sides: usize,
    /// How many of them publish.
    publishers: usize,
    /// The length of the longest message.
    most: usize,
    /// How many messages a subscriber holds.
    buffer: usize,
}

impl Domain {
    fn new(job: &Job, sides: usize) -> anyhow::Result<Self> {
        let mut config = Config::default();
        let name = job.name.trim_start_matches('/');
        config.global.prefix = format!("{name}_").as_str().try_into()?;
        // Files without a folder of their own go to the root, under the prefix. One of them is a
        // socket, whose path must be short.
        let root = job.folder.parent().context("the job's folder is a root")?;
        let path =
            |path: &std::path::Path| anyhow::Ok(Path::new(path.as_os_str().as_encoded_bytes())?);
        config.global.set_root_path(&path(root)?);
        let folder =
            std::path::Path::new(job.folder.file_name().context("the folder has no name")?);
        config.global.service.directory = path(&folder.join("services"))?;
        config.global.node.directory = path(&folder.join("nodes"))?;
        // There are no other nodes than the sides.
        config.global.service.cleanup_dead_nodes_on_open = false;
        config.global.node.cleanup_dead_nodes_on_creation = false;
        config.global.node.cleanup_dead_nodes_on_destruction = false;
        let most = job.most();
        Ok(Self { config, sides, publishers: 1, most, buffer: (ROOM / most.max(1)).min(CAPACITY) })
    }

    pub(super) fn node<S: Service>(&self) -> anyhow::Result<Node<S>> {
        set_log_level(LogLevel::Error);
        let node = NodeBuilder::new()
            .config(&self.config)
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .create::<S>();
        node.context("making a node")
    }

    /// One publisher, and the other sides as subscribers; no message is lost.
    fn lossless<S: Service, P: core::fmt::Debug + IceoryxSend + ?Sized>(
        &self,
        node: &Node<S>,
        name: &str,
    ) -> anyhow::Result<publish_subscribe::Builder<P, (), S>> {
        let builder = node
            .service_builder(&name.try_into()?)
            .publish_subscribe::<P>()
            .max_publishers(self.publishers)
            .max_subscribers(self.sides - self.publishers)
            .max_nodes(self.sides)
            .history_size(0)
            .subscriber_max_buffer_size(self.buffer)
            .subscriber_max_borrowed_samples(2)
            .enable_safe_overflow(false)
            .payload_alignment(line()?);
        Ok(builder)
    }

    fn slices<S: Service>(&self, node: &Node<S>, name: &str) -> anyhow::Result<Slices<S>> {
        let service = self.lossless::<S, [u8]>(node, name)?.open_or_create();
        let publisher = service?
            .publisher_builder()
            .initial_max_slice_len(self.most)
            .max_loaned_samples(2)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .allocation_strategy(AllocationStrategy::Static)
            .create()?;
        Ok(Slices { publisher: ManuallyDrop::new(publisher) })
    }

    fn sliced<S: Service>(&self, node: &Node<S>, name: &str) -> anyhow::Result<Sliced<S>> {
        let service = self.lossless::<S, [u8]>(node, name)?.open_or_create();
        let subscriber = ManuallyDrop::new(service?.subscriber_builder().create()?);
        // A subscriber that has not connected yet loses what does not fit into its buffer.
        subscriber.update_connections()?;
        Ok(Sliced { subscriber, idle: Idle::new(self.sides) })
    }

    fn both_ways<S: Service>(
        &self,
        node: &Node<S>,
        [out, back]: [&str; 2],
    ) -> anyhow::Result<BothWays<S>> {
        Ok(BothWays { out: self.slices(node, out)?, back: self.sliced(node, back)? })
    }

    fn events<S: Service>(&self, [out, back]: [&str; 2]) -> anyhow::Result<Events<S>> {
        let node = self.node()?;
        Ok(Events {
            ends: self.both_ways(&node, [out, back])?,
            notifier: self.notifier(&node, out)?,
            listener: self.listener(&node, back)?,
        })
    }

    pub(super) fn notifier<S: Service>(
        &self,
        node: &Node<S>,
        name: &str,
    ) -> anyhow::Result<ManuallyDrop<Notifier<S>>> {
        Ok(ManuallyDrop::new(event(node, name)?.notifier_builder().create()?))
    }

    pub(super) fn listener<S: Service>(
        &self,
        node: &Node<S>,
        name: &str,
    ) -> anyhow::Result<ManuallyDrop<Listener<S>>> {
        Ok(ManuallyDrop::new(event(node, name)?.listener_builder().create()?))
    }

    fn calls<S: Service>(&self, node: &Node<S>) -> anyhow::Result<Calls<S>> {
        let service = node
            .service_builder(&THERE.try_into()?)
            .request_response::<[u8], [u8]>()
            .max_clients(1)
            .max_servers(1)
            .max_nodes(2)
            .enable_safe_overflow_for_requests(false)
            .enable_safe_overflow_for_responses(false)
            .request_payload_alignment(line()?)
            .response_payload_alignment(line()?)
            .open_or_create();
        Ok(service?)
    }

    fn server<S: Service>(&self) -> anyhow::Result<Answering<S>> {
        let builder = self.calls(&self.node()?)?;
        let builder = builder.server_builder().initial_max_slice_len(self.most);
        let server = ManuallyDrop::new(builder.create()?);
        Ok(Answering { server, active: None, idle: Idle::new(self.sides) })
    }

    fn client<S: Service>(&self) -> anyhow::Result<Asking<S>> {
        let builder = self.calls(&self.node()?)?;
        let builder = builder.client_builder().initial_max_slice_len(self.most);
        let client = ManuallyDrop::new(builder.create()?);
        Ok(Asking { client, pending: None, idle: Idle::new(self.sides) })
    }
}

/// An event with one notifier and one listener.
fn event<S: Service>(
    node: &Node<S>,
    name: &str,
) -> anyhow::Result<iceoryx2::service::port_factory::event::PortFactory<S>> {
    let builder = node.service_builder(&name.try_into()?).event();
    Ok(builder.max_nodes(2).max_notifiers(1).max_listeners(1).open_or_create()?)
}

/// Messages begin on a cache line.
fn line() -> anyhow::Result<Alignment> {
    Alignment::new(64).context("64 is no alignment")
}

fn reached(recipients: usize, due: usize) -> anyhow::Result<()> {
    ensure!(recipients == due, "a message reached {recipients} of {due} subscribers");
    Ok(())
}

/// Publishes slices to one subscriber.
struct Slices<S: Service> {
    publisher: ManuallyDrop<Publisher<S, [u8], ()>>,
}

impl<S: Service> Sending for Slices<S> {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let place = self.publisher.loan_slice_uninit(source.next_len())?;
        // SAFETY: bytes of mapped memory, which zeros or an older message fill.
        let mut message = unsafe { place.assume_init() };
        source.write(message.payload_mut());
        reached(message.send()?, 1)
    }
}

/// Polls for slices.
struct Sliced<S: Service> {
    subscriber: ManuallyDrop<Subscriber<S, [u8], ()>>,
    idle: Idle,
}

impl<S: Service> Receiving for Sliced<S> {
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        loop {
            if let Some(message) = self.subscriber.receive()? {
                sink.read(message.payload());
                self.idle.reset();
                return Ok(());
            }
            self.idle.wait();
        }
    }
}

/// Publishes and subscribes.
struct BothWays<S: Service> {
    out: Slices<S>,
    back: Sliced<S>,
}

impl<S: Service> BothWays<S> {
    fn connect(&self) -> anyhow::Result<()> {
        self.back.subscriber.update_connections()?;
        Ok(self.out.publisher.update_connections()?)
    }
}

impl<S: Service> Sending for BothWays<S> {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        self.out.send(source)
    }
}

impl<S: Service> Receiving for BothWays<S> {
    fn meet(&mut self) -> anyhow::Result<()> {
        self.connect()
    }

    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        self.back.receive(sink)
    }
}

/// Publishes and notifies; and looks for a message when notified.
struct Events<S: Service> {
    ends: BothWays<S>,
    notifier: ManuallyDrop<Notifier<S>>,
    listener: ManuallyDrop<Listener<S>>,
}

impl<S: Service> Sending for Events<S> {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        self.ends.send(source)?;
        let notified = self.notifier.notify()?;
        ensure!(notified == 1, "a notification reached {notified} of 1 listeners");
        Ok(())
    }
}

impl<S: Service> Receiving for Events<S> {
    fn meet(&mut self) -> anyhow::Result<()> {
        self.ends.connect()?;
        Ok(self.notifier.update_connections()?)
    }

    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        loop {
            self.listener.blocking_wait(|_| {})?;
            if let Some(message) = self.ends.back.subscriber.receive()? {
                sink.read(message.payload());
                return Ok(());
            }
        }
    }
}

type Calls<S> = request_response::PortFactory<S, [u8], (), [u8], ()>;
type Answers<S> = Server<S, [u8], (), [u8], ()>;
type Asked<S> = ActiveRequest<S, [u8], (), [u8], ()>;
type Asks<S> = Client<S, [u8], (), [u8], ()>;
type Awaited<S> = PendingResponse<S, [u8], (), [u8], ()>;

/// Answers requests.
struct Answering<S: Service> {
    server: ManuallyDrop<Answers<S>>,
    active: Option<Asked<S>>,
    idle: Idle,
}

impl<S: Service> Receiving for Answering<S> {
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        loop {
            if let Some(request) = self.server.receive()? {
                sink.read(request.payload());
                self.active = Some(request);
                self.idle.reset();
                return Ok(());
            }
            self.idle.wait();
        }
    }
}

impl<S: Service> Sending for Answering<S> {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let request = self.active.take().context("nobody asked")?;
        let place = request.loan_slice_uninit(source.next_len())?;
        // SAFETY: bytes of mapped memory, which zeros or an older message fill.
        let mut response = unsafe { place.assume_init() };
        source.write(response.payload_mut());
        Ok(response.send()?)
    }
}

/// Sends requests, and waits for responses.
struct Asking<S: Service> {
    client: ManuallyDrop<Asks<S>>,
    pending: Option<Awaited<S>>,
    idle: Idle,
}

impl<S: Service> Sending for Asking<S> {
    #[inline]
    fn send(&mut self, source: &mut Source) -> anyhow::Result<()> {
        let place = self.client.loan_slice_uninit(source.next_len())?;
        // SAFETY: bytes of mapped memory, which zeros or an older message fill.
        let mut request = unsafe { place.assume_init() };
        source.write(request.payload_mut());
        let pending = request.send()?;
        let servers = pending.number_of_server_connections();
        ensure!(servers == 1, "a request reached {servers} of 1 servers");
        self.pending = Some(pending);
        Ok(())
    }
}

impl<S: Service> Receiving for Asking<S> {
    #[inline]
    fn receive(&mut self, sink: &mut Sink) -> anyhow::Result<()> {
        let pending = self.pending.take().context("nothing was asked")?;
        loop {
            if let Some(response) = pending.receive()? {
                sink.read(response.payload());
                self.idle.reset();
                return Ok(());
            }
            self.idle.wait();
        }
    }
}

/// One publisher of messages of one type, and the other sides as subscribers.
fn broadcast<S: Service + 'static>(job: &Job, domain: &Domain) -> Crew {
    let (ours, messages) = (domain.clone(), job.messages);
    let crew = Crew::new(Delivery::Each).side(move || {
        let service = ours.lossless::<S, Packet>(&ours.node()?, THERE)?.open_or_create();
        let publisher = service?
            .publisher_builder()
            .max_loaned_samples(2)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        let publisher = ManuallyDrop::new(publisher);
        let subscribers = ours.sides - 1;
        Ok(Box::new(move || Ok(Done::sent(publish((&publisher, messages, subscribers))?))))
    });
    (1..domain.sides).fold(crew, |crew, _| {
        let (ours, messages) = (domain.clone(), job.messages);
        crew.side(move || {
            let service = ours.lossless::<S, Packet>(&ours.node()?, THERE)?.open_or_create();
            let subscriber = ManuallyDrop::new(service?.subscriber_builder().create()?);
            // As above: this call connects.
            ensure!(subscriber.receive()?.is_none(), "a message came before any was sent");
            let idle = Idle::new(ours.sides);
            Ok(Box::new(move || Ok(Done::received(receive((&subscriber, messages, idle))?))))
        })
    })
}

/// A publisher in each thread but the last, which subscribes to all.
fn merge<S: Service + 'static>(job: &Job, domain: &Domain) -> Crew {
    let producers = domain.sides - 1;
    let domain = Domain { publishers: producers, ..domain.clone() };
    let producer = |ours: Domain| {
        move || {
            let service = ours.lossless::<S, Packet>(&ours.node()?, THERE)?.open_or_create();
            let publisher = service?
                .publisher_builder()
                .max_loaned_samples(2)
                .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
                .create()?;
            let publisher = ManuallyDrop::new(publisher);
            Ok(move |share: Share| {
                share.send(|message| {
                    reached(publisher.loan_uninit()?.write_payload(message).send()?, 1)
                })
            })
        }
    };
    let publishers = vec![domain.clone(); producers].into_iter().map(producer).collect();
    gather(job, publishers, move || {
        let service = domain.lossless::<S, Packet>(&domain.node()?, THERE)?.open_or_create();
        let subscriber = ManuallyDrop::new(service?.subscriber_builder().create()?);
        // As above: this call connects.
        ensure!(subscriber.receive()?.is_none(), "a message came before any was sent");
        let idle = Idle::new(domain.sides);
        Ok(move |ledger: &mut Ledger| {
            while ledger.left() > 0 {
                if let Some(message) = subscriber.receive()? {
                    ledger.take(message.payload());
                    idle.reset();
                } else {
                    idle.wait();
                }
            }
            Ok(())
        })
    })
}

#[inline(never)]
fn publish<S: Service>(
    (publisher, messages, subscribers): (&Publisher<S, Packet, ()>, u64, usize),
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    for sequence in 0..messages {
        let place = publisher.loan_uninit()?;
        let mut message = Packet::ZERO;
        let sum = message.fill(sequence);
        reached(place.write_payload(message).send()?, subscribers)?;
        tally.add(1, sum);
    }
    Ok(tally)
}

#[inline(never)]
fn receive<S: Service>(
    (subscriber, messages, idle): (&Subscriber<S, Packet, ()>, u64, Idle),
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    while tally.count < messages {
        if let Some(message) = subscriber.receive()? {
            tally.add(1, message.payload().sum());
            idle.reset();
        } else {
            idle.wait();
        }
    }
    Ok(tally)
}
