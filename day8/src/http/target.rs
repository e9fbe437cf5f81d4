//! What a request is for: its target, and the host that it names.

use core::fmt;
use core::str::{self, FromStr};
use std::net::{IpAddr, Ipv6Addr};

use super::error::Refusal;

/// A host, and perhaps a port: what `Host` says, or the target of a request to a proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    text: &'a str,
    /// Where the host ends.
    host: usize,
}

impl<'a> Authority<'a> {
    /// All of it, as it was sent. Empty if the client's address has no host.
    pub fn as_str(self) -> &'a str {
        self.text
    }

    /// The host: a name, an address, or an IPv6 address in brackets.
    pub fn host(self) -> &'a str {
        &self.text[..self.host]
    }

    /// The host, if it is written as an address.
    pub fn address(self) -> Option<IpAddr> {
        let host = self.host();
        match host.strip_prefix('[') {
            Some(rest) => Ipv6Addr::from_str(rest.strip_suffix(']')?).ok().map(IpAddr::V6),
            None => host.parse().ok(),
        }
    }

    /// An authority that was read before, whose host has so many bytes.
    pub(crate) fn known(text: &'a str, host: usize) -> Self {
        Self { text, host }
    }

    /// Reads `host` or `host:port`; `None` if it is something else.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let host = match text.strip_prefix('[') {
            Some(inside) => {
                let end = inside.find(']')?;
                Ipv6Addr::from_str(&inside[..end]).ok()?;
                end + 2
            }
            None => {
                let end = bytes.iter().position(|&byte| !is_in(byte, HOST)).unwrap_or(bytes.len());
                if !is_escaped_well(&bytes[..end]) {
                    return None;
                }
                end
            }
        };
        let port = match &text[host..] {
            "" => "",
            port => port.strip_prefix(':')?,
        };
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
            && (port.is_empty() || port.parse::<u16>().is_ok());
        is_port.then_some(Self { text, host })
    }
}

impl fmt::Debug for Authority<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

/// A target, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The host, where the target names one.
    pub(crate) authority: Option<Authority<'a>>,
    /// What lies behind it: a path with its query; `*`; or nothing.
    pub(crate) path: &'a [u8],
}

impl<'a> Target<'a> {
    /// Reads the target of a request with this method.
    pub(crate) fn parse(method: &[u8], target: &'a [u8]) -> Result<Self, Refusal> {
        if let [b'/', ..] = target {
            check(target)?;
            return Ok(Self { authority: None, path: target });
        }
        Self::parse_other(method, target)
    }

    #[cold]
    fn parse_other(method: &[u8], target: &'a [u8]) -> Result<Self, Refusal> {
        check(target)?;
        if target == b"*" {
            return match method {
                b"OPTIONS" => Ok(Self { authority: None, path: target }),
                _ => Err(Refusal::malformed("the target * is for OPTIONS alone")),
            };
        }
        let unknown = Refusal::malformed(
            "expected a target such as /path, or http://host/path, found something else",
        );
        let (scheme, rest) = target.split_at_checked("http://".len()).ok_or(unknown)?;
        if !scheme.eq_ignore_ascii_case(b"http://") {
            return Err(unknown);
        }
        let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        // A URI of this scheme names its host.
        let authority = Authority::parse(host).filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or(Refusal::malformed("the target's host is no host"))?;
        Ok(Self { authority: Some(authority), path })
    }
}

/// Refuses bytes that no target has.
fn check(target: &[u8]) -> Result<(), Refusal> {
    if target.iter().all(|&byte| is_in(byte, TARGET)) && is_escaped_well(target) {
        return Ok(());
    }
    Err(Refusal::malformed(
        "the target holds a character that has to be written as %, and two hexadecimal digits",
    ))
}

