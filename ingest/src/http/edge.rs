//! What every request meets first: its origin, its credential, its body; and how a refusal looks.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use protocol::{ErrorName, Identity, ProtocolError, server};
use schemas::valid_id;
use service::http::{BodyError, json, now_ms, read_body};
use service::origin::{Origin, preflight};

use super::Edge;

/// Query parameters that carried tokens elsewhere: they end up in logs and histories, so a request with
/// one is refused whatever else it carries.
const TOKEN_PARAMETERS: [&str; 3] = ["token", "jwt", "access_token"];

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refusal {
    error: ProtocolError,
    channel: Option<String>,
    /// The rest of the request is not read: the connection cannot go on.
    close: bool,
}

impl From<ProtocolError> for Refusal {
    fn from(error: ProtocolError) -> Refusal {
        Refusal {
            error,
            channel: None,
            close: false,
        }
    }
}

impl Refusal {
    pub(super) fn about(error: ProtocolError, channel: &schemas::Channel) -> Refusal {
        Refusal {
            channel: Some(channel.as_str().to_owned()),
            ..Refusal::from(error)
        }
    }
}

impl axum::response::IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = &self.error;
        let status =
            StatusCode::from_u16(error.name.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = server::error_body(error, self.channel.as_deref(), now_ms());
        let mut response = json(status, body);
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait_ms) = error.retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1_000)));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Judges the origin before anything else, answers `OPTIONS`, and marks every answer.
pub(super) async fn guard(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    use axum::response::IntoResponse;
    let origin = edge.origins.check(request.headers());
    let mut response = match &origin {
        Origin::Refused => {
            Refusal::from(ProtocolError::denied("this origin is not on the list")).into_response()
        }
        _ if request.method() == Method::OPTIONS => return preflight(&origin),
        _ => next.run(request).await,
    };
    origin.mark(response.headers_mut());
    response
}

pub(super) async fn wrong_method() -> Response {
    use axum::response::IntoResponse;
    let error = ProtocolError::new(ErrorName::MethodNotAllowed, "this path takes POST only");
    let mut response = Refusal::from(error).into_response();
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
    response
}

pub(super) async fn no_such_path() -> Refusal {
    ProtocolError::new(ErrorName::NotFound, "no such path").into()
}

/// The cookie that a page on the list may carry its token in.
const COOKIE_NAME: &str = "rivermouth_token";

/// Who asks: the bearer of a token in the `Authorization` header, else in the cookie of an allowed page.
pub(super) fn identify(
    edge: &Edge,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Arc<Identity>, ProtocolError> {
    let refused = |why: &str| ProtocolError::new(ErrorName::AuthRequired, why);
    if names_token(uri.query().unwrap_or_default()) {
        return Err(refused("a token does not belong into an address"));
    }
    let mut credentials = headers.get_all(AUTHORIZATION).iter();
    let Some(credential) = credentials.next() else {
        let token = cookie(edge, headers).ok_or_else(|| refused("a bearer token is needed"))?;
        return edge.tokens.verify(token, now_ms());
    };
    if credentials.next().is_some() {
        return Err(refused("one Authorization header is enough"));
    }
    let text = credential
        .to_str()
        .map_err(|_| refused("the token cannot be read"))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refused(
            "the Authorization header must be of the kind Bearer",
        ));
    }
    edge.tokens.verify(token.trim(), now_ms())
}

/// The token in the cookie. Without an allowed origin a cookie is no credential: any page can make a browser
/// send it.
fn cookie<'h>(edge: &Edge, headers: &'h HeaderMap) -> Option<&'h str> {
    if !matches!(edge.origins.check(headers), Origin::Allowed(_)) {
        return None;
    }
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE_NAME).then_some(value))
}

/// Whether a query has a parameter that may carry a token, however its name is spelt.
fn names_token(query: &str) -> bool {
    query.split('&').any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        let name = decoded(name);
        TOKEN_PARAMETERS
            .iter()
            .any(|parameter| name.eq_ignore_ascii_case(parameter.as_bytes()))
    })
}

