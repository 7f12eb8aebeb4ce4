//! A kept cursor: how far a user has acknowledged a channel under a name, as a record of the state topic.
//!
//! The key is `ack/<channel>/<user>/<name>`, so that compaction leaves the last record of each; the value repeats the
//! parts, for whoever reads the topic with other tools. A record counts when its cursor is at least as far as the one
//! before it under the same key: what readers keep is the furthest, whichever way records came.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Channel, partition_of, valid_id};

const PREFIX: &str = "ack/";
/// Longest user id, bytes; the same as a token's `sub`.
const USER_BYTES_MAX: usize = 256;
/// Longest cursor, bytes.
const CURSOR_BYTES_MAX: usize = 128;

/// Whose cursor, of which channel, under which name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeptKey {
    /// The channel as the reader asked for it: a view keeps its own.
    pub channel: Channel,
    /// The user of the reader's token, 1 to 256 bytes without control characters.
    pub user: String,
    /// The name ([`crate::valid_id`]).
    pub durable: String,
}

/// One record of the state topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Whose, of what.
    pub key: KeptKey,
    /// Everything up to it is acknowledged. A cursor of the channel, or of a view's source; not judged here.
    pub cursor: String,
    /// When it was acknowledged, Unix milliseconds by the clock of the node that took it.
    pub at_ms: i64,
}

/// A record under our key that is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no kept cursor: {0}")]
pub struct BadKept(&'static str);

#[derive(Serialize, Deserialize)]
struct Value<'a> {
    channel: Channel,
    #[serde(borrow)]
    user: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    durable: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    cursor: std::borrow::Cow<'a, str>,
    at: i64,
}

impl KeptKey {
    /// The record's key.
    pub fn encode(&self) -> Bytes {
        let KeptKey {
            channel,
            user,
            durable,
        } = self;
        Bytes::from(format!("{PREFIX}{channel}/{user}/{durable}"))
    }

    /// The partition of the state topic its records lie in: that of the channel's id.
    pub fn partition(&self, partitions: u32) -> i32 {
        partition_of(self.channel.id().as_bytes(), partitions)
    }

    /// Neither channels nor names hold a slash; what stands between the first and the last is the user.
    fn decode(text: &str) -> Option<KeptKey> {
        let (channel, rest) = text.strip_prefix(PREFIX)?.split_once('/')?;
        let (user, durable) = rest.rsplit_once('/')?;
        let sound = (1..=USER_BYTES_MAX).contains(&user.len())
            && !user.chars().any(char::is_control)
            && valid_id(durable);
        sound.then_some(KeptKey {
            channel: Channel::parse(channel).ok()?,
            user: user.to_owned(),
            durable: durable.to_owned(),
        })
    }
}

impl Kept {
    /// The record's value.
    pub fn encode(&self) -> Bytes {
        let value = Value {
            channel: self.key.channel.clone(),
            user: self.key.user.as_str().into(),
            durable: self.key.durable.as_str().into(),
            cursor: self.cursor.as_str().into(),
            at: self.at_ms,
        };
        serde_json::to_vec(&value)
            .expect("strings and a number are always JSON")
            .into()
    }

    /// Reads a record of the state topic. `None`: it is something else that lives there.
    ///
    /// # Errors
    /// [`BadKept`] for a record under our prefix that we did not write: pass it over.
    pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Kept>, BadKept> {
        let Some(key) = key.filter(|key| key.starts_with(PREFIX.as_bytes())) else {
            return Ok(None);
        };
        let key = std::str::from_utf8(key)
            .ok()
            .and_then(KeptKey::decode)
            .ok_or(BadKept("the key is malformed"))?;
        let value = value.ok_or(BadKept("it has no value"))?;
        let value: Value<'_> =
            serde_json::from_slice(value).map_err(|_| BadKept("the value is malformed"))?;
        let same = value.channel == key.channel && *value.user == key.user;
        if !same || *value.durable != key.durable {
            return Err(BadKept("key and value contradict each other"));
        }
        if value.cursor.is_empty() || value.cursor.len() > CURSOR_BYTES_MAX {
            return Err(BadKept("the cursor is malformed"));
        }
        Ok(Some(Kept {
            key,
            cursor: value.cursor.into_owned(),
            at_ms: value.at,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back_whatever_the_user_is_called(
            user in "[^\\p{Cc}]{1,60}",
            durable in "[A-Za-z0-9_:@~.-]{1,64}",
            at_ms in any::<i64>(),
        ) {
            let kept = Kept {
                key: KeptKey { channel: Channel::parse("session.42").unwrap(), user, durable },
                cursor: "1---".into(),
                at_ms,
            };
            let read = Kept::decode(Some(&kept.key.encode()), Some(&kept.encode()));
            prop_assert_eq!(read, Ok(Some(kept)));
        }

        #[test]
        fn no_bytes_make_it_panic(key in prop::collection::vec(any::<u8>(), 0..40), value in prop::collection::vec(any::<u8>(), 0..80)) {
            let key = [PREFIX.as_bytes(), &key].concat();
            prop_assert!(Kept::decode(Some(&key), Some(&value)).is_err());
        }
    }
}
