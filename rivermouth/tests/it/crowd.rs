//! A crowd that comes back at once with old cursors: it shares pages and readings, and whoever is live hardly notices.

use std::time::Duration;

use client::{Credential, Endpoint, Http, Publish, ServerMessage, Socket, SocketOptions};
use serde_json::json;
use testbed::{Bed, Node, PATIENCE, Random, unix_ms, within};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::BINARY;
use crate::retention::figure;

const CHANNELS: usize = 20;
/// Events of each channel; of these so many are stored, the others are in Kafka alone.
const EVENTS: usize = 500;
const STORED: usize = 300;
const RETURNING: usize = 500;
const LIVE: usize = 50;
const LIVE_CHANNEL: &str = "session.live";

fn channel(number: usize) -> String {
    format!("session.crowd{number}")
}

async fn fill(http: &Http, (from, to): (usize, usize)) {
    let data = format!("\"{}\"", "x".repeat(600));
    for number in 0..CHANNELS {
        for start in (from..to).step_by(100) {
            let events: Vec<Publish> = (start..start + 100)
                .map(|at| {
                    Publish::new(channel(number), "draw", &data)
                        .unwrap()
                        .id(format!("e{at}"))
                })
                .collect();
            for answer in http.publish_batch(&events).await.unwrap() {
                answer.unwrap();
            }
        }
    }
}

async fn open(place: &Endpoint, token: &str, channel: &str, since: &str) -> Socket {
    let credential = Credential::Subprotocol(token.to_owned());
    let options = SocketOptions {
        connect_timeout: PATIENCE,
        read_buffer_bytes: 4_096,
        ..SocketOptions::default()
    };
    let (mut socket, _) = Socket::open(place, "/ws", &credential, &options)
        .await
        .unwrap();
    let params = json!({"channel": channel, "since": since}).to_string();
    socket.request("s", "subscribe", &params).await.unwrap();
    socket
}

/// Subscribes again when it is told to, as a client does; then reads event after event to the last.
async fn come_back(
    place: Endpoint,
    token: String,
    number: usize,
    since: String,
    first: usize,
) -> Duration {
    let began = Instant::now();
    let channel = channel(number);
    let mut socket = open(&place, &token, &channel, &since).await;
    let mut next = first;
    within("a reader that came back", async {
        while next < EVENTS {
            match socket.next().await.unwrap() {
                ServerMessage::Event(event) => {
                    assert_eq!((&event.channel, event.id), (&channel, format!("e{next}")));
                    next += 1;
                }
                ServerMessage::Error { refusal, .. } => {
                    assert!(refusal.retryable && next == first, "{refusal:?}");
                    let params = json!({"channel": channel, "since": since}).to_string();
                    socket.request("s", "subscribe", &params).await.unwrap();
                }
                ServerMessage::Gap { gap, .. } => panic!("{gap:?}"),
                _ => {}
            }
        }
    })
    .await;
    began.elapsed()
}

/// From the log's own time to the client, in ms, of every event of the live channel until `stop`.
async fn listen(
    place: Endpoint,
    token: String,
    stop: watch::Receiver<bool>,
    ready: watch::Sender<usize>,
) -> Vec<(i64, i64)> {
    let mut socket = open(&place, &token, LIVE_CHANNEL, "latest").await;
    let mut delays = Vec::new();
    loop {
        match within("a live event", socket.next()).await.unwrap() {
            ServerMessage::Event(event) => {
                delays.push((event.timestamp_ms, unix_ms() - event.timestamp_ms));
                if *stop.borrow() {
                    return delays;
                }
            }
            ServerMessage::Response { .. } => ready.send_modify(|ready| *ready += 1),
            ServerMessage::Error { refusal, .. } => panic!("{refusal:?}"),
            _ => {}
        }
    }
}

async fn talk(node: &Node, backend: String, mut over: watch::Receiver<bool>) {
    let http = node.http(&backend);
    let mut pace = interval(Duration::from_millis(50));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*over.borrow_and_update() {
        pace.tick().await;
        http.publish(&Publish::new(LIVE_CHANNEL, "draw", "1").unwrap())
            .await
            .unwrap();
    }
}

