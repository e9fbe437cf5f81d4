//! The judge of exercise 2: it plays the protocol step by step, kills a member after any step, and knows what that member
//! held.

use std::ops::Range;

use testing::Dice;

use crate::last_claim_solution::{Claim, Left, PARKED};

pub(crate) type Held = fn(&Left<'_>) -> Range<u64>;

const MEMBERS: usize = 3;
/// How many games are played; in each, all members are found dead after a number of steps.
const GAMES: u64 = 20_000;
const MOST_STEPS: u64 = 60;

/// What a member does next.
#[derive(Clone, Copy)]
enum Next {
    Look,
    Testify { before: Claim },
    Intend { before: Claim },
    Point { before: Claim },
    Try { before: Claim },
    Confirm,
    GiveBackOne,
    Park,
}

#[derive(Clone, Copy)]
struct Member {
    cursor: u64,
    intent: u64,
    won: u64,
    helped: Option<Claim>,
    log: Claim,
    next: Next,
    /// What it holds: the judge's own knowledge, which is in no shared memory.
    holds: (u64, u64),
}

struct Game {
    word: Claim,
    members: [Member; MEMBERS],
}

impl Game {
    fn new() -> Self {
        let word = Claim { winner: None, end: 10 };
        let member = Member {
            cursor: PARKED,
            intent: 10,
            won: 10,
            helped: None,
            log: word,
            next: Next::Look,
            holds: (0, 0),
        };
        Self { word, members: [member; MEMBERS] }
    }

    /// A member's next step. Each is one access to shared memory, as the others see it.
    fn step(&mut self, who: usize, dice: &mut Dice) {
        let mut member = self.members[who];
        member.next = match member.next {
            Next::Look if self.word.winner.is_none_or(|winner| winner == who) => {
                Next::Intend { before: self.word }
            }
            Next::Look => Next::Testify { before: self.word },
            Next::Testify { before } => {
                self.help(member.log);
                // It may have helped itself.
                member.helped = self.members[who].helped;
                member.log = before;
                Next::Intend { before }
            }
            Next::Intend { before } => {
                member.intent = before.end + 1 + dice.below(2);
                Next::Point { before }
            }
            Next::Point { before } => {
                member.cursor = before.end;
                Next::Try { before }
            }
            Next::Try { before } if before == self.word => {
                self.word = Claim { winner: Some(who), end: member.intent };
                member.holds = (before.end, member.intent);
                Next::Confirm
            }
            Next::Try { .. } => Next::Look,
            Next::Confirm => {
                member.won = member.intent;
                Next::GiveBackOne
            }
            Next::GiveBackOne if member.cursor + 1 < member.won => {
                member.cursor += 1;
                member.holds.0 += 1;
                Next::GiveBackOne
            }
            Next::GiveBackOne => Next::Park,
            Next::Park => {
                member.cursor = PARKED;
                member.holds = (0, 0);
                Next::Look
            }
        };
        self.members[who] = member;
    }

    /// Writes a claim into its winner's line, if the winner may not have confirmed it yet.
    fn help(&mut self, claim: Claim) {
        let Some(winner) = claim.winner else { return };
        let line = &mut self.members[winner];
        if line.intent == claim.end && line.won != claim.end {
            line.helped = Some(claim);
        }
    }

    /// What this member would leave if it died now, and what it holds.
    fn left<R>(&self, dead: usize, ask: impl FnOnce(&Left<'_>) -> R) -> (R, Range<u64>) {
        let Member { cursor, intent, won, helped, holds, .. } = self.members[dead];
        let others = (0..MEMBERS).filter(|&other| other != dead);
        let logs: Vec<_> = others.map(|other| self.members[other].log).collect();
        let left = Left { dead, cursor, intent, won, helped, word: self.word, logs: &logs };
        (ask(&left), holds.0..holds.1)
    }
}

pub(crate) fn every_promise_of_held(held: Held) {
    let mut dice = Dice::new(6);
    for _ in 0..GAMES {
        let mut game = Game::new();
        // One member is stopped for long, when it has won and has not said so.
        let slow = dice.below(MEMBERS as u64) as usize;
        for _ in 0..dice.below(MOST_STEPS) {
            let who = dice.below(MEMBERS as u64) as usize;
            let is_stopped = who == slow && matches!(game.members[who].next, Next::Confirm);
            if !is_stopped || dice.once_in(20) {
                game.step(who, &mut dice);
            }
        }
        for dead in 0..MEMBERS {
            let (found, holds) = game.left(dead, |left| (held(left), format!("{left:?}")));
            judge(found.0, holds, &found.1);
        }
    }
}

fn judge(found: Range<u64>, holds: Range<u64>, left: &str) {
    let missing = holds.clone().find(|message| !found.contains(message));
    assert_eq!(missing, None, "what it had won goes to another member; it left {left}");
    let other = found.clone().find(|message| !holds.contains(message));
    assert_eq!(other, None, "nothing else is delivered again; it left {left}");
}
