//! Whether the pinned topics are still what they were (D2): one watch for all parts of a process.
//!
//! Somebody looks again and again ([`PinWatch::look`]); everybody who appends or reads holds a clone and asks it. A topic that is
//! another one now stays lost for this process, whatever comes later: it is started again after `rivermouth repin`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use crate::pins::gone;
use crate::{BrokerError, Code, Flaw, Log, Pin, Pins, TopicFacts};

/// How long one topic may take to tell what it is.
const ANSWER: Duration = Duration::from_secs(2);
/// A broker that has just come up may not know a topic for a moment; so many in a row have to say that it is gone.
const GONE: u8 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// The watch. A clone is cheap and is the same watch.
#[derive(Clone)]
pub struct PinWatch(Arc<Inner>);

struct Inner {
    log: Log,
    pins: BTreeMap<String, Pin>,
    /// What is wrong with which topic; empty while all is well.
    found: watch::Sender<Flaws>,
}

/// What is wrong, by topic.
pub type Flaws = BTreeMap<String, Flaw>;

/// What a topic is at a moment after the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The pinned one: whatever was read of it before the question is its own.
    Sound,
    /// Another one, or gone: nothing is read of it or appended to it.
    Lost(Flaw),
    /// The log does not say now.
    Unknown,
}

impl PinWatch {
    /// A watch over everything that is pinned; nothing is wrong until somebody has looked.
    pub fn new(log: Log, pins: &Pins) -> PinWatch {
        PinWatch(Arc::new(Inner {
            log,
            pins: pins.topics.clone(),
            found: watch::Sender::new(Flaws::new()),
        }))
    }

    /// Looks at all topics once; takes up to 2 s for each while the log is away.
    pub async fn look(&self) {
        for topic in self.0.pins.keys() {
            self.check(topic).await;
        }
    }

    /// Asks the log what `topic` is now. Answers within 3 s. A topic that is not pinned is nobody's concern: sound.
    pub async fn check(&self, topic: &str) -> Standing {
        let Some(pin) = self.0.pins.get(topic) else {
            return Standing::Sound;
        };
        if let Some(flaw) = self.lost(topic) {
            // A topic that is gone may turn out to be there after all; another one never becomes the old one.
            if flaw.code != Code::TopicGone {
                return Standing::Lost(flaw);
            }
        }
        let Ok(facts) = timeout(ANSWER, self.facts(topic)).await else {
            return Standing::Unknown;
        };
        let flaw = match facts {
            Ok(facts) => pin.judge(topic, &facts),
            Err(BrokerError::Unknown { .. }) => Some(gone(topic)),
            // A log that is away says nothing about its topics: what was known of them stands.
            Err(_) => return Standing::Unknown,
        };
        self.learn(topic, flaw.clone());
        match flaw {
            Some(flaw) if is_lost(&flaw) => Standing::Lost(flaw),
            _ => Standing::Sound,
        }
    }

    /// Nothing is wrong with any topic. Cheap enough to be asked for every record.
    pub fn is_sound(&self) -> bool {
        self.0.found.borrow().is_empty()
    }

    /// What is wrong with `topic` so that nothing of it may be read or appended: it is another one, or gone.
    pub fn lost(&self, topic: &str) -> Option<Flaw> {
        self.flaw(topic).filter(is_lost)
    }

    /// What is wrong with `topic`, added partitions among it: nothing may be appended.
    pub fn flaw(&self, topic: &str) -> Option<Flaw> {
        self.0.found.borrow().get(topic).cloned()
    }

    /// Everything that is wrong.
    pub fn flaws(&self) -> Flaws {
        self.0.found.borrow().clone()
    }

    /// Hears of every change of what is wrong.
    pub fn subscribe(&self) -> watch::Receiver<Flaws> {
        self.0.found.subscribe()
    }

    async fn facts(&self, topic: &str) -> Result<TopicFacts, BrokerError> {
        let mut missing = 1;
        loop {
            match self.0.log.describe(topic).await {
                Err(BrokerError::Unknown { .. }) if missing < GONE => missing += 1,
                facts => return facts,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn learn(&self, topic: &str, flaw: Option<Flaw>) {
        self.0.found.send_if_modified(|found| {
            let known = found.get(topic);
            if known == flaw.as_ref() || known.is_some_and(|known| stays(known, flaw.as_ref())) {
                return false;
            }
            match flaw {
                Some(flaw) => found.insert(topic.to_owned(), flaw),
                None => found.remove(topic),
            };
            true
        });
    }
}

/// Another topic, or none: its offsets mean nothing any more. Added partitions leave the pinned ones as they are.
pub fn is_lost(flaw: &Flaw) -> bool {
    matches!(flaw.code, Code::TopicRecreated | Code::TopicGone)
}

/// A broker that is behind may still show the topic of before: another topic stays another one, and partitions that
/// were added are there for as long as the topic is.
fn stays(known: &Flaw, found: Option<&Flaw>) -> bool {
    match known.code {
        Code::TopicRecreated => true,
        Code::PartitionsChanged => found.is_none(),
        _ => false,
    }
}

impl fmt::Debug for PinWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PinWatch")
            .field(&*self.0.found.borrow())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::EmbeddedConfig;

    use super::*;

    async fn watch() -> (PinWatch, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::embedded(EmbeddedConfig::new(dir.path()))
            .await
            .unwrap();
        let pin = Pin {
            id: "a".into(),
            partitions: 4,
            generation: 0,
        };
        let pins = Pins {
            cursor_key: [1; 16],
            topics: BTreeMap::from([("t".to_owned(), pin)]),
        };
        (PinWatch::new(log, &pins), dir)
    }

    /// What it says in the end: who did not hear in time says nothing.
    async fn told(watch: &PinWatch, topic: &str) -> Standing {
        let told = async {
            loop {
                match watch.check(topic).await {
                    Standing::Unknown => tokio::time::sleep(Duration::from_millis(50)).await,
                    told => return told,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), told)
            .await
            .expect("it never says anything")
    }

    fn facts(id: &str, partitions: u32) -> TopicFacts {
        TopicFacts {
            id: id.into(),
            partitions,
        }
    }

    #[tokio::test]
    async fn another_topic_stays_lost_and_added_partitions_are_no_loss() {
        let (watch, _dir) = watch().await;
        let pin = &watch.0.pins["t"];
        assert_eq!(pin.judge("t", &facts("a", 4)), None);
        watch.learn("t", pin.judge("t", &facts("a", 5)));
        assert_eq!(watch.flaw("t").unwrap().code, Code::PartitionsChanged);
        assert_eq!(watch.lost("t"), None);
        watch.learn("t", pin.judge("t", &facts("b", 4)));
        watch.learn("t", None);
        assert_eq!(watch.lost("t").unwrap().code, Code::TopicRecreated);
        assert!(matches!(watch.check("t").await, Standing::Lost(_)));
        assert_eq!(watch.check("unpinned").await, Standing::Sound);
    }

    #[tokio::test]
    async fn a_topic_that_was_not_to_be_found_for_a_moment_is_sound_again() {
        let (watch, _dir) = watch().await;
        let mut changes = watch.subscribe();
        assert!(
            matches!(told(&watch, "t").await, Standing::Lost(flaw) if flaw.code == Code::TopicGone)
        );
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        watch.learn("t", None);
        assert!(changes.has_changed().unwrap() && watch.lost("t").is_none());
    }
}
