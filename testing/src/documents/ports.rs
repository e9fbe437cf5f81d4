//! Ports that a document shows, and free ones of this machine in their place.

use std::collections::BTreeMap;

/// The ports that documents give to servers: for clients, for the other servers of a cluster, and for monitors.
const SHOWN: [std::ops::Range<u16>; 3] = [4222..4230, 6222..6230, 8222..8230];

/// A free port for each that a document shows.
#[derive(Debug, Default)]
pub(super) struct Ports(BTreeMap<String, String>);

impl Ports {
    /// Free ports for those that stand in these commands.
    pub(super) fn of<'a>(commands: impl Iterator<Item = &'a str>) -> Self {
        let mut ports = BTreeMap::new();
        for command in commands {
            let numbers = command.split(|c: char| !c.is_ascii_digit());
            for shown in numbers.filter(|number| is_shown(number)) {
                let free = || crate::free_port().to_string();
                ports.entry(shown.to_owned()).or_insert_with(free);
            }
        }
        Self(ports)
    }

    /// A command, with free ports.
    pub(super) fn free(&self, command: &str) -> String {
        replaced(command, |number| self.0.get(number))
    }

    /// What a command has printed, with the document's ports.
    pub(super) fn shown(&self, line: &str) -> String {
        replaced(line, |number| {
            self.0.iter().find(|(_, free)| *free == number).map(|(shown, _)| shown)
        })
    }
}

fn is_shown(number: &str) -> bool {
    number.parse().is_ok_and(|port| SHOWN.iter().any(|shown| shown.contains(&port)))
}

/// The text, with other numbers in place of some.
fn replaced<'a>(text: &str, other: impl Fn(&str) -> Option<&'a String>) -> String {
    let mut found = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        found.push_str(other(number).map_or(number, String::as_str));
        let words = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        found.push_str(&behind[..words]);
        rest = &behind[words..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_ports() {
        let ports =
            Ports::of(["nats-server -p 4222 -m 8222 -n 42220".to_owned()].iter().map(|c| &c[..]));
        assert_eq!(ports.0.keys().collect::<Vec<_>>(), ["4222", "8222"]);
        let free = ports.free("x:4222, 14222 and 4222");
        assert!(!free.contains(":4222,") && free.contains(" 14222 "), "{free}");
        assert_eq!(ports.shown(&free), "x:4222, 14222 and 4222");
    }
}
