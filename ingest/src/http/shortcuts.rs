//! `POST /api/realtime/cursor` and `/draw`: the two calls of pages that speak no protocol.
//!
//! Each is turned into the text of a publish and goes the way of all publishes, so that no rule can differ.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use protocol::ProtocolError;
use protocol::client::{Publish, parse_publish};
use schemas::json;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Door;
use super::edge::{Kind, Refusal, body, idempotency_key, identify, kind};
use super::publish::{one, with_key};

#[derive(Deserialize)]
struct Cursor<'a> {
    #[serde(rename = "sessionId")]
    session_id: String,
    #[serde(borrow)]
    x: &'a RawValue,
    #[serde(borrow)]
    y: &'a RawValue,
}

#[derive(Deserialize)]
struct Draw<'a> {
    #[serde(rename = "sessionId")]
    session_id: String,
    #[serde(borrow)]
    operation: &'a RawValue,
}

#[derive(Deserialize)]
struct Operation {
    #[serde(rename = "type")]
    kind: Option<serde_json::Value>,
}

/// 202: the cursor moved, or will be overtaken by a newer move.
pub(super) async fn cursor(
    State(door): State<Door>,
    request: Request,
) -> Result<Response, Refusal> {
    let who = identify(&door.edge, request.uri(), request.headers())?;
    let text = text(&door, request).await?;
    one(&door, &who, cursor_publish(&text)?).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}

/// 200 as a publish: the operation becomes a `draw`, or what its `type` says it is.
pub(super) async fn draw(State(door): State<Door>, request: Request) -> Result<Response, Refusal> {
    let who = identify(&door.edge, request.uri(), request.headers())?;
    let key = idempotency_key(request.headers())?;
    let text = text(&door, request).await?;
    let publish = with_key(draw_publish(&text)?, key)?;
    one(&door, &who, publish).await
}

async fn text(door: &Door, request: Request) -> Result<bytes::Bytes, Refusal> {
    if kind(request.headers())? != Kind::Json {
        return Err(ProtocolError::invalid("the content type must be application/json").into());
    }
    body(&door.edge, request, door.gateway.limits().message_bytes_max).await
}

fn cursor_publish(text: &[u8]) -> Result<Publish, ProtocolError> {
    check(text)?;
    let cursor: Cursor<'_> = serde_json::from_slice(text)
        .map_err(|_| ProtocolError::invalid("a cursor is an object with sessionId, x and y"))?;
    let (x, y) = (cursor.x.get(), cursor.y.get());
    if ![x, y]
        .iter()
        .all(|raw| raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
    {
        return Err(ProtocolError::invalid("x and y must be numbers"));
    }
    let data = format!(r#"{{"x":{x},"y":{y}}}"#);
    parse_publish(&publish_text(&cursor.session_id, "cursor.move", &data))
}

fn draw_publish(text: &[u8]) -> Result<Publish, ProtocolError> {
    check(text)?;
    let draw: Draw<'_> = serde_json::from_slice(text).map_err(|_| {
        ProtocolError::invalid("a drawing is an object with sessionId and operation")
    })?;
    let operation = draw.operation.get();
    let Ok(Operation { kind }) = serde_json::from_str(operation) else {
        return Err(ProtocolError::invalid("operation must be an object"));
    };
    if !operation.starts_with('{') {
        return Err(ProtocolError::invalid("operation must be an object"));
    }
    let kind = kind.as_ref().and_then(|kind| kind.as_str());
    let event = kind
        .filter(|kind| matches!(*kind, "erase" | "shape"))
        .unwrap_or("draw");
    parse_publish(&publish_text(&draw.session_id, event, operation))
}

/// The rules of every message; the operation is data, one level down.
fn check(text: &[u8]) -> Result<(), ProtocolError> {
    let rules = json::Rules {
        depth_max: json::DATA_DEPTH_MAX + 1,
    };
    json::check(text, rules).map_err(|fault| ProtocolError::invalid(fault.to_string()))
}

fn publish_text(session_id: &str, event: &str, data: &str) -> Vec<u8> {
    let channel = serde_json::Value::from(format!("session.{session_id}"));
    format!(r#"{{"channel":{channel},"event":"{event}","data":{data}}}"#).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_becomes_a_move_with_the_numbers_as_they_were_spelt() {
        let publish =
            cursor_publish(br#"{"sessionId":"42", "x": 1.50, "y": -2e1, "userId":"u9"}"#).unwrap();
        assert_eq!(publish.channel.as_str(), "session.42");
        assert_eq!(publish.event.as_str(), "cursor.move");
        assert_eq!(&publish.data[..], br#"{"x":1.50,"y":-2e1}"#);
        assert_eq!(publish.user_id, None);
    }

    #[test]
    fn a_drawing_becomes_what_its_type_says() {
        let event = |operation: &str| {
            let text = format!(r#"{{"sessionId":"42","operation":{operation}}}"#);
            draw_publish(text.as_bytes()).map(|publish| publish.event.as_str().to_owned())
        };
        assert_eq!(event(r#"{"tool":"pen"}"#).unwrap(), "draw");
        assert_eq!(event(r#"{"type":"erase"}"#).unwrap(), "erase");
        assert_eq!(event(r#"{"type":"shape"}"#).unwrap(), "shape");
        assert_eq!(event(r#"{"type":"clear"}"#).unwrap(), "draw");
        assert_eq!(event(r#"{"type":7}"#).unwrap(), "draw");
        for bad in ["7", "[]", "null", "\"x\"", r#"[{"type":"draw"}]"#] {
            assert!(event(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_session_id_gets_out_of_its_string() {
        for id in ["", "4.2", "a b", "x\",\"event\":\"clear", "../x", "42\u{0}"] {
            let text = serde_json::json!({"sessionId": id, "x": 1, "y": 2}).to_string();
            assert!(cursor_publish(text.as_bytes()).is_err(), "{id:?}");
        }
        for bad in [
            &br#"{"sessionId":"42","x":"1","y":2}"#[..],
            br#"{"sessionId":"42","x":1}"#,
            br#"{"sessionId":42,"x":1,"y":2}"#,
            br#"{"sessionId":"42","x":1,"x":1,"y":2}"#,
            br#"{"sessionId":"42","x":1e999,"y":2}"#,
            b"nonsense",
        ] {
            assert!(cursor_publish(bad).is_err());
        }
    }
}
