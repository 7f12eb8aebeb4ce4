//! What travels through a lane: a publish on its way in, and the answer on its way out.

use broker::AppendError;
use protocol::{ErrorName, ProtocolError};
use schemas::Channel;

/// Whose outbox: the user (none for a backend that names none) and the outbox's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) user: Option<String>,
    pub(crate) producer: String,
}

/// A publish's place in its outbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) identity: Identity,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

/// An admitted publish. `T` is what the shell needs to append and answer it.
#[derive(Debug)]
pub(crate) struct Job<T> {
    pub(crate) channel: Channel,
    pub(crate) id: String,
    pub(crate) claim: Option<Claim>,
    /// On the lane's clock, ms.
    pub(crate) deadline_ms: u64,
    /// True once the state of its channel was asked for after it came: what is known then is final.
    pub(crate) refreshed: bool,
    pub(crate) load: T,
}

/// A job that was let through, in the order of `serial`.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) serial: u64,
    /// Which life of its channel's track it belongs to.
    pub(crate) life: u64,
    /// What the track expected before this entry was let through, to go back to.
    pub(crate) expected_before: Option<(u64, u64)>,
    /// It was appended a second time, by us or by the log's producer: what came of the first is not known.
    pub(crate) replayed: bool,
    pub(crate) job: Job<T>,
}

/// What a publisher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// In the log at this offset, and it counts.
    Stored { offset: i64 },
    /// In the log before; where and under which id, if known.
    Duplicate {
        offset: Option<i64>,
        id: Option<String>,
    },
    /// The outbox was taken over.
    Stale { epoch: u64 },
    /// The outbox skipped a number.
    Ahead { next: u64 },
    /// Maybe stored, maybe not.
    Unknown,
    /// Not appended, and not the publisher's fault.
    Missed,
    /// Not stored, for this reason.
    Failed(Fault),
}

/// Why the log did not take a record, by what the publisher is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Maybe stored.
    Unknown,
    /// Not now.
    Busy,
    /// Not this size.
    TooLarge,
    /// Not this record, ever.
    Invalid,
    /// An operator has to change something.
    Refused,
    /// We are leaving.
    Closed,
}

impl Fault {
    /// Whether it says that the log is unwell, which is what the circuit breaker counts.
    pub(crate) fn is_outage(self) -> bool {
        match self {
            Fault::Unknown | Fault::Refused => true,
            Fault::Busy | Fault::TooLarge | Fault::Invalid | Fault::Closed => false,
        }
    }

    pub(crate) fn to_error(self) -> ProtocolError {
        match self {
            Fault::Unknown => ProtocolError::timeout(),
            Fault::Busy => ProtocolError::unavailable("the log is busy", 250),
            Fault::TooLarge => ProtocolError::new(
                ErrorName::MessageTooLarge,
                "the log takes no record of this size",
            ),
            Fault::Invalid => ProtocolError::invalid("the log does not take this record"),
            Fault::Refused => {
                ProtocolError::unavailable("the log refuses records at present", 5_000)
            }
            Fault::Closed => ProtocolError::unavailable("this node is leaving, use another", 0),
        }
    }
}

impl From<&AppendError> for Fault {
    fn from(error: &AppendError) -> Fault {
        match error {
            AppendError::Full => Fault::Busy,
            AppendError::TooLarge => Fault::TooLarge,
            AppendError::Refused { code } => match code.as_str() {
                "MESSAGE_TOO_LARGE" | "RECORD_LIST_TOO_LARGE" => Fault::TooLarge,
                "INVALID_RECORD" | "CORRUPT_MESSAGE" | "INVALID_TIMESTAMP" => Fault::Invalid,
                _ => Fault::Refused,
            },
            AppendError::Unknown | AppendError::Fatal => Fault::Unknown,
            AppendError::Closed => Fault::Closed,
        }
    }
}
