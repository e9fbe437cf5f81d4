//! What a client may rely on, wherever its server is.

use day7::tasks::{
    CallError, ClientOptions, Failed, MOST_NAME, NameTaken, NotSubmitted, Server, ServerOptions,
    Ticket, TicketState,
};
use testing::{DEADLINE, Dice};

use super::home::{Hold, Home, everywhere, everywhere_with, failed};

#[test]
fn each_call_has_its_own_answer() {
    everywhere(|home| {
        let client = home.client();
        let echo = client.procedure("echo").unwrap();
        for len in [0, 1, 7, 8, 9, 63, 64, 65, 1000, 4096] {
            let args: Vec<u8> = (0..len).map(|n| n as u8).collect();
            assert_eq!(client.call(echo, &args).unwrap(), args, "{len}");
        }
        assert_eq!(client.outstanding(), 0);
    });
}

#[test]
fn answers_go_to_the_tickets_that_they_are_for() {
    everywhere(|home| {
        let client = home.client();
        let echo = client.procedure("echo").unwrap();
        let mut dice = Dice::seeded();
        let mut tickets: Vec<(u32, Ticket)> = Vec::new();
        for n in 0..2000u32 {
            while tickets.len() >= 64 {
                let (number, ticket) = tickets.swap_remove(dice.below(64) as usize);
                assert_eq!(ticket.wait().result.unwrap(), number.to_le_bytes());
            }
            tickets.push((n, client.submit(echo, &n.to_le_bytes(), vec![], vec![]).unwrap()));
        }
        for (number, ticket) in tickets.into_iter().rev() {
            assert_eq!(ticket.wait().result.unwrap(), number.to_le_bytes());
        }
    });
}

#[test]
fn the_longest_answer_fits_and_one_byte_more_does_not() {
    for longest in [16, 100, 4096, 40_000] {
        let options = ServerOptions::new().longest_answer(longest).answers(1);
        everywhere_with(&options, |home| {
            let client = home.client();
            let long = client.procedure("long").unwrap();
            let of = |len: usize| client.call(long, &(len as u64).to_le_bytes());
            for len in [longest, 0, longest - 1, longest] {
                assert_eq!(of(len).unwrap().len(), len);
            }
            let Failed::Error { reason } = failed(of(longest + 1)) else { panic!("it failed") };
            // A reason is cut to what an answer can have.
            let expected = format!("an answer has at most {longest} bytes, found {}", longest + 1);
            assert!(reason.starts_with(&expected[..expected.len().min(longest)]), "{reason}");
            assert_eq!(of(longest).unwrap().len(), longest);
        });
    }
}

#[test]
fn the_longest_arguments_fit_and_one_byte_more_do_not() {
    let options = ServerOptions::new().requests(4096).longest_answer(1 << 16);
    everywhere_with(&options, |home| {
        let client = home.client();
        let echo = client.procedure("echo").unwrap();
        let Err(CallError::NotSubmitted(NotSubmitted::TooLong(why))) =
            client.call(echo, &[0; 1 << 16])
        else {
            panic!("so much does not fit");
        };
        let most = (1 << 16) - (why.len - why.most);
        for _ in 0..10 {
            let args = vec![7; most];
            assert_eq!(client.call(echo, &args).unwrap(), args);
            let no = client.call(echo, &vec![7; most + 1]);
            assert!(matches!(no, Err(CallError::NotSubmitted(NotSubmitted::TooLong(_)))), "{no:?}");
        }
    });
}

#[test]
fn a_long_reason_is_cut_between_two_characters() {
    everywhere_with(&ServerOptions::new().longest_answer(17), |home| {
        let client = home.client();
        let fail = client.procedure("fail").unwrap();
        let why = failed(client.call(fail, "ä".repeat(20).as_bytes()));
        assert_eq!(why, Failed::Error { reason: "ä".repeat(8) });
    });
}

