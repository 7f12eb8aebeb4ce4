//! Whether a reader stands still although its partition goes on.
//!
//! librdkafka 2.12 can lose a partition for good when its leader goes away for a moment: a fetch answered
//! without a leader leaves uninitialised entries in the metadata it updates itself with (upstream issue 5430
//! and around), and from then on neither time nor assigning again helps. So the end of partitions that are
//! quiet is asked for, and a reader that stays behind it gets a new client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::query::Query;

/// How often quiet partitions are looked at, and how long one may stay behind before it counts.
const EVERY: Duration = Duration::from_secs(3);
/// Partitions asked about at once; more have their turn later.
const AT_ONCE: usize = 32;
/// A new client gets this long before it is judged.
const PAUSE: Duration = Duration::from_secs(10);

type Place = (Arc<str>, i32);

pub(crate) struct Stall {
    query: Query,
    wake: Arc<Notify>,
    /// When to look next; `None` while asking.
    due: Option<Instant>,
    /// Where each partition stood at the last look: only those that still stand there are asked about.
    seen: HashMap<Place, i64>,
    suspects: HashMap<Place, Suspect>,
    /// Written by the asking task, which ends within the request timeout.
    answers: Arc<Mutex<Option<Vec<Answer>>>>,
    turn: usize,
    not_before: Instant,
}

#[derive(Clone, Copy)]
struct Suspect {
    next: i64,
    since: Instant,
    /// When everything that was queued some time after `since` had been taken. The queue may have been full all that
    /// time, and then nothing of this partition was fetched; what was queued by now is the proof.
    round: Option<Instant>,
}

struct Answer {
    place: Place,
    /// Where the reader stood when it was asked.
    next: i64,
    high: Option<i64>,
}

impl Suspect {
    /// Whether all that was queued has been taken twice, and nothing of it was this partition's.
    fn is_out(&mut self, drained: Instant, now: Instant) -> bool {
        match self.round {
            Some(round) => drained > round,
            None if drained > self.since + EVERY => {
                self.round = Some(now);
                false
            }
            None => false,
        }
    }
}

impl Stall {
    pub(crate) fn new(query: Query, wake: Arc<Notify>) -> Stall {
        let now = Instant::now();
        Stall {
            query,
            wake,
            due: Some(now + EVERY),
            seen: HashMap::new(),
            suspects: HashMap::new(),
            answers: Arc::default(),
            turn: 0,
            not_before: now,
        }
    }

    /// Looks at what stands where. The answer is a partition that has stood still before the log's end for
    /// some seconds, though everything queued had been taken at `drained`. Never waits; needs a runtime.
    pub(crate) fn check(
        &mut self,
        assigned: &HashMap<Arc<str>, HashMap<i32, i64>>,
        drained: Instant,
    ) -> Option<Place> {
        let now = Instant::now();
        let answers = self
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(answers) = answers {
            self.learn(answers, assigned, now);
        }
        if let Some(place) = self.stalled(assigned, drained, now) {
            return Some(place);
        }
        if self.due.is_some_and(|due| due <= now) {
            self.ask(assigned, now);
        }
        None
    }

    /// Where the partitions that were asked about end: who stands before that is suspect. Pure.
    fn learn(
        &mut self,
        answers: Vec<Answer>,
        assigned: &HashMap<Arc<str>, HashMap<i32, i64>>,
        now: Instant,
    ) {
        self.due = Some(now + EVERY);
        for answer in answers {
            let behind = answer.high.is_some_and(|high| high > answer.next);
            if behind && stands(assigned, &answer.place) == Some(answer.next) {
                let suspect = Suspect {
                    next: answer.next,
                    since: now,
                    round: None,
                };
                self.suspects.entry(answer.place).or_insert(suspect);
            } else {
                self.suspects.remove(&answer.place);
            }
        }
    }

    /// The partition that is suspect for long enough, if there is one. Pure.
    fn stalled(
        &mut self,
        assigned: &HashMap<Arc<str>, HashMap<i32, i64>>,
        drained: Instant,
        now: Instant,
    ) -> Option<Place> {
        self.suspects
            .retain(|place, suspect| stands(assigned, place) == Some(suspect.next));
        if now < self.not_before {
            return None;
        }
        let mut suspects = self.suspects.iter_mut();
        let place = suspects
            .find_map(|(place, suspect)| suspect.is_out(drained, now).then(|| place.clone()))?;
        self.suspects.clear();
        self.not_before = now + PAUSE;
        Some(place)
    }

