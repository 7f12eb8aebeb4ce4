//! One outbox of one channel: numbers what goes out, keeps it until it is answered, and says what to send next.
//!
//! Pure: answers and the time go in, the next item to send comes out. The order of `seq` is the order of
//! [`Outbox::push`], whatever connections do in between, because a record is sent again until the log has it
//! and the log takes only the successor (D3).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::error::Refusal;

/// One waiting item.
#[derive(Debug)]
struct Entry<T> {
    /// None once it is answered; it then only waits for those before it.
    item: Option<T>,
    /// Whether it was sent in the present round.
    sent: bool,
}

/// A queue of publishes that are numbered one after the other.
#[derive(Debug)]
pub struct Outbox<T> {
    first_seq: u64,
    entries: VecDeque<Entry<T>>,
    /// Raised whenever everything unanswered has to be sent again, so that late refusals of earlier sends
    /// are recognised as late.
    round: u64,
    not_before: Option<Instant>,
    /// After a refusal one record goes ahead alone: sending all of them again to a server that has trouble
    /// would only have all of them refused again.
    feeling: bool,
    limit: usize,
}

/// What to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Send<'a, T> {
    /// Its number.
    pub seq: u64,
    /// To be given back with the answer.
    pub round: u64,
    /// What it is.
    pub item: &'a T,
}

/// What a refusal meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused<T> {
    /// It will be sent again.
    Again,
    /// It was a late answer, of no meaning any more.
    Late,
    /// This item can never be taken; those behind it have moved up by one number.
    Dropped(T),
    /// Another outbox of the same name has a higher epoch: nothing of this one can be taken any more.
    Stale(Vec<T>),
}

impl<T> Outbox<T> {
    /// An outbox whose next record is `first_seq` (0 in a new epoch), holding at most `limit` items.
    pub fn new(first_seq: u64, limit: usize) -> Outbox<T> {
        Outbox {
            first_seq,
            entries: VecDeque::new(),
            round: 0,
            not_before: None,
            feeling: false,
            limit,
        }
    }

    /// Appends an item and gives it the next number; gives it back when the outbox is full.
    pub fn push(&mut self, item: T) -> Result<u64, T> {
        if self.entries.len() >= self.limit {
            return Err(item);
        }
        self.entries.push_back(Entry {
            item: Some(item),
            sent: false,
        });
        Ok(self.first_seq + self.entries.len() as u64 - 1)
    }

