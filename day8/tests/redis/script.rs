//! Conversations from `scripts.txt`.

/// What a client sends, and what it gets.
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) sent: Vec<u8>,
    pub(crate) answers: Vec<u8>,
}

/// All of them.
pub(crate) fn scripts() -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    for line in include_str!("scripts.txt").lines().skip_while(|line| !line.is_empty()) {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        if mark == "#" {
            let (sent, answers) = (Vec::new(), Vec::new());
            scripts.push(Script { name: rest.to_owned(), sent, answers });
            continue;
        }
        if mark.is_empty() {
            continue;
        }
        let script = scripts.last_mut().expect("a conversation begins with its name");
        match mark {
            ">" => {
                let words: Vec<Vec<u8>> = rest.split(' ').map(unescape).collect();
                script.sent.extend(request(&words));
            }
            ">>" => script.sent.extend(unescape(rest)),
            "<" => {
                script.answers.extend(unescape(rest));
                script.answers.extend(b"\r\n");
            }
            mark => panic!("a line of scripts.txt begins with {mark:?}"),
        }
    }
    assert!(!scripts.is_empty());
    scripts
}

/// A request as an array of bulk strings.
pub(crate) fn request(words: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        rest = more;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (escaped, more) = rest.split_first().expect("something stands behind a \\");
        rest = more;
        match escaped {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b's' => bytes.push(b' '),
            b'\\' => bytes.push(b'\\'),
            b'e' => {}
            b'x' => {
                let digits = str::from_utf8(&rest[..2]).expect("two digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
                rest = &rest[2..];
            }
            other => panic!("\\{} in scripts.txt", char::from(*other)),
        }
    }
    bytes
}
