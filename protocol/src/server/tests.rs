//! The server's messages, byte for byte.

use serde_json::json;

use super::*;
use crate::ErrorName;

fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes).unwrap();
    assert!(!text.contains('\n'));
    serde_json::from_str::<Value>(&text).unwrap();
    text
}

fn frame<'a>() -> EventFrame<'a> {
    EventFrame {
        channel: "session.42",
        event: "draw",
        id: "0192f0",
        user_id: Some("u1"),
        data: br#"{"b":1.50,"a":[1e2]}"#,
        timestamp_ms: 1_763_683_200_123,
        cursor: Some("1b"),
        prev: Some("1a"),
        addressed: false,
        replaced: None,
        replay: false,
    }
}

#[test]
fn an_event_has_the_keys_of_the_protocol_in_its_order() {
    assert_eq!(
        text(event(&frame())),
        r#"{"type":"event","channel":"session.42","event":"draw","id":"0192f0","userId":"u1","data":{"b":1.50,"a":[1e2]},"timestamp":1763683200123,"cursor":"1b","prev":"1a"}"#
    );
}

#[test]
fn the_first_event_has_null_before_it_and_an_unknown_user_is_null() {
    let first = EventFrame {
        prev: None,
        user_id: None,
        addressed: true,
        replay: true,
        ..frame()
    };
    assert_eq!(
        text(event(&first)),
        r#"{"type":"event","channel":"session.42","event":"draw","id":"0192f0","userId":null,"data":{"b":1.50,"a":[1e2]},"timestamp":1763683200123,"cursor":"1b","prev":null,"addressed":true,"replay":true}"#
    );
}

#[test]
fn an_ephemeral_event_has_no_position() {
    let moved = EventFrame {
        cursor: None,
        prev: None,
        replaced: Some(3),
        data: b"null",
        ..frame()
    };
    assert_eq!(
        text(event(&moved)),
        r#"{"type":"event","channel":"session.42","event":"draw","id":"0192f0","userId":"u1","data":null,"timestamp":1763683200123,"replaced":3}"#
    );
}

#[test]
fn names_from_outside_cannot_break_out_of_their_string() {
    let forged = EventFrame {
        user_id: Some("u\",\"addressed\":true,\"x\":\"\n\u{2028}\u{0}\\"),
        ..frame()
    };
    let read: Value = serde_json::from_str(&text(event(&forged))).unwrap();
    assert_eq!(
        read["userId"],
        "u\",\"addressed\":true,\"x\":\"\n\u{2028}\u{0}\\"
    );
    assert_eq!(read.get("addressed"), None);
}

#[test]
fn the_buffer_of_an_event_fits_exactly() {
    let cursor = "1".repeat(25);
    for (cursor, prev) in [
        (None, None),
        (Some(&*cursor), None),
        (Some(&*cursor), Some(&*cursor)),
    ] {
        for user_id in [None, Some("u1")] {
            for timestamp_ms in [0, 9, 10, i64::MAX, i64::MIN] {
                for (all, replaced) in [(false, None), (true, Some(u64::MAX)), (true, Some(0))] {
                    let out = event(&EventFrame {
                        cursor,
                        prev,
                        user_id,
                        timestamp_ms,
                        addressed: all,
                        replaced,
                        replay: all,
                        ..frame()
                    });
                    assert_eq!(out.len(), out.capacity());
                }
            }
        }
    }
}

