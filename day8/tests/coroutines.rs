//! What coroutines may do, and what they may not break: results and panics, time, wakers of every kind, other executors,
//! other runtimes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::panic_any;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread;
use std::time::Duration;

use common::sync::{AtomicU64, Ordering};
use day8::{
    Input, Isolation, NotInRuntime, Output, Runtime, RuntimeError, Socket, SocketError, sleep,
    spawn, timeout, yield_now,
};
use testing::{message, promptly};

fn runtime() -> Runtime {
    Runtime::new(Isolation::None).unwrap()
}

/// Two sockets that lie outside of coroutines.
fn pair(runtime: &Runtime) -> (Socket, Socket) {
    runtime.block_on(async { Socket::pair().unwrap() }).unwrap()
}

/// A panic while it is dropped.
struct Trap;

impl Drop for Trap {
    fn drop(&mut self) {
        panic!("the trap");
    }
}

// ---- Results, panics, time

fn sum_of(numbers: &[i32]) -> i32 {
    numbers.iter().sum()
}

#[test]
fn a_coroutine_gives_its_result_or_its_panic() {
    let runtime = runtime();
    let one = runtime.spawn(async { 1 }).unwrap();
    let (sum, said) = runtime
        .block_on(async move {
            let two = spawn(async { 2 }).unwrap();
            let bad = spawn(async { assert_eq!(sum_of(&[1, 2]), 4, "no 3") }).unwrap();
            let sum = two.await.unwrap() + one.await.unwrap();
            let Err(panicked) = bad.await else { panic!("it did not panic") };
            (sum, message(&*panicked.into_payload().unwrap()).to_owned())
        })
        .unwrap();
    assert!(said.contains("no 3"), "{said}");
    assert_eq!((sum, runtime.statistics().panicked), (3, 1));
}

#[test]
fn who_waits_for_a_coroutine_that_a_shutdown_drops_hears_of_it() {
    let runtime = runtime();
    let spawned = runtime.spawn(std::future::pending::<()>()).unwrap();
    runtime.shutdown().start();
    runtime.run().unwrap();
    assert!(spawned.is_done());
    let dropped = runtime.block_on(std::future::pending::<()>());
    assert!(matches!(dropped, Err(RuntimeError::Dropped)), "{dropped:?}");
}

#[test]
fn panics_where_nobody_expects_them_end_one_coroutine() {
    let runtime = runtime();
    // The last owner of a result, of a panic's payload, of a future.
    drop(runtime.spawn(async { Trap }).unwrap());
    drop(runtime.spawn(async { panic_any(Trap) }).unwrap());
    let trap = Trap;
    drop(
        runtime
            .spawn(async move {
                let _trap = trap;
            })
            .unwrap(),
    );
    let done = Rc::new(Cell::new(false));
    let told = Rc::clone(&done);
    runtime
        .spawn(async move {
            yield_now().await;
            told.set(true);
        })
        .unwrap();
    runtime.run().unwrap();
    assert!(done.get());
}

#[test]
fn a_coroutine_that_panics_while_the_runtime_drops_it_does_not_keep_the_others() {
    let runtime = runtime();
    let kept = Rc::new(());
    for _ in 0..3 {
        let (trap, kept) = (Trap, Rc::clone(&kept));
        let forever = async move {
            let _both = (kept, trap);
            std::future::pending::<()>().await;
        };
        runtime.spawn(forever).unwrap();
    }
    runtime.block_on(yield_now()).unwrap();
    drop(runtime);
    assert_eq!(Rc::strong_count(&kept), 1);
}

#[test]
fn sleeps_end_in_the_order_of_their_times() {
    let runtime = runtime();
    let woken = Rc::new(RefCell::new(Vec::new()));
    for ms in [40u64, 10, 30, 0, 20] {
        let woken = Rc::clone(&woken);
        let nap = async move {
            sleep(Duration::from_millis(ms)).await;
            woken.borrow_mut().push(ms);
        };
        runtime.spawn(nap).unwrap();
    }
    runtime.spawn(timeout(Duration::ZERO, sleep(Duration::MAX))).unwrap();
    runtime.run().unwrap();
    assert_eq!(*woken.borrow(), [0, 10, 20, 30, 40]);
}

