//! Appends again, in order, what went down with the log's producer.
//!
//! A producer that breaks, or is given up, leaves records behind of which nobody knows whether they are stored.
//! Appending them again does no harm, since the first copy counts and every other one is void (D3), and it spares
//! the publishers a timeout. Once for each record, and before anything that came later.

use std::collections::VecDeque;

use broker::AppendError;

use super::flight::Landed;
use super::job::Entry;

/// Entries that wait until all that is in flight has landed.
#[derive(Debug)]
pub(super) struct Replay<T> {
    waiting: VecDeque<(Entry<T>, Again)>,
}

/// What is to be done with an entry.
#[derive(Debug)]
pub(super) enum Again {
    Append,
    /// Nothing but to wait for its turn.
    Settle,
    /// Nothing but to say so, in its turn.
    Lose(AppendError),
}

impl<T> Replay<T> {
    pub(super) fn new() -> Replay<T> {
        Replay {
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keeps an entry that has to go again, or that must not be answered before one of its outbox that has to;
    /// gives all others back.
    pub(super) fn keep(&mut self, entry: Entry<T>, landed: Landed) -> Option<(Entry<T>, Landed)> {
        let replayed = entry.replayed;
        let again = match landed {
            // Whatever came of the second copy, the first may be stored.
            Landed::Lost(_) if replayed => {
                return Some((entry, Landed::Lost(AppendError::Unknown)));
            }
            Landed::Lost(AppendError::Fatal) => Again::Append,
            landed if !self.holds_outbox_of(&entry) => return Some((entry, landed)),
            // What it follows was not there: it is void, or will be found to be stored.
            Landed::At(_) => Again::Append,
            Landed::Settled => Again::Settle,
            Landed::Lost(error) => Again::Lose(error),
        };
        self.waiting.push_back((entry, again));
        None
    }

    /// The next one, in the order they were let through.
    pub(super) fn next(&mut self) -> Option<(Entry<T>, Again)> {
        self.waiting.pop_front()
    }

    /// The next one whose deadline has passed.
    pub(super) fn late(&mut self, now_ms: u64) -> Option<Entry<T>> {
        let (front, _) = self.waiting.front()?;
        if front.job.deadline_ms > now_ms {
            return None;
        }
        self.waiting.pop_front().map(|(entry, _)| entry)
    }

    fn holds_outbox_of(&self, entry: &Entry<T>) -> bool {
        let Some(claim) = &entry.job.claim else {
            return false;
        };
        self.waiting.iter().any(|(waiting, _)| {
            waiting.job.channel == entry.job.channel
                && waiting
                    .job
                    .claim
                    .as_ref()
                    .is_some_and(|other| other.identity == claim.identity)
        })
    }
}
