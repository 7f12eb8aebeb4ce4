//! The ephemeral lane's pace: each sender appends to one channel at most so many times a second, and of
//! what comes faster the newest wins.
//!
//! Pure: time comes in. An item enters through [`Pace::offer`], which hands it back when it may go at once,
//! keeps it otherwise, and gives it to [`Pace::due`] when its turn has come.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::hash::Hash;

/// Most items of one sender in one channel that wait, when they are not newer versions of each other.
const WAITING_MAX: usize = 32;

/// Who sends where, and what waits. `K` names the sender and channel, `N` what replaces what.
#[derive(Debug)]
pub(crate) struct Pace<K, N, T> {
    interval_us: u64,
    senders_max: usize,
    senders: HashMap<K, Sender<N, T>>,
    /// When each sender with something waiting may send next.
    turns: BinaryHeap<Reverse<(u64, u64)>>,
    turn_keys: HashMap<u64, K>,
    next_turn: u64,
}

#[derive(Debug)]
struct Sender<N, T> {
    /// From when on the next item may go.
    free_us: u64,
    waiting: VecDeque<(Option<N>, T)>,
}

/// What became of an offered item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Offered<T> {
    /// Send it now.
    Go(T),
    /// It waits for its turn.
    Waits,
    /// It took the place of an older one, which will not be sent.
    Replaced,
    /// Too much waits already; come back after so many ms.
    Full(u64),
}

impl<K: Hash + Eq + Clone, N: PartialEq, T> Pace<K, N, T> {
    /// `hz` items a second per sender; at most `senders_max` senders are kept in mind.
    pub(crate) fn new(hz: u32, senders_max: usize) -> Self {
        Pace {
            interval_us: 1_000_000 / u64::from(hz.max(1)),
            senders_max: senders_max.max(1),
            senders: HashMap::new(),
            turns: BinaryHeap::new(),
            turn_keys: HashMap::new(),
            next_turn: 0,
        }
    }

    /// Offers an item. One with the same `name` as a waiting one replaces it; `None` replaces nothing.
    pub(crate) fn offer(&mut self, key: K, name: Option<N>, item: T, now_us: u64) -> Offered<T> {
        if !self.senders.contains_key(&key) && !self.make_room(now_us) {
            return Offered::Full(millis(self.interval_us));
        }
        let sender = self.senders.entry(key.clone()).or_insert_with(|| Sender {
            free_us: now_us,
            waiting: VecDeque::new(),
        });
        if sender.waiting.is_empty() && sender.free_us <= now_us {
            sender.free_us = now_us + self.interval_us;
            return Offered::Go(item);
        }
        if let Some(older) = name.as_ref().and_then(|name| {
            sender
                .waiting
                .iter_mut()
                .find(|(waits, _)| waits.as_ref() == Some(name))
        }) {
            older.1 = item;
            return Offered::Replaced;
        }
        if sender.waiting.len() >= WAITING_MAX {
            return Offered::Full(millis(sender.free_us.saturating_sub(now_us)));
        }
        sender.waiting.push_back((name, item));
        if sender.waiting.len() == 1 {
            let at_us = sender.free_us;
            self.plan(key, at_us);
        }
        Offered::Waits
    }

    /// The items whose turn has come, in order of their turns.
    pub(crate) fn due(&mut self, now_us: u64) -> Vec<T> {
        let mut out = Vec::new();
        while let Some(&Reverse((at_us, turn))) = self.turns.peek() {
            if at_us > now_us {
                break;
            }
            self.turns.pop();
            let Some(key) = self.turn_keys.remove(&turn) else {
                continue;
            };
            let Some(sender) = self.senders.get_mut(&key) else {
                continue;
            };
            if let Some((_, item)) = sender.waiting.pop_front() {
                out.push(item);
                sender.free_us = now_us + self.interval_us;
            }
            if !sender.waiting.is_empty() {
                let at_us = sender.free_us;
                self.plan(key, at_us);
            }
        }
        out
    }

    /// When [`Pace::due`] has something to give next.
    pub(crate) fn next_us(&self) -> Option<u64> {
        self.turns.peek().map(|Reverse((at_us, _))| *at_us)
    }

    fn plan(&mut self, key: K, at_us: u64) {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.push(Reverse((at_us, turn)));
        self.turn_keys.insert(turn, key);
    }