/// May stand in a target. A fragment (`#`) is never sent.
const TARGET: u8 = 1;
/// May stand in a host.
const HOST: u8 = 2;
/// May stand in a method, or in the name of a header.
const TOKEN: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        let unreserved = c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~');
        let sub = matches!(
            c,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        );
        if unreserved || sub || c == b'%' {
            classes[byte] |= TARGET | HOST;
        }
        if matches!(c, b'/' | b'?' | b':' | b'@' | b'[' | b']') {
            classes[byte] |= TARGET;
        }
        if c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            classes[byte] |= TOKEN;
        }
        byte += 1;
    }
    classes
};

fn is_in(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// Whether a method or a header's name may hold this byte.
pub(crate) fn is_token(byte: u8) -> bool {
    is_in(byte, TOKEN)
}

/// Whether each `%` has its two digits.
fn is_escaped_well(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'%', bytes).all(|at| {
        let digits = bytes.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// The text behind percent signs: `a%20b` is `a b`. `None` if it is no UTF-8.
///
/// ```
/// # mod fanout { pub mod serve { pub use day8::*; } }
/// use fanout::serve::http::decoded;
///
/// assert_eq!(decoded("a%20b%2F").as_deref(), Some("a b/"));
/// assert_eq!(decoded("%ff"), None);
/// ```
pub fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some(at) = memchr::memchr(b'%', rest) {
        bytes.extend_from_slice(&rest[..at]);
        let digits = rest.get(at + 1..at + 3)?;
        let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
        bytes.push(digit(digits[0])? << 4 | digit(digits[1])?);
        rest = &rest[at + 3..];
    }
    bytes.extend_from_slice(rest);
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<(Option<&str>, &str), Refusal> {
        let target = Target::parse(b"GET", text.as_bytes())?;
        let authority = target.authority.map(Authority::as_str);
        Ok((authority, str::from_utf8(target.path).unwrap()))
    }

    #[test]
    fn targets_have_one_of_three_forms() {
        assert_eq!(target("/a/b?c=d"), Ok((None, "/a/b?c=d")));
        assert_eq!(target("http://h:80/a"), Ok((Some("h:80"), "/a")));
        assert_eq!(target("HTTP://h"), Ok((Some("h"), "")));
        assert_eq!(target("http://[::1]:8080?q"), Ok((Some("[::1]:8080"), "?q")));
        assert!(Target::parse(b"OPTIONS", b"*").is_ok());
        let refused = [
            "*",
            "a",
            "h:80",
            "https://h/",
            "http:///a",
            "http://u@h/",
            "http://h:x/",
            "ftp://h/",
            "/a#b",
            "/a b",
            "/\u{e4}",
            "/a\x7f",
            "/%",
            "/%2",
            "/%2g",
            "/\"",
            "/<",
            "/\\",
            "",
            "http://",
            "http://[::1/",
            "http://h:99999/",
        ];
        for text in refused {
            assert_eq!(target(text).map_err(|refusal| refusal.status.code()), Err(400), "{text:?}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for (text, host) in [
            ("localhost", "localhost"),
            ("localhost:8080", "localhost"),
            ("[::1]:1", "[::1]"),
            ("127.0.0.1:", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(Authority::parse(text.as_bytes()).unwrap().host(), host, "{text:?}");
        }
        for text in [
            "a b", "a/b", "a@b", "a:b", "a:1:2", "[::1", "[x]", "[::1]x", "::1", "a,b/", "a:65536",
            "%zz", "\u{e4}",
        ] {
            assert_eq!(Authority::parse(text.as_bytes()), None, "{text:?}");
        }
        let address = |text: &'static str| Authority::parse(text.as_bytes()).unwrap().address();
        assert_eq!(address("[::1]:80"), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(address("127.0.0.1"), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(address("localhost"), None);
    }

    #[test]
    fn percent_signs_are_decoded_once() {
        assert_eq!(decoded("%2e%2E%2F"), Some("../".to_owned()));
        assert_eq!(decoded("%252e"), Some("%2e".to_owned()));
        assert_eq!(decoded("%"), None);
        assert_eq!(decoded("%c3%a4"), Some("\u{e4}".to_owned()));
    }
}
