//! Heaps of coroutines: who reaches them, and what is left of them.

mod kit;

use std::cell::{Cell, RefCell};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::rc::Rc;

use day8::heap::HeapError;
use day8::{Heap, HeapBox, Isolation, Runtime, RuntimeOptions, Socket, SocketError, yield_now};
use kit::both_isolations;
use nix::sys::signal::Signal;
use proptest::prelude::*;
use testing::{Process, another, message};

const VARIABLE: &str = "DAY8_TEST_ISOLATION";

fn own() -> Heap {
    Heap::current().unwrap()
}

// ---- A stray pointer

/// Has one coroutine leave the address of its memory, and another one read there.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn child_that_reads_where_it_must_not() {
    let isolation: Isolation = std::env::var(VARIABLE).unwrap().parse().unwrap();
    let runtime = Runtime::new(isolation).unwrap();
    let place = Rc::new(Cell::new(std::ptr::null::<u64>()));
    let told = Rc::clone(&place);
    let owner = runtime.spawn(async move {
        let secret = own().alloc(0x5ec7_u64).unwrap();
        told.set(&raw const *secret);
        yield_now().await;
        yield_now().await;
        *secret
    });
    let read = runtime.spawn(async move {
        // SAFETY: with `none` the value is there. With `mprotect` the process is to be killed here.
        unsafe { place.get().read_volatile() }
    });
    let seen = runtime.block_on(async { (owner.unwrap().await.unwrap(), read.unwrap().await) });
    let seen = seen.unwrap();
    assert_eq!((seen.0, seen.1.unwrap()), (0x5ec7, 0x5ec7));
}

fn child(isolation: &str) -> Process {
    let mut command: Command = another("child_that_reads_where_it_must_not");
    Process::start(command.env(VARIABLE, isolation))
}

#[test]
fn a_stray_pointer_kills_with_mprotect_and_reads_without() {
    assert!(child("none").wait().success());
    let killed = child("mprotect").wait();
    assert_eq!(killed.signal(), Some(Signal::SIGSEGV as i32), "{killed}");
}

// ---- What coroutines give each other

#[test]
fn a_box_of_another_coroutine_panics_only_if_it_is_closed() {
    for isolation in both_isolations() {
        let runtime = Runtime::new(isolation).unwrap();
        let drops = Rc::new(());
        let counted = Rc::clone(&drops);
        let value = runtime.block_on(async move { own().alloc((7, counted)).unwrap() }).unwrap();
        let result = runtime.block_on(async move {
            let reader = day8::spawn(async move {
                let seen = format!("{value:?}");
                assert_eq!(value.0, 7, "{seen}");
            });
            reader.unwrap().await
        });
        match result.unwrap() {
            Ok(()) => assert_eq!(isolation, Isolation::None),
            Err(panicked) => {
                let payload = panicked.into_payload().unwrap();
                assert!(message(&*payload).contains("another coroutine"));
                assert_eq!(isolation, Isolation::Mprotect);
            }
        }
        assert_eq!(
            Rc::strong_count(&drops),
            1,
            "it was dropped in a coroutine that was not its own"
        );
    }
}

#[test]
fn a_coroutine_may_fill_the_heap_of_another() {
    for isolation in both_isolations() {
        let runtime = Runtime::new(isolation).unwrap();
        let seen = runtime.block_on(async move {
            let heap = own();
            let made = day8::spawn(async move {
                let made = heap.alloc_bytes(10_000).unwrap();
                assert_eq!(heap.is_open(), isolation == Isolation::None);
                made
            });
            let made = made.unwrap().await.unwrap();
            made.iter().all(|&byte| byte == 0)
        });
        assert!(seen.unwrap());
    }
}

