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
/// A channel heavier than this part of the bound is heavy.
const HEAVY_PART: usize = 8;
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

    /// Drops tracks until the rest is within bounds: first heavy ones, whose channel has outboxes without number,
    /// then those that were not used the longest. What is forgotten is looked up again, so no answer depends on it.
    fn evict(&mut self) {
        let heavy = self.bounds.bytes_max / HEAVY_PART;
        self.drop_idle_while_over(|weight| weight > heavy, |_| true);
        // A heavy one that is in use pushes no other out: that would not make it lighter.
        self.drop_idle_while_over(|weight| weight <= heavy, |weight| weight <= heavy);
    }

    /// Drops idle tracks of the weights that `may_go`, the longest unused first, as long as those that `counts` picks are
    /// over the bounds.
    fn drop_idle_while_over(
        &mut self,
        may_go: impl Fn(usize) -> bool,
        counts: impl Fn(usize) -> bool,
    ) {
        let weights = self.tracks.iter().map(|(_, track)| track.weight());
        let counted: Vec<usize> = weights.filter(|weight| counts(*weight)).collect();
        let (mut count, mut weight) = (counted.len(), counted.iter().sum::<usize>());
        let mut dropped = Vec::new();
        for (channel, track) in self.tracks.iter().rev() {
            if count <= self.bounds.channels_max && weight <= self.bounds.bytes_max {
                break;
            }
            if track.busy == 0 && track.phase == Phase::Ready && may_go(track.weight()) {
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

#[cfg(test)]
mod tests {
    use schemas::Channel;
    use state::{Acceptance, ProducerState};

    use super::*;
    use crate::lane::ledger::Bounds;

    fn channel(name: &str) -> Channel {
        Channel::parse(&format!("session.{name}")).unwrap()
    }

    /// A track that knows so many outboxes, used after all before it.
    fn track(ledger: &mut Ledger<()>, name: &str, outboxes: u64, busy: usize) {
        let producers = (0..outboxes).map(|n| ProducerState {
            user: None,
            producer: format!("p{n}"),
            epoch: 0,
            seq: 0,
        });
        let mut track = Track::looking(1, 0);
        track.restore(Acceptance::restore(producers, std::iter::empty(), 0), 0);
        track.phase = Phase::Ready;
        track.busy = busy;
        ledger.tracks.put(channel(name), track);
    }

    fn ledger() -> Ledger<()> {
        let mut ledger = Ledger::new(Bounds {
            channels_max: 4,
            bytes_max: 64 << 10,
            ids_max: 1,
        });
        for name in ["a", "b", "c"] {
            track(&mut ledger, name, 1, 0);
        }
        ledger
    }

    #[test]
    fn a_channel_of_countless_outboxes_is_forgotten_before_all_others() {
        let mut ledger = ledger();
        track(&mut ledger, "huge", 10_000, 0);
        ledger.evict();
        assert!(!ledger.tracks.contains(&channel("huge")));
        assert_eq!(ledger.tracks.len(), 3);
    }

    #[test]
    fn while_it_is_in_use_it_costs_no_other_its_place() {
        let mut ledger = ledger();
        track(&mut ledger, "huge", 10_000, 1);
        ledger.evict();
        assert_eq!(ledger.tracks.len(), 4);
    }

    #[test]
    fn too_many_channels_lose_those_that_were_not_used_the_longest() {
        let mut ledger = ledger();
        track(&mut ledger, "d", 1, 0);
        track(&mut ledger, "e", 1, 0);
        ledger.evict();
        assert!(!ledger.tracks.contains(&channel("a")));
        assert_eq!(ledger.tracks.len(), 4);
    }
}
