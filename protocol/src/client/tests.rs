//! What is understood, what is refused, and what a refusal still knows.

mod messages;
mod publishes;
mod subscriptions;

use proptest::prelude::*;
use serde_json::json;

use schemas::{EventName, Lane, Outbox};

use super::*;
use crate::{Caps, ErrorName, Identity, Roles};

fn channel(text: &str) -> Channel {
    Channel::parse(text).unwrap()
}

fn name(text: &str) -> EventName {
    EventName::parse(text).unwrap()
}

fn call(line: &str) -> Call {
    match parse(line.as_bytes()) {
        Ok(Message::Request { call, .. }) => call,
        other => panic!("{line}: {other:?}"),
    }
}

fn method(method: &str, params: serde_json::Value) -> Result<Call, ErrorName> {
    let line =
        json!({"type": "request", "id": "1", "method": method, "params": params}).to_string();
    match parse(line.as_bytes()) {
        Ok(Message::Request { id, call }) => {
            assert_eq!(id.as_deref(), Some("1"));
            Ok(call)
        }
        Ok(other) => panic!("{line}: {other:?}"),
        Err(refused) => {
            assert_eq!(refused.id.as_deref(), Some("1"), "{line}");
            assert!(!refused.malformed, "{line}");
            Err(refused.error.name)
        }
    }
}

fn refused(line: &[u8]) -> Refused {
    parse(line).unwrap_err()
}

const INVALID: Result<Call, ErrorName> = Err(ErrorName::InvalidMessage);

fn subscribe(params: serde_json::Value) -> Result<Subscribe, ErrorName> {
    let mut params = params;
    params["channel"] = json!("session.42");
    match method("subscribe", params) {
        Ok(Call::Subscribe(subscribe)) => Ok(subscribe),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    }
}

fn publish(more: serde_json::Value) -> Result<Publish, ErrorName> {
    let mut params = json!({"channel": "session.42", "event": "draw", "data": {"a": 1}});
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    let over_http = parse_publish(params.to_string().as_bytes()).map_err(|e| e.name);
    let mut as_event = params.clone();
    as_event["type"] = json!("event");
    let as_event = match parse(as_event.to_string().as_bytes()) {
        Ok(Message::Publish(publish)) => Ok(publish),
        Ok(other) => panic!("{other:?}"),
        Err(refused) => Err(refused.error.name),
    };
    let as_request = match method("publish", params) {
        Ok(Call::Publish(publish)) => Ok(publish),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    assert_eq!(over_http, as_request);
    assert_eq!(as_event, as_request);
    as_request
}