#[test]
fn a_procedure_that_fails_or_panics_costs_its_task() {
    everywhere(|home| {
        let client = home.client();
        let find = |name| client.procedure(name).unwrap();
        let (echo, fail, panic) = (find("echo"), find("fail"), find("panic"));
        for _ in 0..3 {
            let why = failed(client.call(fail, b"as asked"));
            assert_eq!(why, Failed::Error { reason: "as asked".into() });
            let why = failed(client.call(panic, b"as asked"));
            assert_eq!(why, Failed::Panicked { message: "as asked".into() });
            assert_eq!(client.call(echo, b"still there").unwrap(), b"still there");
        }
    });
}

/// What a procedure gives may be the user's own: it may panic wherever the server looks at it.
#[test]
fn an_error_that_cannot_be_shown_and_a_panic_that_cannot_be_dropped_cost_their_tasks() {
    everywhere(|home| {
        let client = home.client();
        let echo = client.procedure("echo").unwrap();
        for name in ["unspeakable", "bomb"] {
            let why = failed(client.call(client.procedure(name).unwrap(), b""));
            assert!(matches!(why, Failed::Panicked { .. }), "{name}: {why:?}");
            assert_eq!(client.call(echo, b"still there").unwrap(), b"still there");
        }
    });
}

/// Each shard copies the procedures. One that cannot be copied keeps the others from nothing.
#[test]
fn a_procedure_that_panics_when_it_is_copied_fails_alone() {
    struct Single;
    impl Clone for Single {
        fn clone(&self) -> Self {
            panic!("there is one only");
        }
    }
    let home = Home::thread(&ServerOptions::new());
    let single = Single;
    let only = move |_: &mut day7::tasks::Task<'_>| {
        let _ = &single;
        Ok(())
    };
    home.server().register("single", only).unwrap();
    home.server().register("late", |task| Ok(task.answer(b"here")?)).unwrap();
    let client = home.client();
    for _ in 0..2 {
        let why = failed(client.call(client.procedure("single").unwrap(), b""));
        assert!(why.to_string().contains("there is one only"), "{why}");
        assert_eq!(client.call(client.procedure("late").unwrap(), b"").unwrap(), b"here");
    }
}

#[test]
fn a_procedure_is_found_by_its_name_alone() {
    everywhere(|home| {
        let (client, other) = (home.client(), home.client());
        let longest = "n".repeat(MOST_NAME + 1);
        for name in ["nobody", "", "ech", "echo ", &longest] {
            let why = client.procedure(name).unwrap_err();
            let CallError::NotSubmitted(NotSubmitted::Unknown { name: unknown }) = why else {
                panic!("{name}: {why:?}");
            };
            assert_eq!(unknown, name);
        }
        let echo = client.procedure("echo").unwrap();
        assert_eq!(echo, client.procedure("echo").unwrap());
        assert_ne!(echo, other.procedure("echo").unwrap());
        let why = other.call(echo, b"").unwrap_err();
        assert!(matches!(why, CallError::NotSubmitted(NotSubmitted::Procedure)), "{why:?}");
        assert_eq!(client.clone().call(echo, b"a clone").unwrap(), b"a clone");
    });
}

#[test]
fn a_procedure_that_is_registered_late_is_found_then() {
    let home = Home::thread(&ServerOptions::new());
    let client = home.client();
    let echo = client.procedure("echo").unwrap();
    assert_eq!(client.call(echo, b"x").unwrap(), b"x");
    assert!(client.procedure("late").is_err());
    home.server().register("late", |task| Ok(task.answer(b"here")?)).unwrap();
    assert_eq!(client.call(client.procedure("late").unwrap(), b"").unwrap(), b"here");
    let taken = home.server().register("late", |_| Ok(()));
    assert_eq!(taken, Err(NameTaken::Taken { name: "late".into() }));
    for found in [0, MOST_NAME + 1] {
        let wrong = home.server().register(&"n".repeat(found), |_| Ok(()));
        assert_eq!(wrong, Err(NameTaken::Length { most: MOST_NAME, found }));
    }
}

