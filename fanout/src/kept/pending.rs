//! Acknowledgements on their way to the log: per key the newest one, one append at a time with a pause between. Pure.
//!
//! A stream of acknowledgements so costs a few records a second, and memory is bounded by the keys, not by the stream.
//! Full is an answer: see [`Full`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use protocol::Position;
use schemas::KeptKey;
use tokio::time::Instant;

use super::{Mark, reach};

/// Keys that may be on their way at once.
const KEYS_MAX: usize = 65_536;
/// Of them, keys of one user: nobody fills the room alone.
const KEYS_OF_USER_MAX: usize = 4_096;
/// Askers that may wait for one key's append.
const WAITERS_MAX: usize = 1_024;
/// Between two appends of one key.
const PAUSE: Duration = Duration::from_millis(200);
/// After one that failed.
const RETRY: Duration = Duration::from_secs(1);

/// There is no room: the asker comes back later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// What is to be appended now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) key: Arc<KeptKey>,
    pub(super) mark: Mark,
}

/// What became of an acknowledgement that was handed in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<W> {
    /// The log has it already; here is the asker back, if there was one.
    Already(Option<W>),
    /// It will be appended; true when the next append is now sooner than it was.
    Coming(bool),
}

/// `W` is who waits for an answer.
#[derive(Debug)]
pub(super) struct Pending<W> {
    entries: HashMap<Arc<KeptKey>, Entry<W>>,
    /// Each entry that is not in flight stands here once, at the moment it is looked at again.
    due: BTreeMap<(Instant, u64), Arc<KeptKey>>,
    turns: u64,
    of_user: HashMap<String, usize>,
    /// Entries with something that the log may not have.
    unsettled: usize,
    /// Pauses are over: everything goes out now.
    hurried: bool,
}

#[derive(Debug)]
struct Entry<W> {
    wanted: Option<Mark>,
    flying: Option<Mark>,
    landed: Option<Position>,
    waiting: Vec<Waiting<W>>,
}

#[derive(Debug)]
struct Waiting<W> {
    position: Position,
    until: Instant,
    who: W,
}

impl<W> Pending<W> {
    pub(super) fn new() -> Self {
        Self {
            entries: HashMap::new(),
            due: BTreeMap::new(),
            turns: 0,
            of_user: HashMap::new(),
            unsettled: 0,
            hurried: false,
        }
    }

    /// Keys on their way, or within the pause after it.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes an acknowledgement. `who`, with the moment until which it waits, is told by [`Pending::landed`] or
    /// [`Pending::overdue`].
    pub(super) fn take(
        &mut self,
        key: &Arc<KeptKey>,
        mark: Mark,
        who: Option<(Instant, W)>,
        now: Instant,
    ) -> Result<Taken<W>, Full> {
        let Some(entry) = self.entries.get_mut(key) else {
            self.begin(key, mark, who, now)?;
            return Ok(Taken::Coming(true));
        };
        let to = reach(mark.position);
        if entry.landed.is_some_and(|landed| to <= reach(landed)) {
            return Ok(Taken::Already(who.map(|(_, who)| who)));
        }
        if who.is_some() && entry.waiting.len() >= WAITERS_MAX {
            return Err(Full);
        }
        entry.wait(mark.position, who);
        let further = |known: Option<Mark>| known.is_none_or(|k| reach(k.position) < to);
        if further(entry.flying) && further(entry.wanted) {
            self.unsettled += usize::from(entry.is_settled());
            entry.wanted = Some(mark);
        }
        Ok(Taken::Coming(false))
    }

