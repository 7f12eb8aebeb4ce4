//! Making topics, and checking those that exist.

use std::sync::{Arc, PoisonError};

use uuid::Uuid;

use super::Shared;
use super::disk::StoredTopic;
use super::partition::Topic;
use crate::{BrokerError, Code, Flaw, TopicSpec};

impl Shared {
    pub(super) fn ensure_topic(&self, spec: &TopicSpec, create: bool) -> Result<(), BrokerError> {
        // Held throughout: two callers do not make the same topic twice.
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, topic)) = topics.get_key_value(&*spec.name) {
            let mut stored = topic.stored.clone();
            if create {
                // Nobody but us could alter it: how long records are kept follows our settings.
                (stored.retention_ms, stored.retention_bytes) =
                    (spec.retention_ms, spec.retention_bytes);
            }
            let flaws = flaws(spec, &stored);
            if !flaws.is_empty() {
                return Err(BrokerError::Differs {
                    topic: spec.name.clone(),
                    flaws,
                });
            }
            if stored != topic.stored {
                self.with_disk(|disk| disk.put_topic(&spec.name, &stored))?;
                let (name, partitions) = (Arc::clone(name), topic.partitions.clone());
                topics.insert(name, Arc::new(Topic { stored, partitions }));
            }
            return Ok(());
        }
        if !create {
            return Err(BrokerError::Unknown {
                topic: spec.name.clone(),
                partition: -1,
            });
        }
        if spec.partitions == 0 || spec.name.is_empty() {
            return Err(BrokerError::Config(format!(
                "topic '{}' needs a name and a partition",
                spec.name
            )));
        }
        let stored = StoredTopic {
            id: Uuid::new_v4().to_string(),
            number: topics
                .values()
                .map(|topic| topic.stored.number + 1)
                .max()
                .unwrap_or(0),
            partitions: spec.partitions,
            retention_ms: spec.retention_ms,
            retention_bytes: spec.retention_bytes,
            compact: spec.compact,
        };
        let name: Arc<str> = spec.name.as_str().into();
        let topic = self.with_disk(|disk| {
            disk.put_topic(&name, &stored)?;
            Topic::load(&name, stored, disk)
        })?;
        topics.insert(name, Arc::new(topic));
        Ok(())
    }
}

/// What is not as it was asked for. Nobody but us can have made it so, with other settings.
fn flaws(spec: &TopicSpec, stored: &StoredTopic) -> Vec<Flaw> {
    let flaw = |code, what| {
        let mend = "start with the settings it was made with, or with another data directory";
        Flaw::new(code, &spec.name, what, mend.to_owned())
    };
    let mut flaws = Vec::new();
    if spec.partitions != stored.partitions {
        let what = format!(
            "it has {} partitions, not {}",
            stored.partitions, spec.partitions
        );
        flaws.push(flaw(Code::Partitions, what));
    }
    if spec.compact != stored.compact {
        let code = match stored.compact {
            true => Code::TopicCompacted,
            false => Code::StateNotCompacted,
        };
        let what = format!("compact is {}, not {}", stored.compact, spec.compact);
        flaws.push(flaw(code, what));
    }
    for (what, is, wanted) in [
        ("retention_ms", stored.retention_ms, spec.retention_ms),
        (
            "retention_bytes",
            stored.retention_bytes,
            spec.retention_bytes,
        ),
    ] {
        // Shorter than promised loses events early; longer hurts nobody's promise.
        if !spec.compact && is.is_some_and(|is| wanted.is_none_or(|wanted| is < wanted)) {
            let what = format!("{what} is {is:?}, less than {wanted:?}");
            flaws.push(flaw(Code::Retention, what));
        }
    }
    flaws
}
