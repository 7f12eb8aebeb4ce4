//! The registry of errors: `protocol/errors.json`, as types.
//!
//! The file is what clients and documents read; the table here is what the server runs on. A test
//! holds them equal, so neither can drift.

use serde_json::{Map, Value};

macro_rules! registry {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $code:literal, $http:literal, $legacy:expr, $retryable:literal, $close:expr;)*) => {
        /// What went wrong, by the name clients know it under.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ErrorName {
            $($(#[$doc])* $name,)*
        }

        impl ErrorName {
            /// Every name a server can send, in the order of the registry.
            pub const ALL: &'static [ErrorName] = &[$(ErrorName::$name),*];

            /// The name on the wire, `PERMISSION_DENIED`.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorName::$name => $text,)* }
            }

            /// The number on the wire, `4403`.
            pub const fn code(self) -> u16 {
                match self { $(ErrorName::$name => $code,)* }
            }

            /// The status it has over HTTP.
            pub const fn http(self) -> u16 {
                match self { $(ErrorName::$name => $http,)* }
            }

            /// The name it had in older documents, `E002`.
            pub const fn legacy(self) -> Option<&'static str> {
                match self { $(ErrorName::$name => $legacy,)* }
            }

            /// Whether the same message may be sent again unchanged.
            pub const fn retryable(self) -> bool {
                match self { $(ErrorName::$name => $retryable,)* }
            }

            /// The code a WebSocket is closed with when this error ends the connection; the first
            /// of the registry when there are several (see [`crate::close`]).
            pub const fn close_code(self) -> Option<u16> {
                match self { $(ErrorName::$name => $close,)* }
            }
        }
    };
}

registry! {
    /// No credential, or one that is not valid.
    AuthRequired = "AUTH_REQUIRED", 4401, 401, Some("E002"), false, Some(3500);
    /// The token was good and has expired: get a new one.
    TokenExpired = "TOKEN_EXPIRED", 4402, 401, Some("E002"), false, Some(3501);
    /// Signed in, but without the right.
    PermissionDenied = "PERMISSION_DENIED", 4403, 403, None, false, None;
    /// The channel's namespace is not configured.
    ChannelNotFound = "CHANNEL_NOT_FOUND", 4404, 404, None, false, None;
    /// The path is known, the HTTP method is not one of its own.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 4405, 405, None, false, None;
    /// No such path, job or thing.
    NotFound = "NOT_FOUND", 4406, 404, None, false, None;
    /// The message cannot be understood or breaks a rule of form.
    InvalidMessage = "INVALID_MESSAGE", 4400, 400, None, false, Some(1007);
    /// Over a size limit.
    MessageTooLarge = "MESSAGE_TOO_LARGE", 4413, 413, Some("E003"), false, Some(1009);
    /// Over a rate limit; `retryAfterMs` says when to come back.
    RateLimitExceeded = "RATE_LIMIT_EXCEEDED", 4429, 429, Some("E004"), true, Some(1008);
    /// Over a limit of number; `details.limit` names it.
    LimitExceeded = "LIMIT_EXCEEDED", 4430, 400, None, false, None;
    /// The session is gone: start afresh.
    InvalidSession = "INVALID_SESSION", 4410, 410, Some("E005"), false, Some(3502);
    /// The outbox was taken over: `details.epoch` says by which epoch.
    StaleProducer = "STALE_PRODUCER", 4409, 409, None, false, None;
    /// Not a cursor, or not one of this channel.
    CursorInvalid = "CURSOR_INVALID", 4416, 400, None, false, None;
    /// Back-pressure, or a broker that is away.
    Unavailable = "UNAVAILABLE", 4503, 503, None, true, None;
    /// No answer in time: the outcome is unknown, the same id may be sent again.
    Timeout = "TIMEOUT", 4408, 504, None, true, None;
    /// A fault of the server.
    Internal = "INTERNAL", 4500, 500, None, true, Some(1011);
}

/// An error as a client is told it: a name, a sentence, and what goes with it.
///
/// The sentence is for people and carries nothing internal; programs read the name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}: {message}", name.as_str())]
pub struct ProtocolError {
    /// Which error of the registry.
    pub name: ErrorName,
    /// One sentence for people.
    pub message: String,
    /// When the same message may be sent again, in milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// What a program may want to know; always an object.
    pub details: Option<Value>,
}

impl ProtocolError {
    /// An error without details.
    pub fn new(name: ErrorName, message: impl Into<String>) -> Self {
        ProtocolError {
            name,
            message: message.into(),
            retry_after_ms: None,
            details: None,
        }
    }

