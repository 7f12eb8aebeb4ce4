//! Event names that mean something to the server: its own words, and names bound to one lane.

use crate::{EventName, Lane};

/// Names the server says itself on every transport. As events of a channel they would look like
/// its own words, so nobody may publish or produce them.
pub const SERVER_NAMES: &[&str] = &[
    "connected",
    "subscribed",
    "snapshot",
    "caught_up",
    "gap",
    "lagging",
    "stale",
    "fresh",
    "heartbeat",
    "token_expiring",
    "replay.end",
    "error",
];

/// What presence says to a channel's readers.
pub const PRESENCE_TYPES: &[&str] = &["presence.joined", "presence.updated", "presence.left"];

/// Names that are ephemeral and nothing else, besides all of the family `presence`.
const EPHEMERAL_NAMES: &[&str] = &[
    "cursor.move",
    "typing",
    "doc.awareness",
    "rtc.offer",
    "rtc.answer",
    "rtc.candidate",
];

/// Whether a newer ephemeral event of this name stands for an older one of the same sender to the
/// same users. True of all but signalling: a call needs each of its offers, answers and candidates.
pub fn newest_wins(name: &str) -> bool {
    !name
        .strip_prefix("rtc")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', ':']))
}

impl EventName {
    /// The first word of the name: `chat` of `chat.message`.
    pub fn family(&self) -> &str {
        let name = self.as_str();
        name.split(['.', ':']).next().unwrap_or(name)
    }

    /// Whether the server alone says it.
    pub fn is_servers(&self) -> bool {
        SERVER_NAMES.contains(&self.as_str())
    }

    /// The one lane that events of this name travel on; `None` is either. Presence, cursors, typing,
    /// awareness and signalling never become durable, grants and revocations are never ephemeral.
    pub fn only_lane(&self) -> Option<Lane> {
        match self.family() {
            "presence" => Some(Lane::Ephemeral),
            "access" => Some(Lane::Durable),
            _ if EPHEMERAL_NAMES.contains(&self.as_str()) => Some(Lane::Ephemeral),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_signalling_is_never_overtaken() {
        for name in ["rtc.offer", "rtc.answer", "rtc.candidate", "rtc.x", "rtc"] {
            assert!(!newest_wins(name), "{name}");
        }
        for name in ["cursor.move", "typing", "presence.update", "rtcx", "x.rtc"] {
            assert!(newest_wins(name), "{name}");
        }
    }
}
