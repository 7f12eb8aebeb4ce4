//! Which records of a channel count (D3): a pure function of the channel's prefix of the log.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::Hash;

use schemas::Event;
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
///
/// Where records were erased before anybody remembered what they came to, an outbox may have gone on
/// in what is lost: the first of its records after that counts if it is not behind where the outbox
/// stood before, and from there on the outbox goes by the rule again.
#[derive(Debug, Clone, Default)]
pub struct Acceptance {
    log_time_ms: i64,
    /// By hash of (user, producer): epoch and last number. Never forgotten.
    producers: HashMap<u128, (u64, u64)>,
    /// The same of outboxes not heard of since records were lost, as of before that; `None` while
    /// none were.
    unheard: Option<HashMap<u128, (u64, u64)>>,
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
        if let Some(outbox) = &event.outbox {
            let key = hash(&(event.user_id.as_deref(), outbox.producer.as_str()));
            let numbers = (outbox.epoch, outbox.seq);
            if let Some(void) = self.continues(key, numbers) {
                return Verdict::Void(void);
            }
            self.producers.insert(key, numbers);
            if let Some(unheard) = &mut self.unheard {
                unheard.remove(&key);
            }
        }
        if event.id_given {
            let id = hash(&event.id);
            let recent = |known_ms: &i64| log_time_ms - known_ms < HORIZON_MS;
            match self.ids.entry(id) {
                Entry::Occupied(known) if event.outbox.is_none() && recent(known.get()) => {
                    return Verdict::Void(Void::Duplicate);
                }
                entry => entry.insert_entry(log_time_ms),
            };
            self.ages.push_back((log_time_ms, id));
        }
        self.log_time_ms = log_time_ms;
        self.forget();
        Verdict::Accepted { log_time_ms }
    }

    /// Records that come next were lost, and nothing tells what they came to. Ids in them are not
    /// known: a retry of such a publish counts.
    pub fn lose(&mut self) {
        let heard = std::mem::take(&mut self.producers);
        self.unheard.get_or_insert_default().extend(heard);
    }

    /// Epoch and last accepted number of an outbox; `None` when it was not heard of (since records
    /// were lost).
    pub fn producer(&self, user: Option<&str>, producer: &str) -> Option<(u64, u64)> {
        self.producers.get(&hash(&(user, producer))).copied()
    }

    /// What a record of this outbox with these numbers would be void for now; `None` when it would
    /// count.
    pub fn void(&self, user: Option<&str>, producer: &str, numbers: (u64, u64)) -> Option<Void> {
        self.continues(hash(&(user, producer)), numbers)
    }

    /// Whether an accepted record has this id and is within the horizon of the channel's log time.
    /// A record that comes later still may be accepted, if its own time is beyond the horizon.
    pub fn known_id(&self, id: &str) -> bool {
        self.ids.contains_key(&hash(&id))
    }

    fn continues(&self, key: u128, numbers: (u64, u64)) -> Option<Void> {
        match (self.producers.get(&key), &self.unheard) {
            (None, Some(unheard)) => reappears(unheard.get(&key).copied(), numbers),
            (known, _) => continues(known.copied(), numbers),
        }
    }

    /// The state as of a checkpoint: all outboxes, all ids that publishers gave (those of outbox
    /// records included, ids made from positions excluded) of the last horizon, in any order, and
    /// the channel's log time. Ids beyond the horizon do no harm.
    pub fn restore(
        producers: impl Iterator<Item = ProducerState>,
        ids: impl Iterator<Item = IdState>,
        log_time_ms: i64,
    ) -> Acceptance {
        let mut known = HashMap::new();
        for id in ids {
            let time = known.entry(hash(&id.id)).or_insert(id.log_time_ms);
            *time = id.log_time_ms.max(*time);
        }
        let mut ages: Vec<(i64, u128)> = known.iter().map(|(id, time)| (*time, *id)).collect();
        ages.sort_unstable();
        let mut restored = Acceptance {
            log_time_ms,
            producers: by_hash(producers),
            unheard: None,
            ids: known,
            ages: ages.into_iter().collect(),
        };
        restored.forget();
        restored
    }

    /// The state restored, with where outboxes stood before records were lost that have not been
    /// heard of since.
    #[must_use]
    pub fn with_unheard(mut self, unheard: impl Iterator<Item = ProducerState>) -> Acceptance {
        self.unheard = Some(by_hash(unheard));
        self
    }

    /// The greatest log time of an accepted record; 0 before the first.
    pub fn log_time_ms(&self) -> i64 {
        self.log_time_ms
    }

    /// Bytes it holds, roughly.
    pub fn weight(&self) -> usize {
        let unheard = self.unheard.as_ref().map_or(0, HashMap::capacity);
        // A hash table keeps a control byte per slot.
        size_of::<Acceptance>()
            + (self.producers.capacity() + unheard) * (size_of::<(u128, (u64, u64))>() + 1)
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
            if let Entry::Occupied(known) = self.ids.entry(id)
                && *known.get() == time
            {
                known.remove();
            }
        }
        // After a burst the room it took is given back.
        if self.ages.capacity() > 64 && self.ages.len() < self.ages.capacity() / 4 {
            self.ages.shrink_to(self.ages.len() * 2);
            self.ids.shrink_to(self.ids.len() * 2);
        }
    }
}

/// `None` when a record with these numbers continues its outbox, whose epoch and last number are `known`.
fn continues(known: Option<(u64, u64)>, (epoch, seq): (u64, u64)) -> Option<Void> {
    match known {
        Some((held, _)) if epoch < held => Some(Void::StaleEpoch { epoch: held }),
        Some((held, last)) if epoch == held => {
            // Numbers end at i64::MAX, so the next one always exists.
            let next = last.saturating_add(1);
            match seq.cmp(&next) {
                std::cmp::Ordering::Less => Some(Void::Duplicate),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(Void::Gap { next }),
            }
        }
        _ if seq == 0 => None,
        _ => Some(Void::Gap { next: 0 }),
    }
}

/// The same for one that may have gone on in records that were lost: `known` is from before them.
fn reappears(known: Option<(u64, u64)>, (epoch, seq): (u64, u64)) -> Option<Void> {
    match known {
        Some((held, _)) if epoch < held => Some(Void::StaleEpoch { epoch: held }),
        Some((held, last)) if epoch == held && seq <= last => Some(Void::Duplicate),
        _ => None,
    }
}

fn by_hash(producers: impl Iterator<Item = ProducerState>) -> HashMap<u128, (u64, u64)> {
    let key = |p: &ProducerState| hash(&(p.user.as_deref(), p.producer.as_str()));
    producers.map(|p| (key(&p), (p.epoch, p.seq))).collect()
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
