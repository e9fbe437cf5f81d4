//! Tickets as futures.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use common::sync::{AtomicU32, Ordering};
use day7::tasks::{ClientOptions, Failed, ServerOptions, Ticket};
use testing::{eventually, promptly};

use super::home::{Hold, Home, everywhere};

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor that there is.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

#[test]
fn a_ticket_is_a_future_for_any_executor() {
    everywhere(|home| {
        let client = home.client();
        let echo = client.procedure("echo").unwrap();
        let fail = client.procedure("fail").unwrap();
        for n in 0..100u32 {
            let ticket = client.submit(echo, &n.to_le_bytes(), vec![], vec![]).unwrap();
            let other = client.submit(fail, b"no", vec![], vec![]).unwrap();
            assert_eq!(block_on(ticket).result.unwrap(), n.to_le_bytes());
            assert_eq!(block_on(other).result, Err(Failed::Error { reason: "no".into() }));
        }
    });
}

#[test]
fn a_future_is_ready_at_once_when_its_answer_is_there() {
    everywhere(|home| {
        let client = home.client();
        let echo = client.procedure("echo").unwrap();
        let mut ticket = client.submit(echo, b"x", vec![], vec![]).unwrap();
        eventually("it is done", || ticket.is_ready());
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut ticket).poll(&mut context).is_ready());
        let again = testing::panics(|| Pin::new(&mut ticket).poll(&mut context));
        assert_eq!(again, "a ticket is ready once");
    });
}

#[test]
fn the_last_waker_is_woken_and_no_other() {
    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let home = Home::thread(&ServerOptions::new());
    let client = home.client();
    let hold = Hold::at(home.server());
    let held = client.procedure("hold").unwrap();
    let mut ticket = client.submit(held, b"", vec![], vec![]).unwrap();
    let counts: [Arc<Count>; 3] = std::array::from_fn(|_| Arc::new(Count(AtomicU32::new(0))));
    for count in &counts {
        let waker = Waker::from(Arc::clone(count));
        for _ in 0..2 {
            assert!(Pin::new(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending());
        }
    }
    hold.release(true);
    let woken = || counts.each_ref().map(|count| count.0.load(Ordering::Relaxed));
    eventually("the last one is woken", || woken()[2] > 0);
    assert_eq!(woken(), [0, 0, 1]);
    assert!(ticket.wait().result.is_ok());
}

/// A task of an executor, which lives as long as somebody has its waker. It has two tickets.
struct Pair {
    _tickets: Mutex<Vec<Ticket>>,
}

impl Wake for Pair {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_waker_that_is_the_last_to_have_a_task_may_be_dropped_anywhere() {
    let home = Home::thread(&ServerOptions::new());
    let client = home.client();
    let hold = Hold::at(home.server());
    let held = client.procedure("hold").unwrap();
    let submit = move || client.submit(held, b"", vec![], vec![]).unwrap();
    promptly("nobody waits for a lock of its own", move || {
        for replaces in [true, false] {
            let task = Arc::new(Pair { _tickets: Mutex::new(vec![submit(), submit()]) });
            let waker = Waker::from(Arc::clone(&task));
            let mut other = submit();
            // Now only the ticket has the task.
            assert!(Pin::new(&mut other).poll(&mut Context::from_waker(&waker)).is_pending());
            drop((task, waker));
            if replaces {
                let mut context = Context::from_waker(Waker::noop());
                assert!(Pin::new(&mut other).poll(&mut context).is_pending());
            }
            drop(other);
        }
    });
    hold.release(true);
}

/// Polls in the waker itself, in whatever thread that is called, and then asks for something else.
struct Inline(Mutex<Option<Ticket>>, Box<dyn Fn() + Send + Sync>);

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        let mut ticket = self.0.lock().unwrap();
        if let Some(one) = &mut *ticket
            && Pin::new(one).poll(&mut Context::from_waker(&waker)).is_ready()
        {
            *ticket = None;
            drop(ticket);
            (self.1)();
        }
    }
}

#[test]
fn an_executor_may_poll_and_wait_in_the_waker() {
    let home = Home::thread(&ServerOptions::new());
    let client = home.client();
    let echo = client.procedure("echo").unwrap();
    let done = Arc::new(AtomicU32::new(0));
    for _ in 0..50 {
        let (client, counts) = (client.clone(), Arc::clone(&done));
        let ticket = client.submit(echo, b"x", vec![], vec![]).unwrap();
        let then = move || {
            assert_eq!(client.call(echo, b"y").unwrap(), b"y");
            counts.fetch_add(1, Ordering::Relaxed);
        };
        Arc::new(Inline(Mutex::new(Some(ticket)), Box::new(then))).wake();
    }
    eventually("all have gone on", || done.load(Ordering::Relaxed) == 50);
}

#[test]
fn futures_fail_when_their_server_ends() {
    let home = Home::process();
    let client = home.client();
    let nap = client.procedure("nap").unwrap();
    let submit = |_| client.submit(nap, &100_000u64.to_le_bytes(), vec![], vec![]).unwrap();
    let tickets: Vec<_> = (0..5).map(submit).collect();
    let waits = thread::spawn(move || {
        tickets.into_iter().map(|ticket| block_on(ticket).result).collect::<Vec<_>>()
    });
    let Home::Process { program, folder } = home else { panic!("it is a process") };
    program.kill();
    drop(folder);
    assert_eq!(waits.join().unwrap(), vec![Err(Failed::ServerDied); 5]);
}

#[tokio::test]
async fn tokio_awaits_many_tickets() {
    let home = Home::process();
    let client = home.client_with(&ClientOptions::new().arena(1 << 16));
    let (echo, nap) = (client.procedure("echo").unwrap(), client.procedure("nap").unwrap());
    let mut tasks = Vec::new();
    for n in 0..200u32 {
        let ticket = client.submit(echo, &n.to_le_bytes(), vec![], vec![]).unwrap();
        tasks.push(tokio::spawn(async move {
            assert_eq!(ticket.await.result.unwrap(), n.to_le_bytes());
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let ticket = client.submit(nap, &100_000u64.to_le_bytes(), vec![], vec![]).unwrap();
    let late = tokio::time::timeout(std::time::Duration::from_millis(10), ticket).await;
    assert!(late.is_err());
}
