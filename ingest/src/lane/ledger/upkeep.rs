//! Time passes: what waited too long is answered, what nobody needs is dropped.

use super::Ledger;
use super::act::{Act, Now};
use super::answers::Fate;
use crate::lane::job::{Answer, Fault};
use crate::lane::track::{Phase, Track};

/// How long the log is read back after the last record of somebody else, ms.
const FOLLOW_LINGER_MS: u64 = 60_000;
/// How often what is kept is compared with its bounds, ms.
const EVICT_MS: u64 = 1_000;
/// How long outboxes are remembered that nobody here publishes with, ms.
const IDLE_MS: u64 = 120_000;

impl<T> Ledger<T> {
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
        let needed = foreign && !self.tracks.is_empty();
        if self.tail.is_some() && !needed {
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
        let mut deserted = Vec::new();
        for (channel, parked) in &mut self.parked {
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
            if parked.jobs.is_empty() {
                deserted.push(channel.clone());
            }
        }
        // A question that nobody answered in all that time is asked anew by the next job. Catching up goes
        // on: it may just be a long way.
        for channel in deserted {
            let phase = self.tracks.peek(&channel).map(|track| track.phase);
            if matches!(phase, Some(Phase::Looking { .. } | Phase::Heading { .. })) {
                self.give_up(&channel);
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
}