fn decoded(name: &str) -> Vec<u8> {
    let bytes = name.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = |index: usize| char::from(*bytes.get(index)?).to_digit(16);
        match (byte, hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// What a body claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Lines,
}

/// The kind of a body; absent counts as JSON.
pub(super) fn kind(headers: &HeaderMap) -> Result<Kind, ProtocolError> {
    let wrong = || {
        ProtocolError::invalid("the content type must be application/json or application/x-ndjson")
    };
    let Some(value) = single(headers, CONTENT_TYPE)? else {
        return Ok(Kind::Json);
    };
    let text = value.to_str().map_err(|_| wrong())?;
    let mut parts = text.split(';').map(str::trim);
    let kind = match parts
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
        .as_str()
    {
        "application/json" => Kind::Json,
        "application/x-ndjson" => Kind::Lines,
        _ => return Err(wrong()),
    };
    for parameter in parts {
        let charset = parameter.to_ascii_lowercase().replace(' ', "");
        if let Some(charset) = charset.strip_prefix("charset=")
            && !matches!(charset.trim_matches('"'), "utf-8" | "utf8")
        {
            return Err(ProtocolError::invalid("text is UTF-8 here"));
        }
    }
    Ok(kind)
}

/// Reads a body of at most `bytes_max` bytes.
pub(super) async fn body(
    edge: &Edge,
    request: Request,
    bytes_max: usize,
) -> Result<Bytes, Refusal> {
    let closing = |error: ProtocolError| Refusal {
        close: true,
        ..Refusal::from(error)
    };
    let headers = request.headers();
    if let Some(encoding) = single(headers, CONTENT_ENCODING).map_err(closing)?
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(closing(ProtocolError::invalid(
            "a body with Content-Encoding is not taken",
        )));
    }
    let claimed = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    // A little too much is read on and thrown away, so that a client that is still writing hears the answer.
    if claimed.is_some_and(|length| length > bytes_max + service::http::DISCARD_MAX) {
        return Err(closing(ProtocolError::too_large(bytes_max)));
    }
    read_body(request.into_body(), bytes_max, edge.body_deadline)
        .await
        .map_err(|error| {
            closing(match error {
                BodyError::TooLarge { bytes_max } => ProtocolError::too_large(bytes_max),
                BodyError::Late(_) => ProtocolError::new(
                    ErrorName::Timeout,
                    "the body did not arrive in time, nothing of it was published",
                ),
                BodyError::Broken => ProtocolError::invalid("the body broke off"),
            })
        })
}

/// The `Idempotency-Key`, which stands for the publish's id.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ProtocolError> {
    let Some(value) = single(headers, HeaderName::from_static("idempotency-key"))? else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if valid_id(key) => Ok(Some(key.to_owned())),
        _ => Err(ProtocolError::invalid(
            "Idempotency-Key is an id: 1 to 64 of A-Z a-z 0-9 _ : @ ~ . -",
        )),
    }
}

fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, ProtocolError> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(ProtocolError::invalid(format!("{name} is given twice")));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_query_is_found_however_it_is_spelt() {
        for bad in [
            "token=x",
            "a=1&jwt=y",
            "access_token",
            "%74oken=x",
            "TOKEN=x",
            "a&%4A%57%54=z",
        ] {
            assert!(names_token(bad), "{bad}");
        }
        for fine in [
            "",
            "tokens=x",
            "a=token",
            "channel=session.1&since=latest",
            "%7Goken=1",
            "tok%en",
        ] {
            assert!(!names_token(fine), "{fine}");
        }
    }

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_body_is_json_or_lines_of_json_in_utf_8() {
        let kind = |values: &[&str]| kind(&headers("content-type", values));
        assert_eq!(kind(&[]), Ok(Kind::Json));
        assert_eq!(kind(&["application/json"]), Ok(Kind::Json));
        assert_eq!(kind(&["Application/JSON; charset=UTF-8"]), Ok(Kind::Json));
        assert_eq!(
            kind(&["application/x-ndjson;charset=\"utf-8\""]),
            Ok(Kind::Lines)
        );
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "",
            "application/json; charset=latin1",
        ] {
            assert!(kind(&[bad]).is_err(), "{bad}");
        }
        assert!(kind(&["application/json", "application/json"]).is_err());
    }

    #[test]
    fn an_idempotency_key_is_an_id() {
        let key = |values: &[&str]| idempotency_key(&headers("idempotency-key", values));
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["order-1"]), Ok(Some("order-1".to_owned())));
        assert!(key(&["a b"]).is_err());
        assert!(key(&[""]).is_err());
        assert!(key(&["a", "a"]).is_err());
    }
}