#[test]
fn a_timeout_drops_what_is_late_and_gives_what_is_not() {
    let runtime = runtime();
    let kept = Rc::new(());
    let own = Rc::clone(&kept);
    let late = async move {
        let _own = own;
        std::future::pending::<()>().await;
    };
    let (late, in_time) = runtime
        .block_on(async {
            let late = timeout(Duration::from_millis(1), late).await;
            (late, timeout(Duration::from_secs(600), async { 7 }).await)
        })
        .unwrap();
    assert_eq!((late.is_err(), in_time, Rc::strong_count(&kept)), (true, Ok(7), 1));
}

#[test]
fn coroutines_that_yield_take_turns() {
    let runtime = runtime();
    let turns = Rc::new(RefCell::new(String::new()));
    for name in ['a', 'b', 'c'] {
        let turns = Rc::clone(&turns);
        let take = async move {
            for _ in 0..3 {
                turns.borrow_mut().push(name);
                yield_now().await;
            }
        };
        runtime.spawn(take).unwrap();
    }
    runtime.run().unwrap();
    assert_eq!(*turns.borrow(), "abcabcabc");
}

#[test]
fn outside_of_a_runtime_the_answer_is_an_error() {
    assert!(matches!(Socket::pair(), Err(NotInRuntime)));
    assert!(spawn(async {}).is_err());
    assert!(day8::Heap::current().is_none());
    assert!(!day8::is_shutting_down());
}

// ---- Wakers of other threads

/// A number of permits that another thread gives.
#[derive(Default)]
struct Permits(Mutex<(u64, Option<Waker>)>);

