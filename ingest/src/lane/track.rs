//! What is known of one channel's outboxes: the acceptance rule's state as of a place in the log, and what
//! of theirs is in flight here.
//!
//! Pure. Records of the log enter through [`Track::apply`], claims are judged by [`Track::judge`] before
//! they are appended, and by [`Track::verdict`] once the log has been read past them.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use schemas::{Channel, Event, EventName, Lane, Outbox};
use state::{Acceptance, Verdict, Void};

use super::job::{Answer, Claim, Identity};

/// Places of accepted records kept per outbox that is not busy, to answer its retries with.
const PLACES_MIN: usize = 32;
/// Outboxes of one channel whose places are kept while they are not busy.
const OUTBOXES_MAX: usize = 1_024;

/// The outboxes of one channel.
#[derive(Debug)]
pub(crate) struct Track {
    acceptance: Acceptance,
    /// Every record of the channel below this offset is in `acceptance`.
    pub(crate) from: i64,
    pub(crate) phase: Phase,
    /// Tells entries of this track from those of one that was dropped before.
    pub(crate) life: u64,
    pub(crate) used_ms: u64,
    /// Entries let through and not answered yet.
    pub(crate) busy: usize,
    /// Outboxes that published through this node.
    here: HashMap<Identity, Here>,
}

/// How much of the channel is known. In all phases but `Looking` and `Behind` everything below the ledger's
/// frontier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing yet; the answer to this question will bring a state.
    Looking { ask: u64 },
    /// A state of the past; it is that of the frontier once the log has been read up to here.
    Behind { ready_at: i64 },
    /// The answer to this question will say how far the log goes.
    Heading { ask: u64 },
    /// Current enough once the log has been read up to here.
    CatchingUp { ready_at: i64 },
    /// Jobs may be judged.
    Ready,
}

/// What a claim is worth before it is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It continues the outbox: append it.
    Next,
    /// It is behind: its answer is known when its turn comes.
    Behind,
    /// It skips something, as far as is known here.
    Ahead,
}

#[derive(Debug, Default)]
struct Here {
    /// Epoch and number that follow what is in flight; `None`: what the log says.
    expected: Option<(u64, u64)>,
    in_flight: usize,
    last_serial: u64,
    /// Entries up to this serial are answered `TIMEOUT`: one before them failed (D4).
    failed_until: u64,
    places: VecDeque<Place>,
}

#[derive(Debug)]
struct Place {
    epoch: u64,
    seq: u64,
    offset: i64,
    id: String,
}

impl Track {
    /// A track that nothing is known of; `life` is also the question.
    pub(crate) fn looking(life: u64, now_ms: u64) -> Track {
        Track {
            acceptance: Acceptance::new(),
            from: 0,
            phase: Phase::Looking { ask: life },
            life,
            used_ms: now_ms,
            busy: 0,
            here: HashMap::new(),
        }
    }

    /// Takes the state as of `from` over.
    pub(crate) fn restore(&mut self, acceptance: Acceptance, from: i64) {
        self.acceptance = acceptance;
        self.from = from;
    }

    /// Bytes it holds, roughly.
    pub(crate) fn weight(&self) -> usize {
        let places: usize = self.here.values().map(|here| here.places.len()).sum();
        self.acceptance.weight() + self.here.len() * 128 + places * 80
    }

    /// Takes in the next record of the channel, if it is not in already. Nothing of the channel may stand
    /// between it and what is in.
    pub(crate) fn apply(&mut self, channel: &Channel, record: &Seen, offset: i64, at_ms: i64) {
        if offset < self.from {
            return;
        }
        self.from = offset + 1;
        let claim = &record.claim;
        let verdict = self.acceptance.apply(&bare(channel, record), at_ms);
        let (Verdict::Accepted { .. }, Some(here)) = (verdict, self.here.get_mut(&claim.identity))
        else {
            return;
        };
        here.places.push_back(Place {
            epoch: claim.epoch,
            seq: claim.seq,
            offset,
            id: record.id.clone(),
        });
        // What is in flight needs its places until it is answered.
        while here.places.len() > PLACES_MIN + here.in_flight {
            here.places.pop_front();
        }
    }

    /// Judges a claim against what is known and what is in flight.
    pub(crate) fn judge(&self, claim: &Claim) -> Judgement {
        let here = self.here.get(&claim.identity);
        let Some((epoch, next)) = here.and_then(|here| here.expected) else {
            return match self.void(claim) {
                None => Judgement::Next,
                Some(Void::Gap { .. }) => Judgement::Ahead,
                Some(Void::Duplicate | Void::StaleEpoch { .. }) => Judgement::Behind,
            };
        };
        if claim.epoch > epoch {
            return if claim.seq == 0 {
                Judgement::Next
            } else {
                Judgement::Ahead
            };
        }
        if claim.epoch < epoch || claim.seq < next {
            return Judgement::Behind;
        }
        if claim.seq == next {
            Judgement::Next
        } else {
            Judgement::Ahead
        }
    }