    fn ask(&mut self, assigned: &HashMap<Arc<str>, HashMap<i32, i64>>, now: Instant) {
        let quiet = self.quiet(assigned);
        if quiet.is_empty() {
            self.due = Some(now + EVERY);
            return;
        }
        self.due = None;
        let (query, wake, answers) = (
            self.query.clone(),
            Arc::clone(&self.wake),
            Arc::clone(&self.answers),
        );
        tokio::spawn(async move {
            let mut found = Vec::with_capacity(quiet.len());
            for (place, next) in quiet {
                // Brokers that are away are no stall.
                let high = query.watermarks(&place.0, place.1).await.ok();
                found.push(Answer {
                    place,
                    next,
                    high: high.map(|watermarks| watermarks.high),
                });
            }
            *answers.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            wake.notify_one();
        });
    }

    /// The partitions that have not moved since the last look, a few at a time. Pure.
    fn quiet(&mut self, assigned: &HashMap<Arc<str>, HashMap<i32, i64>>) -> Vec<(Place, i64)> {
        let standing: HashMap<Place, i64> = assigned
            .iter()
            .flat_map(|(topic, partitions)| {
                partitions
                    .iter()
                    .map(|(partition, next)| ((Arc::clone(topic), *partition), *next))
            })
            .collect();
        let mut quiet: Vec<(Place, i64)> = standing
            .iter()
            .filter(|(place, next)| self.seen.get(*place) == Some(next))
            .map(|(place, next)| (place.clone(), *next))
            .collect();
        self.seen = standing;
        if quiet.is_empty() {
            return quiet;
        }
        quiet.sort_unstable();
        let from = self.turn % quiet.len();
        quiet.rotate_left(from);
        self.turn = from + AT_ONCE;
        quiet.truncate(AT_ONCE);
        quiet
    }
}

fn stands(
    assigned: &HashMap<Arc<str>, HashMap<i32, i64>>,
    (topic, partition): &Place,
) -> Option<i64> {
    assigned.get(topic)?.get(partition).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KafkaConfig;

    /// Looks as a reader does, ten times a second; the brokers answer at once. When the stall was found.
    fn found(mut next: impl FnMut(Duration) -> i64, high: i64) -> Option<Duration> {
        let query = Query::new(&KafkaConfig::new("127.0.0.1:1")).unwrap();
        let mut stall = Stall::new(query, Arc::default());
        let began = Instant::now();
        for tenth in 0..300 {
            let after = Duration::from_millis(tenth * 100);
            let now = began + after;
            let place: Place = (Arc::from("events"), 0);
            let assigned =
                HashMap::from([(Arc::clone(&place.0), HashMap::from([(0, next(after))]))]);
            if stall.stalled(&assigned, now, now).is_some() {
                return Some(after);
            }
            if stall.due.is_some_and(|due| due <= now) {
                let quiet = stall.quiet(&assigned).into_iter();
                let answers = quiet.map(|(place, next)| Answer {
                    place,
                    next,
                    high: Some(high),
                });
                stall.learn(answers.collect(), &assigned, now);
            }
        }
        None
    }

    /// A partition whose fetches bring nothing any more, at any moment between two looks.
    #[test]
    fn f48_a_partition_that_stalls_is_found_within_ten_seconds() {
        for stops_ms in (0..6_000u64).step_by(100) {
            let moves = |after: Duration| after.as_millis().min(u128::from(stops_ms)) as i64 / 100;
            let found = found(moves, 1_000).unwrap();
            let took = found.saturating_sub(Duration::from_millis(stops_ms));
            assert!(
                took <= Duration::from_secs(10),
                "{took:?} after {stops_ms} ms"
            );
        }
    }

    /// Beside a backlog: a queue that is full until everything in it is taken, which takes long.
    #[test]
    fn who_comes_a_full_queue_later_is_never_replaced() {
        let began = Instant::now();
        let at = |second: u64| began + Duration::from_secs(second);
        let mut suspect = Suspect {
            next: 0,
            since: began,
            round: None,
        };
        // What was queued at 5 is taken at 9; what was queued then, this partition's record with it, at 14.
        let taken = [(4, 0), (9, 5), (10, 5), (13, 5), (14, 9)];
        let out = taken.map(|(now, drained)| suspect.is_out(at(drained), at(now)));
        assert_eq!(out, [false; 5]);
        let lost = suspect.is_out(at(14), at(19));
        assert!(
            lost,
            "all that was queued at 14 is taken, and it is not there"
        );
    }

    #[test]
    fn who_moves_or_stands_at_the_end_is_never_replaced() {
        assert_eq!(found(|after| after.as_secs() as i64, 1_000), None);
        assert_eq!(found(|_| 1_000, 1_000), None);
    }
}
