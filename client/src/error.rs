//! What can go wrong for a caller, by what the caller can do about it.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// A failure, sorted by what the caller can do.
///
/// [`Error::is_retryable`] says whether the same call may be made again unchanged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The server answered with a coded error. Its `retryable` says whether to try again.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// No connection could be made, or it broke. What was in flight has an unknown outcome: send it again
    /// with the same `id`.
    #[error("connection lost: {0}")]
    Lost(String),
    /// No answer within the deadline; the outcome is unknown: send it again with the same `id`.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The server ended the connection and reconnecting will not help until something changes.
    #[error("the server closed the connection for good: {code} {reason}")]
    Ended {
        /// The close code (protocol section 8).
        code: u16,
        /// The close reason, or the error that the server sent before it.
        reason: String,
        /// The error message that preceded the close, when there was one.
        refusal: Option<Box<Refusal>>,
    },
    /// The other side does not speak this protocol.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    /// The caller's arguments or configuration are wrong.
    #[error("{0}")]
    Invalid(String),
    /// This client holds as much unsent work as it may; wait for answers, then try again.
    #[error("too much is waiting to be sent")]
    Full,
    /// This client was closed by its owner.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// True when the same call may be made again unchanged (publishes: with the same `id`).
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Refused(refusal) => refusal.retryable,
            Error::Lost(_) | Error::Timeout(_) | Error::Full => true,
            Error::Ended { .. } | Error::Unexpected(_) | Error::Invalid(_) | Error::Closed => false,
        }
    }

    /// How long the server asked to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Refused(refusal) => refusal.retry_after_ms.map(Duration::from_millis),
            _ => None,
        }
    }

    /// True when only a new token is needed to go on.
    pub fn is_expired_token(&self) -> bool {
        matches!(self, Error::Ended { code: 3501, .. }) || self.name() == Some("TOKEN_EXPIRED")
    }

    /// The protocol's name of the error (`"PERMISSION_DENIED"`), when the server gave one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Error::Refused(refusal) => Some(&refusal.name),
            Error::Ended { refusal, .. } => refusal.as_deref().map(|refusal| refusal.name.as_str()),
            Error::Lost(_) | Error::Timeout(_) => Some("CONNECTION_LOST"),
            _ => None,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(Box::new(refusal))
    }
}

/// The server's error object (protocol section 8).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The number, for example 4403.
    pub code: u32,
    /// The name, for example `"PERMISSION_DENIED"`. Names this client has never heard of are possible.
    pub name: String,
    /// A sentence for people.
    #[serde(default)]
    pub message: String,
    /// Whether the same message may be sent again unchanged.
    #[serde(default)]
    pub retryable: bool,
    /// Wait at least this long before trying again, in milliseconds.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
    /// More, by name of the error: `limit`, `epoch`, `seq`, `publishId`.
    #[serde(default)]
    pub details: Option<Value>,
    /// The older name (`"E002"`), when the error has one.
    #[serde(default)]
    pub legacy: Option<String>,
}

impl Refusal {
    /// A number out of `details`, for example `detail_u64("seq")`.
    pub fn detail_u64(&self, member: &str) -> Option<u64> {
        self.details.as_ref()?.get(member)?.as_u64()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}): {}", self.name, self.code, self.message)
    }
}

/// Whether a close code invites to reconnect (protocol section 8). Codes that the protocol does not name
/// are taken as accidents, so they do.
pub fn close_means_reconnect(code: u16) -> bool {
    !matches!(code, 3500..=3999 | 1002 | 1003 | 1007 | 1008 | 1009)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_follow_the_protocol() {
        for code in [1001, 1006, 1011, 1012, 1013, 3000, 3001, 3008, 3499] {
            assert!(close_means_reconnect(code), "{code}");
        }
        for code in [1002, 1003, 1007, 1008, 1009, 3500, 3501, 3502, 3503, 3999] {
            assert!(!close_means_reconnect(code), "{code}");
        }
    }

    #[test]
    fn an_unknown_name_is_still_an_error_with_its_own_retry_rule() {
        let refusal: Refusal =
            serde_json::from_str(r#"{"code":4999,"name":"NEW","retryable":true,"retryAfterMs":7}"#)
                .unwrap();
        let error = Error::from(refusal);
        assert!(error.is_retryable());
        assert_eq!(error.retry_after(), Some(Duration::from_millis(7)));
    }
}
