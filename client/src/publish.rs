//! What a publish looks like, and its answer.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::Error;

/// One publish (protocol section 3).
#[derive(Debug, Clone, Serialize)]
pub struct Publish {
    /// `session.42`.
    pub channel: String,
    /// The event's name.
    pub event: String,
    /// Any JSON value, as text that is sent as it stands; absent is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The event's id. A retry must carry the same; [`crate::Client`] makes a UUIDv7 when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `durable` or `ephemeral`; none leaves it to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// The users it is for; none means everybody in the channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// An outbox's identity. [`crate::OutboxHandle`] fills it in and counts.
    #[serde(flatten)]
    pub identity: Option<Identity>,
    /// On behalf of whom; heard from backends only.
    #[serde(rename = "userId", skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

/// Who an outbox is and which of its records this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// Random, kept with the outbox.
    pub producer: String,
    /// Raised when the outbox is re-created or taken over.
    pub epoch: u64,
    /// 0, 1, 2 … per channel within the epoch.
    pub seq: u64,
}

impl Publish {
    /// A publish of `data`, which must be JSON text; [`Error::Invalid`] when it is not.
    pub fn new(
        channel: impl Into<String>,
        event: impl Into<String>,
        data: impl Into<String>,
    ) -> Result<Publish, Error> {
        let data = RawValue::from_string(data.into())
            .map_err(|error| Error::Invalid(format!("data is not JSON ({error})")))?;
        Ok(Publish {
            channel: channel.into(),
            event: event.into(),
            data: Some(data),
            id: None,
            lane: None,
            to: None,
            identity: None,
            user_id: None,
        })
    }

    /// With this id.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Publish {
        self.id = Some(id.into());
        self
    }

    /// For these users only.
    #[must_use]
    pub fn to<S: Into<String>>(mut self, users: impl IntoIterator<Item = S>) -> Publish {
        self.to = Some(users.into_iter().map(Into::into).collect());
        self
    }

    /// On this lane (`durable`, `ephemeral`).
    #[must_use]
    pub fn lane(mut self, lane: impl Into<String>) -> Publish {
        self.lane = Some(lane.into());
        self
    }

    /// As this record of an outbox.
    #[must_use]
    pub fn identity(mut self, producer: impl Into<String>, epoch: u64, seq: u64) -> Publish {
        self.identity = Some(Identity {
            producer: producer.into(),
            epoch,
            seq,
        });
        self
    }

    /// On behalf of a user (backends only).
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Publish {
        self.user_id = Some(user.into());
        self
    }

    /// The JSON text that goes over the wire.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and checked JSON always serialise")
    }
}

/// The log has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Published {
    /// The stored event's id.
    pub id: String,
    /// Its cursor; none on the ephemeral lane and for a duplicate whose place the server does not know.
    #[serde(default)]
    pub cursor: Option<String>,
    /// True when it is known to have been there before.
    #[serde(default)]
    pub duplicate: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_travels_as_it_was_written() {
        let publish = Publish::new("session.1", "draw", r#"{"x":1.0,"a":1e2}"#)
            .unwrap()
            .identity("p", 1, 0)
            .id("i");
        assert_eq!(
            publish.to_json(),
            r#"{"channel":"session.1","event":"draw","data":{"x":1.0,"a":1e2},"id":"i","producer":"p","epoch":1,"seq":0}"#
        );
        assert!(Publish::new("session.1", "draw", "{").is_err());
    }
}
