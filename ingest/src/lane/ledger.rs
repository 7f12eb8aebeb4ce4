//! The order of one partition's publishes and of their answers: what to append, what to find out first,
//! and what to say to whom (D3, D4).
//!
//! Pure: time and everything the log says come in as calls; [`Ledger::step`] says what to do next, one
//! thing at a time. The shell appends, waits for deliveries first in, first out, and reports back.
//!
//! An outbox's record is answered from the log, not from hope: the answer waits until every record before
//! it is known. Where nobody else writes to the partition, our own deliveries stand one behind the other
//! and tell it all; where somebody does, the log is read back (`Follow`).

use std::collections::{HashMap, VecDeque};

use lru::LruCache;
use schemas::Channel;
use state::Acceptance;

use super::job::{Answer, Entry, Fault, Job};
use super::track::{Judgement, Phase, Seen, Track};
use crate::known::KnownIds;

/// How long the log is read back after the last record of somebody else, ms.
const FOLLOW_LINGER_MS: u64 = 60_000;
/// How often what is kept is compared with its bounds, ms.
const EVICT_MS: u64 = 1_000;
/// How long outboxes are remembered that nobody here publishes with, ms.
const IDLE_MS: u64 = 120_000;

/// What the shell has to do.
#[derive(Debug)]
pub(crate) enum Act<T> {
    /// Append it, then report [`Ledger::delivered`] or [`Ledger::lost`] in the order of these acts; when it
    /// cannot even be enqueued, [`Ledger::not_enqueued`] at once and [`Ledger::lost`] in order.
    Append(Entry<T>),
    /// Nothing to append, but its answer has its turn: report [`Ledger::settle`] in order.
    Settle(Entry<T>),
    /// Tell the publisher.
    Answer(Job<T>, Answer),
    /// Find out where the channel's outboxes stand: report [`Ledger::looked`].
    Look(Question),
    /// Find out where the log ends: report [`Ledger::headed`].
    Head(Question),
    /// Read the partition from this offset; report [`Ledger::saw`] and [`Ledger::advanced`].
    Follow { session: u64, from: i64 },
    /// Stop reading.
    Leave,
}

/// What is asked about, and the number that its answer must carry: an answer to a question that was
/// overtaken by events is nobody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) channel: Channel,
    pub(crate) ask: u64,
}

/// Where a channel's outboxes stand.
#[derive(Debug)]
pub(crate) struct Looked {
    /// As of `from`.
    pub(crate) acceptance: Acceptance,
    /// The first offset that is not in `acceptance`.
    pub(crate) from: i64,
    /// The log's end, asked for after the question came.
    pub(crate) head: i64,
}

/// Now, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Since the lane started, ms; never steps back.
    pub(crate) ms: u64,
    /// Unix ms.
    pub(crate) wall_ms: i64,
}

/// Bounds of a ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) channels_max: usize,
    pub(crate) bytes_max: usize,
    pub(crate) ids_max: usize,
}

/// See the file's head.
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

/// A reading of the log from `start`, which has come to `pos`.
#[derive(Clone, Copy, Debug)]
struct Tail {
    session: u64,
    pos: i64,
}

/// The jobs of a channel that wait for its track.
#[derive(Debug)]
struct Parked<T> {
    jobs: VecDeque<Job<T>>,
    /// How many of them came before the question was asked.
    refreshed: usize,
}

/// An outbox's entry on its way to its answer.
#[derive(Debug)]
struct Verifying<T> {
    entry: Entry<T>,
    fate: Fate,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    /// In the log at this offset.
    At(i64),
    /// Never appended.
    Settled,
    Lost(Fault),
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

    /// The log has the entry's record.
    pub(crate) fn delivered(&mut self, entry: Entry<T>, offset: i64, at_ms: i64, now: Now) {
        match self.frontier {
            Some(frontier) if frontier == offset => {
                self.frontier = Some(offset + 1);
                self.own(&entry.job, offset, at_ms);
            }
            Some(frontier) if frontier < offset => self.foreign_ms = Some(now.ms),
            _ => {}
        }
        if entry.job.claim.is_some() {
            self.verify(entry, Fate::At(offset));
            return;
        }
        let job = entry.job;
        let answer = match self.known.insert(&job.channel, &job.id, offset, at_ms) {
            None => Answer::Stored { offset },
            Some(first) => Answer::Duplicate {
                offset: Some(first),
                id: None,
            },
        };
        self.acts.push_back(Act::Answer(job, answer));
    }

