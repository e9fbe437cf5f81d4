//! `kill -9`, at random, of everything: both bridges, the producer, the consumer, one server of three.

mod kit;

use std::thread::sleep;
use std::time::Duration;

use kit::{Bridge, Cluster, Consumer, Producer, Server, Shape, dice, in_full_or};
use testing::{Dice, Unique};

const STREAM: &str = "CRASH";

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Out,
    In,
    Producer,
    Consumer,
    Server,
}

use Victim::{In, Out, Server as OneServer};

/// Everything from the producer to the consumer.
struct Chain {
    producer: Producer,
    out: Bridge,
    into: Bridge,
    consumer: Consumer,
    /// Who was killed, each time.
    killed: Vec<Victim>,
    cluster: Option<Cluster>,
}

impl Chain {
    /// Kills one of these and starts it again, at once or a little later.
    fn kill(&mut self, victim: Victim, dice: &mut Dice) {
        let pause = dice.pause(Duration::from_millis(60));
        match victim {
            Victim::Out => {
                self.out.kill();
                sleep(pause);
                self.out.restart();
            }
            Victim::In => {
                self.into.kill();
                sleep(pause);
                self.into.restart();
            }
            Victim::Producer => {
                self.producer.kill();
                sleep(pause);
                self.producer.restart();
            }
            Victim::Consumer => {
                self.consumer.kill();
                sleep(pause);
                self.consumer.restart();
            }
            Victim::Server => {
                let cluster = self.cluster.as_mut().expect("only servers of a cluster are killed");
                let number = dice.below(cluster.len() as u64) as usize;
                cluster.server(number).kill();
                sleep(pause);
                cluster.server(number).restart();
                // Only one is away at a time.
                cluster.until_ready();
            }
        }
        self.killed.push(victim);
    }

    /// Kills these at random, while messages come through, until so many kills were done.
    fn suffer(&mut self, kills: u64, victims: &[Victim], dice: &mut Dice) {
        self.consumer.until(1);
        for kill in 0..kills {
            // Something comes through between two deaths.
            let next = self.consumer.next() + 1 + dice.below(400);
            if dice.once_in(2) {
                self.consumer.until(next);
            } else {
                sleep(dice.pause(Duration::from_millis(200)));
            }
            let victim = dice.pick(victims);
            println!("{kill}: {victim:?} at {} of {}", self.consumer.next(), self.producer.sent());
            self.consumer.goes_on();
            self.kill(victim, dice);
        }
    }
}

/// More messages than a test will have sent.
const MANY: u64 = 1 << 40;

/// Ends the queue, and checks that its end and everything before it has come through.
fn finish(mut chain: Chain, shape: Shape) {
    // What was sent after the last death has come through: everybody is back, and will see the end.
    let sent = chain.producer.sent();
    chain.consumer.until(sent + 1);
    let sent = chain.producer.end();
    let received = chain.consumer.finish();
    println!("{sent} messages came through {} deaths: {received:?}", chain.killed.len());
    assert_eq!((received.next, received.ended.as_str()), (sent, "closed"));
    if !chain.killed.contains(&Victim::Consumer) {
        received.is_all(shape, sent);
    }
    chain.out.wait().with(0);
    chain.into.wait().with(0);
}

fn chain(
    what: &str,
    cluster: Option<Cluster>,
    url: &str,
    shape: Shape,
    out: &[&str],
    member: bool,
) -> (Chain, [Unique; 2]) {
    let here = Unique::new(&format!("{what}-a"));
    let there = Unique::new(&format!("{what}-b"));
    // Slower than a bridge of a debug build: what was sent before a death should soon be through.
    let rest = Duration::from_millis(20);
    let producer = Producer::of(&here, shape, MANY).capacity(1 << 18).resting(rest).start();
    let out = Bridge::out(&here, url, STREAM, out);
    let into = Bridge::into(&there, url, STREAM, &["--capacity", "262144"]);
    let consumer = Consumer::of(&there, shape);
    let consumer = if member { consumer.member("all") } else { consumer.beginning_with(0) };
    let consumer = consumer.start();
    (Chain { cluster, producer, out, into, consumer, killed: Vec::new() }, [here, there])
}

fn survives(what: &str, shape: Shape, out: &[&str], member: bool, kills: u64, victims: &[Victim]) {
    let (mut dice, server) = (dice(), Server::start());
    let (mut chain, _names) = chain(what, None, &server.url(), shape, out, member);
    chain.suffer(kills, victims, &mut dice);
    finish(chain, shape);
}

/// A consumer that stays sees every message once, whichever bridge dies.
#[test]
fn of_bridges_and_producer() {
    let shape = Shape::of_lengths(0, 600).with_kinds();
    let kills = in_full_or(200, 20);
    survives("bridges", shape, &[], false, kills, &[Out, In, Victim::Producer]);
}

#[test]
fn of_bridges_that_pack() {
    let (shape, kills) = (Shape::of_lengths(0, 600), in_full_or(200, 20));
    let out = ["--pack", "4096"];
    survives("pack", shape, &out, false, kills, &[Out, In, Victim::Producer]);
}

/// A member of a group that holds: its successor goes on with what it had not given back, which is marked.
#[test]
fn of_a_member_too() {
    let (shape, kills) = (Shape::of_lengths(0, 600), in_full_or(200, 20));
    let victims = [Out, In, Victim::Producer, Victim::Consumer];
    survives("member", shape, &["--pack", "4096"], true, kills, &victims);
}

/// Everything, with one of three servers.
#[test]
fn of_everything_with_three_servers() {
    let (mut dice, cluster) = (dice(), Cluster::start());
    let (url, shape) = (cluster.url(), Shape::of_lengths(0, 600).with_kinds());
    let out = ["--replicas", "3", "--pack", "4096"];
    let (mut chain, _names) = chain("cluster", Some(cluster), &url, shape, &out, true);
    let kills = in_full_or(200, 20);
    let victims = [Out, In, Victim::Producer, Victim::Consumer, OneServer, OneServer];
    chain.suffer(kills, &victims, &mut dice);
    finish(chain, shape);
}

/// What a bridge had sent before it was killed reaches the server only when its successor is already there. The successor
/// packs other messages together than the dead one did.
fn late_messages(what: &str, out: &[&str]) {
    let (mut dice, server) = (dice(), Server::start());
    let shape = Shape::of_lengths(0, 100);
    let (mut chain, _names) = chain(what, None, &server.url(), shape, out, false);
    for _ in 0..in_full_or(50, 8) {
        let sent = chain.producer.sent();
        chain.consumer.until(sent + 1);
        server.freeze();
        sleep(dice.pause(Duration::from_millis(100)));
        chain.out.kill();
        chain.out.restart();
        sleep(dice.pause(Duration::from_millis(100)));
        server.thaw();
        chain.consumer.goes_on();
        chain.killed.push(Out);
    }
    finish(chain, shape);
}

#[test]
fn of_a_bridge_whose_messages_come_late() {
    late_messages("late", &[]);
}

#[test]
fn of_a_bridge_whose_packs_come_late() {
    late_messages("late-packs", &["--pack", "700"]);
}
