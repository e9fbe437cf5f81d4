//! Threads that share a client, and many clients at once.

use std::thread;

use day5::strategy::Strategy;
use day7::tasks::{Client, ClientOptions, ConnectError, ServerOptions};
use testing::{Dice, eventually};

use super::home::{Home, belongings, comes_back_to, raise_descriptors};

/// Six threads issue, wait, try, drop and cancel. Each answer is the thread's own.
fn mingle(client: &Client, tasks: u32) {
    let echo = client.procedure("echo").unwrap();
    let mut seeds = Dice::seeded();
    thread::scope(|scope| {
        for thread in 0..6u32 {
            let (client, mut dice) = (client.clone(), seeds.split());
            scope.spawn(move || {
                let mut tickets = Vec::new();
                for n in 0..tasks {
                    let mut args = [thread, n].map(u32::to_le_bytes).concat();
                    args.resize(8 + dice.below(200) as usize, n as u8);
                    match dice.below(8) {
                        0 => assert_eq!(client.call(echo, &args).unwrap(), args),
                        1 => {
                            if let Ok(ticket) = client.try_submit(echo, &args, vec![], vec![]) {
                                tickets.push((args, ticket));
                            }
                        }
                        2 => drop(client.submit(echo, &args, vec![], vec![]).unwrap()),
                        _ => {
                            let ticket = client.submit(echo, &args, vec![], vec![]).unwrap();
                            tickets.push((args, ticket));
                        }
                    }
                    if tickets.len() > 20 {
                        let (args, ticket) = tickets.swap_remove(dice.below(20) as usize);
                        assert_eq!(ticket.wait().result.unwrap(), args);
                    }
                }
                for (args, ticket) in tickets {
                    assert_eq!(ticket.wait().result.unwrap(), args);
                }
            });
        }
    });
    eventually("all answers have come", || client.outstanding() == 0);
}

#[test]
fn threads_that_share_a_client_get_their_own_answers() {
    let server = ServerOptions::new().requests(4096).answers(4096).longest_answer(300);
    for strategy in [Strategy::Adaptive, Strategy::Sleep, Strategy::Yield] {
        let home = Home::thread(&server.clone().waiting(strategy));
        for outstanding in [1, 7, 256] {
            let options = ClientOptions::new().outstanding(outstanding).waiting(strategy);
            mingle(&home.client_with(&options), 2000);
        }
    }
}

#[test]
fn threads_share_a_client_of_a_server_in_their_process() {
    let server = ServerOptions::new().requests(4096).answers(4096).longest_answer(300);
    mingle(&Home::here(&server).client(), 2000);
}

#[test]
fn a_thousand_clients_are_served_at_once_and_one_more_is_told() {
    raise_descriptors();
    let home = Home::process();
    let before = belongings(home.pid());
    let served = || day7::tasks::clients(home.path()).unwrap().len();
    let mut clients: Vec<_> = (0..1024).map(|_| home.client()).collect();
    assert_eq!(served(), 1024);
    let full = home.try_client(&ClientOptions::new());
    assert!(matches!(full, Err(ConnectError::Full { most: 1024, .. })), "{full:?}");
    let echoes: Vec<_> = clients.iter().map(|one| one.procedure("echo").unwrap()).collect();
    for round in 0..5u32 {
        let submit = |(n, (client, echo)): (usize, (&Client, &_))| {
            let args = [round, n as u32].map(u32::to_le_bytes).concat();
            (client.submit(*echo, &args, vec![], vec![]).unwrap(), args)
        };
        let out: Vec<_> = clients.iter().zip(&echoes).enumerate().map(submit).collect();
        for (ticket, args) in out {
            assert_eq!(ticket.wait().result.unwrap(), args);
        }
    }
    let all = day7::tasks::clients(home.path()).unwrap();
    assert_eq!(all.len(), 1024);
    // Looking up a procedure is no task.
    let wrong = all.iter().find(|one| (one.issued, one.answered, one.failed) != (5, 5, 0));
    assert_eq!(wrong, None);
    // The place of each that goes is another's.
    for _ in 0..3 {
        clients.truncate(1000);
        eventually("the server has noticed", || served() == 1000);
        clients.extend((1000..1024).map(|_| home.client()));
    }
    drop(clients);
    eventually("all are gone", || served() == 0);
    comes_back_to(before, home.pid());
}
