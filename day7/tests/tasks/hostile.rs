//! Clients that write over all that they can write, while others work.

use std::fs;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::sync::{AtomicU64, Ordering};
use day7::tasks::{Client, ClientOptions};
use testing::{DEADLINE, Dice, Process, another, number_from_environment};

use super::home::{Home, belongings, comes_back_to, resident};

/// All memory that this process shares with others and can write: where it begins, and how many words it has.
fn shared() -> Vec<(usize, usize)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let range = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let [start, end] = [start, end].map(|number| usize::from_str_radix(number, 16).unwrap());
        (rest.starts_with("rw-s") && line.contains("memfd:")).then_some((start, (end - start) / 8))
    };
    maps.lines().filter_map(range).collect()
}

/// Maps again, writable, what this process could only read: the kernel does not forbid it.
fn map_the_rest() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines().filter(|line| line.contains("r--s") && line.contains("memfd:")) {
        let range = line.split(' ').next().unwrap();
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/self/map_files/{range}"));
        let Ok(file) = file else { continue };
        let Ok(meta) = file.metadata() else { continue };
        let len = std::num::NonZero::new(meta.len() as usize).unwrap();
        let protection =
            nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE;
        let flags = nix::sys::mman::MapFlags::MAP_SHARED;
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let _ = unsafe { nix::sys::mman::mmap(None, len, protection, flags, &file, 0) };
    }
}

/// Writes a word into one of these places.
fn spoil(places: &[(usize, usize)], dice: &mut Dice) {
    let (start, words) = dice.pick(places);
    // The first words of each page are the ones that count.
    let at = if dice.once_in(3) { dice.word() } else { dice.below(8) * 512 + dice.below(64) };
    let word = start + 8 * (at as usize % words);
    // SAFETY: it is mapped, writable, as the kernel has told; nobody unmaps it before this process ends.
    let word = unsafe { AtomicU64::from_ptr(word as *mut u64) };
    let old = word.load(Ordering::Relaxed);
    let new = match dice.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << dice.below(64),
        3 => old.wrapping_add(dice.below(17)).wrapping_sub(8),
        4 => old ^ (1 << dice.below(64)),
        5 => dice.below(5000),
        6 => dice.word() & 0xffff_ffff,
        _ => dice.word(),
    };
    word.store(new, Ordering::Relaxed);
}

/// A client that works, and spoils what it has. What becomes of it is its own affair.
#[test]
#[ignore = "the process that nobody_is_harmed_by_a_hostile_client starts"]
fn spoils_all_that_it_can() {
    let path = std::env::var_os("FANOUT_TASKS_AT").expect("a path");
    let mut dice = Dice::new(number_from_environment("FANOUT_SEED").expect("a seed"));
    let options = ClientOptions::new().arena(1 << 14).timeout(DEADLINE);
    let client = Client::connect_with(path, &options).unwrap();
    let names = ["echo", "fill", "sums", "lengths", "fail"];
    let found = names.map(|name| client.procedure(name).unwrap());
    if dice.once_in(2) {
        map_the_rest();
    }
    let places = shared();
    let mut spoils = dice.split();
    thread::spawn(move || {
        loop {
            spoil(&places, &mut spoils);
            match spoils.below(50) {
                0 => thread::sleep(Duration::from_micros(spoils.below(500))),
                _ => thread::yield_now(),
            }
        }
    });
    loop {
        let buffers = |dice: &mut Dice| {
            (0..dice.below(3)).filter_map(|_| client.buffer(dice.below(99) as usize).ok()).collect()
        };
        let (inputs, outputs) = (buffers(&mut dice), buffers(&mut dice));
        let args = vec![9; dice.below(500) as usize];
        let _ = client.try_submit(dice.pick(&found), &args, inputs, outputs);
    }
}

/// Calls until it is told to end, and has each answer checked. Newcomers come, too.
fn works(path: &std::path::Path, ends: &Mutex<bool>, comes_anew: bool) -> (u64, Duration) {
    let connect = || {
        let client =
            Client::connect_with(path, &ClientOptions::new().arena(1 << 12).timeout(DEADLINE))
                .unwrap();
        let fill = client.procedure("fill").unwrap();
        (client, fill)
    };
    let (mut client, mut fill) = connect();
    let (mut calls, mut longest) = (0u64, Duration::ZERO);
    while !*ends.lock().unwrap() {
        if comes_anew && calls.is_multiple_of(20) {
            (client, fill) = connect();
        }
        let begun = Instant::now();
        let with = calls as u8;
        let output = vec![client.buffer(200).unwrap()];
        let completed = client.submit(fill, &[with], vec![], output).unwrap().wait();
        completed.result.unwrap();
        assert!(completed.outputs[0].iter().all(|byte| *byte == with));
        longest = longest.max(begun.elapsed());
        calls += 1;
    }
    (calls, longest)
}

/// `FANOUT_HOSTILE_SECONDS` says for how long.
#[test]
fn nobody_is_harmed_by_a_hostile_client() {
    let seconds = number_from_environment("FANOUT_HOSTILE_SECONDS").unwrap_or(4);
    let home = Home::brisk_process();
    let (before, memory) = (belongings(home.pid()), resident(home.pid()));
    let ends = Arc::new(Mutex::new(false));
    let workers: Vec<_> = [false, false, true]
        .map(|comes_anew| {
            let (path, ends) = (home.path(), Arc::clone(&ends));
            thread::spawn(move || works(&path, &ends, comes_anew))
        })
        .into();
    let mut dice = Dice::seeded();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while Instant::now() < until && !workers.iter().any(thread::JoinHandle::is_finished) {
        let begin = |seed: u64| {
            let mut command = another("hostile::spoils_all_that_it_can");
            command.env("FANOUT_TASKS_AT", home.path()).env("FANOUT_SEED", seed.to_string());
            command.env("RUST_BACKTRACE", "0").stdout(Stdio::null()).stderr(Stdio::null());
            Process::start(&mut command)
        };
        let mut hostile = [dice.word(), dice.word()].map(begin);
        thread::sleep(Duration::from_millis(50 + dice.below(200)));
        for one in &mut hostile {
            one.kill();
        }
        rounds += 1;
    }
    *ends.lock().unwrap() = true;
    let results: Vec<_> = workers.into_iter().map(thread::JoinHandle::join).collect();
    if results.iter().any(Result::is_err) {
        let Home::Process { program, .. } = home else { panic!("it is a process") };
        let is_running = belongings(program.id()).descriptors > 0;
        let ended = program.kill();
        panic!("runs: {is_running}, {}: {}{:?}", ended.status, ended.stderr, ended.lines);
    }
    for worker in results {
        let (calls, longest) = worker.unwrap();
        assert!(calls > 0);
        println!("{rounds} rounds: {calls} calls, the longest took {longest:?}");
    }
    let last = home.client();
    let all = day7::tasks::clients(home.path()).unwrap();
    assert!(all.iter().any(|one| one.client > 2 * rounds), "the hostile ones were let in: {all:?}");
    drop(last);
    comes_back_to(before, home.pid());
    println!("{memory} KiB before, {} KiB now", resident(home.pid()));
    let idle = cpu(home.pid());
    thread::sleep(Duration::from_millis(500));
    println!("ticks of the processor in half a second of rest: {}", cpu(home.pid()) - idle);
}

/// How many ticks of the processor a process has used.
fn cpu(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit_once(')').unwrap().1;
    rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}
