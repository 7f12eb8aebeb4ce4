//! What the pin records of the state topic add up to, in the order of their offsets. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Pin, PinError, Pins, Stored};
use crate::Record;

/// What the keys of the first pins begin with.
pub(super) const PINS: &str = "pins/";
/// What the keys of repins begin with.
pub(super) const REPIN: &str = "repin/";

/// The value of a `repin/` record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Repin {
    pub(super) topic: String,
    pub(super) pin: Pin,
    /// Who wrote it, so that of two that say the same each knows whether it was first.
    pub(super) by: String,
}

/// The pins so far.
#[derive(Debug, Default)]
pub(super) struct Fold {
    pins: Option<Pins>,
    /// Who wrote the repin that counts, of each topic that has one.
    by: BTreeMap<String, String>,
}

impl Fold {
    /// One more record of the partition, whatever it is about.
    ///
    /// Errors: [`PinError::Unreadable`] for a pin record that no version of ours has written. It is not passed over:
    /// two versions that disagree about it would disagree about where events lie.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), PinError> {
        let (Some(key), Some(value)) = (record.key.as_deref(), record.value.as_deref()) else {
            return Ok(());
        };
        let unreadable = |error: &dyn std::fmt::Display| {
            PinError::Unreadable(format!("offset {}: {error}", record.offset))
        };
        if key.starts_with(PINS.as_bytes()) && self.pins.is_none() {
            let stored: Stored =
                serde_json::from_slice(value).map_err(|error| unreadable(&error))?;
            let cursor_key =
                Uuid::try_parse(&stored.cursor_key).map_err(|error| unreadable(&error))?;
            self.pins = Some(Pins {
                cursor_key: cursor_key.into_bytes(),
                topics: stored.topics,
            });
        } else if key.starts_with(REPIN.as_bytes()) {
            let repin: Repin = serde_json::from_slice(value).map_err(|error| unreadable(&error))?;
            self.repin(repin);
        }
        Ok(())
    }

    /// It counts when it is the next generation of a pinned topic, with as many partitions.
    fn repin(&mut self, repin: Repin) {
        let pins = self.pins.as_mut();
        let Some(pin) = pins.and_then(|pins| pins.topics.get_mut(&repin.topic)) else {
            return;
        };
        let next = pin.generation.checked_add(1);
        if next == Some(repin.pin.generation) && pin.partitions == repin.pin.partitions {
            *pin = repin.pin;
            self.by.insert(repin.topic, repin.by);
        }
    }

    pub(super) fn into_pins(self) -> Option<Pins> {
        self.pins
    }

    pub(super) fn pins(&self) -> Option<&Pins> {
        self.pins.as_ref()
    }

    /// Who wrote the topic's last repin that counts.
    pub(super) fn by(&self, topic: &str) -> Option<&str> {
        self.by.get(topic).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn record(offset: i64, key: &str, value: serde_json::Value) -> Record {
        Record {
            topic: "s".into(),
            partition: 0,
            offset,
            timestamp_ms: 0,
            key: Some(Bytes::from(key.to_owned())),
            headers: Vec::new(),
            value: Some(Bytes::from(value.to_string())),
        }
    }

    fn pins(id: &str) -> serde_json::Value {
        json!({
            "cursor_key": "00000000000040008000000000000001",
            "topics": {"t": {"id": id, "partitions": 4, "generation": 0}},
        })
    }

    fn repin(id: &str, partitions: u32, generation: u16, by: u8) -> serde_json::Value {
        let pin = json!({"id": id, "partitions": partitions, "generation": generation});
        json!({"topic": "t", "pin": pin, "by": by.to_string()})
    }

    fn folded(records: &[(&str, serde_json::Value)]) -> Result<Fold, PinError> {
        let mut fold = Fold::default();
        for (offset, (key, value)) in (0..).zip(records) {
            fold.take(&record(offset, key, value.clone()))?;
        }
        Ok(fold)
    }

    #[test]
    fn the_first_pins_and_then_the_first_repin_of_each_generation_count() {
        let fold = folded(&[
            ("cursors/x", json!("of no concern")),
            ("repin/t/1/a", repin("before the pins", 4, 1, 9)),
            ("pins/a", pins("first")),
            ("pins/b", pins("second")),
            ("repin/t/2/a", repin("too far", 4, 2, 1)),
            ("repin/t/1/b", repin("grown", 5, 1, 2)),
            ("repin/t/1/c", repin("again", 4, 1, 3)),
            ("repin/t/1/d", repin("late", 4, 1, 4)),
            ("repin/u/1/e", repin("again", 4, 1, 5)),
            ("repin/t/2/f", repin("once more", 4, 2, 6)),
        ])
        .unwrap();
        assert_eq!(fold.by("t"), Some("6"));
        let pin = &fold.into_pins().unwrap().topics["t"];
        assert_eq!((pin.id.as_str(), pin.generation), ("once more", 2));
    }

    #[test]
    fn an_unreadable_repin_is_not_passed_over() {
        let fold = folded(&[("pins/a", pins("first")), ("repin/t/1/a", json!({}))]);
        assert!(matches!(fold, Err(PinError::Unreadable(_))));
    }

    #[test]
    fn the_last_generation_has_no_next() {
        let mut fold = folded(&[("pins/a", pins("first"))]).unwrap();
        fold.pins
            .as_mut()
            .unwrap()
            .topics
            .get_mut("t")
            .unwrap()
            .generation = u16::MAX;
        fold.repin(serde_json::from_value(repin("again", 4, 0, 1)).unwrap());
        assert_eq!(fold.into_pins().unwrap().topics["t"].id, "first");
    }
}
