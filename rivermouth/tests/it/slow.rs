//! Readers that are slow, and readers that read nothing (F44, F45): the slow get everything at their own pace and cost
//! little memory; who takes nothing at all is closed with the place where it stood.

use std::time::Duration;

use client::{Event, Http, Publish, ServerMessage};
use serde_json::json;
use testbed::checker::Received;
use testbed::{Bed, Node, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::BINARY;
use crate::insisting::publish_all_surely;
use crate::raw::frame;
use crate::retention::figure;
use crate::traffic::publish_surely;
use crate::ways::{Reading, Way};

const CHANNEL: &str = "session.slow";
const LAST: &str = "the.end";

const READERS: usize = 1_000;
/// How many of them read everything at the end, as fast as they can, and are judged event by event.
const JUDGED: usize = 40;
/// What a reader takes a second.
const PACE_BYTES: usize = 1_024;
/// What the channel carries: 64 MB a minute.
const RATE_BYTES: usize = (64 << 20) / 60;
const FLOOD: Duration = Duration::from_secs(25);
/// What a reader may cost.
const COST_BYTES: usize = 256 << 10;

/// A WebSocket with the smallest window there is, read byte by byte: what it does not read is the server's to keep.
struct Slow {
    tcp: TcpStream,
    bytes: Vec<u8>,
    /// Payloads are kept from here on; before that only frames are followed.
    events: Vec<Event>,
}

impl Slow {
    async fn open(node: &Node, token: &str) -> Slow {
        let address = node.url().strip_prefix("http://").unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut tcp = socket.connect(address.parse().unwrap()).await.unwrap();
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: rivermouth.v1, bearer.{token}\r\n\r\n"
        );
        tcp.write_all(head.as_bytes()).await.unwrap();
        let mut slow = Slow {
            tcp,
            bytes: Vec::new(),
            events: Vec::new(),
        };
        while !slow.bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            slow.read(4_096).await;
        }
        let end = slow
            .bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .unwrap()
            + 4;
        assert!(slow.bytes.starts_with(b"HTTP/1.1 101 "));
        slow.bytes.drain(..end);
        let subscribe = json!({"type": "request", "id": "s", "method": "subscribe", "params": {"channel": CHANNEL}});
        slow.tcp
            .write_all(&frame(0x81, subscribe.to_string().as_bytes()))
            .await
            .unwrap();
        // `connected` and the answer: from here on everything is owed.
        let mut answered = false;
        while !answered {
            slow.read(4_096).await;
            slow.each(|message| answered |= matches!(message, ServerMessage::Response { .. }));
        }
        slow
    }

    /// Reads at most so much; panics when the server has gone.
    async fn read(&mut self, most: usize) {
        let mut chunk = vec![0; most];
        let count = within("bytes of the server", self.tcp.read(&mut chunk))
            .await
            .unwrap();
        assert!(count > 0, "the server cut off a slow reader");
        self.bytes.extend_from_slice(&chunk[..count]);
    }

    /// Hands out the messages of the whole frames that have come.
    fn each(&mut self, mut take: impl FnMut(ServerMessage)) {
        while let Some((opcode, payload)) = whole_frame(&mut self.bytes) {
            assert_ne!(
                opcode,
                8,
                "closed: {}",
                String::from_utf8_lossy(&payload[2..])
            );
            if opcode == 1 {
                for line in std::str::from_utf8(&payload).unwrap().lines() {
                    take(ServerMessage::parse(line).unwrap());
                }
            }
        }
    }

    fn keep(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.each(|message| {
            if let ServerMessage::Event(event) = message {
                events.push(*event);
            }
        });
        self.events = events;
    }

    /// Reads at its pace until told to stop. A slow reader still answers pings, or it would count as dead.
    async fn crawl(mut self, mut stop: watch::Receiver<bool>) -> Slow {
        let mut pace = interval(Duration::from_secs(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.changed() => return self,
                _ = pace.tick() => {
                    // Nothing to read is possible only at the very beginning.
                    let _ = timeout(Duration::from_millis(500), self.read(PACE_BYTES)).await;
                    self.tcp.write_all(&frame(0x8a, b"")).await.unwrap();
                    self.keep();
                }
            }
        }
    }

    /// Reads to the last event. It answers pings meanwhile, for there may be more to read than a minute is enough for.
    async fn finish(mut self) -> Vec<Event> {
        let mut pace = interval(Duration::from_secs(1));
        within("a slow reader to read all", async {
            while self.events.last().is_none_or(|event| event.name != LAST) {
                tokio::select! {
                    _ = pace.tick() => self.tcp.write_all(&frame(0x8a, b"")).await.unwrap(),
                    () = self.read(64 * 1_024) => self.keep(),
                }
            }
        })
        .await;
        self.events
    }
}

