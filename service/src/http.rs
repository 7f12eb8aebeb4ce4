//! Small pieces for HTTP handlers: a bounded read of a body, and a JSON refusal in the protocol's shape.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;

/// Why a request's body could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Longer than allowed; answer 413.
    #[error("the body is longer than {bytes_max} bytes")]
    TooLarge {
        /// The limit in bytes, inclusive.
        bytes_max: usize,
    },
    /// Did not arrive in time; answer 408 and close.
    #[error("the body did not arrive within {0:?}")]
    Late(Duration),
    /// The connection broke or the framing was wrong; nobody is left to answer.
    #[error("the body could not be read")]
    Broken,
}

/// Reads a whole body of at most `bytes_max` bytes within `deadline`. Hyper's own timer covers the headers
/// only, so a body without its own deadline could take for ever.
///
/// # Errors
/// See [`BodyError`].
pub async fn read_body(
    body: Body,
    bytes_max: usize,
    deadline: Duration,
) -> Result<Bytes, BodyError> {
    tokio::time::timeout(deadline, collect(body, bytes_max))
        .await
        .unwrap_or(Err(BodyError::Late(deadline)))
}

/// Bytes over the limit that are read and thrown away, so that a client that is still writing gets to hear why.
pub const DISCARD_MAX: usize = 8 << 20;

async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
    let mut kept = BytesMut::new();
    let mut read = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        read += data.len();
        if read <= bytes_max {
            kept.extend_from_slice(&data);
        } else {
            kept = BytesMut::new();
        }
        if read > bytes_max + DISCARD_MAX {
            break;
        }
    }
    if read > bytes_max {
        return Err(BodyError::TooLarge { bytes_max });
    }
    Ok(kept.freeze())
}

/// An answer with a JSON body that no cache keeps.
#[must_use]
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A refusal that this crate has to make itself (a request that never reaches a handler), in the shape of
/// the protocol's errors: `{"error":{"code","name","message","retryable"},"timestamp"}`. The registry of
/// errors belongs to the `protocol` crate; the four used here are spelt as it spells them.
#[must_use]
pub fn refuse(refusal: Refusal, message: &str) -> Response {
    let (status, code, name, retryable) = match refusal {
        Refusal::Invalid => (StatusCode::BAD_REQUEST, 4400, "INVALID_MESSAGE", false),
        Refusal::NotFound => (StatusCode::NOT_FOUND, 4406, "NOT_FOUND", false),
        Refusal::Method => (
            StatusCode::METHOD_NOT_ALLOWED,
            4405,
            "METHOD_NOT_ALLOWED",
            false,
        ),
        Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, 4503, "UNAVAILABLE", true),
    };
    let mut error = serde_json::json!({
        "code": code, "name": name, "message": message, "retryable": retryable,
    });
    if retryable {
        error["retryAfterMs"] = 1000.into();
    }
    let body = serde_json::json!({ "error": error, "timestamp": now_ms() });
    json(status, body.to_string())
}

/// The refusals of [`refuse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: a request that breaks HTTP's own rules.
    Invalid,
    /// 404: no such path.
    NotFound,
    /// 405: no such method here, or anywhere.
    Method,
    /// 503: not now.
    Unavailable,
}

/// Unix milliseconds now.
#[must_use]
pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_without_being_kept() {
        let body = Body::from(vec![b'x'; 11]);
        let error = read_body(body, 10, Duration::from_secs(1))
            .await
            .unwrap_err();
        assert!(matches!(error, BodyError::TooLarge { bytes_max: 10 }));
        let body = Body::from(vec![b'x'; 10]);
        assert_eq!(
            read_body(body, 10, Duration::from_secs(1))
                .await
                .unwrap()
                .len(),
            10
        );
    }
}
