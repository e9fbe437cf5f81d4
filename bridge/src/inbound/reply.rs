//! What the server says about a message in the subject by which it is acknowledged.

/// The numbers of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    /// How often the message was delivered, this time included.
    pub(super) delivered: u64,
    /// Its number in the stream.
    pub(super) stream: u64,
    /// Its number among all that the consumer has delivered.
    pub(super) consumer: u64,
    /// How many come behind it.
    pub(super) pending: u64,
}

impl Reply {
    /// Reads such a subject; `None` if it is none.
    ///
    /// It is `$JS.ACK.STREAM.CONSUMER.DELIVERED.SEQUENCE.SEQUENCE.TIME.PENDING`, of servers up to now, or has the stream's
    /// domain and account before these, and perhaps more behind.
    pub(super) fn parse(subject: &str) -> Option<Self> {
        let rest = subject.strip_prefix("$JS.ACK.")?;
        let mut tokens = [""; 9];
        let mut count = 0;
        for (token, place) in rest.split('.').zip(&mut tokens) {
            *place = token;
            count += 1;
        }
        let numbers = match count {
            7 => &tokens[2..7],
            9 => &tokens[4..9],
            _ => return None,
        };
        let number = |place: usize| numbers[place].parse::<u64>().ok();
        // When the stream got it is of no use here, but has to be a number, too.
        number(3)?;
        Some(Self {
            delivered: number(0)?,
            stream: number(1)?,
            consumer: number(2)?,
            pending: number(4)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let expected = Reply { delivered: 2, stream: 17, consumer: 23, pending: u64::MAX };
        for subject in [
            "$JS.ACK.S.c.2.17.23.1700000000000000000.18446744073709551615",
            "$JS.ACK._.hash.S.c.2.17.23.1700000000000000000.18446744073709551615",
            "$JS.ACK.domain.hash.S.c.2.17.23.1700000000000000000.18446744073709551615.random",
            "$JS.ACK.domain.hash.S.c.2.17.23.1700000000000000000.18446744073709551615.random.more",
        ] {
            assert_eq!(Reply::parse(subject), Some(expected), "{subject}");
        }
    }

    #[test]
    fn other_subjects_are_none() {
        for subject in [
            "",
            "$JS.ACK",
            "$JS.ACK.",
            "$JS.FC.S.c.1.2.3.4.5",
            "_INBOX.S.c.1.2.3.4.5",
            "$JS.ACK.S.c.1.2.3.4",
            "$JS.ACK.S.c.1.2.3.4.5.6",
            "$JS.ACK.S.c.1.2.3.4.x",
            "$JS.ACK.S.c.1.2.3.x.5",
            "$JS.ACK.S.c.1.2.x.4.5",
            "$JS.ACK.S.c.1.x.3.4.5",
            "$JS.ACK.S.c.x.2.3.4.5",
            "$JS.ACK.S.c.-1.2.3.4.5",
            "$JS.ACK.S.c.1..3.4.5",
            "$JS.ACK.S.c.1.2.3.4.",
            "$JS.ACK.S.c.1.2.3.4.18446744073709551616",
            "$JS.ACK._.h.S.c.1.2.3.4",
            "$JS.ACK._.h.S.c.1.2.3.4.x",
        ] {
            assert_eq!(Reply::parse(subject), None, "{subject}");
        }
    }
}