#[test]
fn sockets_with_bytes_in_both_buffers_move_between_coroutines() {
    for isolation in both_isolations() {
        let runtime = Runtime::new(isolation).unwrap();
        let talk = runtime.block_on(async {
            let (mut near, mut far) = Socket::pair().unwrap();
            far.write_all(b"one\ntwo\nthree\n").await?;
            far.flush().await?;
            let mut lines = Vec::new();
            for turn in 0..3u8 {
                // Each line is read, and answered, by a coroutine of its own; nobody flushes.
                let moved = day8::spawn(async move {
                    let line = near.read_line(100).await?.unwrap().to_vec();
                    near.write_all(&[turn]).await?;
                    Ok::<_, SocketError>((near, line))
                });
                let line;
                (near, line) = moved.unwrap().await.unwrap()?;
                lines.push(line);
            }
            drop(day8::spawn(async move { near.finish().await }));
            let mut answers = [9; 3];
            far.read_exact(&mut answers).await?;
            assert_eq!(far.fill().await?, 0);
            Ok::<_, SocketError>((lines.concat(), answers))
        });
        assert_eq!(talk.unwrap().unwrap(), (b"onetwothree".to_vec(), [0, 1, 2]));
    }
}

// ---- The end

/// Says when it is dropped.
struct Says(Rc<RefCell<Vec<&'static str>>>, &'static str);

impl Drop for Says {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

#[test]
fn values_are_dropped_once_and_in_order() {
    for isolation in both_isolations() {
        let runtime = Runtime::new(isolation).unwrap();
        let said = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&said);
        let waiting = async move {
            let _plain = Says(Rc::clone(&log), "first local");
            let inner = own().alloc(Says(Rc::clone(&log), "inner")).unwrap();
            let _outer = own().alloc((inner, Says(log, "beside inner"))).unwrap();
            std::future::pending::<()>().await;
        };
        runtime.spawn(waiting).unwrap();
        runtime.block_on(yield_now()).unwrap();
        assert!(said.borrow().is_empty());
        drop(runtime);
        assert_eq!(*said.borrow(), ["inner", "beside inner", "first local"]);
    }
}

/// Panics while it is dropped.
struct Trap;

impl Drop for Trap {
    fn drop(&mut self) {
        panic!("the trap");
    }
}

#[test]
fn a_panic_in_a_drop_gives_the_place_back_and_closes_the_heap() {
    for isolation in both_isolations() {
        let runtime = Runtime::new(isolation).unwrap();
        let seen = runtime.block_on(async {
            let heap = own();
            let before = heap.used();
            let value = heap.alloc((Trap, [0u8; 1_000])).unwrap();
            let said = testing::panics(move || drop(value));
            assert_eq!(said, "the trap");
            before == heap.used()
        });
        assert!(seen.unwrap());
        let trap = runtime.block_on(async { own().alloc(Trap).unwrap() }).unwrap();
        let heap = trap.heap().clone();
        testing::panics(move || drop(trap));
        assert_eq!(heap.is_open(), isolation == Isolation::None);
    }
}

#[test]
fn a_box_outlives_its_coroutine_and_its_runtime() {
    for isolation in both_isolations() {
        let runtime = Runtime::new(isolation).unwrap();
        let kept = Rc::new(());
        let own_kept = Rc::clone(&kept);
        let make = async move { own().alloc((own_kept, 0xabcd_u64)).unwrap() };
        let value = runtime.block_on(make).unwrap();
        // Nobody else is given its region.
        for _ in 0..200 {
            runtime.spawn(async { drop(own().alloc_bytes(100_000).unwrap()) }).unwrap();
        }
        runtime.run().unwrap();
        drop(runtime);
        match isolation {
            Isolation::None => assert_eq!(value.1, 0xabcd),
            Isolation::Mprotect => {
                testing::panics(|| value.1);
            }
        }
        drop(value);
        assert_eq!(Rc::strong_count(&kept), 1);
    }
}

#[test]
fn a_box_that_is_leaked_keeps_its_region() {
    let runtime = Runtime::new(Isolation::None).unwrap();
    let leak = async { &**Box::leak(Box::new(own().alloc_bytes(3_000).unwrap())) };
    let leaked: &'static [u8] = runtime.block_on(leak).unwrap();
    for _ in 0..200 {
        runtime.spawn(async { own().alloc_bytes(100_000).unwrap().fill(0xff) }).unwrap();
    }
    runtime.run().unwrap();
    drop(runtime);
    assert!(leaked.iter().all(|&byte| byte == 0));
}

