//! A world around ledgers: one log, several gateways, outboxes that retry, and every fault the log has.
//!
//! Shows the promises of D3 and D4 for any order of events: what is acknowledged counts in the log exactly
//! as acknowledged; answers of one outbox come in the order of its publishes; after an unknown outcome
//! nothing in flight behind it is called a success; a refusal tells the truth about the log.

mod judge;
mod world;

use proptest::prelude::*;
use schemas::Channel;
use state::Acceptance;

use self::world::{DEADLINE_MS, Sent, World};
use super::job::{Answer, Claim, Identity, Job};
use super::ledger::{Act, Looked};
use super::track::{Seen, Track};

proptest! {
    #[test]
    fn answers_tell_the_truth_whatever_happens(seed: u64, gateways in 1usize..4) {
        let mut world = World::new(seed, gateways);
        for _ in 0..600 {
            world.step();
        }
        world.settle();
        prop_assert_eq!(world.answered, world.sent, "everybody is answered");
        prop_assert!(world.gateways.iter().all(|gateway| gateway.ledger.is_empty()));
    }
}

#[test]
fn most_publishes_are_stored_all_the_same() {
    let (mut sent, mut stored, mut replayed) = (0, 0, 0);
    for seed in 1..100_u64 {
        let mut world = World::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), 2);
        for _ in 0..600 {
            world.step();
        }
        world.settle();
        sent += world.sent;
        stored += world.stored;
        replayed += world.replayed;
    }
    assert!(stored * 4 > sent, "{stored} of {sent}");
    assert!(replayed * 100 > sent, "{replayed} of {sent}");
}

#[test]
fn a_calm_log_of_one_writer_is_never_read_back() {
    let mut world = World::new(7, 1);
    let now = world.now();
    let ledger = &mut world.gateways[0].ledger;
    let job = |seq: u64| Job {
        channel: Channel::parse("session.1").unwrap(),
        id: format!("id-{seq}"),
        claim: Some(Claim {
            identity: Identity {
                user: None,
                producer: "p".to_owned(),
            },
            epoch: 0,
            seq,
        }),
        deadline_ms: DEADLINE_MS,
        refreshed: false,
        load: Sent {
            gateway: 0,
            number: seq + 1,
            acked: 0,
        },
    };
    ledger.arrive(job(0));
    let Some(Act::Look(question)) = ledger.step(now) else {
        panic!("a new channel is looked up")
    };
    let looked = Looked {
        acceptance: Acceptance::new(),
        from: 5,
        head: 5,
    };
    ledger.looked(&question, Some(looked));
    ledger.arrive(job(1));
    let mut entries = Vec::new();
    while let Some(act) = ledger.step(now) {
        let Act::Append(entry) = act else {
            panic!("{act:?}")
        };
        entries.push(entry);
    }
    assert_eq!(entries.len(), 2);
    for (offset, entry) in (5..).zip(entries) {
        ledger.delivered(entry, offset, 0, now);
        let Some(Act::Answer(_, answer)) = ledger.step(now) else {
            panic!("answered at once")
        };
        assert_eq!(answer, Answer::Stored { offset });
    }
    assert!(ledger.is_empty());
}

#[test]
fn a_track_answers_a_late_retry_with_the_place_of_the_first() {
    let channel = Channel::parse("session.1").unwrap();
    let claim = Claim {
        identity: Identity {
            user: Some("u".to_owned()),
            producer: "p".to_owned(),
        },
        epoch: 3,
        seq: 0,
    };
    let mut track = Track::looking(1, 0);
    track.restore(Acceptance::new(), 10);
    track.let_through(&claim, 1, true);
    let seen = Seen {
        claim: claim.clone(),
        id: "first".to_owned(),
    };
    track.apply(&channel, &seen, 12, 0);
    track.done(&claim);
    let again = Answer::Duplicate {
        offset: Some(12),
        id: Some("first".to_owned()),
    };
    assert_eq!(track.verdict(&claim, None), again);
    let older = Claim { epoch: 2, ..claim };
    assert_eq!(track.verdict(&older, None), Answer::Stale { epoch: 3 });
}
