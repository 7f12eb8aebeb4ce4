//! Why a record could not be taken. A value, so that the partition goes on.

use std::fmt;

use crate::json::{Fault, FaultAt};

/// What decoding gives when it gives no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undecoded {
    /// Never readable: to the dead letters and the quarantine table.
    Poison(Poison),
    /// The record names a schema this decoder has not met. Fetch it, call
    /// [`crate::Decoder::add_schema`] or [`crate::Decoder::mark_absent`], and decode again.
    UnknownSchema(u32),
}

impl From<Poison> for Undecoded {
    fn from(poison: Poison) -> Undecoded {
        Undecoded::Poison(poison)
    }
}

/// A record that is not an event, and why. The same bytes at the same place always give the same
/// reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Poison {
    /// What kind of fault, for counting and for analysts.
    pub reason: PoisonReason,
    /// A sentence for people; never longer than a few hundred bytes.
    pub detail: String,
}

impl Poison {
    /// A poison with its sentence.
    pub fn new(reason: PoisonReason, detail: impl Into<String>) -> Poison {
        Poison {
            reason,
            detail: detail.into(),
        }
    }
}

impl From<FaultAt> for Poison {
    fn from(fault: FaultAt) -> Poison {
        let reason = match fault.fault {
            Fault::Syntax | Fault::Utf8 | Fault::Trailing => PoisonReason::NotJson,
            Fault::Depth => PoisonReason::DataDepth,
            Fault::DuplicateKey => PoisonReason::DataDuplicateKey,
            Fault::Nul => PoisonReason::DataNul,
            Fault::LoneSurrogate => PoisonReason::DataSurrogate,
            Fault::Number => PoisonReason::DataNumber,
        };
        Poison::new(reason, fault.to_string())
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// The kinds of poison. The texts are a contract with analysts: they are stored.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum PoisonReason { $($(#[$doc])* $variant,)* }

        impl PoisonReason {
            /// Every reason, for tables of counters.
            pub const ALL: &'static [PoisonReason] = &[$(PoisonReason::$variant,)*];

            /// The stored spelling, `no_key` and so on.
            pub fn as_str(self) -> &'static str {
                match self { $(PoisonReason::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    /// No key, so no channel and no order.
    NoKey = "no_key",
    /// No value.
    Tombstone = "tombstone",
    /// Value, or key and headers, over 64 KiB.
    TooLarge = "too_large",
    /// Value or data is not one JSON text in UTF-8.
    NotJson = "not_json",
    /// Key or `rm-channel` is no channel.
    BadChannel = "bad_channel",
    /// `rm-channel` names another id than the key.
    ChannelKeyMismatch = "channel_key_mismatch",
    /// The channel's records live in another topic.
    WrongTopic = "wrong_topic",
    /// The key belongs in another partition, so its order could not be kept.
    WrongPartition = "wrong_partition",
    /// Event name, user, addressees or another member missing or of the wrong kind, or a name that
    /// the server alone says.
    BadEvent = "bad_event",
    /// The id is not an id.
    BadId = "bad_id",
    /// `rm-producer`, `rm-epoch`, `rm-seq` incomplete or unreadable.
    BadOutbox = "bad_outbox",
    /// The record, or the name of its event, says another lane than its topic.
    LaneContradiction = "lane_contradiction",
    /// Not a datum of its schema.
    BadAvro = "bad_avro",
    /// Neither ours nor in the registry.
    UnknownSchema = "unknown_schema",
    /// A schema we refuse to read with: recursive, too large, or not Avro.
    RefusedSchema = "refused_schema",
    /// A CloudEvent without what CloudEvents 1.0 requires.
    BadCloudEvent = "bad_cloudevent",
    /// Nested deeper than 32, or 8 outside `data`.
    DataDepth = "data_depth",
    /// A number that not every reader can hold.
    DataNumber = "data_number",
    /// The same key twice in one object.
    DataDuplicateKey = "data_duplicate_key",
    /// U+0000, which SQL cannot hold.
    DataNul = "data_nul",
    /// Half a surrogate pair.
    DataSurrogate = "data_surrogate",
}

impl fmt::Display for PoisonReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
