//! What is checked with every answer, and what the outbox does on hearing it.

use std::collections::HashMap;

use schemas::Channel;
use state::{Acceptance, Verdict};

use super::world::{Sent, World};
use crate::lane::job::{Answer, Claim, Job};
use crate::lane::track::{Seen, bare};

impl World {
    /// The acceptance rule over the channel's prefix below `until`, and where each number was accepted.
    pub(super) fn truth(&self, channel: &Channel, until: i64) -> (Acceptance, HashMap<Claim, i64>) {
        let mut acceptance = Acceptance::new();
        let mut places = HashMap::new();
        for (offset, record) in self
            .log
            .iter()
            .enumerate()
            .take(usize::try_from(until).unwrap())
        {
            let Some(claim) = record.claim.as_ref().filter(|_| record.channel == *channel) else {
                continue;
            };
            let seen = Seen {
                claim: claim.clone(),
                id: String::new(),
            };
            let event = bare(channel, &seen);
            if let Verdict::Accepted { .. } = acceptance.apply(&event, 0) {
                places.insert(claim.clone(), i64::try_from(offset).unwrap());
            }
        }
        (acceptance, places)
    }

    /// Checks an answer against the log and against what else the outbox was told.
    pub(super) fn answer(&mut self, job: &Job<Sent>, answer: &Answer) {
        self.answered += 1;
        let Some(claim) = &job.claim else {
            assert!(!matches!(
                answer,
                Answer::Stale { .. } | Answer::Ahead { .. }
            ));
            return;
        };
        let key = (
            job.load.gateway,
            job.channel.clone(),
            claim.identity.clone(),
        );
        let success = matches!(answer, Answer::Stored { .. } | Answer::Duplicate { .. });
        // What was never let through is sent away without waiting for what was.
        if !matches!(answer, Answer::Missed) {
            let last = self
                .last_number
                .insert(key.clone(), job.load.number)
                .unwrap_or(0);
            assert!(
                last < job.load.number,
                "answers of one outbox come in order"
            );
        }
        let doomed = self.tails.get(&key).copied().unwrap_or(0);
        assert!(
            !(success && job.load.number <= doomed),
            "nothing in flight behind a failure is a success"
        );
        let (truth, places) = self.truth(&job.channel, self.head());
        let stands = truth.producer(claim.identity.user.as_deref(), &claim.identity.producer);
        match answer {
            Answer::Stored { offset } => {
                self.stored += 1;
                assert_eq!(places.get(claim), Some(offset), "it counts, right there");
            }
            Answer::Duplicate { offset, id } => {
                let place = places.get(claim).copied();
                assert!(place.is_some(), "a duplicate is of something that counts");
                assert!(offset.is_none() || *offset == place);
                if let Some(id) = id {
                    let place = usize::try_from(place.unwrap()).unwrap();
                    assert_eq!(&self.log[place].id, id);
                }
            }
            Answer::Stale { epoch } => {
                assert!(*epoch > claim.epoch && stands.is_some_and(|(now, _)| now >= *epoch));
            }
            Answer::Ahead { next } => {
                if stands.is_some_and(|(epoch, _)| epoch == claim.epoch) {
                    assert!(
                        *next >= job.load.acked,
                        "the log was asked before saying no"
                    );
                    assert!(*next <= stands.unwrap().1 + 1);
                }
            }
            Answer::Unknown | Answer::Failed(_) => {
                // One that shares another's fate takes nobody else with it.
                if self.lost.contains(&job.load.number)
                    && let Some(newest) = self.newest.get(&key)
                {
                    self.tails.insert(key, *newest);
                }
            }
            Answer::Missed => {}
        }
        self.client_hears(job, claim, answer);
    }

    /// An outbox does what the protocol tells it to.
    fn client_hears(&mut self, job: &Job<Sent>, claim: &Claim, answer: &Answer) {
        let Some(outbox) = self.outboxes.iter_mut().find(|outbox| {
            outbox.channel == job.channel && outbox.claim.identity == claim.identity
        }) else {
            return;
        };
        if outbox.claim.epoch != claim.epoch {
            return;
        }
        match answer {
            Answer::Stored { .. } | Answer::Duplicate { .. } => {
                outbox.acked = outbox.acked.max(claim.seq + 1);
                outbox.claim.seq = outbox.claim.seq.max(outbox.acked);
            }
            Answer::Stale { epoch } => {
                outbox.claim.epoch = epoch + 1;
                outbox.claim.seq = 0;
                outbox.acked = 0;
            }
            Answer::Ahead { .. } | Answer::Unknown | Answer::Failed(_) | Answer::Missed => {
                outbox.claim.seq = outbox.acked;
            }
        }
    }
}
