//! Claims about the acceptance rule.

use proptest::prelude::*;

use super::*;
use crate::tests::{anonymous, event, numbered};

const DUPLICATE: Verdict = Verdict::Void(Void::Duplicate);

fn accepted(log_time_ms: i64) -> Verdict {
    Verdict::Accepted { log_time_ms }
}

#[test]
fn an_outbox_is_continued_or_void() {
    let mut rule = Acceptance::new();
    let mut put = |epoch, seq| rule.apply(&numbered(Some("u"), "p", epoch, seq), 5);
    assert_eq!(put(4, 1), Verdict::Void(Void::Gap { next: 0 }));
    assert_eq!(put(4, 0), accepted(5));
    assert_eq!(put(4, 0), DUPLICATE);
    assert_eq!(put(4, 2), Verdict::Void(Void::Gap { next: 1 }));
    assert_eq!(put(4, 1), accepted(5));
    assert_eq!(put(3, 2), Verdict::Void(Void::StaleEpoch { epoch: 4 }));
    assert_eq!(put(9, 1), Verdict::Void(Void::Gap { next: 0 }));
    assert_eq!(put(9, 0), accepted(5));
    assert_eq!(put(4, 2), Verdict::Void(Void::StaleEpoch { epoch: 9 }));
    assert_eq!(rule.producer(Some("u"), "p"), Some((9, 0)));
}

#[test]
fn outboxes_of_different_users_are_different() {
    let mut rule = Acceptance::new();
    for user in [None, Some(""), Some("u"), Some("u1")] {
        assert_eq!(
            rule.apply(&numbered(user, "p", 0, 0), 1),
            accepted(1),
            "{user:?}"
        );
        assert_eq!(
            rule.apply(&numbered(user, "p", 0, 0), 1),
            DUPLICATE,
            "{user:?}"
        );
    }
    // Concatenated, these two would be the same.
    assert_eq!(rule.apply(&numbered(Some("ab"), "c", 0, 0), 1), accepted(1));
    assert_eq!(rule.apply(&numbered(Some("a"), "bc", 0, 0), 1), accepted(1));
}

#[test]
fn an_outbox_is_never_forgotten() {
    let mut rule = Acceptance::new();
    rule.apply(&numbered(None, "p", 0, 0), 1);
    rule.apply(&event("later"), 1 + 100 * HORIZON_MS);
    assert_eq!(
        rule.apply(&numbered(None, "p", 0, 0), 2 + 100 * HORIZON_MS),
        DUPLICATE
    );
}

#[test]
fn an_id_counts_once_within_the_horizon() {
    let mut rule = Acceptance::new();
    assert_eq!(rule.apply(&event("a"), 1000), accepted(1000));
    assert_eq!(rule.apply(&event("a"), 1000 + HORIZON_MS - 1), DUPLICATE);
    assert!(rule.known_id("a"));
    assert_eq!(
        rule.apply(&event("a"), 1000 + HORIZON_MS),
        accepted(1000 + HORIZON_MS)
    );
    assert_eq!(rule.apply(&event("a"), 1001 + HORIZON_MS), DUPLICATE);
}

#[test]
fn a_clock_that_steps_back_does_not_reopen_an_id() {
    let mut rule = Acceptance::new();
    assert_eq!(rule.apply(&event("a"), 5_000_000), accepted(5_000_000));
    assert_eq!(rule.apply(&event("b"), 1_000), accepted(5_000_000));
    assert_eq!(rule.apply(&event("a"), 1_000), DUPLICATE);
    // b's horizon is counted from its log time, not from its own.
    assert_eq!(rule.apply(&event("b"), 1_000 + HORIZON_MS), DUPLICATE);
}

#[test]
fn a_void_record_changes_nothing() {
    let mut rule = Acceptance::new();
    rule.apply(&event("a"), 0);
    assert_eq!(rule.apply(&event("a"), HORIZON_MS - 1), DUPLICATE);
    assert_eq!(rule.log_time_ms(), 0);
    assert_eq!(
        rule.apply(&numbered(None, "p", 0, 7), 9 * HORIZON_MS),
        Verdict::Void(Void::Gap { next: 0 })
    );
    assert_eq!(rule.log_time_ms(), 0);
    assert_eq!(rule.producer(None, "p"), None);
}

