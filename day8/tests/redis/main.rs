//! The Redis service as a process, and its clients: scripts byte for byte, channels, topics, limits. Where Redis is
//! installed, its server has to answer the same, and its clients have to understand us.

mod channels;
mod limits;
mod peers;
mod script;
mod server;

use std::io::{Read, Write};

use script::{request, scripts};
use server::Server;
use testing::promptly;

#[test]
fn scripts_are_answered_byte_for_byte() {
    let folder = testing::Folder::new();
    let at = |kind: &str| format!("{kind}:{}", folder.join(kind).display());
    for address in ["127.0.0.1:0", &at("unix"), &at("ring")] {
        let (server, address) = (Server::start(&["--listen", address]), address.to_owned());
        promptly("the scripts end", move || {
            for script in scripts() {
                assert_eq!(server.converse(&request(&["FLUSHALL"])), b"+OK\r\n");
                let answers = server.converse(&script.sent);
                assert_eq!(
                    answers.escape_ascii().to_string(),
                    script.answers.escape_ascii().to_string(),
                    "{} over {address}",
                    script.name
                );
            }
            server.end();
        });
    }
}

#[test]
fn scripts_that_come_in_pieces_are_answered_the_same() {
    for isolation in ["none", "mprotect"] {
        let server = Server::start(&["--listen", "127.0.0.1:0", "--isolation", isolation]);
        for script in scripts() {
            // All cuts are tried without sockets; these are those that the sockets may have an opinion of.
            for cut in (0..script.sent.len()).step_by(1 + script.sent.len() / 5) {
                server.client().ask(&request(&["FLUSHALL"]), b"+OK\r\n");
                let (first, second) = script.sent.split_at(cut);
                let mut client = server.client();
                client.stream.write_all(first).unwrap();
                // That client's first piece is read before this one's answer comes.
                server.client().ask(&request(&["PING"]), b"+PONG\r\n");
                let answers = client.converse(second);
                assert!(answers == script.answers, "{}, cut at {cut}", script.name);
            }
        }
        server.end();
    }
}

#[test]
fn many_requests_are_answered_in_order() {
    let server = Server::start(&["--listen", "127.0.0.1:0"]);
    let words: Vec<String> = (0..20_000).map(|number| format!("word {number}")).collect();
    let sent: Vec<u8> = words.iter().flat_map(|word| request(&["ECHO", word])).collect();
    let expected: String = words.iter().map(|it| format!("${}\r\n{it}\r\n", it.len())).collect();
    let mut client = server.client();
    let mut writer = client.stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut answers = vec![0; expected.len()];
    client.stream.read_exact(&mut answers).unwrap();
    writing.join().unwrap();
    assert!(answers == expected.as_bytes());
    server.end();
}
