//! Requests and responses of one type, several at a time.
//!
//! The client looks for the response to its oldest request: the server answers in order, and to look at
//! all requests that are out would take longer. With events, there is one after each visit that has sent
//! something, and a side that has found nothing waits for the next.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;

use anyhow::ensure;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::server::Server;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::request_response;

use super::services::{BACK, Domain, THERE};
use crate::Packet;
use crate::crew::Crew;
use crate::idle::Idle;
use crate::load::Job;
use crate::task::{Answering, Asking, tasks};

type Calls<S> = request_response::PortFactory<S, Packet, (), Packet, ()>;
type Awaited<S> = PendingResponse<S, Packet, (), Packet, ()>;

/// A server, and a client with so many requests out; both poll, or both sleep.
pub(super) fn crew<S: Service + 'static>(
    job: &Job,
    domain: Domain,
    outstanding: usize,
    sleeps: bool,
) -> Crew {
    let other = domain.clone();
    let server = move || {
        let node = domain.node::<S>()?;
        let server = calls(&node, outstanding)?.server_builder().create()?;
        Ok(Answers {
            server: ManuallyDrop::new(server),
            rest: Rest::new(&domain, &node, sleeps, [BACK, THERE])?,
        })
    };
    let client = move || {
        let node = other.node::<S>()?;
        let client = calls(&node, outstanding)?.client_builder().create()?;
        Ok(Asks {
            client: ManuallyDrop::new(client),
            pending: VecDeque::with_capacity(outstanding),
            rest: Rest::new(&other, &node, sleeps, [THERE, BACK])?,
        })
    };
    tasks(job, outstanding, server, client)
}

fn calls<S: Service>(node: &Node<S>, outstanding: usize) -> anyhow::Result<Calls<S>> {
    let service = node
        .service_builder(&"calls".try_into()?)
        .request_response::<Packet, Packet>()
        .max_clients(1)
        .max_servers(1)
        .max_nodes(2)
        .max_active_requests_per_client(outstanding)
        .max_loaned_requests(2)
        .max_response_buffer_size(1)
        .enable_safe_overflow_for_requests(false)
        .enable_safe_overflow_for_responses(false)
        .open_or_create();
    Ok(service?)
}

type Events<S> = (ManuallyDrop<Notifier<S>>, ManuallyDrop<Listener<S>>);

/// What a side does that has found nothing: it looks again, or waits for the other side's event.
struct Rest<S: Service> {
    events: Option<Events<S>>,
    idle: Idle,
}

impl<S: Service> Rest<S> {
    fn new(
        domain: &Domain,
        node: &Node<S>,
        sleeps: bool,
        [out, back]: [&str; 2],
    ) -> anyhow::Result<Self> {
        let events = match sleeps {
            true => Some((domain.notifier(node, out)?, domain.listener(node, back)?)),
            false => None,
        };
        Ok(Self { events, idle: Idle::new(2) })
    }

    fn meet(&self) -> anyhow::Result<()> {
        match &self.events {
            Some((notifier, _)) => Ok(notifier.update_connections()?),
            None => Ok(()),
        }
    }

    /// Says that there is something. The other side may have found it already, and be gone.
    #[inline(always)]
    fn tell(&self) -> anyhow::Result<()> {
        if let Some((notifier, _)) = &self.events {
            notifier.notify()?;
        }
        Ok(())
    }

    /// Events that came before the last look end the wait, too.
    #[inline(always)]
    fn wait(&self) -> anyhow::Result<()> {
        match &self.events {
            Some((_, listener)) => {
                listener.blocking_wait(|_| {})?;
            }
            None => self.idle.wait(),
        }
        Ok(())
    }
}

struct Answers<S: Service> {
    server: ManuallyDrop<Server<S, Packet, (), Packet, ()>>,
    rest: Rest<S>,
}

impl<S: Service> Answering for Answers<S> {
    fn meet(&mut self) -> anyhow::Result<()> {
        self.rest.meet()
    }

    #[inline(always)]
    fn serve(&mut self, mut work: impl FnMut(&Packet, &mut Packet)) -> anyhow::Result<()> {
        let mut answered = false;
        loop {
            while let Some(request) = self.server.receive()? {
                let place = request.loan_uninit()?;
                let mut answer = Packet::default();
                work(request.payload(), &mut answer);
                place.write_payload(answer).send()?;
                answered = true;
            }
            if answered {
                self.rest.idle.reset();
                return self.rest.tell();
            }
            self.rest.wait()?;
        }
    }
}

struct Asks<S: Service> {
    client: ManuallyDrop<Client<S, Packet, (), Packet, ()>>,
    pending: VecDeque<Awaited<S>>,
    rest: Rest<S>,
}

impl<S: Service> Asking for Asks<S> {
    fn meet(&mut self) -> anyhow::Result<()> {
        self.rest.meet()
    }

    #[inline(always)]
    fn ask(&mut self, write: impl FnOnce(&mut Packet)) -> anyhow::Result<()> {
        let place = self.client.loan_uninit()?;
        let mut request = Packet::default();
        write(&mut request);
        let pending = place.write_payload(request).send()?;
        let servers = pending.number_of_server_connections();
        ensure!(servers == 1, "a request reached {servers} of 1 servers");
        self.pending.push_back(pending);
        Ok(())
    }

    #[inline(always)]
    fn flush(&mut self) -> anyhow::Result<()> {
        self.rest.tell()
    }

    #[inline(always)]
    fn collect(&mut self, mut take: impl FnMut(&Packet)) -> anyhow::Result<()> {
        let mut found = false;
        loop {
            while let Some(oldest) = self.pending.front() {
                let Some(answer) = oldest.receive()? else { break };
                take(answer.payload());
                drop(answer);
                self.pending.pop_front();
                found = true;
            }
            if found {
                self.rest.idle.reset();
                return Ok(());
            }
            ensure!(!self.pending.is_empty(), "nothing was asked");
            self.rest.wait()?;
        }
    }
}