#[test]
fn an_outbox_that_went_on_in_what_was_lost_counts_from_where_it_reappears() {
    let mut rule = Acceptance::new();
    for seq in 0..=4 {
        rule.apply(&numbered(None, "p", 7, seq), 1);
    }
    rule.lose();
    let mut put = |producer, epoch, seq| rule.apply(&numbered(None, producer, epoch, seq), 2);
    assert_eq!(put("p", 7, 4), DUPLICATE);
    assert_eq!(put("p", 6, 5), Verdict::Void(Void::StaleEpoch { epoch: 7 }));
    assert_eq!(put("p", 7, 9), accepted(2));
    // From there on by the rule again.
    assert_eq!(put("p", 7, 8), DUPLICATE);
    assert_eq!(put("p", 7, 11), Verdict::Void(Void::Gap { next: 10 }));
    assert_eq!(put("p", 8, 1), Verdict::Void(Void::Gap { next: 0 }));
    // One that may have begun there, too.
    assert_eq!(put("q", 3, 5), accepted(2));
    assert_eq!(put("q", 3, 7), Verdict::Void(Void::Gap { next: 6 }));
}

#[test]
fn a_second_loss_forgets_nothing_of_the_first() {
    let mut rule = Acceptance::new();
    rule.apply(&numbered(None, "p", 7, 0), 1);
    rule.lose();
    rule.apply(&numbered(None, "q", 0, 5), 2);
    rule.lose();
    let mut put = |producer, epoch, seq| rule.apply(&numbered(None, producer, epoch, seq), 3);
    assert_eq!(put("p", 7, 0), DUPLICATE);
    assert_eq!(put("q", 0, 5), DUPLICATE);
    assert_eq!(put("q", 0, 6), accepted(3));
}

#[test]
fn the_id_of_an_outbox_record_is_known_too() {
    let mut rule = Acceptance::new();
    rule.apply(&numbered(None, "p", 0, 0), 1);
    assert_eq!(rule.apply(&event("p-0-0"), 2), DUPLICATE);
    // The outbox itself goes by its numbers alone, or one id would stop it for good.
    rule.apply(&event("p-0-1"), 3);
    assert_eq!(rule.apply(&numbered(None, "p", 0, 1), 4), accepted(4));
}

#[test]
fn ids_made_from_positions_always_count_and_are_not_kept() {
    let mut rule = Acceptance::new();
    for offset in [1, 2, 2] {
        assert_eq!(rule.apply(&anonymous(offset), 1), accepted(1));
    }
    assert!(!rule.known_id("rivermouth.events:0:2"));
}

#[test]
fn memory_is_given_back_when_the_horizon_has_passed() {
    let mut rule = Acceptance::new();
    for i in 0..10_000 {
        rule.apply(&event(&format!("id{i}")), i);
    }
    let full = rule.weight();
    rule.apply(&event("late"), 10 * HORIZON_MS);
    assert!(rule.weight() < full / 100, "{} of {full}", rule.weight());
}

/// The rule as protocol and failure model write it: remembers everything, forgets nothing.
#[derive(Default)]
struct Plainly {
    log_time_ms: i64,
    accepted: Vec<(Event, i64)>,
}

impl Plainly {
    fn apply(&mut self, event: &Event, at_ms: i64) -> Verdict {
        let now = self.log_time_ms.max(at_ms);
        let void = match &event.outbox {
            Some(outbox) => {
                let known = self
                    .accepted
                    .iter()
                    .filter(|(other, _)| other.user_id == event.user_id)
                    .filter_map(|(other, _)| other.outbox.as_ref())
                    .rfind(|other| other.producer == outbox.producer);
                match known {
                    None if outbox.seq > 0 => Some(Void::Gap { next: 0 }),
                    None => None,
                    Some(o) if outbox.epoch < o.epoch => Some(Void::StaleEpoch { epoch: o.epoch }),
                    Some(o) if outbox.epoch > o.epoch && outbox.seq > 0 => {
                        Some(Void::Gap { next: 0 })
                    }
                    Some(o) if outbox.epoch > o.epoch || outbox.seq == o.seq + 1 => None,
                    Some(o) if outbox.seq > o.seq => Some(Void::Gap { next: o.seq + 1 }),
                    Some(_) => Some(Void::Duplicate),
                }
            }
            None => {
                let seen = self.accepted.iter().any(|(other, time)| {
                    event.id_given
                        && other.id_given
                        && other.id == event.id
                        && now - time < HORIZON_MS
                });
                seen.then_some(Void::Duplicate)
            }
        };
        if let Some(void) = void {
            return Verdict::Void(void);
        }
        self.log_time_ms = now;
        self.accepted.push((event.clone(), now));
        accepted(now)
    }

