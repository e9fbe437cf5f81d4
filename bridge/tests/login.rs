//! Logging in to a real server, in all ways, and being told in one line why it did not work.

mod login {
    pub(crate) mod certificates;
    pub(crate) mod server;
    pub(crate) mod tokens;
}

use std::path::PathBuf;
use std::time::Duration;

use async_nats::Client;
use bridge::error::ServerError;
use bridge::progress::{Link, Progress};
use bridge::server::ServerOptions;
use login::certificates;
use login::server::Server;
use login::tokens::Operator;
use nkeys::KeyPair;
use testing::{DEADLINE, eventually};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Connects, with a deadline.
async fn connected(options: &ServerOptions, progress: &Progress) -> Result<Client, ServerError> {
    let connect = options.connect("test", progress);
    tokio::time::timeout(DEADLINE, connect).await.expect("connecting ends")
}

fn try_connect(options: &ServerOptions) -> Result<(), ServerError> {
    let progress = Progress::new();
    let outcome = runtime().block_on(connected(options, &progress)).map(|_| ());
    assert!(outcome.is_err() || progress.link() == Link::Up, "{:?}", progress.link());
    outcome
}

#[track_caller]
fn works(options: &ServerOptions) {
    try_connect(options).unwrap_or_else(|error| panic!("{options:?}: {error}"));
}

/// The error's only line, which shows none of these secrets.
#[track_caller]
fn fails(options: &ServerOptions, secrets: &[&str]) -> (ServerError, String) {
    let error = try_connect(options).expect_err("there is something wrong");
    let said = error.to_string();
    println!("{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for secret in secrets {
        let all = format!("{said} {error:?} {options} {options:?}");
        assert!(!all.contains(secret), "{secret} is shown in {all}");
    }
    (error, said)
}

#[track_caller]
fn is_not_let_in(options: &ServerOptions, secrets: &[&str]) {
    let (error, said) = fails(options, secrets);
    assert!(matches!(error, ServerError::NotAuthorised { .. }), "{said}");
}