#[test]
fn a_region_that_is_used_again_is_zero_again() {
    for isolation in both_isolations() {
        let runtime = Runtime::new(isolation).unwrap();
        for round in 0..10 {
            let len = [200_000, 17, 40_000][round % 3];
            let dirty = async move {
                let mut bytes = own().alloc_bytes(len).unwrap();
                let is_zero = bytes.iter().all(|&byte| byte == 0);
                bytes.fill(0xff);
                drop(bytes);
                let again = own().alloc_bytes(len / 2).unwrap();
                is_zero && again.iter().all(|&byte| byte == 0)
            };
            assert!(runtime.block_on(dirty).unwrap(), "{isolation}, {round}");
        }
    }
}

// ---- Sizes and alignments

#[repr(align(4096))]
struct Page([u8; 5]);

#[repr(align(8192))]
struct TwoPages([u8; 5]);

#[repr(align(8192))]
struct Nothing;

#[test]
fn a_value_lies_at_a_multiple_of_its_alignment() {
    for isolation in both_isolations() {
        let runtime = Runtime::new(isolation).unwrap();
        let lies = runtime.block_on(async {
            fn address<T>(value: &HeapBox<T>) -> usize {
                (&raw const **value).addr()
            }
            let heap = own();
            let mut lies = Vec::new();
            for round in 0..3 {
                let byte = heap.alloc(1u8).unwrap();
                let page = heap.alloc(Page([round; 5])).unwrap();
                let two = heap.alloc(TwoPages([round; 5])).unwrap();
                let (unit, nothing) = (heap.alloc(()).unwrap(), heap.alloc(Nothing).unwrap());
                lies.push(address(&page) % 4_096 + address(&two) % 8_192);
                lies.push(address(&unit) % align_of::<()>() + address(&nothing) % 8_192);
                assert_eq!((*byte, page.0, two.0), (1, [round; 5], [round; 5]));
            }
            lies
        });
        assert_eq!(lies.unwrap(), [0; 6]);
        // A coroutine may need that for itself.
        let aligned = Page([3; 5]);
        let itself = runtime.block_on(async move {
            yield_now().await;
            (&raw const aligned).addr() % 4_096 + usize::from(aligned.0[0])
        });
        assert_eq!(itself.unwrap(), 3);
    }
}

#[test]
fn a_heap_that_is_full_says_so_and_has_room_again() {
    for isolation in both_isolations() {
        let options = RuntimeOptions::new().isolation(isolation).heap(100_000);
        let runtime = Runtime::with_options(&options).unwrap();
        let seen = runtime.block_on(async {
            let heap = own();
            let kept = Rc::new(());
            let mut some = Vec::new();
            let error = loop {
                match heap.alloc((Rc::clone(&kept), [0u8; 1_000])) {
                    Ok(value) => some.push(value),
                    Err(error) => break error,
                }
            };
            let size = heap.size();
            assert!(matches!(error, HeapError::Full { size: found, .. } if found == size));
            assert_eq!(Rc::strong_count(&kept), some.len() + 1, "what does not fit is dropped");
            assert!(heap.alloc_bytes(usize::MAX).is_err());
            assert!(heap.alloc_bytes(isize::MAX as usize).is_err());
            let count = some.len();
            drop(some);
            let one = heap.alloc_bytes(count * 1_000);
            (count, one.map(|bytes| bytes.len()).map_err(drop))
        });
        let (count, one) = seen.unwrap();
        assert!(count > 50);
        assert_eq!(one, Ok(count * 1_000));
    }
}

#[test]
fn memory_of_ever_other_sizes_is_used_again() {
    let runtime = Runtime::new(Isolation::None).unwrap();
    let count = runtime.block_on(async {
        let heap = own();
        let kept = heap.alloc(1u8).unwrap();
        (1..5_000usize).take_while(|len| heap.alloc_bytes(len * 13).is_ok()).count()
            + usize::from(*kept)
    });
    assert_eq!(count.unwrap(), 5_000);
}

