//! Tokens as `nsc` makes them: an operator, who signs accounts, which sign users.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use nkeys::KeyPair;
use serde_json::{Value, json};

/// An operator with one account that may use JetStream and one that may not.
pub(crate) struct Operator {
    key: KeyPair,
    with_streams: KeyPair,
    without_streams: KeyPair,
}

impl Operator {
    pub(crate) fn new() -> Self {
        Self {
            key: KeyPair::new_operator(),
            with_streams: KeyPair::new_account(),
            without_streams: KeyPair::new_account(),
        }
    }

    /// What the server's configuration says of them.
    pub(crate) fn configuration(&self) -> String {
        let limits = |streams: i64| {
            json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
                    "conn": -1, "leaf": -1, "mem_storage": streams, "disk_storage": streams,
                    "streams": streams, "consumer": streams })
        };
        let system = KeyPair::new_account();
        let accounts = [
            (&self.with_streams, limits(-1)),
            (&self.without_streams, limits(0)),
            (&system, limits(0)),
        ];
        let tokens: Vec<String> = accounts
            .into_iter()
            .map(|(account, limits)| {
                let about = json!({ "type": "account", "version": 2, "limits": limits });
                format!("{}: {}", account.public_key(), token(&self.key, account, about))
            })
            .collect();
        let operator = token(&self.key, &self.key, json!({ "type": "operator", "version": 2 }));
        format!(
            "operator: {operator}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}\n}}",
            system.public_key(),
            tokens.join("\n")
        )
    }

    /// A file for a user of the account that has streams, or of the other one; and the seed in it.
    pub(crate) fn credentials(&self, streams: bool) -> (String, String) {
        let user = KeyPair::new_user();
        let account = if streams { &self.with_streams } else { &self.without_streams };
        let about = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let (token, seed) = (token(account, &user, about), user.seed().unwrap());
        let file = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        (file, seed)
    }
}

fn token(issuer: &KeyPair, subject: &KeyPair, about: Value) -> String {
    let mut claims = json!({ "iat": 1, "iss": issuer.public_key(), "name": "test", "nats": about,
                             "sub": subject.public_key() });
    // Any text that is not given twice.
    claims["jti"] = BASE32_NOPAD.encode(subject.public_key().as_bytes()).into();
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let encoded = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", encoded(&header), encoded(&claims));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}