    /// The entry's record is not known to be in the log.
    pub(crate) fn lost(&mut self, entry: Entry<T>, fault: Fault) {
        if entry.job.claim.is_some() {
            self.verify(entry, Fate::Lost(fault));
        } else {
            self.acts.push_back(Act::Answer(entry.job, failed(fault)));
        }
    }

    /// It is the turn of an entry that was not appended.
    pub(crate) fn settle(&mut self, entry: Entry<T>) {
        self.verify(entry, Fate::Settled);
    }

    /// Where a channel's outboxes stand; `None`: it could not be found out.
    pub(crate) fn looked(&mut self, question: &Question, looked: Option<Looked>) {
        let channel = &question.channel;
        let Some(track) = self
            .tracks
            .peek_mut(channel)
            .filter(|track| track.phase == Phase::Looking { ask: question.ask })
        else {
            return;
        };
        let Some(looked) = looked else {
            self.give_up(channel);
            return;
        };
        // The track must catch up with what the others know, or what was read past it unseen.
        let read_to = self.frontier.max(self.tail.map(|tail| tail.pos));
        let ready_at = read_to.map_or(looked.head, |read_to| read_to.max(looked.head));
        track.restore(looked.acceptance, looked.from);
        if looked.from >= ready_at {
            self.begin_frontier(looked.from);
            self.release(channel);
            return;
        }
        track.phase = Phase::Behind { ready_at };
        self.catching.push(channel.clone());
        if self.tail.is_none_or(|tail| tail.pos > looked.from) {
            let from = self
                .frontier
                .map_or(looked.from, |frontier| frontier.min(looked.from));
            self.follow(from);
        }
    }

    /// Where the log ends; `None`: it could not be found out.
    pub(crate) fn headed(&mut self, question: &Question, head: Option<i64>) {
        let channel = &question.channel;
        let Some(track) = self
            .tracks
            .peek_mut(channel)
            .filter(|track| track.phase == Phase::Heading { ask: question.ask })
        else {
            return;
        };
        let (Some(head), Some(frontier)) = (head, self.frontier) else {
            self.give_up(channel);
            return;
        };
        if frontier >= head {
            self.release(channel);
            return;
        }
        track.phase = Phase::CatchingUp { ready_at: head };
        self.catching.push(channel.clone());
        if self.tail.is_none() {
            self.follow(frontier);
        }
    }

    /// Whether a record with this key may matter, so that it is worth decoding.
    pub(crate) fn tracks(&self, channel: &Channel) -> bool {
        self.tracks.contains(channel)
    }

    /// A record of an outbox, as read from the log.
    pub(crate) fn saw(
        &mut self,
        session: u64,
        channel: &Channel,
        record: &Seen,
        offset: i64,
        at_ms: i64,
    ) {
        if self.tail.is_none_or(|tail| tail.session != session) {
            return;
        }
        if let Some(track) = self.tracks.peek_mut(channel)
            && !matches!(track.phase, Phase::Looking { .. })
        {
            track.apply(channel, record, offset, at_ms);
        }
    }

    /// Everything below `next` has been read.
    pub(crate) fn advanced(&mut self, session: u64, next: i64) {
        let Some(tail) = self.tail.as_mut().filter(|tail| tail.session == session) else {
            return;
        };
        tail.pos = tail.pos.max(next);
        let pos = tail.pos;
        if let Some(frontier) = &mut self.frontier {
            *frontier = pos.max(*frontier);
        }
        let (caught_up, catching): (Vec<Channel>, Vec<Channel>) =
            std::mem::take(&mut self.catching)
                .into_iter()
                .partition(
                    |channel| match self.tracks.peek(channel).map(|track| track.phase) {
                        Some(Phase::Behind { ready_at } | Phase::CatchingUp { ready_at }) => {
                            ready_at <= pos
                        }
                        _ => true,
                    },
                );
        self.catching = catching;
        for channel in &caught_up {
            self.begin_frontier(pos);
            self.release(channel);
        }
        self.resolve();
    }