#[test]
fn a_coroutine_that_is_larger_than_a_heap_is_refused() {
    let options = RuntimeOptions::new().heap(4_096);
    let runtime = Runtime::with_options(&options).unwrap();
    let large = [7u8; 10_000];
    let refused = runtime.spawn(async move {
        yield_now().await;
        large[3]
    });
    assert!(refused.is_err());
    assert_eq!(runtime.block_on(async { 3 }).unwrap(), 3);
}

#[test]
fn a_socket_without_room_for_its_buffers_says_so() {
    for isolation in both_isolations() {
        let options = RuntimeOptions::new().isolation(isolation).heap(4_096);
        let runtime = Runtime::with_options(&options).unwrap();
        let read = runtime.block_on(async {
            let (mut near, mut far) = Socket::pair().unwrap();
            // A write needs no buffer: it goes straight to the other end.
            far.write_all(b"x").await?;
            near.fill().await
        });
        assert!(matches!(read.unwrap(), Err(SocketError::Heap(_))));
    }
}

// ---- The allocator, at random

#[derive(Clone, Debug)]
enum Step {
    Take(usize),
    TakePage,
    TakeWord,
    GiveBack(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0usize..3_000).prop_map(Step::Take),
        1 => (0usize..60_000).prop_map(Step::Take),
        1 => Just(Step::TakePage),
        2 => Just(Step::TakeWord),
        6 => any::<usize>().prop_map(Step::GiveBack),
    ];
    proptest::collection::vec(step, 0..120)
}

/// What lies in a heap.
enum Lies {
    Bytes(HeapBox<[u8]>),
    Page(HeapBox<Page>),
    Word(HeapBox<u64>),
}

impl Lies {
    /// Where it lies, and how many bytes it has.
    fn place(&self) -> (usize, usize) {
        match self {
            Self::Bytes(bytes) => (bytes.as_ptr().addr(), bytes.len()),
            Self::Page(page) => ((&raw const **page).addr(), size_of::<Page>()),
            Self::Word(word) => ((&raw const **word).addr(), 8),
        }
    }

    fn is_whole(&self, mark: u8) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.iter().all(|&byte| byte == mark),
            Self::Page(page) => page.0 == [mark; 5],
            Self::Word(word) => **word == u64::from(mark),
        }
    }
}

fn play(steps: Vec<Step>) {
    let heap = own();
    let start = heap.used();
    let mut live: Vec<(u8, Lies)> = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        let mark = number as u8 | 1;
        let new = match step {
            Step::Take(len) => heap.alloc_bytes(len).ok().map(|mut bytes| {
                assert!(bytes.iter().all(|&byte| byte == 0), "bytes that are not zero");
                bytes.fill(mark);
                Lies::Bytes(bytes)
            }),
            Step::TakePage => heap.alloc(Page([mark; 5])).ok().map(Lies::Page),
            Step::TakeWord => heap.alloc(u64::from(mark)).ok().map(Lies::Word),
            Step::GiveBack(which) => {
                if !live.is_empty() {
                    let (mark, gone) = live.swap_remove(which % live.len());
                    assert!(gone.is_whole(mark), "somebody else wrote there");
                }
                None
            }
        };
        let Some(new) = new else { continue };
        let (at, len) = new.place();
        let is_apart = |other: &Lies| {
            let (start, other) = other.place();
            len == 0 || other == 0 || at + len <= start || start + other <= at
        };
        assert!(live.iter().all(|(_, other)| is_apart(other)), "two at one place");
        live.push((mark, new));
    }
    assert!(live.iter().all(|(mark, lies)| lies.is_whole(*mark)));
    live.clear();
    assert_eq!(heap.used(), start, "all has come back");
}

proptest! {
    #[test]
    fn allocations_never_overlap(steps in steps()) {
        for isolation in both_isolations() {
            let runtime = Runtime::new(isolation).unwrap();
            let steps = steps.clone();
            runtime.block_on(async move { play(steps) }).unwrap();
        }
    }
}
