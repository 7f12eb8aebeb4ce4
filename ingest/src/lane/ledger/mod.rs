//! The order of one partition's publishes and of their answers: what to append, what to find out first,
//! and what to say to whom (D3, D4).
//!
//! Pure: time and everything the log says come in as calls; [`Ledger::step`] says what to do next, one
//! thing at a time. The shell appends, waits for deliveries first in, first out, and reports back.
//!
//! An outbox's record is answered from the log, not from hope: the answer waits until every record before
//! it is known. Where nobody else writes to the partition, our own deliveries stand one behind the other
//! and tell it all; where somebody does, the log is read back (`Follow`). What is known is kept in
//! `knowledge`, what is answered when in `answers`, and `upkeep` lets time pass.

mod act;
mod answers;
mod knowledge;
mod upkeep;

use std::collections::{HashMap, VecDeque};

use lru::LruCache;
use schemas::Channel;

pub(crate) use self::act::{Act, Bounds, Looked, Now, Question};
use self::answers::{Verifying, living};
use self::knowledge::Tail;
use super::job::{Answer, Entry, Job};
use super::track::{Judgement, Phase, Track};
use crate::known::KnownIds;

#[derive(Debug)]
pub(crate) struct Ledger<T> {
    bounds: Bounds,
    known: KnownIds,
    tracks: LruCache<Channel, Track>,
    /// Every record below is in every track that is ready. `None`: no track is.
    frontier: Option<i64>,
    tail: Option<Tail>,
    /// When a record of somebody else was last found between ours.
    foreign_ms: Option<u64>,
    /// Channels whose tracks are catching up.
    catching: Vec<Channel>,
    ready: VecDeque<Job<T>>,
    parked: HashMap<Channel, Parked<T>>,
    verifying: VecDeque<Verifying<T>>,
    acts: VecDeque<Act<T>>,
    next_serial: u64,
    next_ask: u64,
    next_session: u64,
    evicted_ms: u64,
}

/// The jobs of a channel that wait for its track.
#[derive(Debug)]
struct Parked<T> {
    jobs: VecDeque<Job<T>>,
    /// How many of them came before the question was asked.
    refreshed: usize,
}

impl<T> Ledger<T> {
    pub(crate) fn new(bounds: Bounds) -> Ledger<T> {
        Ledger {
            bounds,
            known: KnownIds::new(bounds.ids_max),
            tracks: LruCache::unbounded(),
            frontier: None,
            tail: None,
            foreign_ms: None,
            catching: Vec::new(),
            ready: VecDeque::new(),
            parked: HashMap::new(),
            verifying: VecDeque::new(),
            acts: VecDeque::new(),
            next_serial: 1,
            next_ask: 1,
            next_session: 1,
            evicted_ms: 0,
        }
    }

    /// Takes a job in.
    pub(crate) fn arrive(&mut self, job: Job<T>) {
        self.ready.push_back(job);
    }

    /// The next thing to do, if there is one. Do it before asking again.
    pub(crate) fn step(&mut self, now: Now) -> Option<Act<T>> {
        loop {
            if let Some(act) = self.acts.pop_front() {
                if let Act::Look(question) | Act::Head(question) = &act
                    && let Some(parked) = self.parked.get_mut(&question.channel)
                {
                    parked.refreshed = parked.jobs.len();
                }
                return Some(act);
            }
            let job = self.ready.pop_front()?;
            if let Some(parked) = self.parked.get_mut(&job.channel) {
                parked.jobs.push_back(job);
                continue;
            }
            if job.deadline_ms <= now.ms {
                return Some(Act::Answer(job, Answer::Missed));
            }
            let act = if job.claim.is_some() {
                self.admit_claim(job, now)
            } else {
                Some(self.admit_plain(job, now))
            };
            if act.is_some() {
                return act;
            }
        }
    }

    /// The entry of the last `Append` was not enqueued. It still has to be reported as lost, in order.
    pub(crate) fn not_enqueued(&mut self, entry: &Entry<T>) {
        if let Some(claim) = &entry.job.claim
            && let Some(track) = living(&mut self.tracks, entry)
        {
            track.take_back(claim, entry.expected_before);
        }
    }

    /// Whether every job was answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.parked.values().all(|parked| parked.jobs.is_empty())
            && self.verifying.is_empty()
            && self.acts.is_empty()
    }

    /// How many channels' outboxes are known.
    pub(crate) fn tracked(&self) -> usize {
        self.tracks.len()
    }

    fn admit_plain(&mut self, job: Job<T>, now: Now) -> Act<T> {
        if let Some(offset) = self.known.find(&job.channel, &job.id, now.wall_ms) {
            let answer = Answer::Duplicate {
                offset: Some(offset),
                id: None,
            };
            return Act::Answer(job, answer);
        }
        Act::Append(self.entry(job, 0, None))
    }

    fn admit_claim(&mut self, job: Job<T>, now: Now) -> Option<Act<T>> {
        let claim = job.claim.clone()?;
        let Some(track) = self.tracks.get_mut(&job.channel) else {
            let ask = self.ask();
            let channel = job.channel.clone();
            self.tracks
                .put(channel.clone(), Track::looking(ask, now.ms));
            self.acts.push_back(Act::Look(Question { channel, ask }));
            self.park(job);
            return None;
        };
        track.used_ms = now.ms;
        let judgement = track.judge(&claim);
        if judgement == Judgement::Ahead && !job.refreshed {
            // Another gateway may have taken what is missing: ask the log before saying no.
            let ask = self.next_ask;
            track.phase = Phase::Heading { ask };
            self.next_ask += 1;
            let channel = job.channel.clone();
            self.acts.push_back(Act::Head(Question { channel, ask }));
            self.park(job);
            return None;
        }
        let next = judgement == Judgement::Next;
        let life = track.life;
        let before = track.let_through(&claim, self.next_serial, next);
        let entry = self.entry(job, life, before);
        Some(if next {
            Act::Append(entry)
        } else {
            Act::Settle(entry)
        })
    }

    fn entry(&mut self, job: Job<T>, life: u64, expected_before: Option<(u64, u64)>) -> Entry<T> {
        let serial = self.next_serial;
        self.next_serial += 1;
        Entry {
            serial,
            life,
            expected_before,
            replayed: false,
            job,
        }
    }

    fn ask(&mut self) -> u64 {
        let ask = self.next_ask;
        self.next_ask += 1;
        ask
    }

    fn park(&mut self, job: Job<T>) {
        let parked = self
            .parked
            .entry(job.channel.clone())
            .or_insert_with(|| Parked {
                jobs: VecDeque::new(),
                refreshed: 0,
            });
        parked.jobs.push_back(job);
    }

    /// The channel's jobs go on, in the order they came.
    pub(super) fn release(&mut self, channel: &Channel) {
        if let Some(track) = self.tracks.peek_mut(channel) {
            track.phase = Phase::Ready;
        }
        let Some(parked) = self.parked.remove(channel) else {
            return;
        };
        // They go before what is ready: a later job of the same channel may be among that already.
        for (index, mut job) in parked.jobs.into_iter().enumerate().rev() {
            job.refreshed |= index < parked.refreshed;
            self.ready.push_front(job);
        }
    }
}