    /// How many items wait for an answer.
    pub fn len(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.item.is_some())
            .count()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next item to send, now taken as sent; none when all are, or when the server asked to wait.
    pub fn next_send(&mut self, now: Instant) -> Option<Send<'_, T>> {
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.not_before = None;
        if self.feeling
            && self
                .entries
                .iter()
                .any(|entry| entry.sent && entry.item.is_some())
        {
            return None;
        }
        let (at, entry) = self
            .entries
            .iter_mut()
            .enumerate()
            .find(|(_, entry)| !entry.sent && entry.item.is_some())?;
        entry.sent = true;
        let item = entry.item.as_ref()?;
        Some(Send {
            seq: self.first_seq + at as u64,
            round: self.round,
            item,
        })
    }

    /// When to ask [`Outbox::next_send`] again though nothing happens; none when an answer will come first.
    pub fn wake_at(&self) -> Option<Instant> {
        self.not_before
    }

    /// The connection is gone: everything unanswered has to be sent again, in order.
    pub fn rewind(&mut self) {
        self.round += 1;
        for entry in &mut self.entries {
            entry.sent = false;
        }
    }

    /// The log has record `seq`. Gives the item back, once.
    pub fn succeeded(&mut self, seq: u64) -> Option<T> {
        let item = self.entry(seq)?.item.take()?;
        self.feeling = false;
        while self
            .entries
            .front()
            .is_some_and(|entry| entry.item.is_none())
        {
            self.entries.pop_front();
            self.first_seq += 1;
        }
        Some(item)
    }

    /// The server refused record `seq`, sent in `round`.
    pub fn refused(&mut self, seq: u64, round: u64, refusal: &Refusal, now: Instant) -> Refused<T> {
        if round != self.round || self.entry(seq).is_none_or(|entry| entry.item.is_none()) {
            return Refused::Late;
        }
        if refusal.name == "STALE_PRODUCER" {
            self.round += 1;
            return Refused::Stale(
                self.entries
                    .drain(..)
                    .filter_map(|entry| entry.item)
                    .collect(),
            );
        }
        if refusal.retryable {
            // TIMEOUT is retryable too: the outcome is unknown and the number makes a second copy void.
            self.rewind();
            self.feeling = true;
            self.not_before = refusal
                .retry_after_ms
                .map(|ms| now + Duration::from_millis(ms));
            return Refused::Again;
        }
        let at = usize::try_from(seq - self.first_seq).unwrap_or(usize::MAX);
        self.rewind();
        self.entries
            .remove(at)
            .and_then(|entry| entry.item)
            .map_or(Refused::Late, Refused::Dropped)
    }

    /// Every item, for an outbox that is given up.
    pub fn into_items(self) -> impl Iterator<Item = T> {
        self.entries.into_iter().filter_map(|entry| entry.item)
    }

    fn entry(&mut self, seq: u64) -> Option<&mut Entry<T>> {
        let at = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        self.entries.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, retryable: bool, retry_after_ms: Option<u64>) -> Refusal {
        serde_json::from_value(serde_json::json!({
            "code": 1, "name": name, "retryable": retryable, "retryAfterMs": retry_after_ms
        }))
        .unwrap()
    }

    fn drain(outbox: &mut Outbox<&'static str>, now: Instant) -> Vec<(u64, &'static str)> {
        std::iter::from_fn(|| outbox.next_send(now).map(|send| (send.seq, *send.item))).collect()
    }

    #[test]
    fn unanswered_records_go_out_again_in_order_after_a_reconnect() {
        let now = Instant::now();
        let mut outbox = Outbox::new(0, 8);
        for item in ["a", "b", "c"] {
            outbox.push(item).unwrap();
        }
        assert_eq!(drain(&mut outbox, now), [(0, "a"), (1, "b"), (2, "c")]);
        assert_eq!(outbox.succeeded(0), Some("a"));
        outbox.rewind();
        assert_eq!(drain(&mut outbox, now), [(1, "b"), (2, "c")]);
        assert_eq!(
            (
                outbox.succeeded(1),
                outbox.succeeded(2),
                outbox.succeeded(2)
            ),
            (Some("b"), Some("c"), None)
        );
        assert!(outbox.is_empty());
        assert_eq!(outbox.push("d"), Ok(3));
    }

    #[test]
    fn an_unknown_outcome_sends_the_tail_again_and_late_refusals_mean_nothing() {
        let now = Instant::now();
        let mut outbox = Outbox::new(5, 8);
        outbox.push("a").unwrap();
        outbox.push("b").unwrap();
        drain(&mut outbox, now);
        let unknown = refusal("TIMEOUT", true, None);
        assert_eq!(outbox.refused(5, 0, &unknown, now), Refused::Again);
        assert_eq!(outbox.refused(6, 0, &unknown, now), Refused::Late);
        // One goes ahead; the rest follows when it has got through.
        assert_eq!(drain(&mut outbox, now), [(5, "a")]);
        assert_eq!(outbox.succeeded(5), Some("a"));
        assert_eq!(drain(&mut outbox, now), [(6, "b")]);
    }

    #[test]
    fn a_server_that_asks_to_wait_is_waited_for() {
        let now = Instant::now();
        let mut outbox = Outbox::new(0, 8);
        outbox.push("a").unwrap();
        drain(&mut outbox, now);
        outbox.refused(0, 0, &refusal("RATE_LIMIT_EXCEEDED", true, Some(100)), now);
        assert_eq!(drain(&mut outbox, now), []);
        let later = outbox.wake_at().unwrap();
        assert_eq!(drain(&mut outbox, later), [(0, "a")]);
    }

    #[test]
    fn what_can_never_be_taken_leaves_and_the_rest_moves_up() {
        let now = Instant::now();
        let mut outbox = Outbox::new(0, 8);
        for item in ["a", "bad", "c"] {
            outbox.push(item).unwrap();
        }
        drain(&mut outbox, now);
        assert_eq!(outbox.succeeded(0), Some("a"));
        assert_eq!(
            outbox.refused(1, 0, &refusal("INVALID_MESSAGE", false, None), now),
            Refused::Dropped("bad")
        );
        assert_eq!(
            outbox.refused(2, 0, &refusal("UNAVAILABLE", true, Some(0)), now),
            Refused::Late
        );
        assert_eq!(drain(&mut outbox, now), [(1, "c")]);
    }

    #[test]
    fn a_stale_outbox_gives_everything_back() {
        let now = Instant::now();
        let mut outbox = Outbox::new(0, 8);
        outbox.push("a").unwrap();
        outbox.push("b").unwrap();
        drain(&mut outbox, now);
        assert_eq!(
            outbox.refused(0, 0, &refusal("STALE_PRODUCER", false, None), now),
            Refused::Stale(vec!["a", "b"])
        );
    }

    #[test]
    fn a_full_outbox_gives_the_item_back() {
        let mut outbox = Outbox::new(0, 1);
        outbox.push("a").unwrap();
        assert_eq!(outbox.push("b"), Err("b"));
    }
}