    /// What a store that keeps accepted rows would hand to `restore`.
    fn checkpoint(&self) -> (Vec<ProducerState>, Vec<IdState>, i64) {
        let mut producers: Vec<ProducerState> = Vec::new();
        for (event, _) in &self.accepted {
            let Some(o) = &event.outbox else { continue };
            producers.retain(|p| p.user != event.user_id || p.producer != o.producer);
            producers.push(ProducerState {
                user: event.user_id.clone(),
                producer: o.producer.clone(),
                epoch: o.epoch,
                seq: o.seq,
            });
        }
        let ids = self
            .accepted
            .iter()
            .filter(|(event, time)| event.id_given && self.log_time_ms - time < HORIZON_MS)
            .map(|(event, time)| IdState {
                id: event.id.clone(),
                log_time_ms: *time,
            })
            .collect();
        (producers, ids, self.log_time_ms)
    }
}

fn records() -> impl Strategy<Value = Vec<(Event, i64)>> {
    let record = prop_oneof![
        (0..6u8).prop_map(|id| event(&format!("id{id}"))),
        (prop::option::of("u|v"), "p|q", 0..3u64, 0..4u64).prop_map(
            |(user, producer, epoch, seq)| numbered(user.as_deref(), &producer, epoch, seq)
        ),
        (0..9usize).prop_map(anonymous),
        // An outbox record that shares its id with others.
        (0..6u8, 0..3u64).prop_map(|(id, seq)| Event {
            id: format!("id{id}"),
            ..numbered(None, "p", 0, seq)
        }),
    ];
    // Steps around the horizon, and backwards.
    let step = prop_oneof![
        Just(0),
        -1000..1000i64,
        Just(HORIZON_MS - 1),
        Just(HORIZON_MS),
        -HORIZON_MS..2 * HORIZON_MS,
    ];
    prop::collection::vec((record, step), 0..80).prop_map(|steps| {
        let mut now = 10 * HORIZON_MS;
        steps
            .into_iter()
            .map(|(event, step)| {
                now += step;
                (event, now)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn forgetting_never_changes_a_verdict(records in records()) {
        let (mut plainly, mut rule) = (Plainly::default(), Acceptance::new());
        for (event, at) in &records {
            prop_assert_eq!(rule.apply(event, *at), plainly.apply(event, *at));
            prop_assert_eq!(rule.log_time_ms(), plainly.log_time_ms);
            prop_assert!(rule.ages.len() >= rule.ids.len());
        }
    }

    #[test]
    fn a_state_restored_at_any_prefix_judges_like_one_that_saw_it_all(records in records(), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(records.len() + 1);
        let (mut plainly, mut rule) = (Plainly::default(), Acceptance::new());
        for (event, at) in &records[..cut] {
            plainly.apply(event, *at);
            rule.apply(event, *at);
        }
        let (producers, mut ids, log_time) = plainly.checkpoint();
        ids.reverse();
        let mut restored = Acceptance::restore(producers.into_iter(), ids.into_iter(), log_time);
        prop_assert_eq!(&restored.ids, &rule.ids);
        prop_assert_eq!(&restored.producers, &rule.producers);
        for (event, at) in &records[cut..] {
            prop_assert_eq!(restored.apply(event, *at), rule.apply(event, *at));
        }
    }

    /// Each of three outboxes sends its numbers in order, any of them any number of times, with
    /// late copies of earlier ones in between.
    #[test]
    fn any_pattern_of_retries_yields_each_number_once_and_in_order(
        sends in prop::collection::vec((0..3usize, prop::option::of(any::<prop::sample::Index>())), 0..200)
    ) {
        let mut rule = Acceptance::new();
        let mut next = [0u64; 3];
        let mut seen: [Vec<u64>; 3] = Default::default();
        for (outbox, again) in sends {
            let seq = match again {
                Some(earlier) if next[outbox] > 0 => earlier.index(next[outbox] as usize) as u64,
                _ => {
                    next[outbox] += 1;
                    next[outbox] - 1
                }
            };
            let record = numbered(Some("u"), &format!("p{outbox}"), 1, seq);
            if matches!(rule.apply(&record, 0), Verdict::Accepted { .. }) {
                seen[outbox].push(seq);
            }
        }
        for outbox in 0..3 {
            prop_assert_eq!(&seen[outbox], &(0..next[outbox]).collect::<Vec<_>>());
        }
    }
}