impl Permits {
    fn give(&self) {
        let waker = {
            let mut inner = self.0.lock().unwrap();
            inner.0 += 1;
            inner.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    async fn take(&self) {
        poll_fn(|context| {
            let mut inner = self.0.lock().unwrap();
            if inner.0 > 0 {
                inner.0 -= 1;
                return Poll::Ready(());
            }
            inner.1 = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[test]
fn no_wake_of_another_thread_is_lost() {
    const PERMITS: u64 = 20_000;
    promptly("permits come", || {
        let runtime = runtime();
        let mut threads = Vec::new();
        for _ in 0..4 {
            let permits = Arc::new(Permits::default());
            let given = Arc::clone(&permits);
            let take = async move {
                for _ in 0..PERMITS {
                    permits.take().await;
                }
            };
            runtime.spawn(take).unwrap();
            threads.push(thread::spawn(move || (0..PERMITS).for_each(|_| given.give())));
        }
        runtime.run().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_waker_that_outlives_its_runtime_wakes_nothing() {
    let permits = Arc::new(Permits::default());
    let own = Arc::clone(&permits);
    let runtime = runtime();
    runtime.spawn(async move { own.take().await }).unwrap();
    runtime.block_on(yield_now()).unwrap();
    drop(runtime);
    permits.give();
    assert_eq!(Arc::strong_count(&permits), 1);
}

// ---- Executors of others

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// An executor that polls a task at once, from within `wake`, as deep as it comes.
#[derive(Default)]
struct Eager {
    tasks: RefCell<Vec<Option<Boxed>>>,
    woken: RefCell<Vec<bool>>,
}

thread_local! {
    static EAGER: Eager = Eager::default();
}

struct EagerWaker(usize);

impl Wake for EagerWaker {
    fn wake(self: Arc<Self>) {
        Eager::poll(self.0);
    }
}

impl Eager {
    fn add(future: impl Future<Output = ()> + 'static) -> usize {
        EAGER.with(|eager| {
            eager.tasks.borrow_mut().push(Some(Box::pin(future)));
            eager.woken.borrow_mut().push(false);
            eager.tasks.borrow().len() - 1
        })
    }

    /// Polls a task, or notes that it is to be polled again.
    fn poll(index: usize) {
        EAGER.with(|eager| {
            eager.woken.borrow_mut()[index] = true;
            let Some(mut task) = eager.tasks.borrow_mut()[index].take() else { return };
            let waker = Waker::from(Arc::new(EagerWaker(index)));
            while std::mem::take(&mut eager.woken.borrow_mut()[index]) {
                if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    return;
                }
            }
            eager.tasks.borrow_mut()[index] = Some(task);
        });
    }
}

/// How much the wild executors move: more than a channel holds.
const BULK: usize = 600_000;

async fn send_bulk(mut output: Output, done: Rc<Cell<u32>>) {
    let bytes = vec![7; 5_000];
    for _ in 0..BULK / bytes.len() {
        output.write_all(&bytes).await.unwrap();
    }
    output.finish().await.unwrap();
    done.set(done.get() + 1);
}

async fn take_bulk(mut input: Input, done: Rc<Cell<u32>>) {
    let mut count = 0;
    while input.fill().await.unwrap() > 0 {
        count += input.len();
        input.consume(usize::MAX);
    }
    assert_eq!(count, BULK);
    done.set(done.get() + 1);
}

#[test]
fn an_executor_that_polls_from_within_a_wake_meets_no_borrow() {
    let runtime = runtime();
    let (one, other) = pair(&runtime);
    let done = Rc::new(Cell::new(0));
    let mut tasks = Vec::new();
    for socket in [one, other] {
        let (input, output) = socket.into_split();
        tasks.push(Eager::add(send_bulk(output, Rc::clone(&done))));
        tasks.push(Eager::add(take_bulk(input, Rc::clone(&done))));
    }
    tasks.into_iter().for_each(Eager::poll);
    assert_eq!(done.get(), 4);
}

#[test]
fn an_executor_outside_of_the_runtime_may_read_and_write_for_ever() {
    let runtime = runtime();
    let (mut one, mut other) = pair(&runtime);
    let talk = async move {
        for round in 0..5_000u32 {
            one.write_all(&round.to_le_bytes()).await?;
            one.flush().await?;
            let mut back = [0; 4];
            other.read_exact(&mut back).await?;
            assert_eq!(u32::from_le_bytes(back), round);
        }
        Ok::<_, SocketError>(())
    };
    let mut talk = pin!(talk);
    let mut context = Context::from_waker(Waker::noop());
    let mut polls = 0;
    while talk.as_mut().poll(&mut context).map(Result::unwrap).is_pending() {
        polls += 1;
        assert!(polls < 5_000, "it gives way, and never goes on");
    }
}

thread_local! {
    /// What the next clone of a [`meddler`] does.
    static ON_CLONE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    /// How often a meddler was woken.
    static WOKEN: Cell<u32> = const { Cell::new(0) };
}

static MEDDLER: RawWakerVTable = RawWakerVTable::new(
    |_| {
        let meddle = ON_CLONE.take();
        meddle.into_iter().for_each(|meddle| meddle());
        RawWaker::new(std::ptr::null(), &MEDDLER)
    },
    |_| WOKEN.set(WOKEN.get() + 1),
    |_| WOKEN.set(WOKEN.get() + 1),
    |_| (),
);

/// A waker that does something while it is cloned.
fn meddler(meddle: impl FnOnce() + 'static) -> Waker {
    ON_CLONE.set(Some(Box::new(meddle)));
    WOKEN.set(0);
    // SAFETY: none of the functions uses the pointer; all that they touch belongs to the thread.
    unsafe { Waker::new(std::ptr::null(), &MEDDLER) }
}

#[test]
fn what_happens_while_a_waker_is_cloned_is_not_missed() {
    let runtime = runtime();
    let (mut one, mut other) = pair(&runtime);
    let mut fill = Box::pin(async move { one.fill().await.unwrap() });
    let waker = meddler(move || {
        assert!(other.try_write(b"now"));
        {
            let mut flush = pin!(other.flush());
            assert!(flush.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
        }
        std::mem::forget(other);
    });
    let first = fill.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(first.is_ready() || WOKEN.get() > 0, "bytes are there, and nobody hears of them");
}

#[test]
fn a_result_that_comes_while_a_waker_is_cloned_is_not_missed() {
    let runtime = Rc::new(runtime());
    let mut spawned = Box::pin(runtime.spawn(async { 3 }).unwrap());
    let own = Rc::clone(&runtime);
    let waker = meddler(move || own.run().unwrap());
    let first = spawned.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(first.is_ready() || WOKEN.get() > 0, "it is done, and nobody hears of it");
}

/// Uses a socket while it is dropped.
struct Meddling;

impl Wake for Meddling {
    fn wake(self: Arc<Self>) {}
}

thread_local! {
    static MEDDLED: RefCell<Option<Output>> = const { RefCell::new(None) };
}

impl Drop for Meddling {
    fn drop(&mut self) {
        MEDDLED.with_borrow_mut(|output| {
            let output = output.as_mut().unwrap();
            assert!(output.try_write(b"dropped "));
            let mut flush = pin!(output.flush());
            let _ = flush.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        });
    }
}

#[test]
fn a_waker_that_uses_a_socket_while_it_is_dropped_meets_no_borrow() {
    let runtime = runtime();
    let (one, other) = pair(&runtime);
    let (mut input, output) = one.into_split();
    MEDDLED.set(Some(output));
    let own = || Waker::from(Arc::new(Meddling));
    {
        // Waits, waits with another waker, and gives up; then its slot goes.
        let mut fill = pin!(input.fill());
        assert!(fill.as_mut().poll(&mut Context::from_waker(&own())).is_pending());
        assert!(fill.as_mut().poll(&mut Context::from_waker(&own())).is_pending());
    }
    let count = runtime
        .block_on(async move {
            let mut other = other;
            other.write_all(b"x").await.unwrap();
            other.flush().await.unwrap();
            let count = other.fill().await.unwrap();
            (count, other)
        })
        .unwrap();
    assert!(count.0 > 0);
    {
        let mut fill = pin!(input.fill());
        assert!(fill.as_mut().poll(&mut Context::from_waker(&own())).is_ready());
        let mut nap = pin!(sleep(Duration::from_secs(600)));
        let _ = nap.as_mut().poll(&mut Context::from_waker(&own()));
    }
    drop((input, count));
    MEDDLED.set(None);
}

/// Polls several futures under one waker each, as `FuturesUnordered` does.
struct Flock {
    members: Vec<(Option<Boxed>, Arc<Member>)>,
}

struct Member {
    is_woken: Mutex<bool>,
    parent: Mutex<Option<Waker>>,
}

impl Wake for Member {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock().unwrap() = true;
        let parent = self.parent.lock().unwrap().take();
        parent.into_iter().for_each(Waker::wake);
    }
}

impl Flock {
    fn new(futures: impl IntoIterator<Item = Boxed>) -> Self {
        let member = || Arc::new(Member { is_woken: Mutex::new(true), parent: Mutex::default() });
        Self { members: futures.into_iter().map(|future| (Some(future), member())).collect() }
    }
}

impl Future for Flock {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut is_done = true;
        for (future, member) in &mut self.members {
            let Some(running) = future else { continue };
            *member.parent.lock().unwrap() = Some(context.waker().clone());
            if std::mem::take(&mut *member.is_woken.lock().unwrap()) {
                let waker = Waker::from(Arc::clone(member));
                if running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    *future = None;
                    continue;
                }
            }
            is_done = false;
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[test]
fn many_futures_in_one_coroutine_lose_nothing() {
    promptly("the flock is done", || {
        let runtime = runtime();
        let done = Rc::new(Cell::new(0));
        let mut futures: Vec<Boxed> = Vec::new();
        for _ in 0..3 {
            let (one, other) = pair(&runtime);
            for socket in [one, other] {
                let (input, output) = socket.into_split();
                futures.push(Box::pin(send_bulk(output, Rc::clone(&done))));
                futures.push(Box::pin(take_bulk(input, Rc::clone(&done))));
            }
        }
        runtime.block_on(Flock::new(futures)).unwrap();
        assert_eq!(done.get(), 12);
    });
}

/// Polls a future once, and drops it.
async fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[test]
fn futures_that_are_dropped_at_each_poll_lose_nothing() {
    promptly("all comes", || {
        let runtime = runtime();
        let (one, other) = pair(&runtime);
        let done = Rc::new(Cell::new(0));
        let (mut input, mut output) = (one.into_split().0, other.into_split().1);
        let sending = async move {
            let (bytes, mut sent) = ([7; 3_000], 0);
            while sent < BULK {
                // What is copied into the buffer is written; a write that waits may have sent a part.
                if output.try_write(&bytes[..bytes.len().min(BULK - sent)]) {
                    sent += bytes.len().min(BULK - sent);
                } else {
                    let _ = once(output.flush()).await;
                    yield_now().await;
                }
            }
            while once(output.finish()).await.is_none() {
                yield_now().await;
            }
        };
        runtime.spawn(sending).unwrap();
        let told = Rc::clone(&done);
        let taking = async move {
            let mut count = 0;
            loop {
                match once(input.fill()).await.map(Result::unwrap) {
                    Some(0) => break,
                    Some(_) => {
                        count += input.len();
                        input.consume(usize::MAX);
                    }
                    None => yield_now().await,
                }
            }
            told.set(count);
        };
        runtime.spawn(taking).unwrap();
        runtime.run().unwrap();
        assert_eq!(done.get(), BULK);
    });
}

#[test]
fn a_reader_that_flushes_does_not_take_the_writers_wake_up() {
    promptly("the writer goes on", || {
        let runtime = runtime();
        let (one, mut other) = pair(&runtime);
        let (mut input, mut output) = one.into_split();
        // The writer stands first: it has filled the channel, and has bytes in the buffer.
        let writing = runtime
            .spawn(async move {
                let bytes = [7; 10_000];
                for _ in 0..30 {
                    output.write_all(&bytes).await.unwrap();
                }
                output.finish().await.unwrap();
            })
            .unwrap();
        let reading = runtime.spawn(async move { input.fill().await.unwrap() }).unwrap();
        let all = runtime
            .block_on(async move {
                for _ in 0..10 {
                    yield_now().await;
                }
                let mut count = 0;
                while other.fill().await.unwrap() > 0 {
                    count += other.buffered().len();
                    other.consume(usize::MAX);
                }
                other.write_all(b"bye").await.unwrap();
                other.finish().await.unwrap();
                writing.await.unwrap();
                (count, reading.await.unwrap())
            })
            .unwrap();
        assert_eq!(all, (300_000, 3));
    });
}

// ---- Several runtimes

#[test]
fn runtimes_in_two_threads_do_not_know_of_each_other() {
    let threads = [1u64, 2].map(|number| {
        thread::spawn(move || {
            let runtime = runtime();
            let sum = async move {
                let mut sum = 0;
                for _ in 0..1_000 {
                    sum += spawn(async move { number }).unwrap().await.unwrap();
                }
                sum
            };
            runtime.block_on(sum).unwrap()
        })
    });
    assert_eq!(threads.map(|thread| thread.join().unwrap()), [1_000, 2_000]);
}

#[test]
fn a_coroutine_that_runs_a_runtime_is_told_so_and_nothing_of_it_runs() {
    let outer = Rc::new(runtime());
    let ran = Arc::new(AtomicU64::new(0));
    let (own, told) = (Rc::clone(&outer), Arc::clone(&ran));
    let nested = async move {
        let other = runtime();
        let mut refused = Vec::new();
        for runtime in [&*own, &other] {
            let told = Arc::clone(&told);
            let count = async move {
                told.fetch_add(1, Ordering::Relaxed);
            };
            refused.push(runtime.block_on(count).unwrap_err());
            refused.push(runtime.run().unwrap_err());
        }
        yield_now().await;
        refused.iter().all(|error| matches!(error, RuntimeError::Running))
    };
    assert!(outer.block_on(nested).unwrap());
    outer.run().unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 0, "it was refused, and ran nevertheless");
}

#[test]
fn a_runtime_may_be_dropped_by_a_coroutine_of_another() {
    let (outer, inner) = (runtime(), runtime());
    let kept = Rc::new(());
    let own = Rc::clone(&kept);
    inner
        .spawn(async move {
            let _own = own;
            std::future::pending::<()>().await;
        })
        .unwrap();
    let sockets = pair(&inner);
    outer
        .block_on(async move {
            drop(inner);
            drop(sockets);
            yield_now().await;
        })
        .unwrap();
    assert_eq!(Rc::strong_count(&kept), 1);
}

/// Whether this is an error, and none that says something else.
fn is_refused<T: std::fmt::Debug>(answer: &Option<Result<T, SocketError>>) -> bool {
    matches!(answer, Some(Err(SocketError::Io(_) | SocketError::Disconnected(_))))
}

#[test]
fn a_socket_that_outlives_its_runtime_says_so_instead_of_waiting() {
    let gone = runtime();
    let (mut one, mut other) = pair(&gone);
    drop(gone);
    let answers = runtime()
        .block_on(async move {
            let read = once(one.fill()).await;
            let mut written = None;
            // A channel holds some of it; then it would have to wait.
            for _ in 0..1_000 {
                written = once(other.write_all(&[7; 1_000])).await;
                if !matches!(written, Some(Ok(()))) {
                    break;
                }
            }
            (is_refused(&read), is_refused(&written))
        })
        .unwrap();
    assert_eq!(answers, (true, true));
}

#[test]
fn a_socket_of_another_runtime_says_so_instead_of_waiting() {
    let other = runtime();
    let (mut theirs, _kept) = pair(&other);
    let refused =
        runtime().block_on(async move { is_refused(&once(theirs.fill()).await) }).unwrap();
    assert!(refused);
}

#[test]
fn ends_that_are_swapped_go_on_as_each_others() {
    let runtime = runtime();
    let swapped = runtime.block_on(async {
        let ((mut a, mut a2), (mut b, mut b2)) = (Socket::pair().unwrap(), Socket::pair().unwrap());
        a2.write_all(b"from a\nmore a\n").await?;
        b2.write_all(b"from b\nmore b\n").await?;
        a2.flush().await?;
        b2.flush().await?;
        let mut lines = vec![a.read_line(100).await?.unwrap().to_vec()];
        std::mem::swap(a.split().0, b.split().0);
        lines.push(a.read_line(100).await?.unwrap().to_vec());
        lines.push(b.read_line(100).await?.unwrap().to_vec());
        a.write_all(b"to a\n").await?;
        a.flush().await?;
        lines.push(a2.read_line(100).await?.unwrap().to_vec());
        Ok::<_, SocketError>(lines)
    });
    let lines: Vec<_> = swapped
        .unwrap()
        .unwrap()
        .into_iter()
        .map(|line| String::from_utf8(line).unwrap())
        .collect();
    assert_eq!(lines, ["from a", "from b", "more a", "to a"]);
}

#[test]
fn a_forked_child_may_not_run_its_parents_runtime() {
    let runtime = runtime();
    runtime.spawn(yield_now()).unwrap();
    // SAFETY: the child runs nothing but what follows, and ends with `_exit`.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            let code = matches!(runtime.run(), Err(RuntimeError::Forked));
            // SAFETY: it ends this process, and runs nothing of it.
            unsafe { nix::libc::_exit(if code { 0 } else { 1 }) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            let status = nix::sys::wait::waitpid(child, None).unwrap();
            assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)), "{status:?}");
        }
    }
    runtime.run().unwrap();
}

#[test]
fn a_queue_of_ready_coroutines_is_kept_from_run_to_run() {
    let runtime = runtime();
    let order = Rc::new(RefCell::new(VecDeque::new()));
    for number in 0..2_000u32 {
        let order = Rc::clone(&order);
        runtime.spawn(async move { order.borrow_mut().push_back(number) }).unwrap();
    }
    runtime.block_on(async {}).unwrap();
    runtime.run().unwrap();
    assert!(order.borrow().iter().copied().eq(0..2_000));
}
