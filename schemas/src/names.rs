//! Names: channels, event names and ids, checked once at the edge and typed after.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The channels that have no id of their own.
const SINGLETONS: [&str; 2] = ["broadcast", "system"];

const NAMESPACE_LEN_MAX: usize = 32;
const CHANNEL_ID_LEN_MAX: usize = 128;
const EVENT_NAME_LEN_MAX: usize = 64;
const USER_LEN_MAX: usize = 256;
const ID_LEN_MAX: usize = 64;

/// Older spellings of event names, and the name each stands for. Accepted on input, never written.
pub const EVENT_ALIASES: &[(&str, &str)] = &[
    ("cursor_move", "cursor.move"),
    ("presence_update", "presence.update"),
    ("presence:update", "presence.update"),
    ("presence:user-joined", "presence.joined"),
    ("presence:user-left", "presence.left"),
    ("job:update", "job.update"),
    ("user_joined", "user.joined"),
    ("user_left", "user.left"),
    ("chat_message", "chat.message"),
    ("dice_roll", "dice.roll"),
    ("turn_changed", "turn.changed"),
    ("map_updated", "map.updated"),
    ("note_edited", "note.edited"),
];

/// A name that breaks its grammar. The caller refuses the message that carried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a channel.
    #[error(
        "a channel is <namespace>.<id>, broadcast or system; namespace [a-z][a-z0-9_]{{0,31}}, id [A-Za-z0-9_:@~-]{{1,128}}"
    )]
    Channel,
    /// Not an event name.
    #[error(
        "an event name is words of letters, digits and _ joined by . or :, begins with a letter and has at most 64 characters"
    )]
    Event,
    /// A topic that carries no channels by itself.
    #[error("this topic has no channel for a key")]
    Topic,
}

/// A channel: `session.42`, `jobs.9f`, or one of the singletons `broadcast` and `system`.
/// Cheap to clone. Its [`id`](Channel::id) is the Kafka record key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(Arc<str>);

impl Channel {
    /// Reads a channel as written on the wire. Errors: [`NameError::Channel`].
    pub fn parse(s: &str) -> Result<Channel, NameError> {
        if SINGLETONS.contains(&s) {
            return Ok(Channel(s.into()));
        }
        let (namespace, id) = s.split_once('.').ok_or(NameError::Channel)?;
        if valid_namespace(namespace) && valid_channel_id(id) {
            Ok(Channel(s.into()))
        } else {
            Err(NameError::Channel)
        }
    }

    /// Builds a channel from its two parts; a singleton is `of("broadcast", "broadcast")`.
    pub fn of(namespace: &str, id: &str) -> Result<Channel, NameError> {
        if SINGLETONS.contains(&namespace) && namespace == id {
            return Ok(Channel(namespace.into()));
        }
        if !valid_namespace(namespace) || !valid_channel_id(id) {
            return Err(NameError::Channel);
        }
        let mut whole = String::with_capacity(namespace.len() + 1 + id.len());
        whole.push_str(namespace);
        whole.push('.');
        whole.push_str(id);
        Ok(Channel(whole.into()))
    }

    /// The whole name, `session.42`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the dot; of a singleton its name.
    pub fn namespace(&self) -> &str {
        self.0
            .split_once('.')
            .map_or(&*self.0, |(namespace, _)| namespace)
    }

    /// The part after the dot, of a singleton its name: the Kafka key.
    pub fn id(&self) -> &str {
        self.0.split_once('.').map_or(&*self.0, |(_, id)| id)
    }
}

/// The canonical name of what happened: `draw`, `job.update`. At most 64 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName(Arc<str>);

impl EventName {
    /// Reads a name; an older spelling becomes the name it stands for ([`EVENT_ALIASES`]).
    /// Errors: [`NameError::Event`].
    pub fn parse(s: &str) -> Result<EventName, NameError> {
        if let Some((_, canonical)) = EVENT_ALIASES.iter().find(|(alias, _)| *alias == s) {
            return Ok(EventName((*canonical).into()));
        }
        if valid_event_name(s) {
            Ok(EventName(s.into()))
        } else {
            Err(NameError::Event)
        }
    }

    /// The canonical spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `s` may be an event id or a producer name: `[A-Za-z0-9_:@~.-]{1,64}`.
pub fn valid_id(s: &str) -> bool {
    (1..=ID_LEN_MAX).contains(&s.len())
        && s.bytes()
            .all(|b| IN_CHANNEL_ID[usize::from(b)] || b == b'.')
}

/// Whether `s` may be a user's id: 1 to 256 bytes, no control characters.
pub fn valid_user(s: &str) -> bool {
    (1..=USER_LEN_MAX).contains(&s.len()) && !s.chars().any(char::is_control)
}

fn valid_namespace(s: &str) -> bool {
    // A singleton's name is no namespace: `broadcast.x` would otherwise be read by whoever reads
    // `broadcast`, and `broadcast.broadcast` would share its parts with `broadcast`.
    s.len() <= NAMESPACE_LEN_MAX
        && s.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && s.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !SINGLETONS.contains(&s)
}

fn valid_channel_id(s: &str) -> bool {
    (1..=CHANNEL_ID_LEN_MAX).contains(&s.len()) && s.bytes().all(|b| IN_CHANNEL_ID[usize::from(b)])
}

/// Which bytes a channel's id may have; looked up, because every event's names are checked.
const IN_CHANNEL_ID: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0u8;
    while b < 128 {
        table[b as usize] =
            b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'@' | b'~' | b'-');
        b += 1;
    }
    table
};

fn valid_event_name(s: &str) -> bool {
    if s.len() > EVENT_NAME_LEN_MAX || !s.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) {
        return false;
    }
    s.split(['.', ':']).all(|word| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                $name::parse(&text).map_err(de::Error::custom)
            }
        }
        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(s: &str) -> Result<Self, NameError> {
                $name::parse(s)
            }
        }
    };
}
as_text!(Channel);
as_text!(EventName);
