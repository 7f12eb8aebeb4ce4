//! The answer to a publish that the log holds.

use serde_json::{Value, json};

/// What a publisher is told: `{"id","cursor","duplicate"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event's id: the publisher's own, or the one made here.
    pub id: String,
    /// Its place in the channel; `None` on the ephemeral lane, and for a duplicate of an event whose
    /// place is not known here.
    pub cursor: Option<String>,
    /// True when the event was in the log before. A hint: false also means "not known here".
    pub duplicate: bool,
}

impl Published {
    /// The `data` of the response, and the body over HTTP.
    pub fn to_value(&self) -> Value {
        json!({ "id": self.id, "cursor": self.cursor, "duplicate": self.duplicate })
    }
}
