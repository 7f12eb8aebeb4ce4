//! States: with a subscription, on streams, alone, as of any cursor; and what is refused.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::world::{World, is_event};

const JOB: &str = "jobs.9f";

/// One update of the job, `n` percent.
async fn update(world: &World, n: i64) {
    let data = json!({"jobId": "9f", "status": "running", "progress": n, "ownerId": "u1"});
    world.append(&world.event(JOB, "job.update", &data)).await;
}

async fn updates(world: &World, range: std::ops::Range<i64>) {
    for n in range {
        update(world, n).await;
    }
}

/// The cursors of all events, in order.
async fn cursors(world: &World) -> Vec<String> {
    let (status, page) = world.get("/api/realtime/history?channel=jobs.9f").await;
    assert_eq!(status, 200, "{page}");
    let events = page["events"].as_array().unwrap().iter();
    events
        .map(|e| e["cursor"].as_str().unwrap().to_owned())
        .collect()
}

async fn at(world: &World, cursor: &str) -> Value {
    let (status, answer) = world
        .get(&format!(
            "/api/realtime/snapshot?channel=jobs.9f&at={cursor}"
        ))
        .await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["cursor"], cursor);
    answer["state"].clone()
}

fn subscribe(channel: &str, since: Value) -> Value {
    json!({"type": "request", "id": "s", "method": "subscribe",
        "params": {"channel": channel, "since": since, "snapshot": true}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_is_told_the_state_and_then_exactly_what_follows_it() {
    let world = World::new().await;
    updates(&world, 0..5).await;
    let cursors = cursors(&world).await;
    let mut ws = world.ws("u1").await;
    ws.send(&subscribe(JOB, json!("latest"))).await;
    let begun = ws.until(|m| m["id"] == "s").await;
    assert_eq!(begun["data"]["snapshot"]["progress"], 4, "{begun}");
    assert_eq!(begun["data"]["cursor"], *cursors.last().unwrap());
    update(&world, 5).await;
    let live = ws.events(1).await.remove(0);
    assert_eq!(live["prev"], begun["data"]["cursor"]);
    // An older cursor: the state that whoever stopped there had, and all since.
    for (n, cursor) in cursors.iter().enumerate() {
        ws.send(&subscribe(JOB, json!(cursor))).await;
        let begun = ws.until(|m| m["id"] == "s").await;
        assert_eq!(begun["data"]["cursor"], *cursor);
        assert_eq!(begun["data"]["recovered"], true);
        assert_eq!(begun["data"]["snapshot"]["progress"], n as i64);
        let events = ws.events(5 - n).await;
        let followed: Vec<_> = events
            .iter()
            .map(|e| e["data"]["progress"].as_i64().unwrap())
            .collect();
        assert_eq!(followed, ((n as i64 + 1)..6).collect::<Vec<_>>());
        ws.until(|m| m["event"] == "caught_up").await;
    }
    ws.send(&subscribe(JOB, json!("earliest"))).await;
    let begun = ws.until(|m| m["id"] == "s").await;
    assert_eq!(begun["data"]["snapshot"], Value::Null, "{begun}");
    assert_eq!(ws.events(6).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cursor_has_its_state_and_a_void_or_broken_update_none() {
    let world = World::new().await;
    updates(&world, 0..3).await;
    // Neither another kind of event nor a broken update is in the state; both are events.
    world
        .append(&world.event(JOB, "note", &json!({"jobId": "9f", "status": "failed"})))
        .await;
    world
        .append(&world.event(JOB, "job.update", &json!({"jobId": "9f", "status": "odd"})))
        .await;
    let done = json!({"jobId": "9f", "status": "succeeded", "progress": 100});
    world.append(&world.event(JOB, "job.update", &done)).await;
    updates(&world, 50..53).await;
    let cursors = cursors(&world).await;
    let expected = [0, 1, 2, 2, 2, 100, 100, 100, 100];
    for (cursor, progress) in cursors.iter().zip(expected) {
        assert_eq!(at(&world, cursor).await["progress"], progress);
    }
    let (status, now) = world.get("/api/realtime/snapshot?channel=jobs.9f").await;
    assert_eq!((status, &now["cursor"]), (200, &json!(cursors[8])));
    assert_eq!(now["state"]["status"], "succeeded");
    let mut ws = world.ws("u1").await;
    for cursor in [Some(&cursors[1]), None] {
        let params = json!({"channel": JOB, "at": cursor});
        ws.send(&json!({"type": "request", "id": "n", "method": "snapshot", "params": params}))
            .await;
        let answer = ws.until(|m| m["id"] == "n").await;
        let expected = match cursor {
            Some(cursor) => json!({"cursor": cursor, "state": at(&world, cursor).await}),
            None => now.clone(),
        };
        assert_eq!(answer["data"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_tell_the_state_as_an_event_before_the_channels_own() {
    let world = World::new().await;
    updates(&world, 0..4).await;
    let cursors = cursors(&world).await;
    let query = format!(
        "channel=jobs.9f&channel=user.u1&snapshot=true&since={}",
        "earliest"
    );
    let mut sse = world.stream(&format!("/sse?{query}"), None).await;
    assert_eq!(sse.sse().await.1, "connected");
    let mut states = Vec::new();
    while states.len() < 2 {
        let (id, name, event) = sse.sse().await;
        if name == "snapshot" {
            assert!(id.is_some());
            states.push((event["channel"].clone(), event["data"].clone()));
        }
        assert!(!(is_event(&event) && states.is_empty()), "{event}");
    }
    states.sort_by_key(|(channel, _)| channel.to_string());
    assert_eq!(
        states,
        [(json!(JOB), Value::Null), (json!("user.u1"), Value::Null)]
    );
    let query = format!("channel=jobs.9f&snapshot=true&since={}", cursors[1]);
    let mut lines = world
        .stream(&format!("/api/realtime/stream?{query}"), None)
        .await;
    let mut next = async || serde_json::from_str::<Value>(&lines.piece("\n").await).unwrap();
    assert_eq!(next().await["event"], "connected");
    let told = next().await;
    assert_eq!(
        (&told["event"], &told["cursor"], &told["data"]["progress"]),
        (&json!("snapshot"), &json!(cursors[1]), &json!(1))
    );
    assert_eq!(next().await["cursor"], cursors[2]);
    assert_eq!(next().await["cursor"], cursors[3]);
    assert_eq!(next().await["event"], "caught_up");
    // A reader that is cut off after the state resumes behind it.
    let query = "channel=jobs.9f&snapshot=true";
    let mut again = world
        .stream(&format!("/sse?{query}"), Some(&cursors[2]))
        .await;
    again.sse().await;
    let (id, name, told) = again.sse().await;
    assert_eq!(
        (name.as_str(), &told["data"]["progress"]),
        ("snapshot", &json!(2))
    );
    assert_eq!(id, Some(cursors[2].clone()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_state_says_null_and_what_is_to_come_is_refused_by_name() {
    let world = World::new().await;
    for channel in ["user.u1", "broadcast", "system"] {
        let (status, answer) = world
            .get(&format!("/api/realtime/snapshot?channel={channel}"))
            .await;
        assert_eq!((status, &answer["state"]), (200, &Value::Null), "{channel}");
        let cursor = answer["cursor"].as_str().unwrap();
        let (status, again) = world
            .get(&format!(
                "/api/realtime/snapshot?channel={channel}&at={cursor}"
            ))
            .await;
        assert_eq!((status, again), (200, answer));
    }
    let mut ws = world.ws("u1").await;
    for channel in ["session.1", "docs.1", "activity.1"] {
        let (status, answer) = world
            .get(&format!("/api/realtime/snapshot?channel={channel}"))
            .await;
        assert_eq!(status, 400);
        assert_eq!(answer["error"]["details"]["unserved"], "snapshot");
        ws.send(&subscribe(channel, json!("latest"))).await;
        let refused = ws.until(|m| m["id"] == "s").await;
        assert_eq!(refused["error"]["details"]["unserved"], "snapshot");
    }
    let (status, poll) = world
        .get("/api/realtime/poll?channel=user.u1&snapshot=true&wait=0")
        .await;
    assert_eq!(
        (status, &poll["error"]["name"]),
        (400, &json!("INVALID_MESSAGE"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_of_a_state_by_anothers_cursor_or_without_the_right() {
    let world = World::new().await;
    updates(&world, 0..2).await;
    let data = json!({"jobId": "other", "status": "running", "ownerId": "u2"});
    world
        .append(&world.event("jobs.other", "job.update", &data))
        .await;
    let mine = cursors(&world).await;
    let refused = async |query: &str| {
        let (status, answer) = world.get(&format!("/api/realtime/snapshot?{query}")).await;
        (status, answer["error"]["name"].as_str().unwrap().to_owned())
    };
    let denied = (403, "PERMISSION_DENIED".to_owned());
    assert_eq!(refused("channel=jobs.other").await, denied);
    assert_eq!(refused("channel=jobs.unknown").await, denied);
    assert_eq!(refused("channel=user.u2").await, denied);
    assert_eq!(
        refused(&format!("channel=jobs.other&at={}", mine[0]))
            .await
            .1,
        "CURSOR_INVALID"
    );
    let flipped = mine[0].replace(
        &mine[0][24..],
        if mine[0].ends_with('a') { "b" } else { "a" },
    );
    for text in ["x", "1", &flipped, "latest", "earliest", "%00"] {
        let answer = refused(&format!("channel=jobs.9f&at={text}")).await;
        assert_eq!(answer, (400, "CURSOR_INVALID".to_owned()), "{text}");
    }
    assert_eq!(refused("channel=orders.1").await.1, "CHANNEL_NOT_FOUND");
    assert_eq!(refused("at=x").await.1, "INVALID_MESSAGE");
    let mut ws = world.ws("u2").await;
    ws.send(&subscribe(JOB, json!("latest"))).await;
    let answer = ws.until(|m| m["id"] == "s").await;
    assert_eq!(answer["error"]["name"], "PERMISSION_DENIED");
    ws.send(
        &json!({"type": "request", "id": "n", "method": "snapshot", "params": {"channel": JOB}}),
    )
    .await;
    let answer = ws.until(|m| m["id"] == "n").await;
    assert_eq!(answer["error"]["name"], "PERMISSION_DENIED");
    // Asking for states is metered, as asking for history is.
    for _ in 0..120 {
        ws.send(&json!({"type": "request", "id": "m", "method": "snapshot", "params": {"channel": JOB}}))
            .await;
    }
    let limited = ws
        .until(|m| m["error"]["name"] == "RATE_LIMIT_EXCEEDED")
        .await;
    assert_eq!(limited["id"], "m");
}

/// One subscriber that joins again and again: the state it is told, and the event that follows it at once.
async fn joins(world: &World, times: usize) -> usize {
    let mut ws = world.ws("u1").await;
    let number = |value: &Value| -> i64 { value["message"].as_str().unwrap().parse().unwrap() };
    for _ in 0..times {
        ws.send(&subscribe(JOB, json!("latest"))).await;
        let begun = ws.until(|m| m["id"] == "s").await;
        let live = ws.events(1).await.remove(0);
        assert_eq!(live["prev"], begun["data"]["cursor"]);
        let (state, next) = (number(&begun["data"]["snapshot"]), number(&live["data"]));
        assert_eq!(next, state + 1, "the first event after the state");
    }
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn f46_state_and_live_events_join_exactly_at_ten_thousand_instants_of_a_burst() {
    const SUBSCRIBERS: usize = 40;
    let world = World::new().await;
    let burst = async {
        for n in 0_i64.. {
            let message = n.to_string();
            let data =
                json!({"jobId": "9f", "status": "running", "ownerId": "u1", "message": message});
            world.append(&world.event(JOB, "job.update", &data)).await;
        }
    };
    world
        .append(&world.event(
            JOB,
            "job.update",
            &json!({"jobId": "9f", "status": "queued", "ownerId": "u1", "message": "-1"}),
        ))
        .await;
    let joining = join_all((0..SUBSCRIBERS).map(|_| joins(&world, 10_000 / SUBSCRIBERS)));
    let joined = tokio::select! {
        joined = joining => joined.iter().sum::<usize>(),
        () = burst => unreachable!("a burst that never ends"),
    };
    assert_eq!(joined, 10_000);
}
