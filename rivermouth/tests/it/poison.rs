//! Records that nobody can take, between records that everybody can.

use std::collections::BTreeSet;

use serde_json::json;
use testbed::{Bed, Foreign, Registry};

use crate::BINARY;
use crate::talk::Talk;

const KEY: &[u8] = b"poisoned";
const CHANNEL: &str = "session.poisoned";

/// A schema that contains itself: with a decoder that follows it, a long enough datum ends the process.
const RECURSIVE: &str =
    r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn f38_poison_goes_to_quarantine_with_its_reason_and_the_stream_goes_on() {
    let mut bed = Bed::on_kafka(BINARY).await;
    let registry = Registry::start().await;
    bed.set("SCHEMA_REGISTRY_URL", registry.url());
    let (fanout, mut persister) = tokio::join!(bed.start("fanout"), bed.start("persister"));
    let mut talk = Talk::open(&fanout, &bed.gm("u1")).await;
    talk.subscribe(json!({"channel": CHANNEL})).await;

    let recursive = [
        &[0][..],
        &registry.add(RECURSIVE).to_be_bytes(),
        &[2; 60_000],
    ]
    .concat();
    let unknown = [&[0][..], &4711u32.to_be_bytes(), b"xx"].concat();
    let deep = format!(
        r#"{{"event":"draw","data":{}1{}}}"#,
        "[".repeat(33),
        "]".repeat(33)
    );
    let very_deep = "[".repeat(30_000);
    let large = format!(r#"{{"event":"draw","data":"{}"}}"#, "x".repeat(70_000));
    let number = format!(r#"{{"event":"draw","data":{}}}"#, "9".repeat(65));
    let text = |text: &'static str| (text.as_bytes().to_vec(), Vec::new());
    let with = |text: &'static str, headers: Vec<(&'static str, &'static str)>| {
        (text.as_bytes().to_vec(), headers)
    };
    let good = r#"{"event":"draw"}"#;
    type Case = (Vec<u8>, Vec<(&'static str, &'static str)>);
    let mut values: Vec<Case> = vec![
        text(""),
        text("{"),
        text("[1]"),
        text(r#"{"event":"draw"} x"#),
        text(r#"{"data":1}"#),
        text(r#"{"event":7}"#),
        text(r#"{"event":"two words"}"#),
        text(r#"{"event":"draw","id":"ä"}"#),
        text(r#"{"event":"draw","to":"u1"}"#),
        text(r#"{"event":"draw","data":{"a":1,"a":2}}"#),
        text(r#"{"event":"draw","data":"\u0000"}"#),
        text(r#"{"event":"draw","data":"\ud800"}"#),
        text(r#"{"event":"draw","data":1e999}"#),
        (vec![0xff, 0xfe, b'{'], Vec::new()),
        (deep.into_bytes(), Vec::new()),
        (very_deep.into_bytes(), Vec::new()),
        (number.into_bytes(), Vec::new()),
        (large.into_bytes(), Vec::new()),
        (vec![0xc3, 0x01, 1, 2, 3, 4, 5, 6, 7, 8, 9], Vec::new()),
        (recursive, Vec::new()),
        (unknown, Vec::new()),
        with(good, vec![("rm-channel", "session.other")]),
        with(good, vec![("rm-channel", "no channel")]),
        with(good, vec![("rm-producer", "p")]),
        with(
            good,
            vec![("rm-producer", "p"), ("rm-epoch", "-1"), ("rm-seq", "0")],
        ),
        with(
            "1",
            vec![
                ("ce_specversion", "1.0"),
                ("ce_id", "x"),
                ("ce_source", "/s"),
            ],
        ),
        with(
            "{",
            vec![
                ("ce_specversion", "1.0"),
                ("ce_id", "x"),
                ("ce_source", "/s"),
                ("ce_type", "draw"),
            ],
        ),
        with(
            r#"{"specversion":"1.0","id":"x"}"#,
            vec![("content-type", "application/cloudevents+json")],
        ),
    ];
    values.extend(crafted().map(|value| (value, Vec::new())));
    assert!(values.len() >= 200, "{}", values.len());
    // Read all the time: who answers no ping for a minute is taken for gone.
    let healthy = values.len() + 1;
    let hearing = tokio::spawn(async move { talk.events(healthy).await });
    let topic = bed.broker().topic("events");
    let mut poison = BTreeSet::new();
    let mut expected = Vec::new();
    for (number, (value, headers)) in values.iter().enumerate() {
        let headers: Vec<(&str, &[u8])> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        let record = Foreign {
            key: Some(KEY),
            value: Some(value),
            headers: &headers,
            partition: None,
        };
        poison.insert(bed.broker().produce(&topic, record).await);
        let healthy = format!(r#"{{"event":"draw","id":"good-{number}","data":{number}}}"#);
        let record = Foreign {
            key: Some(KEY),
            value: Some(healthy.as_bytes()),
            ..Foreign::default()
        };
        bed.broker().produce(&topic, record).await;
        expected.push(format!("good-{number}"));
    }
    // A tombstone, no key, and a key that can be no channel.
    poison.insert(
        bed.broker()
            .produce(
                &topic,
                Foreign {
                    key: Some(KEY),
                    ..Foreign::default()
                },
            )
            .await,
    );
    for key in [None, Some(b"a.b".as_slice()), Some(b"".as_slice())] {
        let record = Foreign {
            key,
            value: Some(good.as_bytes()),
            partition: Some(0),
            headers: &[],
        };
        poison.insert(bed.broker().produce(&topic, record).await);
    }
    let last = Foreign {
        key: Some(KEY),
        value: Some(br#"{"event":"draw","id":"last"}"#),
        ..Foreign::default()
    };
    bed.broker().produce(&topic, last).await;
    expected.push("last".to_owned());

    let delivered: Vec<String> = hearing
        .await
        .unwrap()
        .into_iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(delivered, expected);

    let checker = bed.checker().await;
    let quarantined = checker.quarantined().await;
    let places: BTreeSet<(i32, i64)> = quarantined
        .iter()
        .map(|(_, partition, offset, _)| (*partition, *offset))
        .collect();
    assert_eq!(places, poison, "exactly the poison is in quarantine");
    assert!(
        quarantined
            .iter()
            .all(|(of, _, _, reason)| *of == topic && !reason.is_empty()),
        "{quarantined:?}"
    );
    let stored: Vec<String> = checker.stored().await[CHANNEL]
        .iter()
        .map(|row| row.fact.id.clone())
        .collect();
    assert_eq!(stored, expected);

    // Every one is a dead letter too, with its place and reason.
    let dead: BTreeSet<(i32, i64)> = checker
        .topic("deadletter")
        .await
        .iter()
        .map(|letter| {
            assert!(
                letter
                    .header("rm-dead-reason")
                    .is_some_and(|reason| !reason.is_empty())
            );
            let number = |name| letter.header(name).unwrap().parse::<i64>().unwrap();
            (
                i32::try_from(number("rm-dead-partition")).unwrap(),
                number("rm-dead-offset"),
            )
        })
        .collect();
    assert_eq!(dead, poison);
    assert!(
        persister.process().ended().is_none(),
        "no poison ends the process"
    );
}

/// Values that nobody can take, by the dozen: cut off anywhere, nested too deep, named with letters that no name has,
/// and bytes that are no text.
fn crafted() -> impl Iterator<Item = Vec<u8>> {
    let whole = r#"{"event":"draw","id":"x","data":{"points":[{"x":1,"y":-2.5e3}],"note":"ä"}}"#;
    let cut = (1..whole.len()).map(|end| whole.as_bytes()[..end].to_vec());
    let deep = (33..63).map(|depth| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"event":"draw","data":{open}{close}}}"#).into_bytes()
    });
    let named = (b'!'..=b'@')
        .filter(|letter| *letter != b'"')
        .map(|letter| {
            let name = char::from(letter);
            format!(r#"{{"event":"{name}draw","data":1}}"#).into_bytes()
        });
    let bytes = (0x80..=0xbfu8)
        .map(|byte| [b"{\"event\":\"draw\",\"data\":\"", &[byte][..], b"\"}"].concat());
    cut.chain(deep).chain(named).chain(bytes)
}