    /// The partition cannot be read on: what is known is worth nothing any more.
    pub(crate) fn tail_failed(&mut self, session: u64) {
        if self.tail.is_some_and(|tail| tail.session == session) {
            self.tail = None;
            self.forget();
        }
    }

    /// Lets time pass: what waited too long is answered, what nobody needs is dropped.
    pub(crate) fn tick(&mut self, now: Now) {
        self.expire(now);
        self.resolve();
        if now.ms >= self.evicted_ms + EVICT_MS {
            self.evicted_ms = now.ms;
            self.evict();
        }
        let busy = !self.verifying.is_empty() || !self.catching.is_empty();
        let idle = |track: &Track| track.busy == 0 && track.phase == Phase::Ready;
        if busy || !self.tracks.iter().all(|(_, track)| idle(track)) {
            return;
        }
        let used = self.tracks.iter().map(|(_, track)| track.used_ms).max();
        if used.is_some_and(|used_ms| used_ms + IDLE_MS <= now.ms) {
            self.forget();
        }
        let foreign = self
            .foreign_ms
            .is_some_and(|ms| ms + FOLLOW_LINGER_MS > now.ms);
        if self.tail.is_some() && !(foreign && !self.tracks.is_empty()) {
            self.tail = None;
            self.acts.push_back(Act::Leave);
        }
    }