    /// Lets an entry through. `next` says whether it is appended, so that its successor may follow; the
    /// expectation it replaces is returned for [`Track::take_back`].
    pub(crate) fn let_through(
        &mut self,
        claim: &Claim,
        serial: u64,
        next: bool,
    ) -> Option<(u64, u64)> {
        if self.here.len() >= OUTBOXES_MAX {
            self.here.retain(|_, here| here.in_flight > 0);
        }
        self.busy += 1;
        let here = self.here.entry(claim.identity.clone()).or_default();
        here.in_flight += 1;
        here.last_serial = serial;
        let before = here.expected;
        if next {
            here.expected = Some((claim.epoch, claim.seq.saturating_add(1)));
        }
        before
    }

    /// The entry just let through was not appended after all: its successor must not follow.
    pub(crate) fn take_back(&mut self, claim: &Claim, expected_before: Option<(u64, u64)>) {
        if let Some(here) = self.here.get_mut(&claim.identity) {
            here.expected = expected_before;
        }
    }

    /// Whether an entry is in the tail of one that failed.
    pub(crate) fn is_doomed(&self, claim: &Claim, serial: u64) -> bool {
        self.here
            .get(&claim.identity)
            .is_some_and(|here| serial <= here.failed_until)
    }

    /// An entry failed: everything of its outbox that is in flight by now shares its fate (D4).
    pub(crate) fn fail_tail(&mut self, claim: &Claim) {
        if let Some(here) = self.here.get_mut(&claim.identity) {
            here.failed_until = here.last_serial;
            here.expected = None;
        }
    }

    /// What the log says about a claim, of which a record stands at `offset` if it was appended. The log
    /// must have been read past that offset.
    pub(crate) fn verdict(&self, claim: &Claim, offset: Option<i64>) -> Answer {
        let place = self.here.get(&claim.identity).and_then(|here| {
            here.places
                .iter()
                .rfind(|place| place.epoch == claim.epoch && place.seq == claim.seq)
        });
        match place {
            Some(place) if Some(place.offset) == offset => {
                return Answer::Stored {
                    offset: place.offset,
                };
            }
            Some(place) => {
                return Answer::Duplicate {
                    offset: Some(place.offset),
                    id: Some(place.id.clone()),
                };
            }
            None => {}
        }
        match self.void(claim) {
            Some(Void::StaleEpoch { epoch }) => Answer::Stale { epoch },
            Some(Void::Duplicate) => Answer::Duplicate {
                offset: None,
                id: None,
            },
            Some(Void::Gap { next }) => Answer::Ahead { next },
            // It would count, were it in the log.
            None => Answer::Ahead { next: claim.seq },
        }
    }

    /// An entry was answered.
    pub(crate) fn done(&mut self, claim: &Claim) {
        self.busy = self.busy.saturating_sub(1);
        if let Some(here) = self.here.get_mut(&claim.identity) {
            here.in_flight = here.in_flight.saturating_sub(1);
            if here.in_flight == 0 {
                here.expected = None;
                here.places
                    .drain(..here.places.len().saturating_sub(PLACES_MIN));
            }
        }
    }

    fn void(&self, claim: &Claim) -> Option<Void> {
        let identity = &claim.identity;
        let numbers = (claim.epoch, claim.seq);
        self.acceptance
            .void(identity.user.as_deref(), &identity.producer, numbers)
    }
}

/// What the acceptance rule needs of a record with an outbox's identity.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) claim: Claim,
    pub(crate) id: String,
}

/// The record as the acceptance rule wants it. Its id is left out: an outbox's record counts by its number
/// alone, and ids of others are none of our business here.
pub(crate) fn bare(channel: &Channel, record: &Seen) -> Event {
    let claim = &record.claim;
    Event {
        channel: channel.clone(),
        name: EventName::parse("x").expect("a letter is an event name"),
        id: String::new(),
        id_given: false,
        user_id: claim.identity.user.clone(),
        data: Bytes::from_static(b"null"),
        to: None,
        lane: Lane::Durable,
        outbox: Some(Outbox {
            producer: claim.identity.producer.clone(),
            epoch: claim.epoch,
            seq: claim.seq,
        }),
        traceparent: None,
    }
}
