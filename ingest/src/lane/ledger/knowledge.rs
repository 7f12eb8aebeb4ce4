//! What the ledger knows of the log: the frontier up to which every track is complete, and the tail that
//! reads on from it where others write too.

use schemas::Channel;

use super::act::Act;
use super::{Ledger, Looked, Now, Question};
use crate::lane::job::{Answer, Job};
use crate::lane::track::{Phase, Seen};

/// A reading of the log from `start`, which has come to `pos`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub(super) session: u64,
    pub(super) pos: i64,
}

impl<T> Ledger<T> {
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

    /// Whether some channel's outboxes are known only once the log has been read a little further.
    pub(crate) fn is_catching_up(&self) -> bool {
        !self.catching.is_empty()
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

    /// A record of ours stands at `offset`.
    pub(super) fn reached(&mut self, job: &Job<T>, offset: i64, at_ms: i64, now: Now) {
        match self.frontier {
            Some(frontier) if frontier == offset => {
                self.frontier = Some(offset + 1);
                self.own(job, offset, at_ms);
            }
            Some(frontier) if frontier < offset => self.foreign_ms = Some(now.ms),
            _ => {}
        }
    }

    /// The channel cannot be known now: its jobs are sent away.
    pub(super) fn give_up(&mut self, channel: &Channel) {
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

    pub(super) fn follow(&mut self, from: i64) {
        let session = self.next_session;
        self.next_session += 1;
        self.tail = Some(Tail { session, pos: from });
        self.acts.push_back(Act::Follow { session, from });
    }

    /// Drops all that is known; what waits for it is answered as well as can be.
    pub(super) fn forget(&mut self) {
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
