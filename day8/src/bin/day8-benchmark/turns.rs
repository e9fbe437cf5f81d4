//! Contenders in turns: ours, a peer, ours, a peer, so that whatever disturbs the machine disturbs all of them.

use std::time::Duration;

use crate::Effort;

/// What a contender did in a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    /// The CPU time of the server's process.
    pub(crate) cpu: Duration,
}

impl Sample {
    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }

    /// The server's CPU time for a request, in microseconds.
    pub(crate) fn cpu_microseconds(&self) -> f64 {
        1e6 * self.cpu.as_secs_f64() / self.requests as f64
    }

    /// The share of the time in which the server was running.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// What takes a turn of about this time.
pub(crate) type Turn = Box<dyn FnMut(Duration) -> anyhow::Result<Sample>>;

/// What has its turn; without one, why not.
pub(crate) struct Contender {
    name: String,
    turn: anyhow::Result<Turn>,
}

/// The samples of all turns, or why there are none.
pub(crate) type Outcome = Result<Vec<Sample>, String>;

impl Contender {
    /// A contender that does not stand says why, and the row goes on without it.
    pub(crate) fn new(name: impl Into<String>, turn: anyhow::Result<Turn>) -> Self {
        Self { name: name.into(), turn }
    }
}

/// All contenders in turns. What the first turn finds is not used. A contender that fails is left out from then on.
pub(crate) fn interleaved(effort: &Effort, contenders: Vec<Contender>) -> Vec<(String, Outcome)> {
    let time = Duration::from_secs(effort.seconds.into());
    let mut all: Vec<_> = contenders
        .into_iter()
        .map(|Contender { name, turn }| (name, turn.map(|turn| (turn, Vec::new()))))
        .collect();
    for number in 0..=effort.turns {
        for (_, contender) in &mut all {
            let Ok((turn, samples)) = contender else { continue };
            match turn(time) {
                Ok(sample) if number > 0 => samples.push(sample),
                Ok(_) => {}
                Err(error) => *contender = Err(error.context(format!("failed in turn {number}"))),
            }
        }
    }
    let outcome = |turn: anyhow::Result<(Turn, _)>| match turn {
        Ok((_, samples)) => Ok(samples),
        Err(error) => Err(format!("{error:#}")),
    };
    all.into_iter().map(|(name, turn)| (name, outcome(turn))).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use anyhow::bail;

    use super::*;

    #[test]
    fn contenders_alternate_and_one_that_fails_is_left_out() {
        let log = Rc::new(RefCell::new(String::new()));
        let contender = |name: char, fails: bool| {
            let log = log.clone();
            let turn: Turn = Box::new(move |elapsed| {
                log.borrow_mut().push(name);
                if fails && log.borrow().len() > 2 {
                    bail!("tired");
                }
                Ok(Sample { requests: 1, elapsed, cpu: Duration::ZERO })
            });
            Contender::new(name, Ok(turn))
        };
        let effort = Effort { turns: 2, seconds: 1, idle: 0, cores: vec![] };
        let absent = Contender::new("c", Err(anyhow::anyhow!("is not installed")));
        let outcomes =
            interleaved(&effort, vec![contender('a', false), contender('b', true), absent]);
        assert_eq!(*log.borrow(), "ababa");
        assert_eq!(outcomes[0].1.as_ref().unwrap().len(), 2, "the first turn only warms up");
        assert_eq!(outcomes[1].1.as_ref().unwrap_err(), "failed in turn 1: tired");
        assert_eq!(outcomes[2].1.as_ref().unwrap_err(), "is not installed");
    }
}
