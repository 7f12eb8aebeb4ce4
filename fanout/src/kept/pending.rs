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
mod tests;
