//! Requests that no client sends, written by hand into a client's ring.

use bytemuck::Zeroable;
use testing::{DEADLINE, Folder, eventually};

use super::client::{Requests, Task as Asked};
use super::core::Place;
use super::message::{LOOKUP, RequestHead, Span};
use super::{Client, ClientOptions, Failed, MOST_BUFFERS, MOST_OUTSTANDING, Server, ServerOptions};
use super::{Serving, Ticket};

const ARENA: u64 = 4096;

struct Home {
    folder: Folder,
    serving: Serving,
}

impl Home {
    fn new() -> Self {
        let folder = Folder::new();
        let server = Server::bind(folder.join("server"), &ServerOptions::new()).unwrap();
        server.register("echo", |task| Ok(task.answer(task.args())?)).unwrap();
        let fill = |task: &mut super::Task<'_>| {
            for output in task.outputs() {
                output.write(0, &vec![7; output.len()])?;
            }
            Ok(())
        };
        server.register("fill", fill).unwrap();
        Self { folder, serving: server.serve().unwrap() }
    }

    fn client(&self) -> Client {
        let options = ClientOptions::new().arena(ARENA).timeout(DEADLINE);
        Client::connect_with(self.folder.join("server"), &options).unwrap()
    }
}

/// Sends these bytes as a request.
fn send(client: &Client, bytes: &[u8]) {
    let mut submitting = client.core.submitting();
    let Requests { writer, .. } = submitting.requests.as_mut().expect("it is connected");
    writer.send(bytes).unwrap();
}

fn bytes(head: RequestHead, spans: &[Span], args: &[u8]) -> Vec<u8> {
    [bytemuck::bytes_of(&head), bytemuck::cast_slice(spans), args].concat()
}

/// Has this asked in a place of its own, with inputs first, and so many of them.
fn ask(client: &Client, procedure: u32, inputs: usize, spans: &[Span], args: &[u8]) -> Ticket {
    let mut none = Asked { args: &[], inputs: Vec::new(), outputs: Vec::new() };
    let Place { place, turn, entry } = client.core.take_place(&mut none).expect("a place");
    let (inputs, outputs) = (inputs as u16, (spans.len() - inputs) as u16);
    let head = RequestHead { place, turn, procedure, inputs, outputs, issued: 0 };
    send(client, &bytes(head, spans, args));
    Ticket::new(client.core.clone(), entry)
}

fn span(offset: u64, len: u64) -> Span {
    Span { offset, len }
}

fn works(client: &Client) -> bool {
    client.procedure("echo").is_ok_and(|echo| client.call(echo, b"x").is_ok_and(|x| x == b"x"))
}

#[test]
fn a_buffer_outside_of_the_arena_is_refused_and_the_client_stays() {
    let home = Home::new();
    let client = home.client();
    for (offset, len) in [
        (ARENA, 1),
        (ARENA - 1, 2),
        (0, ARENA + 1),
        (u64::MAX, 1),
        (1, u64::MAX),
        (u64::MAX, u64::MAX),
        (u64::MAX - 63, 64),
        (ARENA + 1, 0),
        (1 << 63, 1 << 63),
    ] {
        for inputs in [0, 1] {
            let result = ask(&client, 2, inputs, &[span(offset, len)], b"").wait().result;
            let Err(Failed::Refused { reason }) = result else {
                panic!("{offset} {len}: {result:?}")
            };
            assert!(reason.contains("outside of the client's arena"), "{reason}");
        }
    }
    assert_eq!(ask(&client, 2, 0, &[span(ARENA, 0)], b"").wait().result, Ok(vec![]));
    assert!(works(&client));
}

#[test]
fn an_output_that_overlaps_is_refused_and_inputs_may_be_the_same() {
    let home = Home::new();
    let client = home.client();
    let whole = span(0, ARENA);
    // How many of the buffers are inputs, and whether the task is done.
    let tries: [(&[Span], usize, bool); 10] = [
        (&[whole, whole], 2, true),
        (&[whole, whole], 1, false),
        (&[whole, whole], 0, false),
        (&[span(0, 65), span(64, 64)], 0, false),
        (&[span(64, 64), span(0, 65)], 1, false),
        (&[span(0, 64), span(64, 64)], 0, true),
        (&[span(10, 0), span(0, 64)], 0, true),
        (&[span(0, 64), span(10, 0)], 1, true),
        (&[span(0, 64), span(128, 64), span(63, 2)], 2, false),
        (&[whole; MOST_BUFFERS], MOST_BUFFERS, true),
    ];
    for (spans, inputs, is_done) in tries {
        let result = ask(&client, 2, inputs, spans, b"").wait().result;
        match result {
            Ok(_) => assert!(is_done, "{spans:?}"),
            Err(Failed::Refused { reason }) => {
                assert!(!is_done && reason.contains("overlaps"), "{reason}");
            }
            Err(why) => panic!("{why}"),
        }
    }
    assert!(works(&client));
}

