//! Subscriptions and history: where they start and what may be asked.

use super::*;

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

#[test]
fn an_acknowledgement_over_http_has_all_three_members() {
    let whole = json!({"channel": "session.42", "cursor": "1x", "durable": "tab", "more": 1});
    let ack = parse_ack(whole.to_string().as_bytes()).unwrap();
    assert_eq!(
        (
            ack.channel.as_str(),
            ack.cursor.as_str(),
            ack.durable.as_str()
        ),
        ("session.42", "1x", "tab")
    );
    for member in ["channel", "cursor", "durable"] {
        let mut partial = whole.clone();
        partial.as_object_mut().unwrap().remove(member);
        assert!(
            parse_ack(partial.to_string().as_bytes()).is_err(),
            "{member}"
        );
    }
    for bad in [
        "",
        "[]",
        r#"{"channel":"session.42","cursor":1,"durable":"tab"}"#,
        r#"{"channel":"session.42","cursor":"1x","durable":"a b"}"#,
        r#"{"channel":"session.42","cursor":"1x","durable":""}"#,
        r#"{"channel":"x","cursor":"1x","durable":"tab"}"#,
        r#"{"channel":"session.42","channel":"session.43","cursor":"1x","durable":"tab"}"#,
    ] {
        let refused = parse_ack(bad.as_bytes()).unwrap_err();
        assert_eq!(refused.name, crate::ErrorName::InvalidMessage, "{bad}");
    }
}

#[test]
fn a_window_in_a_query_is_a_number_within_its_bounds() {
    assert_eq!(parse_window("10000").ok(), Some(10_000));
    for bad in ["", "0", "10001", "-1", "1.5", "many"] {
        assert!(parse_window(bad).is_err(), "{bad}");
    }
}