fn file(server: &Server, name: &str, text: &str) -> PathBuf {
    let path = server.folder().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

const USER: &str = "authorization { user: anna, password: s3cret }";

#[test]
fn a_user_is_let_in_with_a_password() {
    let server = Server::start(USER);
    let options = || ServerOptions::new(server.url());
    let right = file(&server, "right", "s3cret\n");
    works(&options().user("anna", "s3cret"));
    works(&options().user_with_password_file("anna", &right));
    works(&ServerOptions::new(format!("nats://anna:s3%63ret@127.0.0.1:{}", server.port())));
    is_not_let_in(&options(), &["s3cret"]);
    is_not_let_in(&options().user("anna", "wr0ng"), &["wr0ng"]);
    is_not_let_in(&options().user("bert", "s3cret"), &["s3cret"]);
    let wrong = file(&server, "wrong", "wr0ng");
    is_not_let_in(&options().user_with_password_file("anna", wrong), &["wr0ng"]);
    let url = format!("nats://anna:wr0ng@127.0.0.1:{}", server.port());
    is_not_let_in(&ServerOptions::new(url), &["wr0ng"]);
}

#[test]
fn whoever_has_the_token_is_let_in() {
    let server = Server::start("authorization { token: t0ken }");
    let options = || ServerOptions::new(server.url());
    works(&options().token("t0ken"));
    works(&options().token_file(file(&server, "right", "t0ken")));
    works(&ServerOptions::new(format!("t0ken@127.0.0.1:{}", server.port())));
    is_not_let_in(&options().token("wr0ng"), &["wr0ng", "t0ken"]);
    let (error, said) = fails(&options().token_file(file(&server, "empty", "\n")), &[]);
    assert!(matches!(error, ServerError::Malformed { .. }), "{said}");
    let (error, said) = fails(&options().token_file("/nothing"), &[]);
    assert!(matches!(error, ServerError::File { .. }) && said.contains("/nothing"), "{said}");
}

#[test]
fn a_key_proves_who_we_are() {
    let (ours, other) = (KeyPair::new_user(), KeyPair::new_user());
    let server =
        Server::start(&format!("authorization {{ users: [ {{ nkey: {} }} ] }}", ours.public_key()));
    let (ours, other) = (ours.seed().unwrap(), other.seed().unwrap());
    let options = ServerOptions::new(server.url());
    works(&options.clone().nkey_file(file(&server, "right", &ours)));
    is_not_let_in(&options.clone().nkey_file(file(&server, "other", &other)), &[&other]);
    let (error, said) =
        fails(&options.nkey_file(file(&server, "damaged", &ours[..40])), &[&ours[..40]]);
    assert!(matches!(error, ServerError::Malformed { .. }), "{said}");
}

#[test]
fn credentials_are_a_token_and_its_key() {
    let operator = Operator::new();
    let server = Server::start(&operator.configuration());
    let options = ServerOptions::new(server.url());
    let (text, seed) = operator.credentials(true);
    works(&options.clone().credentials_file(file(&server, "right", &text)));
    is_not_let_in(&options, &[]);
    let (stranger, strange) = Operator::new().credentials(true);
    is_not_let_in(
        &options.clone().credentials_file(file(&server, "other", &stranger)),
        &[&strange],
    );
    let cut = file(&server, "cut", &text[..text.len() - 40]);
    let (error, said) = fails(&options.clone().credentials_file(cut), &[&seed]);
    assert!(matches!(error, ServerError::Malformed { .. }), "{said}");
    // The server has JetStream, and this account has not.
    let (text, seed) = operator.credentials(false);
    let poor = options.credentials_file(file(&server, "poor", &text));
    let (error, said) = fails(&poor, &[&seed]);
    assert!(matches!(error, ServerError::NoJetStream { .. }), "{said}");
}

#[test]
fn a_server_that_is_away_or_lacks_something_is_named() {
    let server = Server::bare("");
    let (error, said) = fails(&ServerOptions::new(server.url()), &[]);
    assert!(matches!(error, ServerError::NoJetStream { .. }), "{said}");
    assert!(said.contains(&server.url()), "{said}");
    let url = server.url();
    drop(server);
    let (error, said) = fails(&ServerOptions::new(&url).user("anna", "s3cret"), &["s3cret"]);
    assert!(matches!(error, ServerError::Away { .. }) && said.contains(&url), "{said}");
    let (error, said) = fails(&ServerOptions::new("nats://nowhere.invalid"), &[]);
    assert!(matches!(error, ServerError::Away { .. }), "{said}");
}

#[test]
fn a_cluster_without_its_other_servers_is_told_from_one_without_streams() {
    // Nobody listens on port 1, and a server alone is no majority.
    let cluster =
        "cluster { name: test, listen: \"127.0.0.1:-1\", routes: [ \"nats://127.0.0.1:1\" ] }";
    let server = Server::start(&format!("server_name: alone\n{cluster}"));
    let (error, said) = fails(&ServerOptions::new(server.url()), &[]);
    assert!(matches!(error, ServerError::JetStreamAway { .. }), "{said}");
}

#[test]
fn whoever_may_not_ask_for_figures_may_still_use_streams() {
    let permissions = "permissions: { publish: { deny: \"$JS.API.INFO\" } }";
    let users = format!("users: [ {{ user: anna, password: s3cret, {permissions} }} ]");
    let server = Server::start(&format!("authorization {{ {users} }}"));
    works(&ServerOptions::new(server.url()).user("anna", "s3cret"));
}

#[test]
fn an_encrypted_server_is_trusted_if_its_authority_is() {
    let tls = "tls { cert_file: \"FOLDER/server.pem\", key_file: \"FOLDER/server.key\" }";
    let mut server = Server::start("");
    certificates::make(server.folder());
    let plain = ServerOptions::new(server.url());
    let (error, said) = fails(&plain.clone().require_tls(), &[]);
    assert!(matches!(error, ServerError::Tls { .. }), "{said}");
    server.restart(tls);
    let authority = server.folder().join("ca.pem");
    let named = ServerOptions::new(format!("nats://localhost:{}", server.port()));
    works(&named.clone().tls_authority(&authority));
    works(
        &ServerOptions::new(format!("tls://localhost:{}", server.port())).tls_authority(&authority),
    );
    let (error, said) = fails(&named, &[]);
    assert!(matches!(error, ServerError::Tls { .. }) && said.contains("--tls-ca"), "{said}");
    let (error, said) = fails(&plain.tls_authority(&authority), &[]);
    assert!(matches!(error, ServerError::Tls { .. }) && said.contains("another name"), "{said}");
    for wrong in ["server.key", "server.conf"] {
        let wrong = server.folder().join(wrong);
        let (error, said) = fails(&named.clone().tls_authority(wrong), &[]);
        assert!(matches!(error, ServerError::Malformed { .. }), "{said}");
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_gets_ours() {
    let files = "cert_file: \"FOLDER/server.pem\", key_file: \"FOLDER/server.key\", ca_file: \"FOLDER/ca.pem\"";
    let mut server = Server::start("");
    certificates::make(server.folder());
    server.restart(&format!("tls {{ {files}, verify: true }}"));
    let path = |name: &str| server.folder().join(name);
    let options = ServerOptions::new(format!("nats://localhost:{}", server.port()));
    let options = options.tls_authority(path("ca.pem"));
    works(&options.clone().tls_identity(path("client.pem"), path("client.key")));
    let (error, said) = fails(&options, &[]);
    assert!(matches!(error, ServerError::Tls { .. }) && said.contains("--tls-cert"), "{said}");
    let swapped = options.clone().tls_identity(path("client.key"), path("client.pem"));
    let (error, said) = fails(&swapped, &[]);
    assert!(matches!(error, ServerError::Malformed { .. }), "{said}");
    let (error, said) = fails(&options.tls_identity(path("client.pem"), path("server.key")), &[]);
    assert!(matches!(error, ServerError::Tls { .. }), "{said}");
}

#[test]
fn a_lost_server_is_found_again_with_a_renewed_password() {
    let mut server = Server::start(USER);
    let password = file(&server, "password", "s3cret");
    let options = ServerOptions::new(server.url()).user_with_password_file("anna", &password);
    let (runtime, progress) = (runtime(), Progress::new());
    let client = runtime.block_on(connected(&options, &progress)).unwrap();
    assert_eq!((progress.link(), progress.reconnects.get()), (Link::Up, 0));
    server.restart(&USER.replace("s3cret", "renewed"));
    let turn = || runtime.block_on(async { sleep(Duration::from_millis(1)).await });
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        eventually(what, || {
            turn();
            holds()
        });
    };
    until("the loss is told", &|| progress.link() == Link::Lost);
    std::fs::write(&password, "renewed").unwrap();
    until("the connection is made anew", &|| progress.link() == Link::Up);
    assert_eq!(progress.reconnects.get(), 1);
    runtime.block_on(client.flush()).unwrap();
}
