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
}

struct Answer {
    place: Place,
    /// Where the reader stood when it was asked.
    next: i64,
    high: Option<i64>,
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
        let stands = |(topic, partition): &Place| assigned.get(topic)?.get(partition).copied();
        let answers = self
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(answers) = answers {
            self.due = Some(now + EVERY);
            for answer in answers {
                let behind = answer.high.is_some_and(|high| high > answer.next);
                if behind && stands(&answer.place) == Some(answer.next) {
                    let suspect = Suspect {
                        next: answer.next,
                        since: now,
                    };
                    self.suspects.entry(answer.place).or_insert(suspect);
                } else {
                    self.suspects.remove(&answer.place);
                }
            }
        }
        self.suspects
            .retain(|place, suspect| stands(place) == Some(suspect.next));
        if now >= self.not_before
            && let Some(place) = self
                .suspects
                .iter()
                .find(|(_, suspect)| drained > suspect.since + EVERY)
                .map(|(place, _)| place.clone())
        {
            self.suspects.clear();
            self.not_before = now + PAUSE;
            return Some(place);
        }
        if self.due.is_some_and(|due| due <= now) {
            self.ask(assigned, now);
        }
        None
    }

    fn ask(&mut self, assigned: &HashMap<Arc<str>, HashMap<i32, i64>>, now: Instant) {
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
            self.due = Some(now + EVERY);
            return;
        }
        quiet.sort_unstable();
        let from = self.turn % quiet.len();
        quiet.rotate_left(from);
        self.turn = from + AT_ONCE;
        quiet.truncate(AT_ONCE);
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
}