fn whole_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (start, length) = match second & 0x7f {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (
            10,
            usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?,
        ),
        short => (2, usize::from(short)),
    };
    let payload = bytes.get(start..start + length)?.to_vec();
    bytes.drain(..start + length);
    Some((first & 0x0f, payload))
}

/// Publishes at the rate for a time, then the last event.
async fn flood(http: &Http, time: Duration) -> usize {
    const PARTS: u32 = 4;
    let data = format!("\"{}\"", "x".repeat(8_000));
    let each = RATE_BYTES / PARTS as usize / (data.len() + 200);
    let mut pace = interval(Duration::from_secs(1) / PARTS);
    let ends = Instant::now() + time;
    let mut count = 0;
    while Instant::now() < ends {
        pace.tick().await;
        let events: Vec<Publish> = (0..each)
            .map(|at| {
                Publish::new(CHANNEL, "map.updated", &data)
                    .unwrap()
                    .id(format!("e{}", count + at))
            })
            .collect();
        publish_all_surely(http, &events).await;
        count += each;
    }
    end(http).await;
    count + 1
}

async fn end(http: &Http) {
    let last = Publish::new(CHANNEL, LAST, "null").unwrap().id(LAST);
    publish_surely(std::slice::from_ref(http), &last).await;
}

/// What the process holds of anonymous memory: code and files apart.
fn memory(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<usize>()
        .unwrap()
        << 10
}

#[tokio::test(flavor = "multi_thread")]
async fn f44_a_thousand_slow_readers_cost_little_memory_and_get_everything_later() {
    let mut bed = Bed::on_kafka(BINARY).await;
    // Whoever takes a kilobyte a second is not stuck.
    bed.set("RIVERMOUTH_STUCK_TIMEOUT", "20s");
    let (mut node, ingest, _persister) = tokio::join!(
        bed.start("fanout"),
        bed.start("ingest"),
        bed.start("persister")
    );
    let token = bed.gm("slow");
    // The channel is hot before anything is measured.
    drop(Slow::open(&node, &token).await);
    let pid = node.process().pid();
    let before = memory(pid);

    let (stop, stopped) = watch::channel(false);
    let mut crawling = JoinSet::new();
    for _ in 0..READERS / 50 {
        let opening = (0..50).map(|_| Slow::open(&node, &token));
        for slow in within("fifty readers", futures_util::future::join_all(opening)).await {
            crawling.spawn(slow.crawl(stopped.clone()));
        }
    }
    let backend = ingest.http(&bed.backend());
    let (over, mut measuring) = tokio::sync::oneshot::channel::<()>();
    let flooding = async {
        let count = flood(&backend, FLOOD).await;
        drop(over);
        count
    };
    let measuring = async {
        let mut most = 0;
        let mut look = interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                _ = &mut measuring => return most.max(memory(pid)),
                _ = look.tick() => most = most.max(memory(pid)),
            }
        }
    };
    let (count, most) = tokio::join!(flooding, measuring);
    let ring = figure(&node, "rivermouth_fanout_ring_bytes").await as usize;
    let lagging = figure(&node, "rivermouth_fanout_lagging_total").await;
    let each = most.saturating_sub(before).saturating_sub(ring) / READERS;
    println!(
        "{READERS} readers at {PACE_BYTES} B/s on {} KB/s for {FLOOD:?}: memory {} MiB -> {} MiB, ring {} MiB: {} KiB a reader",
        RATE_BYTES >> 10,
        before >> 20,
        most >> 20,
        ring >> 20,
        each >> 10,
    );
    assert!(
        lagging >= READERS as f64,
        "all of them fell behind: {lagging}"
    );
    assert_eq!(
        figure(&node, "rivermouth_fanout_stuck_connections_total").await,
        0.0
    );
    assert!(each <= COST_BYTES, "{} KiB a reader", each >> 10);

    stop.send(true).unwrap();
    let mut all = within("the slow readers", crawling.join_all()).await;
    assert_eq!(all.len(), READERS, "nobody was cut off");
    let mut reading = JoinSet::new();
    for slow in all.drain(..JUDGED) {
        reading.spawn(slow.finish());
    }
    drop(all);
    let accepted = bed
        .checker()
        .await
        .tables_equal_log()
        .await
        .remove(CHANNEL)
        .unwrap();
    assert_eq!(accepted.len(), count);
    for events in within("the judged readers", reading.join_all()).await {
        Received(events).assert_equal("a slow reader", &accepted);
    }
}

