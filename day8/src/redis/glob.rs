//! Patterns of CONFIG GET.

/// Whether a name matches: `*` stands for anything, `?` for one byte, `[a-c]` and `[^a-c]` for one of them, `\` takes the
/// next byte as it is. Case does not matter.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // Where to go on when the rest does not match: behind the last star, which then stands for one byte more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    let (mut pattern, mut name) = (pattern, name);
    loop {
        let next = match (pattern, name) {
            ([b'*', rest @ ..], _) => {
                retry = Some((rest, name));
                pattern = rest;
                continue;
            }
            ([], []) => return true,
            (_, []) => return false,
            (_, [byte, ..]) => one(pattern, *byte),
        };
        match (next, &mut retry) {
            (Some(rest), _) => (pattern, name) = (rest, &name[1..]),
            (None, Some((rest, tried))) => {
                *tried = &tried[1..];
                (pattern, name) = (*rest, *tried);
            }
            (None, None) => return false,
        }
    }
}

/// The pattern behind what stands for this byte, if that matches it.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let same = |other: &u8| other.eq_ignore_ascii_case(&byte);
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', set @ ..] => class(set, byte),
        [b'\\', escaped, rest @ ..] => same(escaped).then_some(rest),
        [literal, rest @ ..] => same(literal).then_some(rest),
    }
}

fn class(set: &[u8], byte: u8) -> Option<&[u8]> {
    let byte = byte.to_ascii_lowercase();
    let (is_not, mut set) = match set {
        [b'^', rest @ ..] => (true, rest),
        set => (false, set),
    };
    let mut found = false;
    let rest = loop {
        set = match set {
            [] => break set,
            [b']', rest @ ..] => break rest,
            [b'\\', escaped, rest @ ..] => {
                found |= escaped.to_ascii_lowercase() == byte;
                rest
            }
            [from, b'-', to, rest @ ..] => {
                let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
                found |= (from.min(to)..=from.max(to)).contains(&byte);
                rest
            }
            [one, rest @ ..] => {
                found |= one.to_ascii_lowercase() == byte;
                rest
            }
        };
    };
    (found != is_not).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, name, expected) in [
            ("save", "save", true),
            ("SAVE", "save", true),
            ("sav", "save", false),
            ("*", "", true),
            ("*", "anything", true),
            ("max*", "maxmemory", true),
            ("*memory*", "maxmemory-policy", true),
            ("*m*m*m*y", "maxmemory", true),
            ("*x", "maxmemory", false),
            ("?ave", "save", true),
            ("?ave", "ave", false),
            ("[q-t]ave", "save", true),
            ("[^q-t]ave", "save", false),
            ("[abs]ave", "save", true),
            (r"\*", "*", true),
            (r"\*", "x", false),
            ("[s", "s", true),
            ("", "", true),
            ("", "x", false),
        ] {
            let found = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(found, expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_stars_ends() {
        let pattern = "*a".repeat(40) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(2_000).as_bytes()));
    }
}
