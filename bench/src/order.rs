//! Whether every member of a channel got every event once, in the one order of the channel.

use std::collections::HashMap;
use std::fmt;

use crate::payload::Mark;

/// What one channel's members have received so far. The first to get the next event settles the order; the others
/// have to follow it.
#[derive(Debug, Default)]
pub struct Channel {
    members: u32,
    /// Settled, and not yet with all of its members.
    open: std::collections::VecDeque<Open>,
    /// Events that all members have.
    complete: u64,
    /// The next number of every sender.
    next: HashMap<u32, u32>,
}

#[derive(Debug)]
struct Open {
    sender: u32,
    number: u32,
    waiting: u32,
}

/// What is wrong, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Wrong {
    /// Published and never received by somebody.
    pub lost: u64,
    /// Received again.
    pub doubled: u64,
    /// Received before an earlier one of the same sender.
    pub misordered: u64,
    /// Not where the other members have it.
    pub disagreed: u64,
    /// Messages that say something is wrong: gaps, errors, refusals, connections that ended.
    pub complaints: u64,
}

impl Wrong {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Wrong) -> Wrong {
        Wrong {
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            misordered: self.misordered + other.misordered,
            disagreed: self.disagreed + other.disagreed,
            complaints: self.complaints + other.complaints,
        }
    }

    /// True when nothing is.
    pub fn nothing(&self) -> bool {
        *self == Wrong::default()
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lost, {} doubled, {} misordered, {} disagreed, {} complaints",
            self.lost, self.doubled, self.misordered, self.disagreed, self.complaints
        )
    }
}

/// How far one member is in its channel: the number of events it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position(pub u64);

impl Channel {
    /// A channel whose events go to so many.
    pub fn new(members: u32) -> Channel {
        Channel {
            members,
            ..Channel::default()
        }
    }

    /// A member at `position` got an event. True when it was the last of its members to get it.
    pub fn received(&mut self, position: &mut Position, mark: Mark, wrong: &mut Wrong) -> bool {
        let ahead = position.0.checked_sub(self.complete);
        let Some(ahead) = ahead.and_then(|ahead| usize::try_from(ahead).ok()) else {
            // It is behind what all have: it was counted as complete without it, which cannot be.
            wrong.disagreed += 1;
            return false;
        };
        if ahead == self.open.len() && !self.settle(mark, wrong) {
            return false;
        }
        let Some(open) = self.open.get_mut(ahead) else {
            wrong.disagreed += 1;
            return false;
        };
        if (open.sender, open.number) != (mark.sender, mark.number) {
            self.unexpected(*position, mark, wrong);
            return false;
        }
        position.0 += 1;
        open.waiting -= 1;
        let mut last = false;
        while self.open.front().is_some_and(|open| open.waiting == 0) {
            self.open.pop_front();
            self.complete += 1;
            last = true;
        }
        last
    }

    /// The next place of the order goes to this event, when it is the next of its sender.
    fn settle(&mut self, mark: Mark, wrong: &mut Wrong) -> bool {
        let next = self.next.entry(mark.sender).or_default();
        match mark.number.cmp(next) {
            std::cmp::Ordering::Less => {
                wrong.doubled += 1;
                return false;
            }
            std::cmp::Ordering::Greater => wrong.misordered += 1,
            std::cmp::Ordering::Equal => {}
        }
        *next = mark.number + 1;
        self.open.push_back(Open {
            sender: mark.sender,
            number: mark.number,
            waiting: self.members,
        });
        true
    }

    /// An event that is not the one whose turn it is: another member had it elsewhere, or this one has it already.
    fn unexpected(&self, position: Position, mark: Mark, wrong: &mut Wrong) {
        let behind = usize::try_from(position.0 - self.complete).unwrap_or(usize::MAX);
        let mut ahead = self.open.iter().skip(behind);
        let to_come = ahead.any(|open| (open.sender, open.number) == (mark.sender, mark.number));
        let next = self.next.get(&mark.sender).copied().unwrap_or_default();
        if mark.number < next && !to_come {
            wrong.doubled += 1;
        } else {
            wrong.disagreed += 1;
        }
    }

    /// Those who have to get everything.
    pub fn members(&self) -> u32 {
        self.members
    }

    /// Whether nobody has to get anything.
    pub fn is_nobodys(&self) -> bool {
        self.members == 0
    }

    /// Events that every member has.
    pub fn complete(&self) -> u64 {
        self.complete
    }

    /// What is missing when everything has come that will: `published` events should have reached all of the members
    /// at `positions`.
    pub fn missing(&self, published: u64, positions: impl Iterator<Item = Position>) -> u64 {
        positions
            .map(|position| published.saturating_sub(position.0))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(sender: u32, number: u32) -> Mark {
        Mark {
            sender,
            number,
            due_ns: 0,
        }
    }

    /// Two members; each string is what one of them gets, in turns.
    fn run(first: &[(u32, u32)], second: &[(u32, u32)]) -> Wrong {
        let mut channel = Channel::new(2);
        let mut wrong = Wrong::default();
        let mut positions = [Position::default(), Position::default()];
        for at in 0..first.len().max(second.len()) {
            for (who, got) in [first, second].into_iter().enumerate() {
                if let Some(&(sender, number)) = got.get(at) {
                    channel.received(&mut positions[who], mark(sender, number), &mut wrong);
                }
            }
        }
        wrong.lost = channel.missing(4, positions.into_iter());
        wrong
    }

    const ALL: [(u32, u32); 4] = [(0, 0), (1, 0), (0, 1), (1, 1)];

    #[test]
    fn everything_once_in_one_order_is_right() {
        assert!(run(&ALL, &ALL).nothing());
    }

    #[test]
    fn a_lost_event_is_found() {
        assert_eq!(run(&ALL, &ALL[..3]).lost, 1);
        assert!(!run(&ALL, &[(0, 0), (1, 0), (1, 1)]).nothing());
        assert!(!run(&ALL[1..], &ALL[1..]).nothing());
    }

    #[test]
    fn a_doubled_event_is_found() {
        let twice = [(0, 0), (1, 0), (1, 0), (0, 1), (1, 1)];
        assert_eq!(run(&ALL, &twice).doubled, 1);
        assert!(run(&twice, &twice).doubled > 0);
    }

    #[test]
    fn members_that_disagree_on_the_order_are_found() {
        let other = [(1, 0), (0, 0), (0, 1), (1, 1)];
        assert!(run(&ALL, &other).disagreed > 0);
    }

    #[test]
    fn a_senders_events_in_the_wrong_order_are_found() {
        let swapped = [(0, 1), (0, 0), (1, 0), (1, 1)];
        assert!(run(&swapped, &swapped).misordered > 0);
    }
}
