//! Whether the topics a reader reads are still there, and still the same.
//!
//! librdkafka keeps quiet about a topic that does not exist (it waits for it), and goes on in a topic
//! that was deleted and created again as if nothing had happened. So each reader asks for the identity
//! of its topics, at first and then every few seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::query::Query;
use crate::pins::recreated;
use crate::{BrokerError, TopicFacts};

const EVERY: Duration = Duration::from_secs(10);
const MISSING_MAX: u8 = 3;
const MISSING_PAUSE: Duration = Duration::from_millis(300);

pub(crate) struct Watch {
    query: Query,
    wake: Arc<Notify>,
    topics: HashMap<Arc<str>, Topic>,
    next: Instant,
    /// Written by the asking tasks, each of which ends within the request timeout.
    answers: Arc<Mutex<Vec<Answer>>>,
}

struct Topic {
    facts: Option<TopicFacts>,
    /// How many times in a row the brokers did not know it: a new topic takes a moment to spread.
    missing: u8,
    /// When to ask; `None` while asking.
    due: Option<Instant>,
}

type Answer = (Arc<str>, Result<TopicFacts, BrokerError>);

/// What is wrong with a topic.
pub(crate) enum Finding {
    /// None of its partitions can be read on.
    All(BrokerError),
    /// It has only so many partitions.
    Only(u32),
}

impl Watch {
    pub(crate) fn new(query: Query, wake: Arc<Notify>) -> Watch {
        Watch {
            query,
            wake,
            topics: HashMap::new(),
            next: Instant::now(),
            answers: Arc::default(),
        }
    }

    /// Begins to watch a topic, unless it is watched. Known to lack `partition`: says so at once.
    pub(crate) fn add(&mut self, topic: &Arc<str>, partition: i32) -> Option<BrokerError> {
        let known = self
            .topics
            .entry(Arc::clone(topic))
            .or_insert_with(|| Topic {
                missing: 0,
                facts: None,
                due: Some(Instant::now()),
            });
        self.next = self.next.min(known.due.unwrap_or(self.next));
        let count = known.facts.as_ref()?.partitions;
        lacks(count, partition).then(|| BrokerError::Unknown {
            topic: topic.to_string(),
            partition,
        })
    }

    /// Forgets a topic: a new one under its name is then welcome.
    pub(crate) fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// Asks what is due and returns what was found. Never waits; needs a runtime.
    pub(crate) fn check(&mut self) -> Vec<(Arc<str>, Finding)> {
        let answers =
            std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner));
        let now = Instant::now();
        if answers.is_empty() && now < self.next {
            return Vec::new();
        }
        let findings = answers.into_iter().filter_map(|(topic, answer)| {
            let finding = self.topics.get_mut(&topic)?.learn(&topic, answer, now)?;
            Some((topic, finding))
        });
        let findings = findings.collect();
        for (name, topic) in &mut self.topics {
            if topic.due.is_some_and(|due| due <= now) {
                topic.due = None;
                let (query, wake, answers, name) = (
                    self.query.clone(),
                    Arc::clone(&self.wake),
                    Arc::clone(&self.answers),
                    Arc::clone(name),
                );
                tokio::spawn(async move {
                    let answer = query.describe(&name).await;
                    answers
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((name, answer));
                    wake.notify_one();
                });
            }
        }
        self.next = self
            .topics
            .values()
            .filter_map(|topic| topic.due)
            .min()
            .unwrap_or(now + EVERY);
        findings
    }
}

impl Topic {
    fn learn(
        &mut self,
        name: &str,
        answer: Result<TopicFacts, BrokerError>,
        now: Instant,
    ) -> Option<Finding> {
        self.due = Some(now + EVERY);
        match (answer, &self.facts) {
            (Ok(new), Some(old)) if new.id != old.id => Some(Finding::All(BrokerError::Differs {
                topic: name.into(),
                flaws: vec![recreated(name, &old.id, &new.id)],
            })),
            (Ok(new), _) => {
                self.missing = 0;
                let count = new.partitions;
                self.facts = Some(new);
                Some(Finding::Only(count))
            }
            (Err(BrokerError::Unknown { .. }), _) if self.missing < MISSING_MAX => {
                self.missing += 1;
                self.due = Some(now + MISSING_PAUSE);
                None
            }
            (Err(error @ (BrokerError::Unknown { .. } | BrokerError::Refused { .. })), _) => {
                Some(Finding::All(error))
            }
            // Brokers away: reading goes on by itself when they are back.
            (Err(_), _) => None,
        }
    }
}

pub(crate) fn lacks(count: u32, partition: i32) -> bool {
    u32::try_from(partition).is_ok_and(|partition| partition >= count)
}
