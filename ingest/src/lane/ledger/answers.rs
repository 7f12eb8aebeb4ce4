//! What is said to whom, and in which order.

use lru::LruCache;
use schemas::Channel;

use super::Ledger;
use super::act::{Act, Now};
use crate::lane::job::{Answer, Entry, Fault};
use crate::lane::track::Track;

/// An outbox's entry on its way to its answer.
#[derive(Debug)]
pub(super) struct Verifying<T> {
    pub(super) entry: Entry<T>,
    pub(super) fate: Fate,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// In the log at this offset.
    At(i64),
    /// Never appended.
    Settled,
    Lost(Fault),
}

impl<T> Ledger<T> {
    /// The log has the entry's record.
    pub(crate) fn delivered(&mut self, entry: Entry<T>, offset: i64, at_ms: i64, now: Now) {
        self.reached(&entry.job, offset, at_ms, now);
        if entry.job.claim.is_some() {
            self.verify(entry, Fate::At(offset));
            return;
        }
        let job = entry.job;
        if entry.replayed {
            // The first copy may be stored, and then this one counts for nobody: its place is nobody's to go on from.
            let offset = self.known.find(&job.channel, &job.id, now.wall_ms);
            let answer = Answer::Duplicate { offset, id: None };
            return self.acts.push_back(Act::Answer(job, answer));
        }
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

    fn verify(&mut self, entry: Entry<T>, fate: Fate) {
        self.verifying.push_back(Verifying { entry, fate });
        self.resolve();
    }

    /// Answers what can be answered, in order.
    pub(super) fn resolve(&mut self) {
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

    pub(super) fn conclude(&mut self, entry: &Entry<T>, fate: Fate) -> Answer {
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
}

/// The track an entry belongs to, unless it was dropped since.
pub(super) fn living<'a, T>(
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