#[test]
fn each_task_is_done_once_and_in_turn() {
    everywhere(|home| {
        let client = home.client();
        let count = client.procedure("count").unwrap();
        let submit = |_| client.submit(count, b"", vec![], vec![]).unwrap();
        for round in 0..20u64 {
            let tickets: Vec<_> = (0..50).map(submit).collect();
            for (n, ticket) in (1..).zip(tickets) {
                assert_eq!(ticket.wait().result.unwrap(), (50 * round + n).to_le_bytes());
            }
        }
    });
}

#[test]
fn a_ticket_says_how_far_it_is() {
    let home = Home::thread(&ServerOptions::new());
    let client = home.client();
    let find = |name| client.procedure(name).unwrap();
    let hold = Hold::at(home.server());
    let (held, echo, fail) = (find("hold"), find("echo"), find("fail"));
    let long = client.submit(held, b"", vec![], vec![]).unwrap();
    let mut well = client.submit(echo, b"x", vec![], vec![]).unwrap();
    let mut badly = client.submit(fail, b"x", vec![], vec![]).unwrap();
    assert_eq!((well.state(), badly.is_ready()), (TicketState::Outstanding, false));
    assert!(!well.wait_timeout(std::time::Duration::from_millis(1)));
    assert!(!well.wait_timeout(std::time::Duration::ZERO));
    assert_eq!(client.outstanding(), 3);
    hold.release(true);
    assert!(badly.wait_timeout(DEADLINE) && well.wait_timeout(DEADLINE));
    let states = [&long, &well, &badly].map(Ticket::state);
    assert_eq!(states, [TicketState::Completed, TicketState::Completed, TicketState::Failed]);
    assert!(long.is_ready());
    assert_eq!(well.wait().result, Ok(b"x".to_vec()));
    assert_eq!(badly.wait().result, Err(Failed::Error { reason: "x".into() }));
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn a_task_that_was_not_begun_can_be_cancelled() {
    let home = Home::thread(&ServerOptions::new());
    let client = home.client();
    let find = |name| client.procedure(name).unwrap();
    let hold = Hold::at(home.server());
    let (held, count) = (find("hold"), find("count"));
    let mut done = 0u64;
    for _ in 0..3 {
        hold.release(false);
        let begun = client.submit(held, b"", vec![], vec![]).unwrap();
        let submit = || client.submit(count, b"", vec![], vec![]).unwrap();
        let (first, second, third) = (submit(), submit(), submit());
        second.cancel();
        second.cancel();
        hold.release(true);
        assert!(begun.wait().result.is_ok());
        assert_eq!(first.wait().result.unwrap(), (done + 1).to_le_bytes());
        assert_eq!(second.wait().result, Err(Failed::Cancelled));
        assert_eq!(third.wait().result.unwrap(), (done + 2).to_le_bytes());
        // The place of the cancelled task is given to others, which are not cancelled.
        let all: Vec<_> = (0..8).map(|_| submit()).collect();
        assert!(all.into_iter().all(|ticket| ticket.wait().result.is_ok()));
        done += 10;
    }
    let late = client.submit(count, b"", vec![], vec![]).unwrap();
    testing::eventually("it is done", || late.is_ready());
    late.cancel();
    assert_eq!(late.wait().result.unwrap(), (done + 1).to_le_bytes());
}

#[test]
fn a_call_that_waits_too_long_says_so_and_its_answer_harms_no_other() {
    let home = Home::thread(&ServerOptions::new());
    let client = home.client();
    let hold = Hold::at(home.server());
    let (held, echo) = (client.procedure("hold").unwrap(), client.procedure("echo").unwrap());
    for n in 0..10u8 {
        hold.release(false);
        let late = client.call_timeout(held, b"", std::time::Duration::from_millis(1));
        assert!(matches!(late, Err(CallError::TimedOut(_))), "{late:?}");
        hold.release(true);
        assert_eq!(client.call_timeout(echo, &[n], DEADLINE).unwrap(), [n]);
    }
}

#[test]
fn a_client_that_tries_gets_on_although_it_never_waits() {
    everywhere(|home| {
        let client = home.client_with(&ClientOptions::new().outstanding(4));
        let echo = client.procedure("echo").unwrap();
        for n in 0..200u32 {
            testing::eventually("there is room again", || {
                match client.try_submit(echo, &n.to_le_bytes(), vec![], vec![]) {
                    Ok(ticket) => {
                        drop(ticket);
                        true
                    }
                    Err(error) => {
                        assert!(matches!(error.why, NotSubmitted::Full { .. }), "{error}");
                        false
                    }
                }
            });
        }
        testing::eventually("all answers have come", || client.outstanding() == 0);
    });
}

#[test]
fn a_full_ring_refuses_who_tries_and_holds_who_submits() {
    let server = ServerOptions::new().requests(4096).answers(4096).longest_answer(16);
    let home = Home::thread(&server);
    let client = home.client_with(&ClientOptions::new().outstanding(1024));
    let hold = Hold::at(home.server());
    let (held, echo) = (client.procedure("hold").unwrap(), client.procedure("long").unwrap());
    let _begun = client.submit(held, b"", vec![], vec![]).unwrap();
    let mut tickets = Vec::new();
    let error = loop {
        match client.try_submit(echo, &[0; 100], vec![], vec![]) {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => break error,
        }
    };
    let NotSubmitted::Full { outstanding } = error.why else { panic!("{error}") };
    assert_eq!(outstanding, tickets.len() + 1);
    hold.release(true);
    for _ in 0..200 {
        tickets.push(client.submit(echo, &[0; 100], vec![], vec![]).unwrap());
    }
    assert!(tickets.into_iter().all(|ticket| ticket.wait().result == Ok(vec![])));
}

#[test]
fn tickets_that_are_dropped_leave_nothing_behind() {
    everywhere(|home| {
        let client = home.client_with(&ClientOptions::new().arena(1 << 16));
        let (echo, fill) = (client.procedure("echo").unwrap(), client.procedure("fill").unwrap());
        for n in 0..2000u32 {
            drop(client.submit(echo, &n.to_le_bytes(), vec![], vec![]).unwrap());
            testing::eventually("a part of the arena is free", || client.buffer(1 << 14).is_ok());
            let output = vec![client.buffer(1 << 14).unwrap()];
            drop(client.submit(fill, b"x", vec![], output).unwrap());
        }
        assert_eq!(client.call(echo, b"well").unwrap(), b"well");
        testing::eventually("all is free", || client.buffer(1 << 16).is_ok());
        assert_eq!(client.outstanding(), 0);
    });
}

#[test]
fn clients_of_a_server_in_this_thread_come_and_go() {
    let server = Server::local(&ServerOptions::new()).unwrap();
    super::home::furnish(&server);
    for n in 0..3000u32 {
        let client = server.client(&ClientOptions::new()).unwrap();
        if n % 3 == 0 {
            let echo = client.procedure("echo").unwrap();
            assert_eq!(client.call(echo, &n.to_le_bytes()).unwrap(), n.to_le_bytes());
        }
    }
}

#[test]
fn options_that_cannot_be_had_are_refused() {
    let new = ServerOptions::new;
    let most = usize::MAX;
    for options in [
        new().shards(0),
        new().shards(257),
        new().clients(0),
        new().clients(2048),
        new().clients(most),
        new().requests(0),
        new().requests(u64::MAX),
        new().answers(0),
        new().answers(u64::MAX),
        new().longest_answer(15),
        new().longest_answer(most),
        new().quantum(0),
    ] {
        let why = Server::local(&options).unwrap_err().to_string();
        assert!(why.contains(" is to be ") && why.contains("found"), "{why}");
    }
    assert!(Server::local(&new().requests(1).answers(1)).is_ok());
}

#[test]
fn a_procedure_of_a_client_that_is_gone_is_no_later_client_s() {
    let home = Home::here(&ServerOptions::new());
    // A later client may lie where the first one lay.
    for _ in 0..50 {
        let gone = home.client();
        let _ = gone.procedure("fail").unwrap();
        let echo = gone.procedure("echo").unwrap();
        drop(gone);
        let later = home.client();
        let why = later.call(echo, b"mine").unwrap_err();
        assert!(matches!(why, CallError::NotSubmitted(NotSubmitted::Procedure)), "{why:?}");
    }
}
