//! A client with many long tasks holds up no other for longer than two of them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use day7::tasks::{Client, Server, ServerOptions, Serving, Ticket};
use testing::{DEADLINE, Folder, eventually};

/// A server whose procedure `step` says when it has begun, and is done when it is told.
struct Stepping {
    begun: Receiver<()>,
    // Before the server, whose threads are waited for: no step waits then.
    go_on: Sender<()>,
    serving: Serving,
    folder: Folder,
}

impl Stepping {
    fn new() -> Self {
        let folder = Folder::new();
        let server = Server::bind(folder.join("server"), &ServerOptions::new()).unwrap();
        let (says, begun) = channel();
        let (go_on, waits) = channel::<()>();
        let waits = Arc::new(Mutex::new(waits));
        let step = move |_: &mut day7::tasks::Task<'_>| {
            let _ = says.send(());
            let _ = waits.lock().unwrap().recv();
            // Longer than a turn, whatever the steps of the clock.
            thread::sleep(Duration::from_millis(30));
            Ok(())
        };
        server.register("step", step).unwrap();
        server.register("echo", |task| Ok(task.answer(task.args())?)).unwrap();
        Self { begun, go_on, serving: server.serve().unwrap(), folder }
    }

    fn client(&self) -> Client {
        Client::connect(self.folder.join("server")).unwrap()
    }

    /// Issues so many steps; the first has begun.
    fn steps(&self, client: &Client, count: usize) -> Vec<Ticket> {
        let step = client.procedure("step").unwrap();
        let submit = |_| client.submit(step, b"", vec![], vec![]).unwrap();
        let all = (0..count).map(submit).collect();
        self.begun.recv_timeout(DEADLINE).unwrap();
        all
    }

    fn go_on(&self) {
        self.go_on.send(()).unwrap();
    }
}

#[test]
fn a_short_task_waits_for_two_long_ones_at_most() {
    let server = Stepping::new();
    let (patient, busy) = (server.client(), server.client());
    let echo = patient.procedure("echo").unwrap();
    let steps = server.steps(&busy, 10);
    let mut short = patient.submit(echo, b"short", vec![], vec![]).unwrap();
    server.go_on();
    server.go_on();
    // The third step is not told to go on.
    assert!(short.wait_timeout(DEADLINE), "its turn has not come");
    assert_eq!(short.wait().result.unwrap(), b"short");
    (2..10).for_each(|_| server.go_on());
    assert!(steps.into_iter().all(|step| step.wait().result.is_ok()));
}

#[test]
fn what_was_not_begun_for_a_client_that_is_gone_is_never_begun() {
    let server = Stepping::new();
    let other = server.client();
    let echo = other.procedure("echo").unwrap();
    let gone = server.client();
    drop((server.steps(&gone, 10), gone));
    eventually("reception knows", || server.serving.server().clients() == 1);
    server.go_on();
    assert_eq!(other.call(echo, b"next").unwrap(), b"next");
    assert!(server.begun.try_recv().is_err(), "a task was begun for nobody");
}
