//! Graceful ends.

use std::sync::Arc;
use std::time::Duration;

use client::Error;
use serde_json::json;
use testbed::{Bed, within};

use crate::BINARY;
use crate::talk::Talk;
use crate::traffic::{Door, Progress, Traffic};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_sends_clients_elsewhere_with_3001_and_ends_with_status_0() {
    let bed = Bed::on_kafka(BINARY).await;
    let mut node = bed.start("fanout").await;
    let mut talk = Talk::open(&node, &bed.gm("u1")).await;
    talk.subscribe(json!({"channel": "session.1"})).await;
    let ending = async {
        loop {
            if let Err(error) = talk.socket().next().await {
                return error;
            }
        }
    };
    let (status, error) = tokio::join!(node.terminate(), within("a close", ending));
    assert!(status.success(), "{status}");
    assert!(matches!(error, Error::Lost(_)), "{error}");
    let (code, reason) = talk.socket().close_frame().expect("a close frame came");
    assert_eq!(code, 3001);
    assert!(
        reason.bytes().any(|byte| byte.is_ascii_digit()),
        "the reason carries a spread: {reason}"
    );
}

/// Rolling restarts under load: nothing is lost, doubled or out of order, and every service ends with status 0.
#[tokio::test(flavor = "multi_thread")]
async fn f17_restarting_every_service_in_turn_under_load_loses_nothing() {
    let bed = Bed::on_kafka(BINARY).await;
    let (mut first, mut second, mut persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("fanout"),
        bed.start("persister")
    );
    let traffic = Traffic {
        sessions: 6,
        users_per_session: 4,
        messages_per_user: 90,
        pace: Duration::from_millis(100),
        nodes: vec![first.endpoint(), second.endpoint()],
        door: Door::Socket,
    };
    let progress = Arc::new(Progress::default());
    let rolling = async {
        for (quarter, node) in (1..).zip([&mut first, &mut persister, &mut second]) {
            progress.reached(traffic.total() * quarter / 4).await;
            let status = node.terminate().await;
            assert!(status.success(), "{status}");
            node.start().await;
        }
    };
    tokio::join!(traffic.run(&bed, Arc::clone(&progress)), rolling);
}

/// Settings that cannot be are refused before anything is started.
#[tokio::test]
async fn bad_settings_end_with_status_64() {
    let mut bed = Bed::embedded(BINARY).await;
    bed.set("JWT_SECRET", "short");
    for arguments in [
        ["fanout"].as_slice(),
        &["ingest"],
        &["dev", "--no-such-flag"],
        &["nonsense"],
    ] {
        let exited = bed.run(arguments).await;
        assert_eq!(
            exited.status.code(),
            Some(64),
            "{arguments:?}: {}",
            exited.output
        );
        assert!(!exited.output.contains("panicked"), "{}", exited.output);
    }
}
