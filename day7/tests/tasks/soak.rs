//! Clients come and go for as long as one likes: `FANOUT_SOAK_SECONDS`.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use day7::tasks::{Client, ClientOptions};
use testing::{DEADLINE, Dice, eventually, number_from_environment};

use super::home::{Home, belongings, comes_back_to, resident};

#[test]
fn a_server_whose_clients_come_and_go_stays_as_it_is() {
    let seconds = number_from_environment("FANOUT_SOAK_SECONDS").unwrap_or(3);
    let home = Home::process();
    let mut dice = Dice::seeded();
    let round = |dice: &mut Dice, until: Instant| {
        thread::scope(|scope| {
            for _ in 0..4 {
                let (path, mut dice) = (home.path(), dice.split());
                scope.spawn(move || {
                    while Instant::now() < until {
                        visit(&path, &mut dice);
                    }
                });
            }
        });
        eventually("all are gone", || day7::tasks::clients(home.path()).unwrap().is_empty());
    };
    let before = belongings(home.pid());
    round(&mut dice, Instant::now() + Duration::from_secs(1));
    // Reception forgets a client before its shard does.
    comes_back_to(before, home.pid());
    let first = resident(home.pid());
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        round(&mut dice, until.min(Instant::now() + Duration::from_secs(5)));
        comes_back_to(before, home.pid());
    }
    let last = resident(home.pid());
    println!("{first} KiB before, {last} KiB after {seconds} seconds");
    // A leak of a kilobyte for each client would show: thousands of them come in seconds.
    assert!(last < first + (16 << 10), "{first} KiB before, {last} KiB now");
}

/// One client's life.
fn visit(path: &Path, dice: &mut Dice) {
    let options = ClientOptions::new().arena(1 << 16).outstanding(1 + dice.below(64) as usize);
    let client = Client::connect_with(path, &options.timeout(DEADLINE)).unwrap();
    let names = ["echo", "fill", "fail", "count", "lengths"];
    let found = names.map(|name| client.procedure(name).unwrap());
    let mut out = Vec::new();
    for _ in 0..dice.below(200) {
        let (which, args) = (dice.pick(&found), vec![3; dice.below(200) as usize]);
        let outputs = client.buffer(dice.below(500) as usize).into_iter().collect();
        let ticket = client.submit(which, &args, vec![], outputs).unwrap();
        if dice.once_in(3) {
            ticket.cancel();
        }
        if dice.once_in(2) {
            out.push(ticket);
        }
    }
    if dice.once_in(2) {
        for ticket in out {
            let _ = ticket.wait();
        }
    }
}