/// Nothing is taken for the configured time: closed with 3008, and the reason is the cursor from which it goes on
/// without a loss or a repetition.
#[tokio::test(flavor = "multi_thread")]
async fn f45_a_stuck_reader_is_closed_with_its_cursor_after_the_configured_time_and_resumes_there()
{
    let mut bed = Bed::on_kafka(BINARY).await;
    bed.set("RIVERMOUTH_STUCK_TIMEOUT", "3s");
    let node = bed.start("fanout").await;
    let token = bed.gm("stuck");
    let mut stuck = Slow::open(&node, &token).await;
    let began = Instant::now();
    let backend = node.http(&bed.backend());
    let data = format!("\"{}\"", "x".repeat(8_000));
    let publishing = async {
        for batch in 0..6 {
            let events: Vec<Publish> = (0..100)
                .map(|at| {
                    Publish::new(CHANNEL, "map.updated", &data)
                        .unwrap()
                        .id(format!("e{batch}-{at}"))
                })
                .collect();
            publish_all_surely(&backend, &events).await;
        }
    };
    let closing = async {
        within("the node to give up", async {
            while figure(&node, "rivermouth_fanout_stuck_connections_total").await == 0.0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let after = began.elapsed();
        assert!(after >= Duration::from_secs(3), "{after:?}");
        println!("closed after {after:?}");
        // What was on its way still comes, and then the close with the cursor: the node waits for some seconds only
        // until it is taken.
        let mut taken: Vec<Event> = Vec::new();
        let reason = within("the close", async {
            loop {
                while let Some((opcode, payload)) = whole_frame(&mut stuck.bytes) {
                    if opcode == 8 {
                        assert_eq!(u16::from_be_bytes([payload[0], payload[1]]), 3008);
                        return String::from_utf8(payload[2..].to_vec()).unwrap();
                    }
                    for line in std::str::from_utf8(&payload)
                        .unwrap()
                        .lines()
                        .filter(|_| opcode == 1)
                    {
                        if let ServerMessage::Event(event) = ServerMessage::parse(line).unwrap() {
                            taken.push(*event);
                        }
                    }
                }
                stuck.read(64 * 1_024).await;
            }
        })
        .await;
        (taken, reason)
    };
    // Whatever the publishing takes, the close is taken when it comes.
    let ((), (taken, reason)) = tokio::join!(publishing, closing);
    end(&backend).await;
    let reading = Reading {
        place: node.endpoint(),
        token,
        channel: CHANNEL.to_owned(),
        way: Way::Socket,
    };
    let whole = reading.to("earliest", LAST).await.events;
    assert!(
        taken == whole[..taken.len()],
        "what it took is what everybody gets"
    );
    // The reason names the place behind them: nothing is lost by resuming there, and nothing comes twice.
    let here = taken.last().and_then(|event| event.cursor.clone());
    assert!(
        here.as_deref().is_none_or(|here| here <= reason.as_str()),
        "{reason} {here:?}"
    );
    let again = reading.to(&reason, LAST).await;
    let from = whole
        .iter()
        .position(|event| event.cursor.as_deref() > Some(reason.as_str()))
        .unwrap();
    assert_eq!(from, taken.len(), "{reason} {here:?}");
    assert!(again.events == whole[from..] && again.gaps.is_empty());
}