    /// `INVALID_MESSAGE` with a sentence that says what is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        ProtocolError::new(ErrorName::InvalidMessage, message)
    }

    /// `PERMISSION_DENIED`.
    pub fn denied(message: impl Into<String>) -> Self {
        ProtocolError::new(ErrorName::PermissionDenied, message)
    }

    /// `CURSOR_INVALID`.
    pub fn cursor() -> Self {
        ProtocolError::new(
            ErrorName::CursorInvalid,
            "the cursor does not name a position in this channel",
        )
    }

    /// `LIMIT_EXCEEDED`, with `details.limit` naming the limit and `details.max` its value.
    pub fn limit(name: &str, max: usize) -> Self {
        ProtocolError::new(
            ErrorName::LimitExceeded,
            format!("more than {max} {name} are not allowed"),
        )
        .with_details(serde_json::json!({"limit": name, "max": max}))
    }

    /// `MESSAGE_TOO_LARGE`, naming the limit in bytes.
    pub fn too_large(max: usize) -> Self {
        ProtocolError::new(
            ErrorName::MessageTooLarge,
            format!("more than {max} bytes are not taken"),
        )
        .with_details(serde_json::json!({"maxBytes": max}))
    }

    /// `RATE_LIMIT_EXCEEDED`, to be sent again after `retry_after_ms`.
    pub fn rate_limited(retry_after_ms: u64) -> Self {
        ProtocolError::new(ErrorName::RateLimitExceeded, "too many messages")
            .retry_after(retry_after_ms)
    }

    /// `UNAVAILABLE`, to be sent again after `retry_after_ms`.
    pub fn unavailable(message: impl Into<String>, retry_after_ms: u64) -> Self {
        ProtocolError::new(ErrorName::Unavailable, message).retry_after(retry_after_ms)
    }

    /// `TIMEOUT`: the outcome is unknown.
    pub fn timeout() -> Self {
        ProtocolError::new(
            ErrorName::Timeout,
            "no answer in time, the outcome is unknown: send the same id again",
        )
    }

    /// `INVALID_MESSAGE` for a method or option of the protocol that this version does not serve.
    pub fn unserved(what: &str) -> Self {
        ProtocolError::invalid(format!("{what} is not served by this version"))
            .with_details(serde_json::json!({"unserved": what}))
    }

    /// The same error with details (an object). Members that are there already stay unless named again.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        match (&mut self.details, details) {
            (Some(Value::Object(mine)), Value::Object(more)) => mine.extend(more),
            (mine, details) => *mine = Some(details),
        }
        self
    }

    /// The same error with `retryAfterMs`.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The member `error` of an error message: `{"code","name","message","legacy"?,"retryable",
    /// "retryAfterMs"?,"details"?}`.
    pub fn to_value(&self) -> Value {
        let mut out = Map::new();
        out.insert("code".into(), self.name.code().into());
        out.insert("name".into(), self.name.as_str().into());
        out.insert("message".into(), self.message.clone().into());
        if let Some(legacy) = self.name.legacy() {
            out.insert("legacy".into(), legacy.into());
        }
        out.insert("retryable".into(), self.name.retryable().into());
        if let Some(ms) = self.retry_after_ms {
            out.insert("retryAfterMs".into(), ms.into());
        }
        if let Some(details) = &self.details {
            out.insert("details".into(), details.clone());
        }
        Value::Object(out)
    }
}

/// The registry file as it stands in the repository, for whoever wants to serve or print it.
pub const REGISTRY: &str = include_str!("../errors.json");

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Value {
        serde_json::from_str(REGISTRY).unwrap()
    }

    #[test]
    fn the_table_and_the_file_say_the_same() {
        let registry = registry();
        let rows: Vec<&Value> = registry["errors"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["side"] == "server")
            .collect();
        let names: Vec<&str> = rows.iter().map(|r| r["name"].as_str().unwrap()).collect();
        let ours: Vec<&str> = ErrorName::ALL.iter().map(|n| n.as_str()).collect();
        assert_eq!(names, ours);
        for (row, name) in rows.iter().zip(ErrorName::ALL) {
            assert_eq!(row["code"], name.code(), "{row}");
            assert_eq!(row["http"], name.http(), "{row}");
            assert_eq!(row["legacy"].as_str(), name.legacy(), "{row}");
            assert_eq!(row["retryable"], name.retryable(), "{row}");
            let close = row["closeCodes"].get(0).and_then(Value::as_u64);
            assert_eq!(close, name.close_code().map(u64::from), "{row}");
        }
    }

    #[test]
    fn no_number_stands_for_two_names() {
        for (i, a) in ErrorName::ALL.iter().enumerate() {
            for b in &ErrorName::ALL[i + 1..] {
                assert_ne!(a.code(), b.code());
            }
        }
    }

    #[test]
    fn close_codes_of_the_file_reconnect_as_the_code_does() {
        let registry = registry();
        let rows = registry["closeCodes"].as_array().unwrap();
        for row in rows {
            let code = u16::try_from(row["code"].as_u64().unwrap()).unwrap();
            assert_eq!(row["reconnect"], crate::close::reconnects(code), "{row}");
        }
        let known = |code: u16| rows.iter().any(|r| r["code"] == code);
        assert!(
            ErrorName::ALL
                .iter()
                .filter_map(|n| n.close_code())
                .all(known)
        );
    }

    #[test]
    fn an_error_says_only_what_it_has() {
        let plain = ProtocolError::denied("no").to_value();
        assert_eq!(
            plain,
            serde_json::json!({"code": 4403, "name": "PERMISSION_DENIED", "message": "no", "retryable": false})
        );
        let full = ProtocolError::rate_limited(250)
            .with_details(serde_json::json!({"a": 1}))
            .with_details(serde_json::json!({"b": 2}))
            .to_value();
        assert_eq!(full["legacy"], "E004");
        assert_eq!(full["retryAfterMs"], 250);
        assert_eq!(full["details"], serde_json::json!({"a": 1, "b": 2}));
    }
}
