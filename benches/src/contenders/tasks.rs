//! This project's server and client of Day 7: one client, and a server with one shard, which is the
//! thread that answers. Requests and answers are arguments and results, which are copied: 64 bytes are
//! not worth a buffer.
//!
//! The client waits for its oldest task: the shard does a client's tasks in order.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use common::sync::{AtomicU64, Ordering};
use fanout::tasks::{Client, ClientOptions, Procedure, Server, ServerOptions, Shard, Ticket};
use fanout::wait::Strategy;
use yardstick::payload::Tally;

use super::{Contender, Standing};
use crate::Packet;
use crate::crew::{Crew, Done};
use crate::load::Job;
use crate::question::{Question, Rest};
use crate::task::{Asking, served, work};

pub(super) fn rows(question: Question) -> Vec<Contender> {
    let Question::Task { place, outstanding, rest } = question else { return vec![] };
    let row = |mode, strategy| {
        let build = move |job: &Job| Ok(crew(job, outstanding, strategy));
        let row = Contender::rival(question, ("fanout tasks", mode), (place, 2), build);
        row.standing(Standing::Fanout)
    };
    match rest {
        Rest::Spinning => vec![row("Server and Client, spin", Strategy::Spin)],
        Rest::Sleeping => vec![
            row("Server and Client, sleep", Strategy::Sleep),
            row("Server and Client, adaptive", Strategy::Adaptive),
        ],
    }
}

/// The procedure's name.
const NAME: &str = "work";

fn crew(job: &Job, outstanding: usize, strategy: Strategy) -> Crew {
    let path = job.folder.join("server");
    let (ours, all) = (path.clone(), job.messages);
    let server = move || Serving::open(ours, strategy, all);
    let client = move || {
        let options = ClientOptions::new().waiting(strategy);
        Ok(Asks { path, options, way: None, tickets: VecDeque::with_capacity(outstanding) })
    };
    served(job, outstanding, server, |serving: Serving| serving.serve(), client)
}

/// What the procedure has received and sent: counts and sums. Only the shard's thread writes them.
#[derive(Default)]
struct Counts([AtomicU64; 4]);

impl Counts {
    fn set(&self, received: Tally, sent: Tally) {
        let values = [received.count, received.sum, sent.count, sent.sum];
        for (place, value) in self.0.iter().zip(values) {
            place.store(value, Ordering::Relaxed);
        }
    }

    fn get(&self) -> (Tally, Tally) {
        let [a, b, c, d] = self.0.each_ref().map(|place| place.load(Ordering::Relaxed));
        (Tally { count: a, sum: b }, Tally { count: c, sum: d })
    }
}

struct Serving {
    shard: Shard,
    counts: Arc<Counts>,
}

impl Serving {
    fn open(path: PathBuf, strategy: Strategy, all: u64) -> anyhow::Result<Self> {
        let server = Server::bind(path, &ServerOptions::new().waiting(strategy))?;
        let counts = Arc::new(Counts::default());
        let (ends, ended) = channel();
        let shared = Arc::clone(&counts);
        let (mut received, mut sent) = (Tally::default(), Tally::default());
        server.register(NAME, move |task| {
            let request = bytemuck::try_pod_read_unaligned(task.args());
            let request: Packet = request.map_err(|_| "a request has another length")?;
            let mut answer = Packet::default();
            work(&request, &mut answer, (&mut received, &mut sent));
            task.answer(bytemuck::bytes_of(&answer))?;
            shared.set(received, sent);
            if sent.count == all {
                let _ = ends.send(());
            }
            Ok(())
        })?;
        let shard = server.shard(0)?;
        // Ends the shard when the client has all its answers and is gone.
        thread::spawn(move || {
            if ended.recv().is_ok() {
                while server.clients() > 0 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            drop(server);
        });
        Ok(Self { shard, counts })
    }

    #[inline(never)]
    fn serve(mut self) -> anyhow::Result<Done> {
        self.shard.serve();
        let (received, sent) = self.counts.get();
        Ok(Done { sent: sent.into(), received: received.into(), ..Done::default() })
    }
}

struct Asks {
    path: PathBuf,
    options: ClientOptions,
    way: Option<(Client, Procedure)>,
    tickets: VecDeque<Ticket>,
}

impl Asking for Asks {
    /// A client is let in when the shard serves.
    fn meet(&mut self) -> anyhow::Result<()> {
        let client = Client::connect_with(&self.path, &self.options)?;
        let procedure = client.procedure(NAME)?;
        self.way = Some((client, procedure));
        Ok(())
    }

    #[inline(always)]
    fn ask(&mut self, write: impl FnOnce(&mut Packet)) -> anyhow::Result<()> {
        let (client, procedure) = self.way.as_ref().context("the client has not connected")?;
        let mut request = Packet::default();
        write(&mut request);
        let bytes = bytemuck::bytes_of(&request);
        let ticket = client.submit(*procedure, bytes, Vec::new(), Vec::new());
        self.tickets.push_back(ticket.map_err(|error| anyhow!("{error}"))?);
        Ok(())
    }

    #[inline(always)]
    fn collect(&mut self, mut take: impl FnMut(&Packet)) -> anyhow::Result<()> {
        let mut next = self.tickets.pop_front();
        while let Some(ticket) = next {
            let answer = ticket.wait().result?;
            let answer = bytemuck::try_pod_read_unaligned(&answer);
            take(&answer.map_err(|_| anyhow!("an answer has another length"))?);
            next = self.tickets.pop_front_if(|ticket| ticket.is_ready());
        }
        Ok(())
    }
}
