//! Which records of a channel count (D3): a pure function of the channel's prefix of the log.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use schemas::{Event, Outbox};
use siphasher::sip128::{Hasher128, SipHasher13};

/// How long an id is remembered, in ms of log time.
pub const HORIZON_MS: i64 = 600_000;

/// What a record is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Accepted {
        /// The channel's log time with this record: never steps back.
        log_time_ms: i64,
    },
    /// It counts for nobody and changes nothing.
    Void(Void),
}

/// Why a record is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Void {
    /// An accepted record is the same publish.
    Duplicate,
    /// The outbox skipped a number.
    Gap {
        /// The number that would have been accepted, of the record's own epoch.
        next: u64,
    },
    /// The outbox was taken over.
    StaleEpoch {
        /// The epoch that holds.
        epoch: u64,
    },
}

/// The state of one outbox in one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerState {
    /// The user; `None` for backends that name none.
    pub user: Option<String>,
    /// The outbox's name.
    pub producer: String,
    /// Its epoch.
    pub epoch: u64,
    /// The last accepted number.
    pub seq: u64,
}

/// An id that was given by a publisher and accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdState {
    /// The id.
    pub id: String,
    /// The log time of its (latest) accepted record.
    pub log_time_ms: i64,
}

/// The acceptance rule of one channel.
///
/// With an outbox's number a record counts iff it continues the outbox: the next number of the same
/// epoch, or number 0 of a higher epoch or of an outbox not heard of before. Without, it counts iff
/// no accepted record of the last horizon has its id. Log time is the greatest time of an accepted
/// record so far, so a clock that steps back neither shortens nor stretches the horizon.
#[derive(Debug, Clone, Default)]
pub struct Acceptance {
    log_time_ms: i64,
    /// By hash of (user, producer): epoch and last number. Never forgotten.
    producers: HashMap<u128, (u64, u64)>,
    /// By hash of the id: log time of its latest accepted record.
    ids: HashMap<u128, i64>,
    /// The same in order of time, to forget by. An id accepted again stands here twice.
    ages: VecDeque<(i64, u128)>,
}

impl Acceptance {
    /// The state before the first record.
    pub fn new() -> Acceptance {
        Acceptance::default()
    }

    /// Judges the next record of the channel, `at_ms` being its time in the log, and moves on.
    pub fn apply(&mut self, event: &Event, at_ms: i64) -> Verdict {
        let log_time_ms = self.log_time_ms.max(at_ms);
        let id = event.id_given.then(|| hash(&event.id));
        if let Some(outbox) = &event.outbox {
            let key = hash(&(event.user_id.as_deref(), outbox.producer.as_str()));
            if let Some(void) = continues(self.producers.get(&key).copied(), outbox) {
                return Verdict::Void(void);
            }
            self.producers.insert(key, (outbox.epoch, outbox.seq));
        } else if let Some(known_ms) = id.and_then(|id| self.ids.get(&id))
            && log_time_ms - known_ms < HORIZON_MS
        {
            return Verdict::Void(Void::Duplicate);
        }
        self.log_time_ms = log_time_ms;
        if let Some(id) = id {
            self.ids.insert(id, log_time_ms);
            self.ages.push_back((log_time_ms, id));
        }
        self.forget();
        Verdict::Accepted { log_time_ms }
    }

    /// Epoch and last accepted number of an outbox.
    pub fn producer(&self, user: Option<&str>, producer: &str) -> Option<(u64, u64)> {
        self.producers.get(&hash(&(user, producer))).copied()
    }

    /// Whether an accepted record has this id and is within the horizon of the channel's log time.
    /// A record that comes later still may be accepted, if its own time is beyond the horizon.
    pub fn known_id(&self, id: &str) -> bool {
        self.ids.contains_key(&hash(&id))
    }

    /// The state as of a checkpoint: all outboxes, all ids that publishers gave (those of outbox
    /// records included, ids made from positions excluded) of the last horizon, in any order, and
    /// the channel's log time. Ids beyond the horizon do no harm.
    pub fn restore(
        producers: impl Iterator<Item = ProducerState>,
        ids: impl Iterator<Item = IdState>,
        log_time_ms: i64,
    ) -> Acceptance {
        let producers = producers
            .map(|p| {
                (
                    hash(&(p.user.as_deref(), p.producer.as_str())),
                    (p.epoch, p.seq),
                )
            })
            .collect();
        let mut known = HashMap::new();
        for id in ids {
            let time = known.entry(hash(&id.id)).or_insert(id.log_time_ms);
            *time = id.log_time_ms.max(*time);
        }
        let mut ages: Vec<(i64, u128)> = known.iter().map(|(id, time)| (*time, *id)).collect();
        ages.sort_unstable();
        let mut restored = Acceptance {
            log_time_ms,
            producers,
            ids: known,
            ages: ages.into_iter().collect(),
        };
        restored.forget();
        restored
    }

    /// The greatest log time of an accepted record; 0 before the first.
    pub fn log_time_ms(&self) -> i64 {
        self.log_time_ms
    }

    /// Bytes it holds, roughly.
    pub fn weight(&self) -> usize {
        // A hash table keeps a control byte per slot.
        size_of::<Acceptance>()
            + self.producers.capacity() * (size_of::<(u128, (u64, u64))>() + 1)
            + self.ids.capacity() * (size_of::<(u128, i64)>() + 1)
            + self.ages.capacity() * size_of::<(i64, u128)>()
    }

    /// Forgets ids whose record can no longer make another void: log time never steps back, so
    /// none that comes will be less than a horizon away.
    fn forget(&mut self) {
        while let Some((time, id)) = self.ages.front().copied()
            && self.log_time_ms - time >= HORIZON_MS
        {
            self.ages.pop_front();
            if self.ids.get(&id) == Some(&time) {
                self.ids.remove(&id);
            }
        }
        // After a burst the room it took is given back.
        if self.ages.capacity() > 64 && self.ages.len() < self.ages.capacity() / 4 {
            self.ages.shrink_to(self.ages.len() * 2);
            self.ids.shrink_to(self.ids.len() * 2);
        }
    }
}

/// `None` when the record continues its outbox, whose epoch and last number are `known`.
fn continues(known: Option<(u64, u64)>, outbox: &Outbox) -> Option<Void> {
    match known {
        Some((epoch, _)) if outbox.epoch < epoch => Some(Void::StaleEpoch { epoch }),
        Some((epoch, last)) if outbox.epoch == epoch => {
            // Numbers end at i64::MAX, so the next one always exists.
            let next = last.saturating_add(1);
            match outbox.seq.cmp(&next) {
                std::cmp::Ordering::Less => Some(Void::Duplicate),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(Void::Gap { next }),
            }
        }
        _ if outbox.seq == 0 => None,
        _ => Some(Void::Gap { next: 0 }),
    }
}

/// 128 bits stand for the text: at 10⁹ ids in one horizon two share them with odds of 1 to 10²⁰.
/// The key is fixed, because all nodes have to agree.
fn hash(what: &(impl Hash + ?Sized)) -> u128 {
    let mut hasher = SipHasher13::new();
    what.hash(&mut hasher);
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests;
