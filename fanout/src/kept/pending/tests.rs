use proptest::prelude::*;
use schemas::Channel;

use super::*;

fn key(user: &str, durable: &str) -> Arc<KeptKey> {
    Arc::new(KeptKey {
        channel: Channel::parse("session.42").unwrap(),
        user: user.into(),
        durable: durable.into(),
    })
}

fn mark(next: i64) -> Mark {
    Mark {
        position: Position {
            generation: 0,
            partition: 0,
            next,
        },
        at_ms: next,
    }
}

fn nexts(flights: &[Flight]) -> Vec<i64> {
    flights.iter().map(|f| f.mark.position.next).collect()
}

#[test]
fn ten_thousand_acks_a_second_cost_few_records_and_one_entry() {
    let (mut pending, tab) = (Pending::<()>::new(), key("u1", "tab"));
    let begun = Instant::now();
    let mut appended = Vec::new();
    for n in 0..10_000_i64 {
        let now = begun + Duration::from_micros(100) * u32::try_from(n).unwrap();
        pending.take(&tab, mark(n), None, now).unwrap();
        assert_eq!(pending.len(), 1);
        for flight in pending.fly(10, now) {
            appended.push(flight.mark.position.next);
            pending.landed(&tab, true, now);
        }
    }
    assert!(appended.len() <= 5, "{appended:?}");
    let after = begun + Duration::from_secs(2);
    appended.extend(nexts(&pending.fly(10, after)));
    assert_eq!(appended.last(), Some(&9_999), "the last one is kept");
    pending.landed(&tab, true, after);
    assert!(pending.fly(10, after + PAUSE).is_empty());
    assert_eq!((pending.len(), pending.of_user.len()), (0, 0));
}

#[test]
fn an_asker_hears_when_the_log_has_its_own_or_a_later_one_and_not_before() {
    let (mut pending, tab) = (Pending::new(), key("u1", "tab"));
    let now = Instant::now();
    let until = now + Duration::from_secs(5);
    let ask = |pending: &mut Pending<i64>, next: i64| {
        pending
            .take(&tab, mark(next), Some((until, next)), now)
            .unwrap()
    };
    assert_eq!(ask(&mut pending, 5), Taken::Coming(true));
    assert_eq!(nexts(&pending.fly(9, now)), [5]);
    assert_eq!(pending.newest(&tab), Some(mark(5)));
    assert_eq!(ask(&mut pending, 9), Taken::Coming(false));
    assert_eq!(ask(&mut pending, 3), Taken::Coming(false));
    assert_eq!(pending.landed(&key("u1", "tab"), true, now), [5, 3]);
    assert_eq!(ask(&mut pending, 4), Taken::Already(Some(4)));
    assert_eq!(nexts(&pending.fly(9, now)), [0; 0], "it pauses");
    assert_eq!(nexts(&pending.fly(9, now + PAUSE)), [9]);
    assert_eq!(pending.overdue(until), [9]);
    assert!(!pending.is_settled());
    assert_eq!(pending.landed(&key("u1", "tab"), true, now), [0; 0]);
    assert!(pending.is_settled());
}

#[test]
fn a_failed_append_is_told_and_tried_again_with_the_newest() {
    let (mut pending, tab) = (Pending::new(), key("u1", "tab"));
    let now = Instant::now();
    pending
        .take(&tab, mark(5), Some((now + RETRY, 1)), now)
        .unwrap();
    pending.fly(9, now);
    assert_eq!(pending.landed(&tab, false, now), [1]);
    assert!(pending.fly(9, now + PAUSE).is_empty());
    pending.take(&tab, mark(8), None, now).unwrap();
    pending.take(&tab, mark(7), None, now).unwrap();
    assert_eq!(nexts(&pending.fly(9, now + RETRY)), [8]);
}

#[test]
fn a_node_that_stops_flushes_what_is_still_pausing() {
    let (mut pending, tab) = (Pending::<()>::new(), key("u1", "tab"));
    let now = Instant::now();
    pending.take(&tab, mark(1), None, now).unwrap();
    pending.fly(9, now);
    pending.landed(&tab, true, now);
    pending.take(&tab, mark(2), None, now).unwrap();
    pending.hurry(now);
    assert_eq!(nexts(&pending.fly(9, now)), [2]);
    pending.landed(&tab, false, now);
    assert!(
        pending.fly(9, now).is_empty(),
        "what failed pauses all the same"
    );
    assert_eq!(nexts(&pending.fly(9, now + RETRY)), [2]);
    pending.landed(&tab, true, now);
    assert!(pending.is_settled());
}

#[test]
fn one_user_cannot_fill_the_room_and_all_together_are_bounded() {
    let mut pending = Pending::<()>::new();
    let now = Instant::now();
    let mut taken = 0;
    for user in 0..30 {
        let of_user = (0..5_000)
            .filter(|n| {
                let key = key(&user.to_string(), &n.to_string());
                pending.take(&key, mark(1), None, now).is_ok()
            })
            .count();
        assert!(of_user <= KEYS_OF_USER_MAX);
        taken += of_user;
    }
    assert_eq!((taken, pending.len()), (KEYS_MAX, KEYS_MAX));
}

proptest! {
    /// Whatever fails in between: in the end the log has the furthest of each key, and appends of a key never
    /// overlap.
    #[test]
    fn the_furthest_is_in_the_log_in_the_end(
        steps in prop::collection::vec((0usize..3, 0i64..50, any::<bool>(), 0u64..300), 1..80),
    ) {
        let keys = [key("u1", "a"), key("u1", "b"), key("u2", "a")];
        let (mut pending, mut now) = (Pending::<()>::new(), Instant::now());
        let mut wanted = [None; 3];
        let mut log = [None::<i64>; 3];
        let mut flying: Vec<Flight> = Vec::new();
        let settle = |stored: bool, flying: &mut Vec<Flight>, pending: &mut Pending<()>, log: &mut [Option<i64>; 3], now| {
            for flight in flying.drain(..) {
                if stored {
                    let at = keys.iter().position(|k| *k == flight.key).unwrap();
                    log[at] = log[at].max(Some(flight.mark.position.next));
                }
                pending.landed(&flight.key, stored, now);
            }
        };
        for (at, next, stored, ms) in steps {
            pending.take(&keys[at], mark(next), None, now).unwrap();
            wanted[at] = wanted[at].max(Some(next));
            now += Duration::from_millis(ms);
            let new = pending.fly(2, now);
            for flight in &new {
                prop_assert!(flying.iter().all(|f| f.key != flight.key));
            }
            flying.extend(new);
            if ms % 3 == 0 {
                settle(stored, &mut flying, &mut pending, &mut log, now);
            }
        }
        for _ in 0..6 {
            settle(true, &mut flying, &mut pending, &mut log, now);
            now += RETRY;
            flying.extend(pending.fly(9, now));
        }
        prop_assert!(pending.is_settled());
        prop_assert_eq!(log, wanted);
        prop_assert_eq!(pending.len(), 0);
    }
}
