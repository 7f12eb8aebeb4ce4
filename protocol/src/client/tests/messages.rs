//! Messages as a whole: types, ids, JSON rules, sizes, and bytes of any kind.

use super::*;

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
        br#"["request","7","ping",null,null,null]"#,
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