#[test]
fn connected_says_what_a_client_needs_to_know() {
    let hello = Connected {
        connection_id: "c1",
        user_id: "u1",
        node: "n1",
        heartbeat_interval_ms: 25_000,
        heartbeat_timeout_ms: 60_000,
        message_bytes_max: 65_536,
        expires_at_ms: 5,
        now_ms: 4,
        cursor: None,
    };
    let data = r#"{"connectionId":"c1","userId":"u1","node":"n1","protocol":"rivermouth.v1","heartbeatInterval":25000,"heartbeatTimeout":60000,"maxMessageBytes":65536,"expiresAt":5}"#;
    assert_eq!(
        text(connected(&hello)),
        format!(r#"{{"type":"event","event":"connected","data":{data},"timestamp":4}}"#)
    );
    let stream = Connected {
        cursor: Some("s1"),
        ..hello
    };
    assert!(text(connected(&stream)).ends_with(r#","timestamp":4,"cursor":"s1"}"#));
    assert_eq!(
        text(response_raw("1", &hello.data())),
        format!(r#"{{"type":"response","id":"1","data":{data}}}"#)
    );
}

#[test]
fn errors_name_request_and_channel_when_there_are_some() {
    let denied = ProtocolError::denied("no");
    let member = r#"{"code":4403,"name":"PERMISSION_DENIED","message":"no","retryable":false}"#;
    assert_eq!(
        text(error(Some("7"), Some("jobs.1"), &denied, 9)),
        format!(r#"{{"type":"error","id":"7","channel":"jobs.1","error":{member},"timestamp":9}}"#)
    );
    assert_eq!(
        text(error(None, None, &denied, 9)),
        format!(r#"{{"type":"error","error":{member},"timestamp":9}}"#)
    );
    assert_eq!(
        text(error_body(&denied, Some("jobs.1"), 9)),
        format!(r#"{{"error":{member},"channel":"jobs.1","timestamp":9}}"#)
    );
    let limited = ProtocolError::new(ErrorName::RateLimitExceeded, "slow")
        .retry_after(100)
        .with_details(json!({"publishId": "p"}));
    assert_eq!(
        text(error_line(&limited, Some("p"))),
        r#"{"error":{"code":4429,"name":"RATE_LIMIT_EXCEEDED","message":"slow","legacy":"E004","retryable":true,"retryAfterMs":100,"details":{"publishId":"p"}},"id":"p"}"#
    );
}

#[test]
fn the_text_of_an_error_is_its_value() {
    for name in ErrorName::ALL {
        let error = ProtocolError::new(*name, "a \"b\"")
            .retry_after(1)
            .with_details(json!({"a": [1]}));
        let read: Value = serde_json::from_slice(&error_text(&error)).unwrap();
        assert_eq!(read, error.to_value());
    }
}

#[test]
fn control_events_are_as_the_protocol_spells_them() {
    for (bytes, wanted) in [
        (
            caught_up("session.1", "1a"),
            r#"{"type":"event","channel":"session.1","event":"caught_up","cursor":"1a"}"#,
        ),
        (
            gap("session.1", Some("1a"), Some("1b"), GapReason::Retention),
            r#"{"type":"event","channel":"session.1","event":"gap","data":{"from":"1a","to":"1b","reason":"retention"}}"#,
        ),
        (
            gap("session.1", None, None, GapReason::Epoch),
            r#"{"type":"event","channel":"session.1","event":"gap","data":{"from":null,"to":null,"reason":"epoch"}}"#,
        ),
        (
            lagging("session.1"),
            r#"{"type":"event","channel":"session.1","event":"lagging"}"#,
        ),
        (
            heartbeat(7, None),
            r#"{"type":"event","event":"heartbeat","timestamp":7}"#,
        ),
        (
            heartbeat(7, Some("s1")),
            r#"{"type":"event","event":"heartbeat","timestamp":7,"cursor":"s1"}"#,
        ),
        (
            subscribed("user.u1", br#"{"recovered":true}"#),
            r#"{"type":"event","channel":"user.u1","event":"subscribed","data":{"recovered":true}}"#,
        ),
        (
            token_expiring(5),
            r#"{"type":"event","event":"token_expiring","data":{"expiresAt":5}}"#,
        ),
        (
            response("1", &json!({"serverTime": 5})),
            r#"{"type":"response","id":"1","data":{"serverTime":5}}"#,
        ),
    ] {
        assert_eq!(text(bytes), wanted);
    }
}

#[test]
fn pages_carry_frames_as_they_are() {
    let one = event(&frame());
    let spelled = text(one.clone());
    assert_eq!(
        text(history(
            &[one.clone(), one.clone()],
            Some("1b"),
            false,
            None
        )),
        format!(r#"{{"events":[{spelled},{spelled}],"next":"1b","complete":false}}"#)
    );
    let gone = gap_data(Some("1a"), None, GapReason::Truncated);
    assert_eq!(
        text(history::<Vec<u8>>(&[], None, true, Some(&gone))),
        r#"{"events":[],"next":null,"complete":true,"gap":{"from":"1a","to":null,"reason":"truncated"}}"#
    );
    assert_eq!(
        text(poll(&[one], "s1", Some(&gone))),
        format!(
            r#"{{"events":[{spelled}],"cursor":"s1","gap":{{"from":"1a","to":null,"reason":"truncated"}}}}"#
        )
    );
}