    /// What the log had once has to be written again. True when the next append is now sooner than it was.
    pub(super) fn again(&mut self, key: &Arc<KeptKey>, mark: Mark, now: Instant) -> bool {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.landed = None;
        }
        matches!(self.take(key, mark, None, now), Ok(Taken::Coming(true)))
    }

    fn begin(
        &mut self,
        key: &Arc<KeptKey>,
        mark: Mark,
        who: Option<(Instant, W)>,
        now: Instant,
    ) -> Result<(), Full> {
        let of_user = self.of_user.get(&key.user).copied().unwrap_or(0);
        if self.entries.len() >= KEYS_MAX || of_user >= KEYS_OF_USER_MAX {
            return Err(Full);
        }
        *self.of_user.entry(key.user.clone()).or_default() += 1;
        let mut entry = Entry {
            wanted: Some(mark),
            flying: None,
            landed: None,
            waiting: Vec::new(),
        };
        entry.wait(mark.position, who);
        self.entries.insert(Arc::clone(key), entry);
        self.unsettled += 1;
        self.later(Arc::clone(key), now);
        Ok(())
    }

    fn later(&mut self, key: Arc<KeptKey>, at: Instant) {
        self.turns += 1;
        self.due.insert((at, self.turns), key);
    }

    /// The furthest that was handed in lately, whether the log has it yet or not.
    pub(super) fn newest(&self, key: &KeptKey) -> Option<Mark> {
        let entry = self.entries.get(key)?;
        entry.wanted.or(entry.flying)
    }

    /// When something is to be done next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// Up to `max` appends that are due, each of another key.
    pub(super) fn fly(&mut self, max: usize, now: Instant) -> Vec<Flight> {
        let mut flights = Vec::new();
        while flights.len() < max
            && let Some(first) = self.due.first_entry()
            && first.key().0 <= now
        {
            let key = first.remove();
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            match entry.wanted.take() {
                Some(mark) => {
                    entry.flying = Some(mark);
                    flights.push(Flight { key, mark });
                }
                // The pause is over and nothing came: forget it.
                None => self.forget(&key),
            }
        }
        flights
    }

    fn forget(&mut self, key: &KeptKey) {
        self.entries.remove(key);
        if let Some(count) = self.of_user.get_mut(&key.user) {
            *count -= 1;
            if *count == 0 {
                self.of_user.remove(&key.user);
            }
        }
    }

    /// An append was answered for: who waited for no more than that, or after a failure for anything, is told.
    pub(super) fn landed(&mut self, key: &Arc<KeptKey>, stored: bool, now: Instant) -> Vec<W> {
        let Some(entry) = self.entries.get_mut(key) else {
            return Vec::new();
        };
        let Some(flown) = entry.flying.take() else {
            return Vec::new();
        };
        let told = if stored {
            entry.landed = Some(flown.position);
            entry.told(|w| reach(w.position) <= reach(flown.position))
        } else {
            // Repeating it is harmless, so it is tried until it is there.
            entry.wanted.get_or_insert(flown);
            entry.told(|_| true)
        };
        self.unsettled -= usize::from(entry.is_settled());
        let pause = match stored {
            true if self.hurried => Duration::ZERO,
            true => PAUSE,
            false => RETRY,
        };
        self.later(Arc::clone(key), now + pause);
        told
    }

    /// Who has waited long enough.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<W> {
        self.entries
            .values_mut()
            .flat_map(|entry| entry.told(|w| w.until <= now))
            .collect()
    }

    /// From now on nothing pauses but what failed: the node stops.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.hurried = true;
        for key in std::mem::take(&mut self.due).into_values() {
            self.later(key, now);
        }
    }

    /// Nothing is left that the log does not have.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled == 0
    }
}

impl<W> Entry<W> {
    fn is_settled(&self) -> bool {
        self.wanted.is_none() && self.flying.is_none()
    }

    fn wait(&mut self, position: Position, who: Option<(Instant, W)>) {
        self.waiting.extend(who.map(|(until, who)| Waiting {
            position,
            until,
            who,
        }));
    }