fn p99(delays: impl Iterator<Item = i64>) -> i64 {
    let mut delays: Vec<i64> = delays.collect();
    delays.sort_unstable();
    delays[(delays.len() * 99).div_ceil(100) - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_readers_that_come_back_share_their_reading_and_do_not_delay_the_live() {
    let mut bed = Bed::on_kafka(BINARY).await;
    bed.set("RIVERMOUTH_RING_MIB", "1");
    bed.set("RIVERMOUTH_PARTITIONS", "2");
    let (node, door, mut persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("ingest"),
        bed.start("persister")
    );
    let backend = bed.backend();
    fill(&door.http(&backend), (0, STORED)).await;
    let stored = bed.checker().await.stored().await;
    persister.process().pause();
    fill(&door.http(&backend), (STORED, EVENTS)).await;

    // Cursors from the rows: positions of every age, some only PostgreSQL has in reach, some only Kafka.
    let token = bed.gm("reader");
    let mut random = Random::seeded("a crowd comes back");
    let mut cursors = Vec::new();
    for number in 0..CHANNELS {
        let rows = &stored[&channel(number)];
        let own = node.http(&token);
        let asked = client::History {
            channel: channel(number),
            after: Some(rows[STORED - 1].cursor.clone()),
            limit: Some(1_000),
            ..client::History::default()
        };
        let page = own.history(&asked).await.unwrap();
        let recent = page.events.into_iter().map(|event| event.cursor.unwrap());
        let all: Vec<String> = rows
            .iter()
            .map(|row| row.cursor.clone())
            .chain(recent)
            .collect();
        assert_eq!(all.len(), EVENTS);
        cursors.push(all);
    }

    let (stop, stopped) = watch::channel(false);
    let (over, ended) = watch::channel(false);
    let (ready, mut listening) = watch::channel(0);
    let mut live = JoinSet::new();
    for _ in 0..LIVE {
        live.spawn(listen(
            node.endpoint(),
            token.clone(),
            stopped.clone(),
            ready.clone(),
        ));
    }
    within(
        "the live readers",
        listening.wait_for(|count| *count == LIVE),
    )
    .await
    .unwrap();
    let before = [
        figure(&node, "rivermouth_fanout_catch_up_pulls_total").await,
        figure(&node, "rivermouth_fanout_catch_up_pages_total").await,
        figure(&node, "rivermouth_fanout_log_scans_total").await,
    ];
    let crowd = async {
        // A while without the crowd, to compare with.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let came = unix_ms();
        let mut returning = JoinSet::new();
        for at in 0..RETURNING {
            let number = at % CHANNELS;
            let seen = usize::try_from(random.below(EVENTS as u64 - 50)).unwrap();
            let since = cursors[number][seen].clone();
            returning.spawn(come_back(
                node.endpoint(),
                token.clone(),
                number,
                since,
                seen + 1,
            ));
        }
        let mut times = within("the crowd", returning.join_all()).await;
        times.sort_unstable();
        let done = unix_ms();
        stop.send(true).unwrap();
        (came, done, times)
    };
    let work = async {
        let told = crowd.await;
        let delays = within("the live readers", live.join_all()).await;
        over.send(true).unwrap();
        (told, delays)
    };
    let (((came, done, times), delays), ()) = tokio::join!(work, talk(&door, backend, ended));
    let delays: Vec<(i64, i64)> = delays.into_iter().flatten().collect();
    let quiet = p99(delays
        .iter()
        .filter(|(at, _)| *at < came - 100)
        .map(|(_, delay)| *delay));
    let crowded = p99(delays
        .iter()
        .filter(|(at, _)| (came..done).contains(at))
        .map(|(_, delay)| *delay));
    let [pulls, pages, scans] = [
        figure(&node, "rivermouth_fanout_catch_up_pulls_total").await - before[0],
        figure(&node, "rivermouth_fanout_catch_up_pages_total").await - before[1],
        figure(&node, "rivermouth_fanout_log_scans_total").await - before[2],
    ];
    println!(
        "{RETURNING} came back within {} ms (half of them in {:?}): {pulls} pulls, {pages} pages, {scans} readings of the log; \
         live delivery p99 {quiet} ms before, {crowded} ms meanwhile",
        done - came,
        times[RETURNING / 2],
    );
    assert!(
        pages + scans < pulls / 2.0,
        "{pages} pages and {scans} readings for {pulls} pulls"
    );
    assert!(
        crowded <= (quiet * 10).max(1_500),
        "{crowded} ms, {quiet} ms without the crowd"
    );
    persister.process().go_on();
}