    /// Answers everything that is still here: the end.
    pub(crate) fn close(&mut self) {
        self.forget();
        for job in std::mem::take(&mut self.ready) {
            self.acts.push_back(Act::Answer(job, Answer::Missed));
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
    fn release(&mut self, channel: &Channel) {
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

    /// The channel cannot be known now: its jobs are sent away.
    fn give_up(&mut self, channel: &Channel) {
        self.tracks.pop(channel);
        self.catching.retain(|catching| catching != channel);
        if let Some(parked) = self.parked.remove(channel) {
            let missed = parked
                .jobs
                .into_iter()
                .map(|job| Act::Answer(job, Answer::Missed));
            self.acts.extend(missed);
        }
        if self.tracks.is_empty() {
            self.frontier = None;
        }
    }

    /// The first track is ready: from now on there is a frontier, and those that are behind have to reach it.
    fn begin_frontier(&mut self, at: i64) {
        if self.frontier.is_some() {
            return;
        }
        self.frontier = Some(at);
        for channel in &self.catching {
            if let Some(track) = self.tracks.peek_mut(channel)
                && let Phase::Behind { ready_at } = &mut track.phase
            {
                *ready_at = at.max(*ready_at);
            }
        }
    }

    /// A record of ours stands right at the frontier.
    fn own(&mut self, job: &Job<T>, offset: i64, at_ms: i64) {
        let (Some(claim), Some(track)) = (&job.claim, self.tracks.peek_mut(&job.channel)) else {
            return;
        };
        match &mut track.phase {
            Phase::Looking { .. } => {}
            // Let through in an earlier life of the track: what is missing comes before it.
            Phase::Behind { ready_at } => *ready_at = (*ready_at).max(offset + 1),
            Phase::Heading { .. } | Phase::CatchingUp { .. } | Phase::Ready => {
                let record = Seen {
                    claim: claim.clone(),
                    id: job.id.clone(),
                };
                track.apply(&job.channel, &record, offset, at_ms);
            }
        }
    }

    fn follow(&mut self, from: i64) {
        let session = self.next_session;
        self.next_session += 1;
        self.tail = Some(Tail { session, pos: from });
        self.acts.push_back(Act::Follow { session, from });
    }

    fn verify(&mut self, entry: Entry<T>, fate: Fate) {
        self.verifying.push_back(Verifying { entry, fate });
        self.resolve();
    }

    /// Answers what can be answered, in order.
    fn resolve(&mut self) {
        while let Some(front) = self.verifying.front() {
            if let Fate::At(offset) = front.fate
                && living(&mut self.tracks, &front.entry).is_some()
                && let Some(frontier) = self.frontier
                && frontier <= offset
            {
                if self.tail.is_none() {
                    self.follow(frontier);
                }
                return;
            }
            let Some(front) = self.verifying.pop_front() else {
                return;
            };
            let answer = self.conclude(&front.entry, front.fate);
            self.acts.push_back(Act::Answer(front.entry.job, answer));
        }
    }

    fn conclude(&mut self, entry: &Entry<T>, fate: Fate) -> Answer {
        let Some(claim) = &entry.job.claim else {
            return Answer::Unknown;
        };
        let Some(track) = living(&mut self.tracks, entry) else {
            // Its track was dropped; what its outbox has in flight since then came behind it.
            if let Some(track) = self.tracks.peek_mut(&entry.job.channel) {
                track.fail_tail(claim);
            }
            return Answer::Unknown;
        };
        let doomed = track.is_doomed(claim, entry.serial);
        let answer = match fate {
            Fate::Lost(fault) => {
                track.fail_tail(claim);
                if doomed {
                    Answer::Unknown
                } else {
                    failed(fault)
                }
            }
            Fate::At(_) | Fate::Settled if doomed => Answer::Unknown,
            Fate::At(offset) => track.verdict(claim, Some(offset)),
            Fate::Settled => track.verdict(claim, None),
        };
        track.done(claim);
        answer
    }

    fn expire(&mut self, now: Now) {
        while let Some(front) = self.verifying.front_mut() {
            if front.entry.job.deadline_ms > now.ms {
                break;
            }
            front.fate = Fate::Lost(Fault::Unknown);
            let Some(front) = self.verifying.pop_front() else {
                break;
            };
            let answer = self.conclude(&front.entry, front.fate);
            self.acts.push_back(Act::Answer(front.entry.job, answer));
        }
        for parked in self.parked.values_mut() {
            while parked
                .jobs
                .front()
                .is_some_and(|job| job.deadline_ms <= now.ms)
            {
                parked.refreshed = parked.refreshed.saturating_sub(1);
                if let Some(job) = parked.jobs.pop_front() {
                    self.acts.push_back(Act::Answer(job, Answer::Missed));
                }
            }
        }
    }

    /// Drops the tracks that were not used the longest, until the rest is within bounds.
    fn evict(&mut self) {
        let mut weight: usize = self.tracks.iter().map(|(_, track)| track.weight()).sum();
        let mut count = self.tracks.len();
        if count <= self.bounds.channels_max && weight <= self.bounds.bytes_max {
            return;
        }
        let mut dropped = Vec::new();
        for (channel, track) in self.tracks.iter().rev() {
            if count <= self.bounds.channels_max && weight <= self.bounds.bytes_max {
                break;
            }
            if track.busy == 0 && track.phase == Phase::Ready {
                weight -= track.weight();
                count -= 1;
                dropped.push(channel.clone());
            }
        }
        for channel in dropped {
            self.tracks.pop(&channel);
        }
    }

    /// Drops all that is known; what waits for it is answered as well as can be.
    fn forget(&mut self) {
        self.tracks.clear();
        self.catching.clear();
        self.frontier = None;
        self.foreign_ms = None;
        if self.tail.take().is_some() {
            self.acts.push_back(Act::Leave);
        }
        for (_, parked) in std::mem::take(&mut self.parked) {
            let missed = parked
                .jobs
                .into_iter()
                .map(|job| Act::Answer(job, Answer::Missed));
            self.acts.extend(missed);
        }
        self.resolve();
    }
}

/// The track an entry belongs to, unless it was dropped since.
fn living<'a, T>(
    tracks: &'a mut LruCache<Channel, Track>,
    entry: &Entry<T>,
) -> Option<&'a mut Track> {
    tracks
        .peek_mut(&entry.job.channel)
        .filter(|track| track.life == entry.life)
}

fn failed(fault: Fault) -> Answer {
    match fault {
        Fault::Unknown => Answer::Unknown,
        fault => Answer::Failed(fault),
    }
}
