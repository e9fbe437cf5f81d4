//! Inputs and outputs.

use day7::tasks::{
    Client, ClientOptions, Completed, Failed, MOST_BUFFERS, NotSubmitted, ServerOptions,
};
use testing::Dice;

use super::home::{Hold, Home, everywhere};

fn client(home: &Home, arena: u64) -> Client {
    home.client_with(&ClientOptions::new().arena(arena))
}

#[test]
fn a_task_with_two_inputs_and_an_output_writes_the_sums() {
    everywhere(|home| {
        let client = client(home, 1 << 20);
        let sums = client.procedure("sums").unwrap();
        let mut dice = Dice::seeded();
        for len in [0usize, 1, 16, 17, 1000, 20_000] {
            let mut inputs = vec![client.buffer(4 * len).unwrap(), client.buffer(4 * len).unwrap()];
            inputs.iter_mut().for_each(|input| input.fill_with(|| dice.word() as u8));
            let words =
                |n: usize| inputs[n].as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w));
            let expected: Vec<u8> =
                words(0).zip(words(1)).flat_map(|(a, b)| a.wrapping_add(b).to_le_bytes()).collect();
            let output = client.buffer(4 * len).unwrap();
            let ticket = client.submit(sums, b"", inputs, vec![output]).unwrap();
            let Completed { result, inputs, outputs } = ticket.wait();
            assert_eq!((result, inputs.len(), outputs.len()), (Ok(vec![]), 2, 1));
            assert!(outputs[0][..] == expected, "{len}");
        }
    });
}

#[test]
fn the_whole_arena_is_one_buffer_and_so_are_none_of_its_bytes() {
    everywhere(|home| {
        // Also lengths that no allocator likes.
        for arena in [64u64, 4096, 1_000_000, (1 << 20) + 64, 3 << 20] {
            let client = client(home, arena);
            let find = |name| client.procedure(name).unwrap();
            let (fill, lengths) = (find("fill"), find("lengths"));
            for round in 1..4u8 {
                let all = client.buffer(arena as usize).unwrap_or_else(|why| panic!("{why}"));
                let ticket = client.submit(fill, &[round], vec![], vec![all]).unwrap();
                let completed = ticket.wait();
                assert_eq!(completed.result, Ok(vec![]));
                assert_eq!(completed.outputs[0].len(), arena as usize);
                assert!(completed.outputs[0].iter().all(|byte| *byte == round));
            }
            let nothing = vec![client.buffer(0).unwrap()];
            let answer = client.submit(lengths, b"", nothing, vec![]).unwrap().wait().result;
            assert_eq!(answer, Ok(0u64.to_le_bytes().to_vec()));
        }
    });
}

#[test]
fn a_client_without_an_arena_has_no_buffers() {
    everywhere(|home| {
        let why = home.client().buffer(0).unwrap_err();
        assert_eq!((why.len, why.arena), (0, 0));
    });
}

#[test]
fn an_arena_in_pieces_is_whole_again_when_they_are_back() {
    everywhere(|home| {
        let client = client(home, 1 << 18);
        let fill = client.procedure("fill").unwrap();
        let mut dice = Dice::seeded();
        let mut held = Vec::new();
        for n in 0..3000u64 {
            match client.buffer(dice.below(5000) as usize) {
                Ok(buffer) => held.push((0u8, buffer)),
                Err(_) => drop(held.swap_remove(dice.below(held.len() as u64) as usize)),
            }
            if dice.once_in(3) && !held.is_empty() {
                let (_, buffer) = held.swap_remove(dice.below(held.len() as u64) as usize);
                let ticket = client.submit(fill, &[n as u8], vec![], vec![buffer]).unwrap();
                let mut completed = ticket.wait();
                assert_eq!(completed.result, Ok(vec![]));
                held.push((n as u8, completed.outputs.pop().unwrap()));
            }
            for (with, buffer) in &held {
                // What was only lent holds anything.
                assert!(*with == 0 || buffer.iter().all(|byte| byte == with), "{with}");
            }
        }
        drop(held);
        assert_eq!(client.buffer(1 << 18).unwrap().len(), 1 << 18);
    });
}

#[test]
fn as_many_buffers_as_a_task_can_have_and_one_more() {
    everywhere(|home| {
        let client = client(home, 1 << 20);
        let lengths = client.procedure("lengths").unwrap();
        let some = |count| (0..count).map(|len| client.buffer(len).unwrap()).collect::<Vec<_>>();
        for inputs in [0, 1, MOST_BUFFERS] {
            let ticket = client.submit(lengths, b"", some(inputs), some(MOST_BUFFERS - inputs));
            let Completed { result, inputs: first, outputs } = ticket.unwrap().wait();
            let expected =
                first.iter().chain(&outputs).flat_map(|one| (one.len() as u64).to_le_bytes());
            assert_eq!(result.unwrap(), expected.collect::<Vec<_>>());
            assert_eq!((first.len(), outputs.len()), (inputs, MOST_BUFFERS - inputs));
        }
        let no = client.submit(lengths, b"", some(1), some(MOST_BUFFERS)).unwrap_err();
        assert!(matches!(no.why, NotSubmitted::TooManyBuffers { .. }), "{no}");
        assert_eq!((no.inputs.len(), no.outputs.len()), (1, MOST_BUFFERS));
    });
}

#[test]
fn the_buffer_of_another_client_is_refused_and_comes_back() {
    everywhere(|home| {
        let (one, other) = (client(home, 4096), client(home, 4096));
        let fill = one.procedure("fill").unwrap();
        let (own, foreign) = (one.buffer(8).unwrap(), other.buffer(8).unwrap());
        let no = one.submit(fill, b"", vec![own], vec![foreign]).unwrap_err();
        assert!(matches!(no.why, NotSubmitted::Buffer), "{no}");
        assert_eq!((no.inputs.len(), no.outputs.len()), (1, 1));
    });
}

#[test]
fn buffers_come_back_whatever_becomes_of_their_task() {
    let home = Home::thread(&ServerOptions::new());
    let client = client(&home, 1 << 16);
    let find = |name| client.procedure(name).unwrap();
    for name in ["fail", "panic", "unspeakable", "bomb"] {
        let (inputs, outputs) = (vec![client.buffer(9).unwrap()], vec![client.buffer(7).unwrap()]);
        let completed = client.submit(find(name), b"", inputs, outputs).unwrap().wait();
        assert!(completed.result.is_err(), "{name}");
        assert_eq!((completed.inputs[0].len(), completed.outputs[0].len()), (9, 7));
    }
    let (hold, held) = (Hold::at(home.server()), find("hold"));
    let begun = client.submit(held, b"", vec![], vec![]).unwrap();
    let out = client.submit(held, b"", vec![client.buffer(9).unwrap()], vec![]).unwrap();
    out.cancel();
    hold.release(true);
    let completed = out.wait();
    assert_eq!((completed.result, completed.inputs[0].len()), (Err(Failed::Cancelled), 9));
    assert!(begun.wait().result.is_ok());
    hold.release(false);
    let out = client.submit(held, b"", vec![client.buffer(9).unwrap()], vec![]).unwrap();
    let ends = std::thread::spawn(move || drop(home));
    assert!(!out.is_ready());
    drop(hold);
    let completed = out.wait();
    assert_eq!(completed.inputs[0].len(), 9);
    ends.join().unwrap();
}
