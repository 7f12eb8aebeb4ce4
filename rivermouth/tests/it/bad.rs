//! Bad input that is the same over every door, and what its refusals must not show.

use client::Refusal;
use serde_json::Value;

/// Neither paths nor SQL nor the names of what we are built on.
pub(crate) fn assert_says_nothing_of_the_inside(refusal: &Refusal) {
    let text = format!("{} {:?}", refusal.message, refusal.details).to_lowercase();
    for inside in [
        "/src/",
        ".rs:",
        "panicked",
        "select ",
        "insert ",
        "sqlx",
        "postgres",
        "rdkafka",
        "librdkafka",
        "backtrace",
    ] {
        assert!(!text.contains(inside), "{refusal:?}");
    }
}

/// Publishes that are wrong by their content: the same over every door.
pub(crate) fn bad_publishes() -> Vec<(&'static str, String)> {
    let data = |data: &str| format!(r#"{{"channel":"session.1","event":"draw","data":{data}}}"#);
    let nested = |depth: usize| data(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    let invalid = [
        "{}".to_owned(),
        r#"{"channel":"session.1"}"#.to_owned(),
        r#"{"event":"draw"}"#.to_owned(),
        r#"{"channel":7,"event":"draw"}"#.to_owned(),
        r#"{"channel":"session.1","event":["draw"]}"#.to_owned(),
        r#"{"channel":"","event":"draw"}"#.to_owned(),
        r#"{"channel":"session","event":"draw"}"#.to_owned(),
        r#"{"channel":"session.","event":"draw"}"#.to_owned(),
        r#"{"channel":"session.1.2","event":"draw"}"#.to_owned(),
        r#"{"channel":"Session.1","event":"draw"}"#.to_owned(),
        r#"{"channel":"session.a b","event":"draw"}"#.to_owned(),
        format!(
            r#"{{"channel":"session.{}","event":"draw"}}"#,
            "x".repeat(129)
        ),
        r#"{"channel":"session.1","event":""}"#.to_owned(),
        r#"{"channel":"session.1","event":"two words"}"#.to_owned(),
        r#"{"channel":"session.1","event":".draw"}"#.to_owned(),
        format!(r#"{{"channel":"session.1","event":"{}"}}"#, "x".repeat(65)),
        r#"{"channel":"session.1","event":"draw","id":5}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","id":""}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","id":"a/b"}"#.to_owned(),
        format!(
            r#"{{"channel":"session.1","event":"draw","id":"{}"}}"#,
            "x".repeat(65)
        ),
        // UUIDv7s of 2020 and of the far future.
        r#"{"channel":"session.1","event":"draw","id":"01700000-0000-7000-8000-000000000000"}"#
            .to_owned(),
        r#"{"channel":"session.1","event":"draw","id":"ffffffff-ffff-7fff-bfff-ffffffffffff"}"#
            .to_owned(),
        r#"{"channel":"session.1","event":"draw","lane":"fast"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","to":"u2"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","to":[1]}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p"}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":0}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":-1,"seq":0}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p","epoch":0,"seq":1.5}"#.to_owned(),
        r#"{"channel":"session.1","event":"draw","producer":"p q","epoch":0,"seq":0}"#.to_owned(),
        r#"{"channel":"session.1","channel":"session.2","event":"draw"}"#.to_owned(),
        data(r#"{"a":1,"a":2}"#),
        data(r#"{"a":{"b":1,"\u0062":2}}"#),
        data(r#""\u0000""#),
        data(r#""\ud800""#),
        data(r#""\udc00\ud800""#),
        data("1e309"),
        data("1e-400"),
        data(&"9".repeat(65)),
        data("01"),
        data("+1"),
        data("NaN"),
        data("'x'"),
        data("[1,]"),
        data(r#"{"a"}"#),
        data("\"\n\""),
        nested(33),
        nested(20_000),
    ];
    let mut all: Vec<(&str, String)> = invalid
        .into_iter()
        .map(|body| ("INVALID_MESSAGE", body))
        .collect();
    all.push((
        "CHANNEL_NOT_FOUND",
        r#"{"channel":"nowhere.1","event":"draw"}"#.to_owned(),
    ));
    all.push((
        "PERMISSION_DENIED",
        r#"{"channel":"broadcast","event":"draw"}"#.to_owned(),
    ));
    all.push((
        "PERMISSION_DENIED",
        r#"{"channel":"user.u2","event":"draw"}"#.to_owned(),
    ));
    all.push((
        "PERMISSION_DENIED",
        r#"{"channel":"docs.1","event":"draw"}"#.to_owned(),
    ));
    all.push((
        "PERMISSION_DENIED",
        r#"{"channel":"jobs.1","event":"job.update"}"#.to_owned(),
    ));
    all
}

/// The same claims under `alg: none`.
pub(crate) fn none_algorithm(token: &str) -> String {
    let claims = token.split('.').nth(1).unwrap();
    // {"alg":"none","typ":"JWT"}
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
}

/// So that a reader of the table sees what the JSON of a test is.
#[test]
fn every_bad_publish_is_another() {
    let mut bodies: Vec<String> = bad_publishes().into_iter().map(|(_, body)| body).collect();
    let count = bodies.len();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), count);
    assert!(
        bodies
            .iter()
            .all(|body| serde_json::from_str::<Value>(body).is_err() || body.starts_with('{'))
    );
}