#[test]
fn a_client_without_an_arena_has_no_buffer_to_name() {
    let home = Home::new();
    let client = Client::connect(home.folder.join("server")).unwrap();
    for span in [span(0, 0), span(0, 1)] {
        let result = ask(&client, 2, 0, &[span], b"").wait().result;
        assert!(matches!(result, Err(Failed::Refused { .. })), "{result:?}");
    }
    assert!(works(&client));
}

#[test]
fn a_procedure_that_is_not_there_is_refused_and_the_client_stays() {
    let home = Home::new();
    let client = home.client();
    for number in [3, 4, u32::MAX, 1 << 31] {
        let result = ask(&client, number, 0, &[], b"").wait().result;
        assert!(matches!(result, Err(Failed::Refused { .. })), "{number}: {result:?}");
    }
    for name in [&b""[..], b"\xff\xfe", &[b'n'; 4000]] {
        let result = ask(&client, LOOKUP, 0, &[], name).wait().result;
        assert!(matches!(result, Err(Failed::Refused { .. })), "{result:?}");
    }
    assert_eq!(
        ask(&client, LOOKUP, 0, &[], b"fill").wait().result,
        Ok(2u32.to_ne_bytes().to_vec())
    );
    assert!(works(&client));
}

/// The answer to what nobody asked is nobody's, and takes no other's place.
#[test]
fn answers_to_forged_places_and_turns_are_dropped() {
    let home = Home::new();
    let client = home.client();
    let mut none = Asked { args: &[], inputs: Vec::new(), outputs: Vec::new() };
    let Place { place, turn, entry } = client.core.take_place(&mut none).expect("a place");
    let real = RequestHead { place, turn, procedure: 1, ..Zeroable::zeroed() };
    let forged = [
        RequestHead { turn: turn + 1, ..real },
        RequestHead { turn: turn.wrapping_sub(1), ..real },
        RequestHead { place: place + 1, ..real },
        RequestHead { place: MOST_OUTSTANDING as u32 - 1, ..real },
    ];
    for head in forged {
        send(&client, &bytes(head, &[], b"forged"));
    }
    send(&client, &bytes(real, &[], b"real"));
    // The same once more: it is answered already.
    send(&client, &bytes(real, &[], b"again"));
    assert_eq!(Ticket::new(client.core.clone(), entry).wait().result, Ok(b"real".to_vec()));
    assert!(works(&client));
    assert_eq!(client.outstanding(), 0);
}

#[test]
fn a_request_that_is_none_costs_its_client_the_connection_and_no_other() {
    let home = Home::new();
    let steady = home.client();
    let head: RequestHead = Zeroable::zeroed();
    for nonsense in [
        b"".to_vec(),
        b"x".to_vec(),
        bytes(head, &[], b"")[..23].to_vec(),
        bytes(RequestHead { place: MOST_OUTSTANDING as u32, ..head }, &[], b""),
        bytes(RequestHead { place: u32::MAX, ..head }, &[], b""),
        bytes(RequestHead { inputs: 1, ..head }, &[], b"less than it"),
        bytes(RequestHead { inputs: 33, outputs: 32, ..head }, &[span(0, 0); 65], b""),
        bytes(RequestHead { inputs: u16::MAX, outputs: u16::MAX, ..head }, &[], &[0; 4000]),
    ] {
        let client = home.client();
        assert!(works(&client));
        send(&client, &nonsense);
        let late = ask(&client, 1, 0, &[], b"x");
        assert_eq!(late.wait().result, Err(Failed::ServerDied), "{}", nonsense.escape_ascii());
        assert!(!works(&client));
        assert!(works(&steady));
    }
    eventually("they are out", || home.serving.server().clients() == 1);
}
