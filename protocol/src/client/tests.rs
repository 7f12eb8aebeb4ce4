//! What is understood, what is refused, and what a refusal still knows.

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

#[test]
fn methods_without_much_to_say() {
    assert_eq!(method("ping", json!({})), Ok(Call::Ping));
    assert_eq!(
        call(r#"{"type":"request","id":"","method":"ping"}"#),
        Call::Ping
    );
    assert_eq!(
        call(r#"{"type":"request","id":"1","method":"ping","params":null}"#),
        Call::Ping
    );
    assert_eq!(
        method(
            "connect",
            json!({"token": "t", "name": "n", "version": "1"})
        ),
        Ok(Call::Connect {
            token: "t".into(),
            name: Some("n".into()),
            version: Some("1".into())
        })
    );
    assert_eq!(
        method("refresh", json!({"token": "t"})),
        Ok(Call::Refresh { token: "t".into() })
    );
    assert_eq!(
        method("unsubscribe", json!({"channel": "docs.7"})),
        Ok(Call::Unsubscribe {
            channel: channel("docs.7")
        })
    );
    for bad in [
        json!({}),
        json!({"token": 1}),
        json!({"token": null}),
        json!({"token": "t", "name": 1}),
    ] {
        assert_eq!(method("connect", bad), INVALID);
    }
    assert_eq!(method("refresh", json!({})), INVALID);
    assert_eq!(method("unsubscribe", json!({})), INVALID);
}

#[test]
fn only_an_ack_may_come_without_an_id() {
    let ack = r#"{"type":"request","method":"ack","params":{"channel":"session.1","cursor":"c"}}"#;
    assert_eq!(
        parse(ack.as_bytes()),
        Ok(Message::Request {
            id: None,
            call: Call::Ack {
                channel: channel("session.1"),
                cursor: "c".into()
            }
        })
    );
    for line in [
        r#"{"type":"request","method":"ping"}"#,
        r#"{"type":"request","id":null,"method":"ping"}"#,
        r#"{"type":"request","method":"subscribe","params":{"channel":"session.1"}}"#,
    ] {
        let refused = refused(line.as_bytes());
        assert_eq!((refused.id, refused.malformed), (None, false));
    }
    for id in [
        json!(1),
        json!(["1"]),
        json!({}),
        json!(true),
        json!("x".repeat(65)),
    ] {
        let line = json!({"type": "request", "id": id, "method": "ping"}).to_string();
        assert_eq!(refused(line.as_bytes()).id, None, "{line}");
        let line = json!({"type": "request", "id": id, "method": "ack", "params": {"channel": "session.1", "cursor": "c"}});
        assert_eq!(refused(line.to_string().as_bytes()).id, None);
    }
    let longest = json!({"type": "request", "id": "é".repeat(64), "method": "ping"}).to_string();
    assert!(parse(longest.as_bytes()).is_ok());
    assert_eq!(method("ack", json!({"channel": "session.1"})), INVALID);
    assert_eq!(
        method("ack", json!({"channel": "session.1", "cursor": 5})),
        INVALID
    );
}

#[test]
fn known_methods_that_are_not_served_are_told_from_unknown_ones() {
    for name in [
        "snapshot",
        "presence.get",
        "presence.update",
        "replay",
        "replay.control",
        "jobs.get",
    ] {
        assert_eq!(
            method(name, json!({"channel": "session.1"})),
            Ok(Call::Unserved(name))
        );
    }
    for name in [
        "",
        "Ping",
        "pong",
        "subscribe:jobs",
        "connect ",
        "toString",
        "__proto__",
    ] {
        assert_eq!(method(name, json!({})), INVALID, "{name}");
    }
    for line in [
        r#"{"type":"request","id":"1"}"#,
        r#"{"type":"request","id":"1","method":null}"#,
        r#"{"type":"request","id":"1","method":["ping"]}"#,
        r#"{"type":"request","id":"1","method":"ping","params":[]}"#,
        r#"{"type":"request","id":"1","method":"ping","params":"x"}"#,
        r#"{"type":"request","id":"1","method":"ping","params":1}"#,
    ] {
        let refused = refused(line.as_bytes());
        assert_eq!(refused.error.name, ErrorName::InvalidMessage);
        assert_eq!(
            (refused.id.as_deref(), refused.malformed),
            (Some("1"), false),
            "{line}"
        );
    }
}

#[test]
fn a_subscription_starts_where_it_says() {
    let since = |value| subscribe(json!({"since": value})).map(|s| s.since);
    assert_eq!(
        subscribe(json!({})),
        Ok(Subscribe::new(channel("session.42")))
    );
    assert_eq!(since(json!(null)), Ok(Since::Latest));
    assert_eq!(since(json!("latest")), Ok(Since::Latest));
    assert_eq!(since(json!("earliest")), Ok(Since::Earliest));
    assert_eq!(since(json!("1abc")), Ok(Since::Cursor("1abc".into())));
    assert_eq!(since(json!("")), Ok(Since::Cursor(String::new())));
    assert_eq!(since(json!({"time": 5})), Ok(Since::Time(5)));
    assert_eq!(since(json!({"time": -5})), Ok(Since::Time(-5)));
    assert_eq!(since(json!({"last": 1})), Ok(Since::Last(1)));
    assert_eq!(since(json!({"last": 1_000})), Ok(Since::Last(1_000)));
    for bad in [
        json!(5),
        json!(true),
        json!([]),
        json!({}),
        json!({"time": "5"}),
        json!({"time": 1.5}),
        json!({"last": 0}),
        json!({"last": 1_001}),
        json!({"last": -1}),
        json!({"last": "1"}),
        json!({"time": 1, "last": 1}),
        json!({"cursor": "1"}),
    ] {
        assert_eq!(since(bad.clone()), Err(ErrorName::InvalidMessage), "{bad}");
    }
}

#[test]
fn a_subscription_has_its_options_in_range() {
    let all = json!({
        "since": "1c", "types": ["chat_message", "draw"], "snapshot": true, "window": 10_000,
        "maxRate": 5, "durable": "tab:1", "presence": true, "unknown": [{}],
    });
    assert_eq!(
        subscribe(all),
        Ok(Subscribe {
            channel: channel("session.42"),
            since: Since::Cursor("1c".into()),
            types: Some(vec![name("chat.message"), name("draw")]),
            window: Some(10_000),
            snapshot: true,
            durable: Some("tab:1".into()),
            presence: true,
            max_rate: Some(5),
        })
    );
    assert!(subscribe(json!({"types": vec!["draw"; 64]})).is_ok());
    for bad in [
        json!({"types": []}),
        json!({"types": vec!["draw"; 65]}),
        json!({"types": "draw"}),
        json!({"types": [1]}),
        json!({"types": ["a b"]}),
        json!({"types": [null]}),
        json!({"window": 0}),
        json!({"window": 10_001}),
        json!({"window": "1"}),
        json!({"window": -1}),
        json!({"window": 1.5}),
        json!({"maxRate": 0}),
        json!({"maxRate": "fast"}),
        json!({"snapshot": 1}),
        json!({"snapshot": "true"}),
        json!({"presence": "no"}),
        json!({"durable": ""}),
        json!({"durable": "a b"}),
        json!({"durable": "x".repeat(65)}),
        json!({"durable": true}),
    ] {
        assert_eq!(
            subscribe(bad.clone()),
            Err(ErrorName::InvalidMessage),
            "{bad}"
        );
    }
}

#[test]
fn malformed_channels_are_refused_and_good_ones_are_named_in_the_refusal() {
    for bad in [
        json!(""),
        json!("session"),
        json!("session."),
        json!(".42"),
        json!("session.4.2"),
        json!("Session.42"),
        json!("session.4 2"),
        json!("session.é"),
        json!("1s.2"),
        json!(42),
        json!(["session.42"]),
        json!("session.*"),
        json!("broadcast.1"),
        json!(format!("session.{}", "x".repeat(129))),
    ] {
        assert_eq!(
            method("subscribe", json!({"channel": bad})),
            INVALID,
            "{bad}"
        );
    }
    let line = r#"{"type":"request","id":"1","method":"subscribe","params":{"channel":"session.1","window":0}}"#;
    assert_eq!(
        refused(line.as_bytes()).channel.as_deref(),
        Some("session.1")
    );
}

#[test]
fn older_spellings_of_subscribe_are_understood() {
    assert_eq!(
        method("subscribe:job", json!({"jobId": "9f", "since": "earliest"})),
        Ok(Call::Subscribe(Subscribe {
            since: Since::Earliest,
            ..Subscribe::new(channel("jobs.9f"))
        }))
    );
    assert_eq!(
        method("subscribe:presence", json!({"documentId": "7"})),
        Ok(Call::Subscribe(Subscribe::new(channel("presence.7"))))
    );
    for bad in [
        json!({}),
        json!({"jobId": 5}),
        json!({"jobId": "a.b"}),
        json!({"channel": "jobs.9f"}),
    ] {
        assert_eq!(method("subscribe:job", bad), INVALID);
    }
}

#[test]
fn a_publish_is_read_alike_from_every_transport() {
    let full = publish(json!({
        "id": "0192f0:a.b", "lane": "ephemeral", "to": ["u1", "u 2"], "producer": "p-1",
        "epoch": 0, "seq": 9_007_199_254_740_991u64, "event": "cursor_move",
    }))
    .unwrap();
    assert_eq!(
        full,
        Publish {
            channel: channel("session.42"),
            event: name("cursor.move"),
            data: bytes::Bytes::from_static(br#"{"a":1}"#),
            id: Some("0192f0:a.b".into()),
            lane: Some(Lane::Ephemeral),
            to: Some(vec!["u1".into(), "u 2".into()]),
            outbox: Some(Outbox {
                producer: "p-1".into(),
                epoch: 0,
                seq: 9_007_199_254_740_991
            }),
            user_id: None,
        }
    );
    for bad in [
        json!({"channel": null}),
        json!({"channel": 1}),
        json!({"event": null}),
        json!({"event": 1}),
        json!({"event": ""}),
        json!({"event": "a b"}),
        json!({"event": "a..b"}),
        json!({"event": "1a"}),
        json!({"event": "x".repeat(65)}),
        json!({"event": "a\nid: 1"}),
        json!({"id": ""}),
        json!({"id": 1}),
        json!({"id": "a b"}),
        json!({"id": "x".repeat(65)}),
        json!({"id": "é"}),
        json!({"lane": "fast"}),
        json!({"lane": "Durable"}),
        json!({"lane": 1}),
        json!({"to": []}),
        json!({"to": "u1"}),
        json!({"to": [1]}),
        json!({"to": [""]}),
        json!({"to": ["a\nb"]}),
        json!({"to": ["x".repeat(257)]}),
        json!({"to": [null]}),
        json!({"producer": "p"}),
        json!({"epoch": 1}),
        json!({"seq": 1}),
        json!({"producer": "p", "epoch": 1}),
        json!({"epoch": 1, "seq": 1}),
        json!({"producer": "p", "seq": 1}),
        json!({"producer": "", "epoch": 1, "seq": 1}),
        json!({"producer": "a b", "epoch": 1, "seq": 1}),
        json!({"producer": 1, "epoch": 1, "seq": 1}),
        json!({"producer": "p", "epoch": -1, "seq": 1}),
        json!({"producer": "p", "epoch": 1.5, "seq": 1}),
        json!({"producer": "p", "epoch": "1", "seq": 1}),
        json!({"producer": "p", "epoch": 1, "seq": -1}),
        json!({"producer": "p", "epoch": 1, "seq": 9_007_199_254_740_992u64}),
        json!({"producer": "p", "epoch": u64::MAX, "seq": 0}),
    ] {
        assert_eq!(
            publish(bad.clone()),
            Err(ErrorName::InvalidMessage),
            "{bad}"
        );
    }
    assert_eq!(
        publish(json!({"to": vec!["u"; 257]})),
        Err(ErrorName::LimitExceeded)
    );
    assert!(publish(json!({"id": null, "lane": null, "to": null, "producer": null})).is_ok());
}

#[test]
fn data_keeps_its_bytes_but_for_blanks() {
    let line = br#" { "type" : "event", "channel":"session.1","event":"x","data" : { "b" : 1.50, "a" : [ 1e2 , "x  y\u00e9" ] , "" : null } } "#;
    match parse(line).unwrap() {
        Message::Publish(publish) => {
            assert_eq!(
                &publish.data[..],
                br#"{"b":1.50,"a":[1e2,"x  y\u00e9"],"":null}"#
            );
        }
        other => panic!("{other:?}"),
    }
    for (text, wanted) in [
        ("null", "null"),
        ("\"x\"", "\"x\""),
        ("0", "0"),
        ("[]", "[]"),
        ("false", "false"),
    ] {
        let body = format!(r#"{{"channel":"session.1","event":"x","data":{text}}}"#);
        assert_eq!(
            &parse_publish(body.as_bytes()).unwrap().data[..],
            wanted.as_bytes()
        );
    }
    let without = parse_publish(br#"{"channel":"session.1","event":"x"}"#).unwrap();
    assert_eq!(&without.data[..], b"null");
}

#[test]
fn identity_comes_from_the_connection_unless_a_backend_says_otherwise() {
    let who = |caps: &[&str]| Identity {
        sub: "u1".into(),
        name: None,
        avatar: None,
        expires_at_ms: 0,
        roles: Roles::default(),
        caps: Caps::from_names(caps.iter().copied()),
    };
    let (user, backend) = (who(&["publish"]), who(&["backend"]));
    let author = |named: serde_json::Value, who: &Identity| {
        publish(json!({"userId": named}))
            .unwrap()
            .author(who)
            .map_err(|e| e.name)
    };
    let me = Ok(Some("u1".to_owned()));
    for forged in [
        json!("u2"),
        json!(null),
        json!(5),
        json!({"a": 1}),
        json!(""),
        json!("x".repeat(300)),
    ] {
        assert_eq!(author(forged.clone(), &user), me, "{forged}");
    }
    assert_eq!(author(json!("u2"), &backend), Ok(Some("u2".into())));
    assert_eq!(author(json!(null), &backend), Ok(None));
    assert_eq!(
        publish(json!({}))
            .unwrap()
            .author(&backend)
            .map_err(|e| e.name),
        me
    );
    for bad in [json!(5), json!({"a": 1}), json!(""), json!("x".repeat(300))] {
        assert_eq!(author(bad, &backend), Err(ErrorName::InvalidMessage));
    }
    let forged = json!({
        "timestamp": "never", "cursor": 5, "prev": {}, "sessionId": "s", "role": "gm", "type2": 1,
        "addressed": true, "token": 5, "limit": "x", "order": 7, "since": 7,
    });
    assert_eq!(publish(forged), publish(json!({})));
}

#[test]
fn a_heartbeat_is_one_and_an_event_of_that_name_in_a_channel_is_a_publish() {
    for line in [
        r#"{"type":"event","event":"heartbeat"}"#,
        r#"{"type":"event","event":"heartbeat","timestamp":5,"id":7}"#,
    ] {
        assert_eq!(parse(line.as_bytes()), Ok(Message::Heartbeat));
    }
    let line = r#"{"type":"event","event":"heartbeat","channel":"session.1"}"#;
    assert!(matches!(parse(line.as_bytes()), Ok(Message::Publish(_))));
    assert!(parse(br#"{"type":"event","event":"connected"}"#).is_err());
}

#[test]
fn a_publish_without_answer_is_refused_under_its_own_id() {
    let line = r#"{"type":"event","channel":"session.1","event":"a b","id":"p1"}"#;
    let refused = refused(line.as_bytes());
    assert_eq!(refused.id, None);
    assert_eq!(refused.channel.as_deref(), Some("session.1"));
    assert_eq!(refused.publish_id.as_deref(), Some("p1"));
    assert_eq!(refused.error.details, Some(json!({"publishId": "p1"})));
    assert!(!refused.malformed);
}

#[test]
fn what_is_not_json_or_of_no_type_counts_as_malformed() {
    let lines: &[&[u8]] = &[
        b"",
        b" ",
        b"{",
        b"}",
        b"null",
        b"5",
        b"\"request\"",
        b"[]",
        b"[{\"type\":\"request\"}]",
        b"{\"type\":\"request\"",
        b"{}{}",
        b"{'type':'request'}",
        b"\xff\xfe",
        b"{\"type\":\"\xff\"}",
        b"{}",
        br#"{"type":null}"#,
        br#"{"type":5}"#,
        br#"{"type":"Request"}"#,
        br#"{"type":"ping"}"#,
        br#"{"type":["request"]}"#,
        br#"{"id":"1","method":"ping"}"#,
        b"{\"type\":\"event\",}",
        b"\0",
        b"\xef\xbb\xbf{\"type\":\"event\",\"event\":\"heartbeat\"}",
        b"NaN",
        b"GET / HTTP/1.1",
    ];
    for line in lines {
        let refused = refused(line);
        assert!(refused.malformed, "{}", String::from_utf8_lossy(line));
        assert_eq!(refused.error.name, ErrorName::InvalidMessage);
    }
    for line in [
        r#"{"type":"response","id":"5","data":{}}"#,
        r#"{"type":"error","id":"5","error":{}}"#,
    ] {
        let refused = refused(line.as_bytes());
        assert_eq!(
            (refused.id.as_deref(), refused.malformed),
            (Some("5"), false)
        );
    }
}

#[test]
fn json_rules_hold_everywhere_and_the_answer_still_finds_its_request() {
    let deep = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
    let publish = |data: &str| {
        format!(
            r#"{{"type":"request","id":"7","method":"publish","params":{{"channel":"session.1","event":"x","data":{data}}}}}"#
        )
    };
    assert!(parse(publish(&deep(32)).as_bytes()).is_ok());
    let digits = "1".repeat(64);
    assert!(parse(publish(&digits).as_bytes()).is_ok());
    assert!(parse(publish("1e308").as_bytes()).is_ok());
    let mut bad = vec![
        publish(&deep(33)),
        publish(&deep(30_000)),
        publish(&format!("{digits}1")),
        publish("1e309"),
        publish("1e-309"),
        publish(r#""\u0000""#),
        publish(r#""\ud800""#),
        publish(r#""\udc00\ud800""#),
        publish(r#"{"a":1,"a":2}"#),
        publish(r#"{"a":1,"\u0061":2}"#),
        publish(r#"{"\u0000":1}"#),
        r#"{"type":"request","id":"7","id":"7","method":"ping"}"#.into(),
        r#"{"type":"request","id":"7","method":"ping","method":"connect"}"#.into(),
        r#"{"type":"request","id":"7","method":"ping","m\u0065thod":"connect"}"#.into(),
        r#"{"type":"request","id":"7","method":"ping","params":{"a":1,"a":1}}"#.into(),
    ];
    bad.push(format!(
        r#"{{"type":"request","id":"7","method":"ping","extra":{}}}"#,
        deep(8)
    ));
    for line in bad {
        let refused = refused(line.as_bytes());
        assert_eq!(refused.error.name, ErrorName::InvalidMessage, "{line}");
        assert_eq!(
            (refused.id.as_deref(), refused.malformed),
            (Some("7"), false),
            "{line}"
        );
    }
}

#[test]
fn a_message_may_have_65536_bytes_and_not_one_more() {
    let line = |bytes: usize| {
        let head = r#"{"type":"request","id":"7","method":"ping","x":""#;
        format!("{head}{}\"}}", "x".repeat(bytes - head.len() - 2))
    };
    assert!(parse(line(65_536).as_bytes()).is_ok());
    let refused = refused(line(65_537).as_bytes());
    assert_eq!(refused.error.name, ErrorName::MessageTooLarge);
    assert_eq!(
        (refused.id.as_deref(), refused.malformed),
        (Some("7"), false)
    );
    let body = format!(
        r#"{{"channel":"session.1","event":"x","data":"{}"}}"#,
        "x".repeat(65_536)
    );
    assert_eq!(
        parse_publish(body.as_bytes()).unwrap_err().name,
        ErrorName::MessageTooLarge
    );
}

#[test]
fn a_body_that_is_no_publish_is_refused() {
    for body in [
        "",
        "[]",
        "5",
        "null",
        "{}",
        "{\"channel\":\"session.1\"}",
        "{\"channel\":\"session.1\",\"event\":\"x\"}{}",
    ] {
        assert_eq!(
            parse_publish(body.as_bytes()).unwrap_err().name,
            ErrorName::InvalidMessage,
            "{body}"
        );
    }
}

#[test]
fn history_is_read_alike_as_method_and_query() {
    let params = json!({
        "channel": "session.1", "after": "1a", "before": "1b", "from": 5, "to": 6,
        "types": ["draw"], "limit": 1_000, "order": "desc",
    });
    let query = [
        ("channel", "session.1"),
        ("after", "1a"),
        ("before", "1b"),
        ("from", "5"),
        ("to", "6"),
        ("types", "draw"),
        ("limit", "1000"),
        ("order", "desc"),
        ("other", "x"),
        ("other", "y"),
    ];
    let read = History::from_query(query).unwrap();
    assert_eq!(method("history", params), Ok(Call::History(read.clone())));
    assert_eq!((read.limit, read.order), (1_000, Some(Order::Desc)));
    for bad in [
        json!({"limit": 0}),
        json!({"limit": 1_001}),
        json!({"limit": "5"}),
        json!({"order": "up"}),
        json!({"from": "5"}),
        json!({"to": 1.5}),
        json!({"after": 5}),
        json!({"before": {}}),
        json!({"types": []}),
    ] {
        let mut params = json!({"channel": "session.1"});
        params
            .as_object_mut()
            .unwrap()
            .extend(bad.as_object().unwrap().clone());
        assert_eq!(method("history", params), INVALID, "{bad}");
    }
    for bad in [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "x"),
        ("order", "up"),
        ("from", "x"),
        ("to", "1.5"),
        ("types", "a b"),
        ("types", ","),
        ("channel", "session.2"),
    ] {
        assert!(
            History::from_query([("channel", "session.1"), bad]).is_err(),
            "{bad:?}"
        );
    }
    assert!(History::from_query([("limit", "5")]).is_err());
    let empty = [
        ("channel", "session.1"),
        ("after", ""),
        ("types", ""),
        ("limit", ""),
        ("order", ""),
    ];
    assert_eq!(
        History::from_query(empty).unwrap(),
        History::new(channel("session.1"))
    );
}

#[test]
fn history_goes_backwards_with_before_alone() {
    let order = |after: bool, before: bool, order| {
        History {
            after: after.then(|| "1a".into()),
            before: before.then(|| "1b".into()),
            order,
            ..History::new(channel("session.1"))
        }
        .order()
    };
    assert_eq!(order(false, false, None), Order::Asc);
    assert_eq!(order(true, false, None), Order::Asc);
    assert_eq!(order(true, true, None), Order::Asc);
    assert_eq!(order(false, true, None), Order::Desc);
    assert_eq!(order(false, true, Some(Order::Asc)), Order::Asc);
    assert_eq!(order(true, false, Some(Order::Desc)), Order::Desc);
}

#[test]
fn queries_say_since_and_types_in_words() {
    let since = |text| Since::parse_query(text).map_err(|e| e.name);
    assert_eq!(since(""), Ok(Since::Latest));
    assert_eq!(since("latest"), Ok(Since::Latest));
    assert_eq!(since("earliest"), Ok(Since::Earliest));
    assert_eq!(since("time:5"), Ok(Since::Time(5)));
    assert_eq!(since("last:1000"), Ok(Since::Last(1_000)));
    assert_eq!(since("1abc"), Ok(Since::Cursor("1abc".into())));
    for bad in [
        "time:",
        "time:x",
        "time:1.5",
        "last:",
        "last:0",
        "last:1001",
        "last:-1",
        "last:x",
    ] {
        assert_eq!(since(bad), Err(ErrorName::InvalidMessage), "{bad}");
    }
    assert_eq!(parse_types(""), Ok(None));
    assert_eq!(
        parse_types("draw, chat_message"),
        Ok(Some(vec![name("draw"), name("chat.message")]))
    );
    assert!(parse_types(&vec!["a"; 64].join(",")).is_ok());
    assert!(parse_types(&vec!["a"; 65].join(",")).is_err());
    assert!(parse_types("draw,").is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(line in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(parse(&line).is_err());
        prop_assert!(parse_publish(&line).is_err());
    }

    /// Good messages with a few bytes changed: whatever comes out, comes out as a value.
    #[test]
    fn no_damaged_message_makes_it_panic(
        which in 0usize..4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let good = [
            r#"{"type":"request","id":"1","method":"publish","params":{"channel":"session.1","event":"x","data":{"a":["\u00e9\ud83d\ude00",1e2]},"to":["u"],"producer":"p","epoch":1,"seq":2}}"#,
            r#"{"type":"request","id":"1","method":"subscribe","params":{"channel":"session.1","since":{"last":5},"types":["draw"],"window":5}}"#,
            r#"{"type":"event","channel":"session.1","event":"x","data":null,"userId":null}"#,
            r#"{"type":"request","id":"1","method":"history","params":{"channel":"session.1","limit":5,"order":"asc"}}"#,
        ][which];
        let mut line = good.as_bytes().to_vec();
        for (at, byte) in &damage {
            let at = at.index(line.len());
            line[at] = *byte;
        }
        let read = parse(&line);
        if damage.is_empty() {
            prop_assert!(read.is_ok());
        }
    }

    /// What is understood as a publish carries data that every JSON reader takes, and reading it
    /// again changes nothing.
    #[test]
    fn data_that_is_taken_is_settled(text in "[\\[\\]{}\",:0-9a-e. \\\\u+-]{0,40}") {
        let body = format!(r#"{{"channel":"session.1","event":"x","data":{text}}}"#);
        if let Ok(publish) = parse_publish(body.as_bytes()) {
            let text = String::from_utf8(publish.data.to_vec()).unwrap();
            let again = format!(r#"{{"channel":"session.1","event":"x","data":{text}}}"#);
            prop_assert_eq!(&parse_publish(again.as_bytes()).unwrap().data[..], text.as_bytes());
        }
    }
}