    fn told(&mut self, whom: impl Fn(&Waiting<W>) -> bool) -> Vec<W> {
        self.waiting
            .extract_if(.., |waiting| whom(waiting))
            .map(|waiting| waiting.who)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::Channel;

    use super::*;

    fn key(user: &str, durable: &str) -> Arc<KeptKey> {
        Arc::new(KeptKey {
            channel: Channel::parse("session.42").unwrap(),
            user: user.into(),
            durable: durable.into(),
        })
    }

    fn mark(next: i64) -> Mark {
        Mark {
            position: Position {
                generation: 0,
                partition: 0,
                next,
            },
            at_ms: next,
        }
    }

    fn nexts(flights: &[Flight]) -> Vec<i64> {
        flights.iter().map(|f| f.mark.position.next).collect()
    }

    #[test]
    fn ten_thousand_acks_a_second_cost_few_records_and_one_entry() {
        let (mut pending, tab) = (Pending::<()>::new(), key("u1", "tab"));
        let begun = Instant::now();
        let mut appended = Vec::new();
        for n in 0..10_000_i64 {
            let now = begun + Duration::from_micros(100) * u32::try_from(n).unwrap();
            pending.take(&tab, mark(n), None, now).unwrap();
            assert_eq!(pending.len(), 1);
            for flight in pending.fly(10, now) {
                appended.push(flight.mark.position.next);
                pending.landed(&tab, true, now);
            }
        }
        assert!(appended.len() <= 5, "{appended:?}");
        let after = begun + Duration::from_secs(2);
        appended.extend(nexts(&pending.fly(10, after)));
        assert_eq!(appended.last(), Some(&9_999), "the last one is kept");
        pending.landed(&tab, true, after);
        assert!(pending.fly(10, after + PAUSE).is_empty());
        assert_eq!((pending.len(), pending.of_user.len()), (0, 0));
    }

    #[test]
    fn an_asker_hears_when_the_log_has_its_own_or_a_later_one_and_not_before() {
        let (mut pending, tab) = (Pending::new(), key("u1", "tab"));
        let now = Instant::now();
        let until = now + Duration::from_secs(5);
        let ask = |pending: &mut Pending<i64>, next: i64| {
            pending
                .take(&tab, mark(next), Some((until, next)), now)
                .unwrap()
        };
        assert_eq!(ask(&mut pending, 5), Taken::Coming(true));
        assert_eq!(nexts(&pending.fly(9, now)), [5]);
        assert_eq!(pending.newest(&tab), Some(mark(5)));
        assert_eq!(ask(&mut pending, 9), Taken::Coming(false));
        assert_eq!(ask(&mut pending, 3), Taken::Coming(false));
        assert_eq!(pending.landed(&key("u1", "tab"), true, now), [5, 3]);
        assert_eq!(ask(&mut pending, 4), Taken::Already(Some(4)));
        assert_eq!(nexts(&pending.fly(9, now)), [0; 0], "it pauses");
        assert_eq!(nexts(&pending.fly(9, now + PAUSE)), [9]);
        assert_eq!(pending.overdue(until), [9]);
        assert!(!pending.is_settled());
        assert_eq!(pending.landed(&key("u1", "tab"), true, now), [0; 0]);
        assert!(pending.is_settled());
    }

    #[test]
    fn a_failed_append_is_told_and_tried_again_with_the_newest() {
        let (mut pending, tab) = (Pending::new(), key("u1", "tab"));
        let now = Instant::now();
        pending
            .take(&tab, mark(5), Some((now + RETRY, 1)), now)
            .unwrap();
        pending.fly(9, now);
        assert_eq!(pending.landed(&tab, false, now), [1]);
        assert!(pending.fly(9, now + PAUSE).is_empty());
        pending.take(&tab, mark(8), None, now).unwrap();
        pending.take(&tab, mark(7), None, now).unwrap();
        assert_eq!(nexts(&pending.fly(9, now + RETRY)), [8]);
    }

    #[test]
    fn a_node_that_stops_flushes_what_is_still_pausing() {
        let (mut pending, tab) = (Pending::<()>::new(), key("u1", "tab"));
        let now = Instant::now();
        pending.take(&tab, mark(1), None, now).unwrap();
        pending.fly(9, now);
        pending.landed(&tab, true, now);
        pending.take(&tab, mark(2), None, now).unwrap();
        pending.hurry(now);
        assert_eq!(nexts(&pending.fly(9, now)), [2]);
        pending.landed(&tab, false, now);
        assert!(
            pending.fly(9, now).is_empty(),
            "what failed pauses all the same"
        );
        assert_eq!(nexts(&pending.fly(9, now + RETRY)), [2]);
        pending.landed(&tab, true, now);
        assert!(pending.is_settled());
    }

    #[test]
    fn one_user_cannot_fill_the_room_and_all_together_are_bounded() {
        let mut pending = Pending::<()>::new();
        let now = Instant::now();
        let mut taken = 0;
        for user in 0..30 {
            let of_user = (0..5_000)
                .filter(|n| {
                    let key = key(&user.to_string(), &n.to_string());
                    pending.take(&key, mark(1), None, now).is_ok()
                })
                .count();
            assert!(of_user <= KEYS_OF_USER_MAX);
            taken += of_user;
        }
        assert_eq!((taken, pending.len()), (KEYS_MAX, KEYS_MAX));
    }

    proptest! {
        /// Whatever fails in between: in the end the log has the furthest of each key, and appends of a key never
        /// overlap.
        #[test]
        fn the_furthest_is_in_the_log_in_the_end(
            steps in prop::collection::vec((0usize..3, 0i64..50, any::<bool>(), 0u64..300), 1..80),
        ) {
            let keys = [key("u1", "a"), key("u1", "b"), key("u2", "a")];
            let (mut pending, mut now) = (Pending::<()>::new(), Instant::now());
            let mut wanted = [None; 3];
            let mut log = [None::<i64>; 3];
            let mut flying: Vec<Flight> = Vec::new();
            let settle = |stored: bool, flying: &mut Vec<Flight>, pending: &mut Pending<()>, log: &mut [Option<i64>; 3], now| {
                for flight in flying.drain(..) {
                    if stored {
                        let at = keys.iter().position(|k| *k == flight.key).unwrap();
                        log[at] = log[at].max(Some(flight.mark.position.next));
                    }
                    pending.landed(&flight.key, stored, now);
                }
            };
            for (at, next, stored, ms) in steps {
                pending.take(&keys[at], mark(next), None, now).unwrap();
                wanted[at] = wanted[at].max(Some(next));
                now += Duration::from_millis(ms);
                let new = pending.fly(2, now);
                for flight in &new {
                    prop_assert!(flying.iter().all(|f| f.key != flight.key));
                }
                flying.extend(new);
                if ms % 3 == 0 {
                    settle(stored, &mut flying, &mut pending, &mut log, now);
                }
            }
            for _ in 0..6 {
                settle(true, &mut flying, &mut pending, &mut log, now);
                now += RETRY;
                flying.extend(pending.fly(9, now));
            }
            prop_assert!(pending.is_settled());
            prop_assert_eq!(log, wanted);
            prop_assert_eq!(pending.len(), 0);
        }
    }
}
