//! What can still be read of a message that is refused as a whole, so that its answer finds the
//! request it belongs to.

use std::fmt;

use serde::de::{self, Deserializer as _, IgnoredAny, MapAccess, Visitor};

const ID_CHARS_MAX: usize = 64;

/// Members read before reading failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rescued {
    pub(super) kind: Option<String>,
    pub(super) id: Option<String>,
    pub(super) channel: Option<String>,
}

/// Reads as far as it goes. A member that comes twice with two meanings has none.
pub(super) fn rescue(line: &[u8]) -> Rescued {
    let mut found = Found::default();
    let mut reader = serde_json::Deserializer::from_slice(line);
    // How it ends does not matter: what was found before the fault is what there is.
    let _ = reader.deserialize_map(&mut found);
    Rescued {
        kind: found.kind.settled(),
        id: found.id.settled().filter(|id| is_request_id(id)),
        channel: found.channel.settled(),
    }
}

/// Whether a request may carry this id.
pub(super) fn is_request_id(id: &str) -> bool {
    id.len() <= ID_CHARS_MAX * 4 && id.chars().count() <= ID_CHARS_MAX
}

#[derive(Default)]
struct Found {
    kind: Once,
    id: Once,
    channel: Once,
}

#[derive(Default)]
enum Once {
    #[default]
    Absent,
    Text(String),
    Contradiction,
}

impl Once {
    fn see(&mut self, text: Option<String>) {
        *self = match (std::mem::take(self), text) {
            (Once::Absent, Some(text)) => Once::Text(text),
            (Once::Text(old), Some(text)) if old == text => Once::Text(old),
            _ => Once::Contradiction,
        };
    }

    fn settled(self) -> Option<String> {
        match self {
            Once::Text(text) => Some(text),
            Once::Absent | Once::Contradiction => None,
        }
    }
}

impl<'de> Visitor<'de> for &mut Found {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let slot = match key.as_str() {
                "type" => &mut self.kind,
                "id" => &mut self.id,
                "channel" => &mut self.channel,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            slot.see(map.next_value::<MaybeText>()?.0);
        }
        Ok(())
    }
}

/// A string, or anything else as nothing.
struct MaybeText(Option<String>);

impl<'de> de::Deserialize<'de> for MaybeText {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        Ok(MaybeText(serde_json::from_str(raw.get()).ok()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(line: &str) -> Option<String> {
        rescue(line.as_bytes()).id
    }

    #[test]
    fn the_id_is_kept_when_the_rest_is_broken() {
        assert_eq!(id(r#"{"id":"7","method":"#).as_deref(), Some("7"));
        assert_eq!(
            id(r#"{"type":"request","id":"7"}trailing"#).as_deref(),
            Some("7")
        );
        assert_eq!(id(r#"{"id":"7","a":1,"a":2}"#).as_deref(), Some("7"));
        let deep = format!(
            r#"{{"params":{}1{},"id":"7"}}"#,
            "[".repeat(30_000),
            "]".repeat(30_000)
        );
        assert_eq!(id(&deep).as_deref(), Some("7"));
    }

    #[test]
    fn an_id_that_cannot_be_the_requests_is_not_kept() {
        assert_eq!(id(r#"{"id":7}"#), None);
        assert_eq!(id(r#"{"id":"7","id":"8"}"#), None);
        assert_eq!(id(r#"{"id":"7","id":8}"#), None);
        assert_eq!(id(&format!(r#"{{"id":"{}"}}"#, "x".repeat(65))), None);
        assert_eq!(id(r#"["id","7"]"#), None);
        assert_eq!(id(r#"{"params":{"id":"7"}}"#), None);
        assert_eq!(id(""), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
            rescue(&line);
        }
    }
}