    /// Forgets senders that may send again anyway; false when all that are left are busy.
    fn make_room(&mut self, now_us: u64) -> bool {
        if self.senders.len() >= self.senders_max {
            self.senders
                .retain(|_, sender| !sender.waiting.is_empty() || sender.free_us > now_us);
        }
        self.senders.len() < self.senders_max
    }
}

fn millis(us: u64) -> u64 {
    us.div_ceil(1_000).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEP: u64 = 1_000_000 / 60;

    fn pace() -> Pace<&'static str, &'static str, u32> {
        Pace::new(60, 100)
    }

    #[test]
    fn the_first_goes_at_once_and_of_the_rest_the_newest() {
        let mut pace = pace();
        assert_eq!(pace.offer("u1", Some("move"), 1, 0), Offered::Go(1));
        assert_eq!(pace.offer("u1", Some("move"), 2, 10), Offered::Waits);
        assert_eq!(pace.offer("u1", Some("move"), 3, 20), Offered::Replaced);
        assert_eq!(pace.offer("u2", Some("move"), 9, 20), Offered::Go(9));
        assert_eq!(pace.next_us(), Some(STEP));
        assert!(pace.due(STEP - 1).is_empty());
        assert_eq!(pace.due(STEP), [3]);
        assert_eq!(pace.next_us(), None);
        assert_eq!(pace.offer("u1", Some("move"), 4, STEP * 2), Offered::Go(4));
    }

    #[test]
    fn different_things_wait_for_their_turns_in_order() {
        let mut pace = pace();
        pace.offer("u1", Some("a"), 0, 0);
        pace.offer("u1", Some("b"), 1, 0);
        pace.offer("u1", Some("c"), 2, 0);
        pace.offer("u1", Some("b"), 3, 0);
        assert_eq!(pace.due(STEP), [3]);
        assert_eq!(pace.due(STEP * 2), [2]);
    }

    #[test]
    fn what_replaces_nothing_is_never_replaced_and_the_queue_is_bounded() {
        let mut pace = pace();
        assert_eq!(pace.offer("u1", None, 0, 0), Offered::Go(0));
        for item in 1..=32 {
            assert_eq!(pace.offer("u1", None, item, 0), Offered::Waits);
        }
        assert_eq!(pace.offer("u1", None, 33, 0), Offered::Full(17));
        let mut sent = Vec::new();
        for turn in 1..=40 {
            sent.extend(pace.due(turn * STEP));
        }
        assert_eq!(sent, (1..=32).collect::<Vec<_>>());
    }

    #[test]
    fn senders_are_forgotten_when_they_may_send_anyway_and_never_while_busy() {
        let mut pace: Pace<u32, (), u32> = Pace::new(60, 10);
        for sender in 0..10 {
            assert_eq!(pace.offer(sender, Some(()), 0, 0), Offered::Go(0));
        }
        assert_eq!(pace.offer(10, Some(()), 0, 1), Offered::Full(17));
        assert_eq!(pace.offer(10, Some(()), 0, STEP), Offered::Go(0));
        assert_eq!(pace.senders.len(), 1);
    }

    proptest! {
        /// However a sender behaves: never more than 60 in a second, the last item always goes out, and
        /// what goes out is in the order it came.
        #[test]
        fn the_pace_is_kept_and_the_last_word_gets_through(
            gaps in prop::collection::vec(0u64..40_000, 1..400)
        ) {
            let mut pace: Pace<(), (), usize> = Pace::new(60, 10);
            let mut sent: Vec<(u64, usize)> = Vec::new();
            let mut now = 0;
            let last = gaps.len() - 1;
            for (item, gap) in gaps.into_iter().enumerate() {
                let until = now + gap;
                while let Some(at) = pace.next_us().filter(|at| *at <= until) {
                    sent.extend(pace.due(at).into_iter().map(|item| (at, item)));
                }
                now = until;
                if let Offered::Go(item) = pace.offer((), Some(()), item, now) {
                    sent.push((now, item));
                }
            }
            now += STEP;
            sent.extend(pace.due(now).into_iter().map(|item| (now, item)));
            prop_assert_eq!(sent.last().map(|(_, item)| *item), Some(last));
            prop_assert!(sent.windows(2).all(|w| w[0].1 < w[1].1 && w[1].0 - w[0].0 >= STEP));
            prop_assert!(pace.next_us().is_none() && pace.turn_keys.is_empty());
        }
    }
}
