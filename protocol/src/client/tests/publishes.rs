//! Publishes: one reading for every transport, and whose they are.

use super::*;

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
