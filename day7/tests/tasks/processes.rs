//! Many client processes at once.

use day7::tasks::{Client, ClientOptions, Ticket};
use testing::{DEADLINE, Dice, Program, another, number_from_environment};

use super::home::{Home, belongings, comes_back_to, raise_descriptors};

fn number(variable: &str, otherwise: u64) -> u64 {
    number_from_environment(variable).unwrap_or(otherwise)
}

const WORDS: usize = 8;

/// One client: so many tasks with two inputs and an output, many outstanding, each sum checked.
#[test]
#[ignore = "the process that each_sum_is_right starts"]
fn sums_in_this_process() {
    let path = std::env::var_os("FANOUT_TASKS_AT").expect("a path");
    let options = ClientOptions::new().arena(1 << 20).timeout(DEADLINE);
    let client = Client::connect_with(path, &options).unwrap();
    let sums = client.procedure("sums").unwrap();
    let mut dice = Dice::new(u64::from(std::process::id()));
    let mut out: Vec<(Vec<u8>, Ticket)> = Vec::new();
    let check = |(expected, ticket): (Vec<u8>, Ticket)| {
        let completed = ticket.wait();
        completed.result.unwrap();
        assert!(completed.outputs[0][..] == expected);
    };
    let tasks = number("FANOUT_TASKS", 1000);
    for _ in 0..tasks {
        let numbers: [[u32; WORDS]; 2] =
            std::array::from_fn(|_| std::array::from_fn(|_| dice.word() as u32));
        let bytes =
            |words: [u32; WORDS]| words.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>();
        let inputs = numbers.map(|words| {
            let mut input = client.buffer(4 * WORDS).unwrap();
            input.copy_from_slice(&bytes(words));
            input
        });
        let output = vec![client.buffer(4 * WORDS).unwrap()];
        let sum = bytes(std::array::from_fn(|at| numbers[0][at].wrapping_add(numbers[1][at])));
        out.push((sum, client.submit(sums, b"", inputs.into(), output).unwrap()));
        if out.len() >= 64 {
            check(out.swap_remove(dice.below(64) as usize));
        }
    }
    out.into_iter().for_each(check);
    println!("\n{tasks} sums are right");
}

/// `FANOUT_CLIENTS=64 FANOUT_TASKS=10000` is the long run.
#[test]
fn each_sum_is_right() {
    raise_descriptors();
    let home = Home::process();
    let before = belongings(home.pid());
    let tasks = number("FANOUT_TASKS", 1000);
    let clients: Vec<_> = (0..number("FANOUT_CLIENTS", 16))
        .map(|_| {
            let mut command = another("processes::sums_in_this_process");
            command.env("FANOUT_TASKS_AT", home.path()).env("FANOUT_TASKS", tasks.to_string());
            Program::start(&mut command)
        })
        .collect();
    for client in clients {
        let lines = client.finish_within(10 * DEADLINE, "it does all its tasks").lines;
        assert!(lines.contains(&format!("{tasks} sums are right")), "{lines:?}");
    }
    comes_back_to(before, home.pid());
}
